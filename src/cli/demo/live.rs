//! Figures of the moment, shared by the threads that shop and the one that shows.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use super::tally::histogram;

/// Each figure is right by itself; two of them may be of different moments.
pub struct Live {
    requests: AtomicU64,
    granted: AtomicU64,
    refused: AtomicU64,
    latencies: Mutex<Histogram<u64>>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    pub requests: u64,
    pub granted: u64,
    pub refused: u64,
    /// Of all answers so far, in microseconds.
    pub p99: u64,
}

impl Default for Live {
    fn default() -> Self {
        let count = AtomicU64::default;
        Self { requests: count(), granted: count(), refused: count(), latencies: Mutex::new(histogram()) }
    }
}

impl Live {
    pub fn answered(&self, micros: u64) {
        self.requests.fetch_add(1, Relaxed);
        self.latencies.lock().saturating_record(micros);
    }

    pub fn granted(&self) {
        self.granted.fetch_add(1, Relaxed);
    }

    pub fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub fn figures(&self) -> Figures {
        Figures {
            requests: self.requests.load(Relaxed),
            granted: self.granted.load(Relaxed),
            refused: self.refused.load(Relaxed),
            p99: self.latencies.lock().value_at_quantile(0.99),
        }
    }
}
