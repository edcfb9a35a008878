//! The engine: shards behind locks, stock over all of them, the catalogue, and the cut that makes batches of their changes.
//!
//! Invariants:
//! - Locks are taken in one order: documents, control, shards by index, groups. None is held across I/O or an await.
//! - A decision and its event are one step under one lock, so a cut under all locks is a consistent state.
//! - Every change of a shard carries the epoch with which it becomes durable; answers wait for it.
//! - Read in its order, a batch never takes a unit that is not available: see `Engine::generation`.
//!
//! Nothing here knows HTTP or SQL, reads a clock or starts a thread: time and random bits are arguments, and commits, ticks and
//! snapshots are steps that callers drive.

pub mod batch;
mod bulk;
mod clockwork;
mod customer;
mod durability;
mod erase;
mod extend_all;
mod groups;
mod life;
mod operate;
mod recover;
mod reserve;
mod restock;
mod schedule;
mod snapshot;
mod stock;
mod time;
mod view;
mod waitlist;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use crossbeam::{queue::SegQueue, utils::CachePadded};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use self::{
    batch::{CATALOGUE_LANE, LaneBytes, put_lanes},
    schedule::Schedule,
    stock::{Bound, Bounds},
    time::{Dial, Watch},
    waitlist::Waits,
};
pub use self::{
    bulk::Bulk,
    clockwork::Tick,
    durability::{Durability, Durable, Listener},
    erase::Erasures,
    extend_all::{Extending, ExtensionOfAll},
    life::CancelMade,
    recover::{RecoverError, Recovered},
    reserve::{Made, Tried},
    restock::{Adjustment, AdjustmentOf, TransferMade},
    snapshot::{SnapshotError, SnapshotTaken},
    time::Noticed,
    view::{AtCut, Counts, Levels, SaleView},
    waitlist::{EntryView, WaitlistTotals},
};
pub use journal::Epoch;
use journal::{AppendError, CommitStats, Source};
use sale::{
    adjustments::Adjustments,
    audit::Trail,
    catalogue::Catalogue,
    decide::Record,
    event::{CatalogueEvent, CustomerEvent},
    extensions::Extensions,
    groups::Groups,
    ids::{PoolNumber, ReservationId},
    settings::Limits,
    shard::Shard,
    stock::StockBook,
    timeline::Timeline,
};

/// Most shards: their numbers are lane numbers in a batch, and one lane is the catalogue's.
pub const SHARDS_MAX: usize = 1024;

#[derive(Debug, Clone)]
pub struct Settings {
    pub shards: usize,
    /// How long a reservation that is over stays answerable, and an adjustment's key known, in milliseconds.
    pub retention_millis: u64,
    pub limits: Limits,
    /// Sales in the catalogue.
    pub sales_max: usize,
    /// Items in the catalogue, of all sales.
    pub items_max: usize,
    /// Pools of these items.
    pub pools_max: usize,
    /// Reservations in memory, whatever their state.
    pub reservations_max: u64,
    /// Customers in memory.
    pub customers_max: u64,
    /// Bytes that reservations and customers may take in memory.
    pub memory_bytes_max: u64,
    /// Bytes of one shard's events that wait for their cut.
    pub lane_bytes_max: usize,
    /// How long the machine's clock must say something else before it is believed, in milliseconds.
    pub clock_settle_millis: u64,
    /// Keeps callers from choosing customer ids that fall together in a table.
    pub hash_seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shards: 8,
            retention_millis: 24 * 3600 * 1000,
            limits: Limits::default(),
            sales_max: 10_000,
            pools_max: 400_000,
            items_max: 100_000,
            reservations_max: 20_000_000,
            customers_max: 20_000_000,
            memory_bytes_max: 4 << 30,
            lane_bytes_max: 16 << 20,
            clock_settle_millis: 5000,
            hash_seed: 0,
        }
    }
}

/// A value that may be shown once its epoch is durable, unless the operator chose to acknowledge earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<T> {
    pub value: T,
    /// 0: at once.
    pub durable_at: Epoch,
}

