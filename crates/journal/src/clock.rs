//! The seam to time.

use std::time::Duration;

/// Measures durations. The service reads the machine's clock; a simulation moves its own.
pub trait MonotonicClock: Send + Sync {
    /// The time since some fixed moment. It never goes backwards.
    fn elapsed(&self) -> Duration;
}
