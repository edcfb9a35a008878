//! Rate-limits frequent log lines: writes one per interval, with a count of the others.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Admits one line in each interval, and counts those in between.
pub struct Seldom {
    every: Duration,
    state: Mutex<State>,
}

struct State {
    last: Option<Instant>,
    left_out: u64,
}

impl Seldom {
    pub const fn new(every: Duration) -> Self {
        Self { every, state: Mutex::new(State { last: None, left_out: 0 }) }
    }

    /// The number of lines left out since the last one, if one may be written now.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < self.every) {
            state.left_out += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_each_interval_says_how_many_were_left_out() {
        let (seldom, start) = (Seldom::new(Duration::from_secs(5)), Instant::now());
        let at = |seconds| seldom.admit(start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(4), at(5), at(6)], [Some(0), None, None, Some(2), None]);
        assert_eq!(at(100), Some(1));
    }
}
