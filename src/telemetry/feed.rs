//! The feed: its readers, and the events sent to them.

use metrics::{Counter, Gauge};

use super::{Maker, families};

pub struct Events {
    readers: Gauge,
    sent: Counter,
    readers_dropped: Counter,
}

impl Events {
    pub(super) fn new(make: &Maker) -> Self {
        Self {
            readers: make.gauge(&families::EVENT_READERS, &[]),
            sent: make.counter(&families::EVENTS_SENT, &[]),
            readers_dropped: make.counter(&families::EVENT_READERS_DROPPED, &[]),
        }
    }

    pub fn reader_started(&self) {
        self.readers.increment(1.0);
    }

    pub fn reader_ended(&self, dropped: bool) {
        self.readers.decrement(1.0);
        self.readers_dropped.increment(u64::from(dropped));
    }

    pub fn sent(&self, events: u64) {
        self.sent.increment(events);
    }
}
