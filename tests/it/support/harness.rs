//! The whole service below HTTP in one value: engine, journal and clock, each moved by hand.

use std::{sync::Arc, time::Duration};

use doorbuster::{
    clock::Monotonic,
    engine::{Adjustment, Engine, EntryView, Made, RecoverError, Recovered, Settings, SnapshotTaken, Tick},
    journal::{
        Committer, CommitterSettings, GATHER_INTERVAL, Log, RecoveryError, SnapshotError, SnapshotStore,
        files::{FileLog, FileSettings, FileSnapshots, MemoryStorage, Survival},
    },
    sale::{
        audit::Actor,
        command::{Adjust, Reserve},
        ids::ReservationId,
        outcome::{Refusal, Reservation},
        settings::SaleSettings,
        time::Timestamp,
    },
};

use super::{OPENING, ask, dice::scramble, without_holds};

/// Small, so that a short test fills several.
pub const SEGMENT_BYTES: u64 = 16 << 10;

/// Why a harness does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Parts(#[from] RecoverError),
    #[error(transparent)]
    Journal(#[from] RecoveryError<RecoverError>),
}

pub struct Harness {
    pub storage: MemoryStorage,
    pub log: Arc<dyn Log>,
    pub engine: Arc<Engine>,
    pub committer: Committer<Engine>,
    pub now: Timestamp,
    drawn: u64,
}

impl Harness {
    /// A harness without any history, at `OPENING`.
    pub fn new(settings: Settings) -> Self {
        Self::open(MemoryStorage::new(), settings, OPENING).expect("nothing is damaged yet")
    }

    pub fn with_shards(shards: usize) -> Self {
        Self::new(Settings { shards, ..Settings::default() })
    }

    /// What a start does: the newest snapshot, then the journal from there on.
    pub fn open(storage: MemoryStorage, settings: Settings, now: Timestamp) -> Result<Self, OpenError> {
        let mut recovered = Recovered::new(settings);
        let (mut from, mut reaches) = (1, 0);
        if let Some(mut snapshot) = snapshots(&storage).newest()? {
            (from, reaches) = (snapshot.summary().first_epoch, snapshot.summary().last_epoch);
            while let Some(chunk) = snapshot.next_chunk()? {
                recovered.chunk(chunk)?;
            }
        }
        let log = log(&storage);
        let last_epoch = log.recover(from, reaches, |epoch, payload| recovered.batch(epoch, payload))?;
        let engine = Arc::new(recovered.finish(last_epoch)?);
        let committer = Committer::new(engine.clone(), log.clone(), Arc::new(Monotonic), committer_settings());
        // Random bits never repeat between runs; a new run draws from where no other has drawn.
        let drawn = (last_epoch + 1) << 32;
        Ok(Self { storage, log, engine, committer, now, drawn })
    }

    pub fn settings(&self) -> Settings {
        self.engine.settings().clone()
    }

    /// Makes everything so far durable.
    pub fn commit(&mut self) {
        while self.committer.step().expect("the storage works") {}
    }

    /// `kill -9`: what was written stays, what was not committed is gone.
    pub fn kill(&mut self) {
        self.kill_and_start_with(self.engine.settings().shards);
    }

    pub fn kill_and_start_with(&mut self, shards: usize) {
        self.start_from(self.storage.clone(), shards);
    }

    /// Power loss: of what was not synced, as much is left as `survival` says.
    pub fn lose_power(&mut self, survival: Survival) {
        self.start_from(self.storage.crash(survival), self.engine.settings().shards);
    }

    /// Everything is committed, then the process ends and starts again.
    pub fn restart(&mut self) {
        self.commit();
        self.kill();
    }

    fn start_from(&mut self, storage: MemoryStorage, shards: usize) {
        let settings = Settings { shards, ..self.settings() };
        let drawn = self.drawn;
        *self = Self::open(storage, settings, self.now).expect("a crash leaves a journal that can be recovered");
        self.drawn = self.drawn.max(drawn);
    }

