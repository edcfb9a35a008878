//! The loop that follows the journal into the store.
//!
//! Invariant: a window is applied only on top of the cursor that the sink itself reported, directly or by a confirmed commit,
//! and under this process's own token. After any error the loop reopens the sink, asks for its cursor, and moves the feed back
//! there. So it never has to guess whether a failed COMMIT took effect, and a store that was restored to an older state is
//! simply further behind.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use crate::{
    clock::{Runtime, SystemClock},
    sale::audit::Head,
};

use super::{
    AfterKeeping, Feed, RetentionStep, Sink, TrailPermit,
    absences::AbsencesFile,
    error::StoreError,
    fold::Window,
    owner::{Claim, Standing, Token, Verdict},
    retention::{Passes, Retention, Stepped},
    status::StoreStatus,
};

/// Between two warnings about a store that stays away.
const WARNING_INTERVAL: Duration = Duration::from_secs(5);

/// Down to a thousandth of a window.
const HALVINGS_MAX: u32 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteBehindSettings {
    /// Events that end a window, and
    pub window_events_max: u64,
    /// bytes of batches that end it; its memory is a small multiple. The batch that crosses a bound is still taken.
    pub window_bytes_max: u64,
    /// How long to let batches gather once all are applied: a transaction is a sync of the disk the journal is on.
    pub linger_ms: u64,
    /// The first wait after an error; doubled each time,
    pub retry_ms_min: u64,
    /// up to this.
    pub retry_ms_max: u64,
    /// Most windows still applied after a stop. The rest is applied after the next start.
    pub drain_windows_max: u32,
}

impl Default for WriteBehindSettings {
    fn default() -> Self {
        Self {
            window_events_max: 20_000,
            window_bytes_max: 8 << 20,
            linger_ms: 100,
            retry_ms_min: 50,
            retry_ms_max: 5_000,
            drain_windows_max: 64,
        }
    }
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Everything durable was applied before.
    Idle,
    /// Applied batches up to `through`; `caught_up` when there was no further one.
    Applied { through: u64, rows: u64, caught_up: bool },
}

/// What is known of where the sink stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Footing {
    /// Opened and not asked yet.
    Fresh,
    /// The cursor is the one that the next window goes on from, the feed stands there too, and the store is ours.
    Firm(Token),
    /// Something failed.
    Lost,
}

pub struct WriteBehind<F, S> {
    feed: F,
    sink: S,
    settings: WriteBehindSettings,
    runtime: Arc<dyn Runtime>,
    retry: Retry,
    status: Arc<StoreStatus>,
    claim: Claim,
    footing: Footing,
    /// Windows are halved so often: a database that is too slow for whole ones may be fast enough for less.
    halvings: u32,
    cursor: u64,
    payload: Vec<u8>,
    /// None: everything is kept.
    retention: Option<Retention>,
    passes: Passes,
    rebuild: Option<Rebuild>,
    /// Where the journal ended when it was first looked at.
    durable_first: Option<u64>,
}

/// Makes an empty store what the newest snapshot and the journal behind it say, under this token, and says how far that is;
/// None: the store is not empty, and was left as it is.
pub type Rebuild = Box<dyn FnMut(&Token) -> Result<Option<u64>, StoreError> + Send>;

impl<F: Feed, S: Sink> WriteBehind<F, S> {
    /// `owner`: the data directory that the feed belongs to.
    pub fn new(feed: F, sink: S, owner: Uuid, settings: WriteBehindSettings) -> Self {
        Self::on(feed, sink, owner, settings, Arc::new(SystemClock))
    }

    pub fn on(feed: F, sink: S, owner: Uuid, settings: WriteBehindSettings, runtime: Arc<dyn Runtime>) -> Self {
        let session = Uuid::from_u64_pair(runtime.random(), runtime.random());
        let session = uuid::Builder::from_random_bytes(session.into_bytes()).into_uuid();
        let (status, claim, footing) = (Arc::default(), Claim::new(owner, session), Footing::Fresh);
        Self {
            feed,
            sink,
            settings,
            runtime,
            retry: Retry::new(&settings),
            status,
            claim,
            footing,
            halvings: 0,
            cursor: 0,
            payload: Vec::new(),
            retention: None,
            passes: Passes::default(),
            rebuild: None,
            durable_first: None,
        }
    }

