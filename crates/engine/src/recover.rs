//! Recovery: applies the parts of a snapshot, then batches, each event exactly once, and builds a serving engine.
//!
//! Invariant: the recovered engine conserves every item's stock, or recovery fails.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, AtomicU64},
};

use arc_swap::ArcSwap;
use crossbeam::{queue::SegQueue, utils::CachePadded};
use parking_lot::Mutex;

use super::{
    Bound, Bounds, Cell, Control, Durability, Engine, Epoch, Lane, Published, Settings, Slot, batch, groups,
    schedule::Schedule,
    snapshot::CATALOGUE_PART,
    stock,
    time::{Dial, Watch},
    waitlist::Waits,
};
use sale::{
    adjustments::Adjustments,
    audit::{Broken, Trail},
    catalogue::Catalogue,
    codec::{Malformed, Reader},
    event::{CatalogueEvent, Event},
    extensions::Extensions,
    groups::Groups,
    ids::{BUCKETS, PoolNumber},
    shard::Shard,
    stock::StockBook,
    timeline::Timeline,
};

#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error(transparent)]
    Malformed(Malformed),
    #[error(
        "the journal has an event of kind {kind}, which version {} of doorbuster does not know: start version {}, which wrote it, or \
         a later one",
        env!("CARGO_PKG_VERSION"),
        if written_by.is_empty() { "(not named)" } else { written_by }
    )]
    NewerJournal { kind: u8, written_by: String },
    #[error("item {item:?} would have {stock} units of stock, but {gone} are held or confirmed")]
    Conservation { item: String, stock: u64, gone: u64 },
    #[error("a snapshot names part {0}, which does not exist")]
    UnknownPart(u16),
    /// The frames are intact, so another program wrote them, or a part of the journal belongs to another one.
    #[error("the audit trail in the journal is broken: {0}. Put back a journal and snapshot from the same copy")]
    Trail(#[from] Broken),
}

/// State on its way back from disk.
pub struct Recovered {
    settings: Settings,
    shards: Vec<Shard>,
    catalogue: Catalogue,
    stock: StockBook,
    adjustments: Adjustments,
    extensions: Extensions,
    trail: Trail,
    groups: Groups,
    /// From where in the journal on each part takes events: epoch and place in its lane. The last is the catalogue's.
    from: Vec<(Epoch, u32)>,
    timeline: Timeline,
    /// The version of the program that wrote the journal last.
    written_by: String,
    events: u64,
}

impl Recovered {
    pub fn new(settings: Settings) -> Self {
        let shards = settings.shards;
        assert!((1..=super::SHARDS_MAX).contains(&shards), "the number of shards is checked with the configuration");
        let shard = |_| Shard::new(shards, settings.retention_millis, settings.hash_seed);
        Self {
            shards: (0..shards).map(shard).collect(),
            catalogue: Catalogue::default(),
            stock: StockBook::default(),
            adjustments: Adjustments::new(settings.retention_millis),
            extensions: Extensions::default(),
            trail: Trail::default(),
            groups: Groups::default(),
            from: vec![(0, 0); BUCKETS + 1],
            timeline: Timeline::new(settings.retention_millis),
            written_by: String::new(),
            events: 0,
            settings,
        }
    }

