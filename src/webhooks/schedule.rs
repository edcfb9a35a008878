//! What to do next for an endpoint: a state machine without time, randomness or a network of its own.
//!
//! Events wait in the feed's order. Invariants:
//!
//! - Of one subject, only the oldest event that was not delivered is being delivered, so subjects keep their order.
//! - The position is behind an event only if this event and all before it were delivered.
//! - An endpoint that fails gets one delivery at a time, each later than the one before, until one arrives.
//! - An event that could not be delivered for `park_after` is reported, once: the endpoint is then to be parked.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use crate::{engine::Epoch, events::Cursor, sale::time::Timestamp};

/// The longest pause after the first failure; it doubles with each further one.
pub(super) const RETRY_BASE: Duration = Duration::from_secs(1);

/// Events that wait or are being delivered; and their bytes, which one event may exceed by itself.
pub(super) const WAITING_MAX: usize = 1024;
pub(super) const WAITING_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// Deliveries at a time.
    pub deliveries_max: usize,
    /// The longest pause between two tries.
    pub retry_max: Duration,
    /// How long an event may fail before the endpoint is parked.
    pub park_after: Duration,
}

/// The number of an event, from 0 on.
pub(super) type Sequence = u64;

/// What is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Start(Sequence),
    /// Nothing before this time, unless a delivery ends or an event comes.
    Wait(Timestamp),
    /// Nothing, until a delivery ends or an event comes.
    Idle,
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Delivered,
    Failed {
        /// How long the endpoint asked to be left alone.
        retry_after: Option<Duration>,
    },
}

#[derive(Debug)]
pub(super) struct Schedule<T> {
    rules: Rules,
    entries: VecDeque<Entry<T>>,
    /// The number of the first entry.
    first: Sequence,
    bytes: usize,
    position: Cursor,
    in_flight: usize,
    /// Failures since the last delivery that arrived; those of deliveries that ran together count once.
    failures: u32,
    failed_at: Option<Timestamp>,
    /// While it fails, nothing starts before.
    not_before: Timestamp,
}

#[derive(Debug)]
struct Entry<T> {
    at: Cursor,
    subject: u64,
    time: Timestamp,
    bytes: usize,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Waiting {
        event: T,
        tries: Tries,
        not_before: Timestamp,
    },
    InFlight {
        event: T,
        tries: Tries,
        since: Timestamp,
    },
    /// Delivered, or only a position.
    Done,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tries {
    failed: u32,
    failing_since: Option<Timestamp>,
}

impl<T> State<T> {
    fn tries(&self) -> Option<&Tries> {
        match self {
            Self::Waiting { tries, .. } | Self::InFlight { tries, .. } => Some(tries),
            Self::Done => None,
        }
    }
}

impl<T> Schedule<T> {
    /// Continues behind a position.
    pub(super) fn new(rules: Rules, position: Cursor) -> Self {
        Self {
            rules,
            entries: VecDeque::new(),
            first: 0,
            bytes: 0,
            position,
            in_flight: 0,
            failures: 0,
            failed_at: None,
            not_before: Timestamp::default(),
        }
    }

    /// Everything up to here was delivered, or is not for this endpoint.
    pub(super) fn position(&self) -> Cursor {
        self.position
    }

    /// Up to where events were taken in.
    pub(super) fn taken_to(&self) -> Cursor {
        self.entries.back().map_or(self.position, |entry| entry.at)
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Whether more events may be taken in.
    pub(super) fn has_room(&self) -> bool {
        self.entries.len() < WAITING_MAX && self.bytes < WAITING_BYTES_MAX
    }

    /// Events that were taken in and not delivered.
    pub(super) fn waiting(&self) -> usize {
        self.entries.iter().filter(|entry| !matches!(entry.state, State::Done)).count()
    }

    /// When the oldest of them happened.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.entries.iter().find(|entry| !matches!(entry.state, State::Done)).map(|entry| entry.time)
    }

    /// Since when the event that has failed longest does so.
    pub(super) fn failing_since(&self) -> Option<Timestamp> {
        self.entries.iter().filter_map(|entry| entry.state.tries()?.failing_since).min()
    }

    /// Takes in an event. `subject`: a hash of what it is about; two that are the same keep their order.
    pub(super) fn take(&mut self, at: Cursor, subject: u64, time: Timestamp, bytes: usize, event: T) {
        let state = State::Waiting { event, tries: Tries::default(), not_before: Timestamp::default() };
        self.entries.push_back(Entry { at, subject, time, bytes, state });
        self.bytes += bytes;
    }

    /// Notes that nothing else up to here is for this endpoint.
    pub(super) fn reached(&mut self, at: Cursor) {
        let entry = Entry { at, subject: 0, time: Timestamp::default(), bytes: 0, state: State::Done };
        match self.entries.back_mut() {
            // Behind what is delivered already only the last position counts.
            Some(last) if matches!(last.state, State::Done) => *last = entry,
            _ => self.entries.push_back(entry),
        }
        self.advance();
    }