    /// Keeps rows only for so long.
    pub fn keep(&mut self, retention: Retention) {
        self.retention = Some(retention);
    }

    /// How an empty store is made anew whose first batches the journal has no more. Before this is called, such a store is an
    /// error.
    pub fn rebuild_with(&mut self, rebuild: Rebuild) {
        self.rebuild = Some(rebuild);
    }

    pub fn status(&self) -> Arc<StoreStatus> {
        Arc::clone(&self.status)
    }

    /// Finds out where the sink stands and whether the journal goes on from there, and takes the store for this process,
    /// applying nothing. A start-up calls it to refuse a data directory whose parts do not belong together; `step` does
    /// the same by itself.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        let settled = self.find_footing().map(drop);
        if let Err(error) = &settled {
            self.failed(error);
        }
        settled
    }

    /// For a store that was not reached: has the feed take all that the journal holds for missing there.
    pub fn expect_the_worst(&mut self) -> Result<(), StoreError> {
        let span = self.feed.seek(0)?;
        self.durable_first.get_or_insert(span.durable);
        if span.oldest > 1 {
            self.feed.seek(span.oldest - 1)?;
        }
        Ok(())
    }

    /// Applies one window, if there is one. After an error the next step starts over from where the sink stands.
    pub fn step(&mut self) -> Result<Progress, StoreError> {
        let progress = self.find_footing().and_then(|token| {
            self.sink.tidy()?;
            self.apply_window(&token)
        });
        match &progress {
            Ok(Progress::Applied { .. }) => {
                self.halvings = self.halvings.saturating_sub(1);
                self.status.went_well();
            }
            Ok(Progress::Idle) => self.status.went_well(),
            Err(error) => self.failed(error),
        }
        progress
    }

    /// Does a step of what retention asks for, if there is one: to be called when everything was applied, and not sooner than
    /// other work would wait for it. After an error the next step starts over from where the sink stands.
    pub fn retire_some(&mut self) -> Result<Option<Stepped>, StoreError> {
        let Some(retention) = &self.retention else { return Ok(None) };
        let Footing::Firm(token) = self.footing else { return Ok(None) };
        let Some(step) = self.passes.next(retention, self.cursor) else { return Ok(None) };
        let stepped = Self::retire(&mut self.sink, &retention.absences, &step, &token);
        let stepped = stepped.inspect_err(|error| self.failed(error))?;
        self.passes.stepped(&step, &stepped);
        Ok(Some(stepped))
    }

    /// Notes what may be absent before it is deleted.
    fn retire(sink: &mut S, file: &AbsencesFile, step: &RetentionStep, token: &Token) -> Result<Stepped, StoreError> {
        let mut absences = file.read()?;
        if step.after == AfterKeeping::Delete && absences.kept_from < Some(step.before) {
            absences.kept_from = Some(step.before);
            file.write(&absences)?;
        }
        let gaps = absences.audit_gaps.clone();
        let mut begin_behind = |head: &Head| {
            absences.begin_behind(head);
            file.write(&absences)
        };
        sink.retire(step, token, &mut TrailPermit { gaps: &gaps, begin_behind: &mut begin_behind })
    }

    fn failed(&mut self, error: &StoreError) {
        self.footing = Footing::Lost;
        self.status.failed(error);
        if error.is_too_slow() {
            self.halvings = HALVINGS_MAX.min(self.halvings + 1);
        }
    }

    fn find_footing(&mut self) -> Result<Token, StoreError> {
        match self.footing {
            Footing::Firm(token) => return Ok(token),
            Footing::Lost => self.sink.reopen()?,
            Footing::Fresh => {}
        }
        let standing = self.sink.standing()?;
        let verdict = self.claim.judge(&standing)?;
        let cursor = standing.cursor;
        if cursor < self.cursor {
            // From here on the journal keeps what the store lacks.
            self.status.reached(cursor);
        }
        let span = self.feed.seek(cursor)?;
        // A store that nobody took in this run is ahead also when the journal has grown past its cursor since: it has other
        // batches of those numbers.
        let durable_first = *self.durable_first.get_or_insert(span.durable);
        let durable = if self.claim.has_taken() { span.durable } else { durable_first };
        if cursor > durable {
            return Err(StoreError::Ahead { cursor, durable });
        }
        if cursor + 1 < span.oldest {
            return match verdict {
                Verdict::Take { token, .. } if cursor == 0 => self.rebuild_under(token, span.oldest),
                _ => Err(StoreError::Behind { cursor, oldest: span.oldest }),
            };
        }
        let (token, put_back) = match verdict {
            Verdict::Ours(token) => (token, false),
            Verdict::Take { token, put_back } => {
                self.sink.take_over(&standing, &token)?;
                self.claim.taken(&token);
                (token, put_back)
            }
        };
        if put_back || cursor < self.cursor {
            tracing::warn!(
                was = self.cursor,
                cursor,
                "the store holds older data than before: the service updates it from the journal"
            );
        }
        self.cursor = cursor;
        self.footing = Footing::Firm(token);
        self.status.reached(cursor);
        Ok(token)
    }

    /// Rebuilds an empty store for which the journal alone is not enough.
    fn rebuild_under(&mut self, token: Token, oldest: u64) -> Result<Token, StoreError> {
        let behind = StoreError::Behind { cursor: 0, oldest };
        let Some(rebuild) = &mut self.rebuild else { return Err(behind) };
        tracing::warn!(
            "the store is empty, and the journal no longer begins with its first batch: the service rebuilds the \
             store from the newest snapshot"
        );
        let Some(cursor) = rebuild(&token)? else { return Err(behind) };
        self.claim.taken(&token);
        // Another connection wrote it.
        self.sink.reopen()?;
        let standing = self.sink.standing()?;
        if standing != (Standing { cursor, held_by: Some(token) }) {
            return Err(StoreError::CursorMoved { expected: cursor });
        }
        self.feed.seek(cursor)?;
        tracing::warn!(
            cursor,
            "the service has rebuilt the store. The store lacks reservations that had left memory, stock movements, \
             and records of the audit trail from before the snapshot; `doorbuster reconcile` shows what it has"
        );
        self.cursor = cursor;
        self.footing = Footing::Firm(token);
        self.status.reached(cursor);
        Ok(token)
    }

    /// Does what is due, and returns how long to wait before the next call. An error means that this process can never
    /// continue; what somebody can repair in the store is tried again, so that nobody has to restart a service that serves.
    pub fn advance(&mut self) -> Result<Duration, StoreError> {
        let stepped = self.step().and_then(|progress| {
            let caught_up = !matches!(progress, Progress::Applied { caught_up: false, .. });
            if caught_up {
                self.retire_some()?;
            }
            Ok(caught_up)
        });
        match stepped {
            Ok(caught_up) => {
                self.retry.succeeded();
                Ok(Duration::from_millis(if caught_up { self.settings.linger_ms } else { 0 }))
            }
            Err(error) if error.ends_following() => Err(error),
            Err(error) => Ok(self.retry.failed(&error, self.runtime.random())),
        }
    }

    /// At the end: steps until everything is applied or a limit is reached.
    pub fn drain(&mut self, time_max: Duration) -> Result<(), StoreError> {
        let begin = self.runtime.monotonic();
        for _ in 0..self.settings.drain_windows_max {
            if self.runtime.monotonic() - begin >= time_max {
                break;
            }
            match self.step() {
                Ok(Progress::Applied { caught_up: false, .. }) => {}
                Ok(_) => return Ok(()),
                Err(error) if error.ends_following() => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, applied_epoch = self.cursor, "the store is behind the journal");
                    return Ok(());
                }
            }
        }
        tracing::info!(
            applied_epoch = self.cursor,
            "the store is behind the journal: the service continues at the next start"
        );
        Ok(())
    }

    fn apply_window(&mut self, token: &Token) -> Result<Progress, StoreError> {
        let mut window = Window::starting_after(self.cursor);
        let caught_up = self.gather(&mut window)?;
        if window.is_empty() {
            return Ok(Progress::Idle);
        }
        let rows = self.sink.apply(&window, token)?;
        self.feed.applied();
        self.cursor = window.through();
        self.status.applied(self.cursor, rows);
        Ok(Progress::Applied { through: self.cursor, rows, caught_up })
    }

    /// Fills the window; true when the feed had no more.
    fn gather(&mut self, window: &mut Window) -> Result<bool, StoreError> {
        let WriteBehindSettings { window_events_max, window_bytes_max, .. } = self.settings;
        let window_events_max = (window_events_max >> self.halvings).max(1);
        while window.events() < window_events_max && window.payload_bytes() < window_bytes_max {
            let Some(epoch) = self.feed.next(&mut self.payload)? else { return Ok(true) };
            let expected = window.through() + 1;
            if epoch != expected {
                return Err(StoreError::Gap { expected, found: epoch });
            }
            window.fold(epoch, &self.payload).map_err(|source| StoreError::Batch { epoch, source })?;
        }
        Ok(false)
    }
}