    /// Events taken over so far, of snapshot and journal.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Takes over one chunk of a snapshot. All chunks come before the first batch.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), RecoverError> {
        let taken = self.take_chunk(chunk);
        taken.map_err(|error| self.name_version(error))
    }

    fn take_chunk(&mut self, chunk: &[u8]) -> Result<(), RecoverError> {
        let mut parts = Reader::new(chunk);
        while !parts.is_empty() {
            let (part, epoch, place) = (parts.u16()?, parts.u64()?, parts.u32()?);
            let length = parts.u32()? as usize;
            let mut events = Reader::new(parts.take(length)?);
            let index = if part == CATALOGUE_PART { BUCKETS } else { usize::from(part) };
            *self.from.get_mut(index).ok_or(RecoverError::UnknownPart(part))? = (epoch, place);
            while let Some(event) = Event::decode(&mut events)? {
                self.timeline.see_in_snapshot(&event);
                match &event {
                    // Only remembers the change: another event has the resulting stock.
                    Event::Catalogue(event @ (CatalogueEvent::Adjusted(_) | CatalogueEvent::Transferred(_))) => {
                        self.adjustments.apply(event);
                    }
                    event => self.apply(event)?,
                }
            }
        }
        Ok(())
    }

    /// Takes over one batch of the journal, in order.
    pub fn batch(&mut self, epoch: Epoch, payload: &[u8]) -> Result<(), RecoverError> {
        let taken = batch::for_each(payload, |_, place, event| {
            self.timeline.see(&event);
            if let Event::Customer(event) = &event {
                self.extensions.see(event);
            }
            let part = match &event {
                Event::Customer(event) => event.bucket().index(),
                Event::Catalogue(_) => BUCKETS,
            };
            if (epoch, place) >= self.from[part] {
                self.apply(&event)?;
            }
            Ok(())
        });
        taken.map_err(|error| self.name_version(error))
    }

    fn apply(&mut self, event: &Event<'_>) -> Result<(), RecoverError> {
        self.events += 1;
        match event {
            Event::Customer(event) => self.shards[event.bucket().shard(self.settings.shards)].apply(event),
            Event::Catalogue(event) => {
                self.catalogue.apply(event);
                self.stock.apply(event);
                self.adjustments.apply(event);
                self.extensions.apply(event);
                self.trail.apply(event)?;
                if let CatalogueEvent::WrittenBy { version } = event {
                    (*version).clone_into(&mut self.written_by);
                }
            }
        }
        Ok(())
    }

    /// Says which version can read what this one cannot.
    fn name_version(&self, error: RecoverError) -> RecoverError {
        match error {
            RecoverError::Malformed(Malformed::UnknownEvent(kind)) => {
                RecoverError::NewerJournal { kind, written_by: self.written_by.clone() }
            }
            error => error,
        }
    }

    /// The engine that continues after `last_epoch`, with stock spread over the shards again.
    pub fn finish(mut self, last_epoch: Epoch) -> Result<Engine, RecoverError> {
        let pools = self.catalogue.pools();
        for shard in &mut self.shards {
            shard.resize(pools);
            shard.continue_at(self.timeline.latest(), self.timeline.forward());
        }
        self.groups = groups::rebuild(&mut self.shards, self.settings.retention_millis);
        for number in 0..pools {
            let pool = PoolNumber(number as u32);
            let gone = |shard: &Shard| shard.slice(pool).held + shard.slice(pool).confirmed;
            let gone: u64 = self.shards.iter().map(gone).sum();
            let stock = self.stock.of(pool);
            let Some(available) = stock.checked_sub(gone) else {
                let item = self.catalogue.sku(self.catalogue.item_of(pool)).to_owned();
                return Err(RecoverError::Conservation { item, stock, gone });
            };
            for (index, units) in stock::spread(available, self.shards.len(), number % self.shards.len(), 0) {
                self.shards[index].set_available(pool, units);
            }
        }
        let waits = Waits::of(&self.shards);
        let engine = self.assemble(last_epoch, waits);
        engine.set_aside_all();
        Ok(engine)
    }

    fn assemble(self, last_epoch: Epoch, waits: Waits) -> Engine {
        let loose = (0..self.catalogue.pools()).map(|_| Arc::new(CachePadded::new(Bound::loose())));
        let bounds: Bounds = Arc::new(loose.collect());
        let version = self.catalogue.version();
        let lane = || Lane { last_epoch, ..Lane::default() };
        let lanes = self.shards.len() + 1;
        let schedule = Schedule::of(&self.catalogue);
        let next_status_change = AtomicU64::new(schedule.next_millis());
        let cells = self.shards.into_iter().map(|shard| {
            CachePadded::new(Slot {
                reservations: AtomicU64::new(shard.reservations() as u64),
                customers: AtomicU64::new(shard.customers() as u64),
                bytes: AtomicU64::new(shard.bytes()),
                lane_full: AtomicBool::new(false),
                cell: Mutex::new(Cell { shard, lane: lane(), catalogue_version: version, expired: 0 }),
            })
        });
        Engine {
            cells: cells.collect(),
            published: ArcSwap::from_pointee(Published {
                catalogue: self.catalogue.clone(),
                bounds: bounds.clone(),
                dial: Dial::default(),
            }),
            groups: Mutex::new(self.groups),
            documents: Mutex::new(()),
            control: Mutex::new(Control {
                timeline: self.timeline,
                schedule,
                dial: Dial::default(),
                watch: Watch::default(),
                catalogue: self.catalogue,
                stock: self.stock,
                written_by: self.written_by,
                adjustments: self.adjustments,
                extensions: self.extensions,
                trail: self.trail,
                bounds,
                lane: lane(),
            }),
            next_status_change,
            open_epoch: AtomicU64::new(last_epoch + 1),
            operator_epoch: AtomicU64::new(0),
            durability: Durability::at(last_epoch),
            commits: Mutex::new(None),
            refusing: AtomicU8::new(0),
            near_full: AtomicBool::new(true),
            generation: AtomicU64::new(0),
            spares: Mutex::new((0..lanes).map(|_| batch::LaneBytes::default()).collect()),
            batch_wanted: AtomicBool::new(false),
            gathers: AtomicU64::new(0),
            looked_at: AtomicU64::new(0),
            to_look_for: SegQueue::new(),
            waits,
            erasures: Mutex::new(None),
            settings: self.settings,
        }
    }
}

impl Engine {
    /// An engine that nothing ever happened to.
    pub fn new(settings: Settings) -> Self {
        Recovered::new(settings).finish(0).expect("nothing is conserved")
    }
}

impl From<Malformed> for RecoverError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}
