//! The expected contents of the store at one epoch.
//!
//! If the journal still has its first batch, it is folded from there, as the service's write-behind does: every row and column
//! is known. If its beginning was deleted, the snapshot and the batches after it give the state of the service's memory, and
//! the remaining batches give the changes since.

use crate::{
    engine::{Engine, RecoverError, Recovered, Settings, batch},
    journal::{
        Epoch, RecoveryError, SnapshotError, SnapshotStore,
        files::{self, View},
    },
    sale::{
        audit::Head,
        codec::Malformed,
        event::Event,
        ids::{BUCKETS, Bucket, PoolNumber},
        time::Timestamp,
    },
    store::{AuditRow, Counts, Reference, StoreError, Window},
};

/// What ends a window.
const WINDOW_EVENTS: u64 = 20_000;
const WINDOW_BYTES: u64 = 8 << 20;

#[derive(Debug, thiserror::Error)]
pub enum TruthError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Journal(#[from] RecoveryError<RecoverError>),
    #[error(transparent)]
    Batches(#[from] RecoveryError<StoreError>),
    #[error(transparent)]
    State(#[from] RecoverError),
    /// Of the reference, which is a database of its own.
    #[error("cannot compute what the store should hold: {0}")]
    Reference(#[from] StoreError),
    /// The snapshot holds more than the store: what there was at the store's cursor cannot be made out of it.
    #[error("the newest snapshot reaches epoch {reaches}, but the store has epoch {cursor}")]
    SnapshotIsLater { reaches: Epoch, cursor: Epoch },
    #[error("the journal ends with epoch {last}, but the store has epoch {cursor}")]
    JournalIsEarlier { last: Epoch, cursor: Epoch },
}

/// How far the journal is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UpTo {
    Epoch(Epoch),
    End,
}

pub(super) struct Truth {
    /// What it is the truth at.
    pub epoch: Epoch,
    pub journal: JournalFacts,
    pub reference: Reference,
    /// The end of the audit trail.
    pub head: Head,
    /// The first record of the trail that the journal has; None where it has none.
    pub first_record: Option<AuditRow>,
    /// None: the journal is whole. Else it knows every reservation that began after this.
    pub since: Option<Timestamp>,
}

/// Of the journal's batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct JournalFacts {
    /// The first epoch that it still has; 0 without any.
    pub first_epoch: Epoch,
    /// The last; 0 without any.
    pub last_epoch: Epoch,
    /// Batches behind the store's cursor, and their bytes.
    pub pending_batches: u64,
    pub pending_bytes: u64,
}

impl Truth {
    pub(super) fn is_whole(&self) -> bool {
        self.since.is_none()
    }
}

/// What the store should hold. Changes nothing. `cursor`: the store's.
pub(super) fn read(view: &View, settings: Settings, cursor: Epoch, up_to: UpTo) -> Result<Truth, TruthError> {
    let snapshot = view.snapshots().newest()?.map(|snapshot| snapshot.summary());
    let oldest = files::oldest_epoch(view).map_err(RecoveryError::<StoreError>::from)?;
    let is_whole = oldest.is_none_or(|oldest| oldest == 1);
    // A journal whose beginning is gone and that no snapshot stands for is damaged.
    let from = if snapshot.is_some() { oldest.unwrap_or(1) } else { 1 };
    let mut facts = JournalFacts::default();
    let mut first_at = None;
    let scanned: Result<_, RecoveryError<StoreError>> =
        files::scan(view, from, snapshot.map_or(0, |snapshot| snapshot.last_epoch), |epoch, payload| {
            if first_at.is_none() {
                batch::for_each(payload, |_, _, event| {
                    first_at = first_at.max(event.at());
                    Ok::<_, Malformed>(())
                })
                .map_err(|malformed| StoreError::Batch { epoch, source: malformed.into() })?;
            }
            if epoch > cursor {
                facts.pending_batches += 1;
                facts.pending_bytes += payload.len() as u64;
            }
            Ok(())
        });
    let scan = scanned?;
    (facts.first_epoch, facts.last_epoch) = (oldest.unwrap_or(0), scan.tail.last_epoch);
    let epoch = match up_to {
        UpTo::Epoch(epoch) => epoch,
        UpTo::End => facts.last_epoch,
    };
    if facts.last_epoch < epoch {
        return Err(TruthError::JournalIsEarlier { last: facts.last_epoch, cursor: epoch });
    }
    if is_whole {
        let reference = Reference::starting_after(0)?;
        let (reference, trail) = follow(view, reference, 1, epoch)?;
        let head = trail.1.unwrap_or_default();
        return Ok(Truth { epoch, journal: facts, reference, head, first_record: trail.0, since: None });
    }
    let engine = state(view, settings, epoch)?;
    let reference = Reference::starting_after(from - 1)?;
    let (reference, first_record) = of_the_end(view, &engine, reference, from, epoch)?;
    let head = engine.audit_head().value;
    Ok(Truth { epoch, journal: facts, reference, head, first_record, since: Some(first_at.unwrap_or_default()) })
}

type Trail = (Option<AuditRow>, Option<Head>);

/// Applies batches to the reference, and says which records the trail begins and ends with in them.
fn follow(
    view: &View,
    mut reference: Reference,
    from: Epoch,
    through: Epoch,
) -> Result<(Reference, Trail), TruthError> {
    let mut window = Window::starting_after(from - 1);
    let (mut first, mut head) = (None, None);
    let mut apply = |window: &Window| {
        if let Some(row) = window.audit().first() {
            first.get_or_insert_with(|| row.clone());
        }
        head = window.audit().last().and_then(AuditRow::head).or(head);
        reference.apply(window)
    };
    let scanned: Result<_, RecoveryError<StoreError>> = files::scan(view, from, 0, |epoch, payload| {
        if epoch > through {
            return Ok(());
        }
        window.fold(epoch, payload).map_err(|source| StoreError::Batch { epoch, source })?;
        if window.events() >= WINDOW_EVENTS || window.payload_bytes() >= WINDOW_BYTES {
            apply(&window)?;
            window = Window::starting_after(epoch);
        }
        Ok(())
    });
    scanned?;
    if !window.is_empty() {
        apply(&window)?;
    }
    Ok((reference, (first, head)))
}

/// What is known where the journal's beginning is gone: the state, and what the batches that are left say.
fn of_the_end(
    view: &View,
    engine: &Engine,
    mut reference: Reference,
    from: Epoch,
    epoch: Epoch,
) -> Result<(Reference, Option<AuditRow>), TruthError> {
    let catalogue = engine.catalogue();
    reference.know_catalogue(&folded(|each| catalogue.export(|event| each(Event::Catalogue(event.clone()))))?)?;
    let (mut reference, (first_record, _)) = follow(view, reference, from, epoch)?;
    let pools = || (0..catalogue.pools()).map(|number| PoolNumber(number as u32));
    for (pool, counts) in pools().zip(engine.counts_of(pools())) {
        reference.count(pool, &counts_of(counts))?;
    }
    reference.sum_pools()?;
    for bucket in (0..BUCKETS).filter_map(Bucket::from_index) {
        let window = folded(|each| engine.export(bucket, |event| each(Event::Customer(event.clone()))))?;
        if !window.reservations().is_empty() || !window.entries().is_empty() {
            reference.know_customers(window)?;
        }
    }
    reference.forget_doubtful_texts()?;
    Ok((reference, first_record))
}

/// Events that make a state out of nothing, through the same fold as everything that a store ever took.
fn folded(export: impl FnOnce(&mut dyn FnMut(Event<'_>))) -> Result<Window, TruthError> {
    let mut window = Window::starting_after(0);
    let mut folded = Ok(());
    export(&mut |event| {
        if folded.is_ok() {
            folded = window.event(event);
        }
    });
    folded.map_err(|source| StoreError::Batch { epoch: 0, source })?;
    Ok(window)
}

/// The service's state: the newest snapshot and the journal behind it, up to and with `epoch`.
fn state(view: &View, settings: Settings, epoch: Epoch) -> Result<Engine, TruthError> {
    let mut recovered = Recovered::new(settings);
    let mut from = 1;
    if let Some(mut snapshot) = view.snapshots().newest()? {
        let summary = snapshot.summary();
        if summary.last_epoch > epoch {
            return Err(TruthError::SnapshotIsLater { reaches: summary.last_epoch, cursor: epoch });
        }
        from = summary.first_epoch;
        while let Some(chunk) = snapshot.next_chunk()? {
            recovered.chunk(chunk)?;
        }
    }
    files::scan(view, from, 0, |number, payload| {
        // What is later than the store is still to come there.
        if number <= epoch { recovered.batch(number, payload) } else { Ok(()) }
    })?;
    Ok(recovered.finish(epoch)?)
}

fn counts_of(of: crate::engine::Counts) -> Counts {
    let signed = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
    Counts {
        stock: signed(of.stock()),
        available: signed(of.available),
        held: signed(of.held),
        confirmed: signed(of.confirmed),
    }
}