    /// Takes a snapshot with nothing in between.
    pub fn snapshot(&mut self) -> SnapshotTaken {
        let engine = self.engine.clone();
        engine.snapshot(&self.snapshots(), |_| self.commit()).expect("the storage works")
    }

    /// Removes what the newest snapshot makes needless. Returns how many files went.
    pub fn prune(&mut self, taken: SnapshotTaken) -> usize {
        let superseded = self.snapshots().delete_superseded().expect("the storage works");
        superseded.units + self.log.trim(taken.first_epoch).expect("the storage works").units
    }

    pub fn snapshots(&self) -> FileSnapshots {
        snapshots(&self.storage)
    }

    /// Lets time pass; nothing happens by that alone.
    pub fn wait_millis(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
    }

    pub fn wait_seconds(&mut self, seconds: u64) {
        self.wait_millis(seconds * 1000);
    }

    pub fn tick(&mut self) -> Tick {
        self.engine.tick(self.now)
    }

    /// Random bits that no other id has.
    pub fn draw(&mut self) -> u64 {
        self.drawn += 1;
        scramble(self.drawn)
    }

    pub fn put(&mut self, settings: &SaleSettings) {
        self.engine.put_sale(self.now, Actor::Anybody, settings).value.expect("a sale document that is let in");
    }

    /// Refusals for stock come without what they say of holds.
    pub fn reserve(&mut self, asked: &Reserve<'_>) -> Result<Made, Refusal> {
        let entropy = self.draw();
        without_holds(self.engine.reserve(self.now, asked, entropy).value)
    }

    pub fn join(&mut self, asked: &Reserve<'_>) -> Result<EntryView, Refusal> {
        let entropy = self.draw();
        self.engine.join_waitlist(self.now, asked, entropy).value
    }

    /// A reserve of one line in sale `drop` that must succeed.
    pub fn hold(&mut self, customer: &str, sku: &str, units: u32) -> Reservation {
        self.reserve(&ask::reserve("drop", customer, &[(sku, units)])).expect("there is enough").reservation
    }

    pub fn adjust(&mut self, asked: &Adjust<'_>) -> Result<Adjustment, Refusal> {
        without_holds(self.engine.adjust(self.now, Actor::Anybody, asked).value)
    }

    pub fn confirm(&mut self, id: ReservationId) -> Result<Reservation, Refusal> {
        self.engine.confirm(self.now, id, None).value
    }

    pub fn release(&mut self, id: ReservationId) -> Result<Reservation, Refusal> {
        self.engine.release(self.now, id, None).value
    }

    pub fn extend(&mut self, id: ReservationId, hold_seconds: u32) -> Result<Reservation, Refusal> {
        self.engine.extend(self.now, id, hold_seconds).value.map(|extension| extension.reservation)
    }

    pub fn look(&mut self, id: ReservationId) -> Result<Reservation, Refusal> {
        self.engine.look(self.now, id).value
    }

    /// Available, held, confirmed of an item of sale `drop`.
    pub fn counts(&self, sku: &str) -> (u64, u64, u64) {
        super::counts(&self.engine, "drop", sku)
    }
}

/// A log that nothing was read from yet.
pub fn log(storage: &MemoryStorage) -> Arc<dyn Log> {
    let settings = FileSettings { segment_bytes: SEGMENT_BYTES, clock: Arc::new(Monotonic) };
    Arc::new(FileLog::new(Arc::new(storage.clone()), settings))
}

pub fn snapshots(storage: &MemoryStorage) -> FileSnapshots {
    FileSnapshots::new(Arc::new(storage.clone()))
}

pub fn committer_settings() -> CommitterSettings {
    CommitterSettings { flush_interval: None, gather_interval: GATHER_INTERVAL, seal_after: Duration::from_millis(20) }
}