/// How long to wait after an error, and which errors to log. Counts the waits instead of reading a clock. Waits are spread
/// at random between a half and the whole, so that services do not all come back to their database at once.
struct Retry {
    first: Duration,
    longest: Duration,
    next: Duration,
    waited_since_warning: Option<Duration>,
    /// The last warning: a different error needs different action, and is logged at once.
    warned: String,
}

impl Retry {
    fn new(settings: &WriteBehindSettings) -> Self {
        let first = Duration::from_millis(settings.retry_ms_min);
        let longest = Duration::from_millis(settings.retry_ms_max);
        Self { first, longest, next: first, waited_since_warning: None, warned: String::new() }
    }

    fn succeeded(&mut self) {
        self.next = self.first;
        if self.waited_since_warning.take().is_some() {
            tracing::info!("the store is back");
        }
    }

    /// The wait before the next try.
    fn failed(&mut self, error: &StoreError, random: u64) -> Duration {
        let whole = if error.is_final() { self.longest } else { self.next.min(self.longest) };
        self.next = whole * 2;
        let wait = whole.mul_f64(0.5 + random as f64 / u64::MAX as f64 / 2.0);
        let waited = self.waited_since_warning.map(|waited| waited + wait);
        let error = error.explained();
        self.waited_since_warning = match waited {
            Some(waited) if waited < WARNING_INTERVAL && error == self.warned => Some(waited),
            _ => {
                tracing::warn!(
                    error,
                    "cannot write to the store; the journal keeps everything until the store is back"
                );
                self.warned = error;
                Some(Duration::ZERO)
            }
        };
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_limit_and_start_over_after_a_success() {
        let settings = WriteBehindSettings { retry_ms_min: 50, retry_ms_max: 180, ..Default::default() };
        let error = StoreError::CursorMoved { expected: 1 };
        for (random, percent) in [(0, 50), (u64::MAX / 2, 75), (u64::MAX, 100)] {
            let mut retry = Retry::new(&settings);
            for whole in [50, 100, 180, 180] {
                assert_eq!(retry.failed(&error, random).as_micros() / 10, whole * percent);
            }
            retry.succeeded();
            assert_eq!(retry.failed(&error, random).as_micros() / 10, 50 * percent);
        }
        let mut retry = Retry::new(&settings);
        let for_somebody = StoreError::Contradiction("a row".to_owned());
        assert!(retry.failed(&for_somebody, 0).as_millis() >= 90, "nothing hurries");
    }
}