impl<T> Answer<T> {
    /// The same answer with its value mapped.
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { value: map(self.value), durable_at: self.durable_at }
    }
}

/// Bits of `Engine::refusing`: the store is too far behind, and the journal's disk has too little room.
const BACKLOG_FULL: u8 = 1;
const DISK_LOW: u8 = 2;

pub struct Engine {
    settings: Settings,
    /// Held while a sale document is prepared and put in force: there is one at a time.
    documents: Mutex<()>,
    control: Mutex<Control>,
    cells: Box<[CachePadded<Slot>]>,
    published: ArcSwap<Published>,
    /// Changed under all locks of shards.
    groups: Mutex<Groups>,
    /// The epoch of the next cut. Written under all locks, so a holder of any lock reads it exactly.
    open_epoch: AtomicU64,
    /// The epoch with which the latest change of the catalogue or of stock becomes durable. Stored before the change is
    /// visible, so a decision that rests on the change and reads this afterwards finds its epoch or a later one.
    operator_epoch: AtomicU64,
    /// The time before which no sale changes its status by the clock, in milliseconds. Written under the control lock.
    next_status_change: AtomicU64,
    durability: Durability,
    commits: Mutex<Option<CommitObserver>>,
    /// Why no new reservations are taken: one bit for each reason; 0 while they are.
    refusing: AtomicU8,
    /// A limit of memory may be reached before the next tick looks.
    near_full: AtomicBool,
    /// Counts how often stock moved between shards or the catalogue changed, and each lane marks where that was. Written
    /// under all locks. Between two such moments a shard serves from its own slices alone, and these are never negative; so
    /// whatever the order of the lanes within a generation, no item's sum is either. A batch has its generations in order,
    /// and in each the catalogue's events first.
    generation: AtomicU64,
    /// Buffers that the next cut gives to the lanes in exchange for theirs.
    spares: Mutex<Vec<LaneBytes>>,
    /// The next cut makes a batch, also of nothing.
    batch_wanted: AtomicBool,
    /// Reserves that went the slow path.
    gathers: AtomicU64,
    /// When somebody last looked when holds of sold-out pools end, in milliseconds, and pools for the next look.
    looked_at: AtomicU64,
    to_look_for: SegQueue<PoolNumber>,
    waits: Waits,
    /// Erasures whose customers the journal may still name.
    erasures: Mutex<Option<Erasures>>,
}

/// A shard's cell, and what others may read of it without its lock.
struct Slot {
    cell: Mutex<Cell>,
    reservations: AtomicU64,
    customers: AtomicU64,
    /// Bytes that these take in memory.
    bytes: AtomicU64,
    /// The lane holds more than it may until it is cut.
    lane_full: AtomicBool,
}

/// A shard and its lane: the bytes of its events that are not yet in a batch.
struct Cell {
    shard: Shard,
    lane: Lane,
    catalogue_version: u64,
    /// Holds that expired since the last tick counted them.
    expired: usize,
}

#[derive(Default)]
struct Lane {
    encoded: LaneBytes,
    /// Events in it.
    events: u32,
    /// The epoch of the latest event that went into this lane.
    last_epoch: Epoch,
}

/// State that operators change: the catalogue to publish, its lane, the stock, the memory of adjustments, the audit trail.
struct Control {
    timeline: Timeline,
    dial: Dial,
    watch: Watch,
    catalogue: Catalogue,
    schedule: Schedule,
    stock: StockBook,
    adjustments: Adjustments,
    extensions: Extensions,
    trail: Trail,
    bounds: Bounds,
    lane: Lane,
    /// The version of the program that wrote the journal last.
    written_by: String,
}

/// What every request reads without a lock.
struct Published {
    catalogue: Catalogue,
    bounds: Bounds,
    dial: Dial,
}

type CommitObserver = Box<dyn Fn(Epoch, &CommitStats) + Send>;

type Guards<'a> = SmallVec<[MutexGuard<'a, Cell>; 16]>;

