//! Counts of one worker that are not yet gathered.
//!
//! Counters and samples belong to the whole service. Each is a cache line, for which workers would contend with every request.
//! So a worker counts in memory that nobody else writes, and readers of the metrics gather these counts first.
//!
//! Invariant: a scrape includes everything counted before it began.

use std::{collections::HashMap, time::Duration};

use compact_str::CompactString;
use crossbeam::utils::CachePadded;
use foldhash::fast::RandomState;
use parking_lot::Mutex;

use super::Telemetry;
use crate::sale::code::Code;

/// Requests counted before the worker publishes its counts itself.
const NOTED_MAX: usize = 1024;

/// One worker's notes.
#[derive(Default)]
pub struct Tally(CachePadded<Mutex<Noted>>);

struct Noted {
    requests: Vec<Answered>,
    /// Reserves that made a hold.
    held: u64,
    /// Reserves refused, by code.
    refused: [u64; Code::ALL.len()],
    /// Reserves held and refused, by the channel that they name.
    channels: HashMap<CompactString, [u64; 2], RandomState>,
}

impl Default for Noted {
    fn default() -> Self {
        Self { requests: Vec::new(), held: 0, refused: [0; Code::ALL.len()], channels: HashMap::default() }
    }
}

/// A request that was answered.
struct Answered {
    route: usize,
    status: u16,
    took: Duration,
}

impl Tally {
    pub fn answered(&self, telemetry: &Telemetry, route: usize, status: u16, took: Duration) {
        let mut noted = self.0.lock();
        noted.requests.push(Answered { route, status, took });
        if noted.requests.len() >= NOTED_MAX {
            noted.tell(telemetry);
        }
    }

    /// A reserve made a hold.
    pub fn held(&self) {
        self.0.lock().held += 1;
    }

    /// A reserve was refused.
    pub fn refused(&self, code: Code) {
        self.0.lock().refused[code as usize] += 1;
    }

    /// A reserve named its channel.
    pub fn came_through(&self, channel: &str, held: bool) {
        let mut noted = self.0.lock();
        match noted.channels.get_mut(channel) {
            Some(counts) => counts[usize::from(!held)] += 1,
            None => {
                let mut counts = [0; 2];
                counts[usize::from(!held)] = 1;
                noted.channels.insert(channel.into(), counts);
            }
        }
    }

    /// Tells what was noted, and forgets it.
    pub(super) fn tell(&self, telemetry: &Telemetry) {
        self.0.lock().tell(telemetry);
    }
}

impl Noted {
    fn tell(&mut self, telemetry: &Telemetry) {
        for alike in self.requests.chunk_by(|one, next| (one.route, one.status) == (next.route, next.status)) {
            let took = alike.iter().map(|request| request.took);
            telemetry.edge.observe(alike[0].route, alike[0].status, took);
        }
        self.requests.clear();
        telemetry.reservations.held(std::mem::take(&mut self.held));
        for (channel, [held, refused]) in self.channels.drain() {
            telemetry.reservations.came_through(&channel, held, refused);
        }
        for (code, refused) in Code::ALL.iter().zip(&mut self.refused) {
            telemetry.reservations.refused(*code, std::mem::take(refused));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Bounds;

    #[test]
    fn a_scrape_has_what_was_noted_before_it_by_all() {
        let telemetry = Telemetry::new(&["unknown", "reserve"], Bounds { items_max: 0, sales_max: 0 });
        let [one, other] = [telemetry.tally(), telemetry.tally()];
        for number in 0..3 * NOTED_MAX {
            one.answered(&telemetry, 1, 201, Duration::from_millis(1));
            other.answered(&telemetry, 1, 409, Duration::from_millis(1));
            one.held();
            other.refused(Code::SaleEnded);
            if number % 1000 == 7 {
                let counted = number + 1;
                let text = telemetry.render();
                for line in [
                    format!("doorbuster_http_requests_total{{route=\"reserve\",status=\"201\"}} {counted}\n"),
                    format!("doorbuster_http_requests_total{{route=\"reserve\",status=\"409\"}} {counted}\n"),
                    format!("doorbuster_http_request_duration_seconds_count{{route=\"reserve\"}} {}\n", 2 * counted),
                    format!("doorbuster_reservations_total{{outcome=\"held\"}} {counted}\n"),
                    format!("doorbuster_reservation_refusals_total{{reason=\"sale_ended\"}} {counted}\n"),
                ] {
                    assert!(text.contains(&line), "{line} is not in\n{text}");
                }
            }
        }
    }
}
