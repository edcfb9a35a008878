//! The feed: who follows, and how much they are told.

use metrics::{Counter, Gauge};

use super::Maker;

pub struct Events {
    readers: Gauge,
    sent: Counter,
    readers_dropped: Counter,
}

impl Events {
    pub(super) fn new(make: &Maker) -> Self {
        Self {
            readers: make.gauge("doorbuster_event_readers", "Readers that follow the feed of events.", &[]),
            sent: make.counter("doorbuster_events_sent_total", "Events handed to readers of the feed.", &[]),
            readers_dropped: make.counter(
                "doorbuster_event_readers_dropped_total",
                "Readers of the feed that were dropped because they were too slow or too far behind.",
                &[],
            ),
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