impl Lane {
    fn push(&mut self, event: &CustomerEvent<'_>, open_epoch: Epoch, generation: u64) {
        event.encode(self.encoded.of(generation));
        self.events += 1;
        self.last_epoch = open_epoch;
    }

    /// Takes over events that were encoded before.
    fn append(&mut self, written: Written, open_epoch: Epoch, generation: u64) {
        let bytes = self.encoded.of(generation);
        if bytes.is_empty() {
            // A large sale's document is not copied under all locks.
            *bytes = written.bytes;
        } else {
            bytes.extend_from_slice(&written.bytes);
        }
        self.events += written.events;
        self.last_epoch = open_epoch;
    }
}

/// Events on their way into the catalogue's lane.
#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    events: u32,
}

impl Control {
    /// Encodes an event, and applies it to everything but the catalogue, which is the caller's.
    fn write(&mut self, event: &CatalogueEvent<'_>, written: &mut Written) {
        event.encode(&mut written.bytes);
        written.events += 1;
        self.stock.apply(event);
        self.adjustments.apply(event);
        self.extensions.apply(event);
        self.trail.apply(event).expect("a record is made to follow the one before");
        self.timeline.see_catalogue(event);
    }
}

/// Writes events into a lane, and moves the bounds as stock moves.
struct Recorder<'a> {
    lane: &'a mut Lane,
    bounds: &'a Bounds,
    open_epoch: Epoch,
    generation: u64,
    expired: &'a mut usize,
    waits: &'a Waits,
}

impl Record for Recorder<'_> {
    fn record(&mut self, event: &CustomerEvent<'_>) {
        self.lane.push(event, self.open_epoch, self.generation);
        *self.expired += usize::from(matches!(event, CustomerEvent::Expired(_)));
        self.waits.follow(event);
        event.moves(|moved| self.bounds[moved.pool.index()].follow(&moved));
        if let CustomerEvent::Held(held) = event {
            let expires_at = held.expires_at();
            held.portions.iter().for_each(|portion| self.bounds[portion.pool.index()].follow_hold(expires_at));
        }
    }
}

impl Engine {
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn durability(&self) -> &Durability {
        &self.durability
    }

    /// Has every commit's figures handed to `observer`, on the journal's thread.
    pub fn observe_commits(&self, observer: impl Fn(Epoch, &CommitStats) + Send + 'static) {
        *self.commits.lock() = Some(Box::new(observer));
    }

    /// The catalogue of this moment: names and settings for answers.
    pub fn catalogue(&self) -> CatalogueGuard {
        CatalogueGuard(self.published.load())
    }

    /// Whether new reserves are refused because the store is too far behind.
    pub fn set_backlog_full(&self, full: bool) {
        self.refuse_for(BACKLOG_FULL, full);
    }

    pub fn backlog_full(&self) -> bool {
        self.refusing.load(Ordering::Relaxed) & BACKLOG_FULL != 0
    }

    /// Whether new reserves are refused because the journal's disk has too little room.
    pub fn set_disk_low(&self, low: bool) {
        self.refuse_for(DISK_LOW, low);
    }

    pub fn disk_low(&self) -> bool {
        self.refusing.load(Ordering::Relaxed) & DISK_LOW != 0
    }

    fn refuse_for(&self, reason: u8, refuse: bool) {
        if refuse {
            self.refusing.fetch_or(reason, Ordering::Relaxed);
        } else {
            self.refusing.fetch_and(!reason, Ordering::Relaxed);
        }
    }

    /// Whether anything waits to be cut into a batch.
    pub fn has_changes(&self) -> bool {
        self.control.lock().lane.events > 0 || self.cells.iter().any(|slot| slot.cell.lock().lane.events > 0)
    }

    fn shard_of(&self, id: ReservationId) -> usize {
        id.bucket().shard(self.cells.len())
    }