    pub(super) fn next(&self, now: Timestamp) -> Next {
        let at_a_time = if self.is_failing() { 1 } else { self.rules.deliveries_max };
        if self.in_flight >= at_a_time {
            return Next::Idle;
        }
        let mut subjects = HashSet::new();
        let mut earliest: Option<Timestamp> = None;
        for (sequence, entry) in (self.first..).zip(&self.entries) {
            if matches!(entry.state, State::Done) || !subjects.insert(entry.subject) {
                continue;
            }
            if let State::Waiting { not_before, .. } = entry.state {
                let due = if self.is_failing() { not_before.max(self.not_before) } else { not_before };
                if due <= now {
                    return Next::Start(sequence);
                }
                earliest = Some(earliest.map_or(due, |earliest| earliest.min(due)));
            }
        }
        earliest.map_or(Next::Idle, Next::Wait)
    }

    /// Starts the delivery that `next` named.
    pub(super) fn start(&mut self, sequence: Sequence, now: Timestamp) -> &T {
        let entry = self.entry(sequence);
        entry.state = match std::mem::replace(&mut entry.state, State::Done) {
            State::Waiting { event, tries, .. } => State::InFlight { event, tries, since: now },
            State::InFlight { .. } | State::Done => unreachable!("only what waits is started"),
        };
        self.in_flight += 1;
        match &self.entry(sequence).state {
            State::InFlight { event, .. } => event,
            State::Waiting { .. } | State::Done => unreachable!("it was just started"),
        }
    }

    /// Ends a delivery. `random`: two numbers for two pauses. Says whether the endpoint is to be parked.
    pub(super) fn end(&mut self, sequence: Sequence, now: Timestamp, ended: Ended, random: [u64; 2]) -> bool {
        self.in_flight -= 1;
        let entry = self.entry(sequence);
        let (event, mut tries, since) = match std::mem::replace(&mut entry.state, State::Done) {
            State::InFlight { event, tries, since } => (event, tries, since),
            State::Waiting { .. } | State::Done => unreachable!("only what is in flight ends"),
        };
        match ended {
            Ended::Delivered => {
                let bytes = std::mem::take(&mut entry.bytes);
                self.bytes -= bytes;
                (self.failures, self.failed_at, self.not_before) = (0, None, Timestamp::default());
                self.advance();
                false
            }
            Ended::Failed { retry_after } => {
                tries.failed += 1;
                tries.failing_since.get_or_insert(now);
                let asked = retry_after.unwrap_or_default().min(self.rules.retry_max);
                let of_event = pause(tries.failed, self.rules.retry_max, random[0]).max(asked);
                let not_before = later(now, of_event);
                self.entry(sequence).state = State::Waiting { event, tries, not_before };
                // Deliveries that ran together fail for one reason.
                if self.failed_at.is_none_or(|failed_at| since >= failed_at) {
                    self.failures += 1;
                    self.failed_at = Some(now);
                }
                let of_endpoint = pause(self.failures, self.rules.retry_max, random[1]).max(asked);
                self.not_before = self.not_before.max(later(now, of_endpoint));
                let park_after = self.rules.park_after.as_millis() as u64;
                self.failing_since().is_some_and(|since| now.millis_since(since) >= park_after)
            }
        }
    }

    /// Forgets what waits in batches before `from`, and passes over those that were not taken in: the journal no longer has them.
    /// Says whether events may have been missed.
    pub(super) fn drop_before(&mut self, from: Epoch) -> bool {
        let mut missed = false;
        for entry in self.entries.iter_mut().take_while(|entry| entry.at.epoch < from) {
            if matches!(entry.state, State::Waiting { .. }) {
                entry.state = State::Done;
                self.bytes -= std::mem::take(&mut entry.bytes);
                missed = true;
            }
        }
        self.advance();
        if unread_from(self.taken_to()) < from {
            self.reached(Cursor::behind(from - 1));
            missed = true;
        } else if unread_from(self.position) < from && self.entries.front().is_none_or(|entry| entry.at.epoch >= from) {
            self.position = Cursor::behind(from - 1);
        }
        missed
    }

    /// Continues as if nothing had failed.
    pub(super) fn resume(&mut self) {
        (self.failures, self.failed_at, self.not_before) = (0, None, Timestamp::default());
        for entry in &mut self.entries {
            match &mut entry.state {
                State::Waiting { tries, not_before, .. } => {
                    (*tries, *not_before) = (Tries::default(), Timestamp::default())
                }
                State::InFlight { tries, .. } => *tries = Tries::default(),
                State::Done => {}
            }
        }
    }

    fn entry(&mut self, sequence: Sequence) -> &mut Entry<T> {
        &mut self.entries[(sequence - self.first) as usize]
    }

    /// Moves the position over what is done.
    fn advance(&mut self) {
        while let Some(entry) = self.entries.front().filter(|entry| matches!(entry.state, State::Done)) {
            self.position = entry.at;
            self.entries.pop_front();
            self.first += 1;
        }
    }
}

/// The pause after so many failures in a row: exponential with full jitter (Exponential Backoff And Jitter, AWS Architecture
/// Blog, 2015), so that endpoints that failed together do not come back together.
pub(super) fn pause(failures: u32, longest: Duration, random: u64) -> Duration {
    let doubled = RETRY_BASE.saturating_mul(1 << failures.saturating_sub(1).min(30));
    let most = doubled.min(longest).as_millis() as u64;
    Duration::from_millis(1 + random % most.max(1))
}

/// The first batch of which something is not taken in yet.
fn unread_from(taken_to: Cursor) -> Epoch {
    if taken_to.place.is_some() { taken_to.epoch } else { taken_to.epoch + 1 }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.plus_millis(by.as_millis() as u64)
}

#[cfg(test)]
mod tests;