    fn lock_all(&self) -> Guards<'_> {
        self.cells.iter().map(|slot| slot.cell.lock()).collect()
    }

    /// Runs a decision of one shard, and keeps what others read of it.
    fn decide<T>(
        &self,
        index: usize,
        bounds: &Bounds,
        cell: &mut Cell,
        decide: impl FnOnce(&mut Shard, &mut Recorder<'_>) -> T,
    ) -> T {
        let Cell { shard, lane, expired, .. } = cell;
        let open_epoch = self.open_epoch.load(Ordering::Relaxed);
        let generation = self.generation.load(Ordering::Relaxed);
        let outcome =
            decide(shard, &mut Recorder { lane, bounds, open_epoch, generation, expired, waits: &self.waits });
        self.cells[index].reservations.store(shard.reservations() as u64, Ordering::Relaxed);
        self.cells[index].customers.store(shard.customers() as u64, Ordering::Relaxed);
        self.cells[index].bytes.store(shard.bytes(), Ordering::Relaxed);
        if lane.encoded.payload_len() >= self.settings.lane_bytes_max {
            self.cells[index].lane_full.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// The epoch that the latest change of an operator will be durable with. To be read after whatever rests on it.
    pub fn operator_epoch(&self) -> Epoch {
        self.operator_epoch.load(Ordering::Acquire)
    }

    /// An answer that shows no customer's state: it rests on what operators changed at most.
    fn judged<T>(&self, value: T) -> Answer<T> {
        Answer { value, durable_at: self.operator_epoch() }
    }

    /// An answer that shows state as new as the lane's latest event.
    fn answer<T>(&self, value: T, lane: &Lane) -> Answer<T> {
        Answer { value, durable_at: lane.last_epoch.max(self.operator_epoch()) }
    }

    /// Begins a generation. All locks must be held.
    fn begin_generation(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Spreads the units of a pool over all shards, after `reserved` of them went to shard `first`.
    fn set_available(&self, guards: &mut Guards<'_>, pool: PoolNumber, total: u64, first: usize, reserved: u64) {
        self.begin_generation();
        for (index, units) in stock::spread(total, guards.len(), first, reserved) {
            guards[index].shard.set_available(pool, units);
        }
    }
}

/// A catalogue as it was published. Not to be held while waiting: a thread has few cheap guards.
pub struct CatalogueGuard(arc_swap::Guard<Arc<Published>>);

impl std::ops::Deref for CatalogueGuard {
    type Target = Catalogue;

    fn deref(&self) -> &Catalogue {
        &self.0.catalogue
    }
}

impl Source for Engine {
    /// The consistent cut: all locks, lanes swapped for empty ones, the epoch counted up.
    fn cut(&self, payload: &mut Vec<u8>) -> Option<Epoch> {
        let mut spares = self.spares.lock();
        let mut control = self.control.lock();
        let mut guards = self.lock_all();
        let wanted = self.batch_wanted.swap(false, Ordering::Relaxed);
        if !wanted && control.lane.events == 0 && guards.iter().all(|cell| cell.lane.events == 0) {
            return None;
        }
        let lanes = std::iter::once(&mut control.lane).chain(guards.iter_mut().map(|cell| &mut cell.lane));
        for (lane, spare) in lanes.zip(spares.iter_mut()) {
            std::mem::swap(&mut lane.encoded, spare);
            lane.events = 0;
        }
        self.cells.iter().for_each(|slot| slot.lane_full.store(false, Ordering::Relaxed));
        let epoch = self.open_epoch.fetch_add(1, Ordering::Relaxed);
        drop(guards);
        drop(control);
        put_lanes(payload, std::iter::once(CATALOGUE_LANE).chain(0..).zip(spares.iter()));
        spares.iter_mut().for_each(LaneBytes::clear);
        Some(epoch)
    }

    fn committed(&self, epoch: Epoch, stats: &CommitStats) {
        self.durability.publish(epoch);
        if let Some(observer) = &*self.commits.lock() {
            observer(epoch, stats);
        }
    }

    fn failed(&self, error: &AppendError) {
        tracing::error!(target: "doorbuster::engine", %error, "the journal failed: nothing more is acknowledged");
        self.durability.fail();
    }
}
