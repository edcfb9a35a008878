//! All holds of a sale are extended, bucket by bucket.

use doorbuster::sale::{
    ids::{BUCKETS, Bucket},
    outcome::{Refusal, State},
    time::Timestamp,
};

use super::{Model, Name};

/// Buckets that one tick comes to, by the service's own word: of each run it begins with a step of its own.
const STEPS_PER_TICK: usize = 8;
const BUCKETS_PER_STEP: usize = 64;

/// An extension of all holds that is under way.
#[derive(Debug, Clone)]
pub struct Run {
    pub number: u64,
    sale: Name,
    at: Timestamp,
    seconds: u32,
    key: Option<Name>,
    buckets: usize,
    holds: u64,
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extending {
    /// The number of the run.
    Running(u64),
    Done {
        holds: u64,
    },
}

impl Model {
    /// How it stands, and whether it is a new one.
    pub fn extend_all(
        &mut self,
        now: Timestamp,
        sale: Name,
        seconds: u32,
        key: Option<Name>,
    ) -> Result<(Extending, bool), Refusal> {
        if !self.sales.contains_key(sale) {
            return Err(Refusal::SaleNotFound);
        }
        if let Some(known) = self.known_extension(sale, key, seconds) {
            return known.map(|(holds, _)| (Extending::Done { holds }, false));
        }
        if let Some(run) = self.runs.iter().find(|run| key.is_some() && run.key == key && run.sale == sale) {
            let same = run.seconds == seconds;
            return same.then_some((Extending::Running(run.number), false)).ok_or(Refusal::IdempotencyKeyReused);
        }
        self.runs_begun += 1;
        let number = self.runs_begun;
        self.runs.push(Run { number, sale, at: now, seconds, key, buckets: 0, holds: 0 });
        Ok((Extending::Running(number), true))
    }

    /// What a tick extends. Returns how many holds that were.
    pub(super) fn extend_due(&mut self, now: Timestamp) -> u64 {
        let mut extended = 0;
        for _ in 0..STEPS_PER_TICK {
            if self.runs.is_empty() {
                break;
            }
            let mut run = self.runs.remove(0);
            let until = (run.buckets + BUCKETS_PER_STEP).min(BUCKETS);
            let meant = |bucket: usize| (run.buckets..until).contains(&bucket);
            let holds: Vec<usize> = self
                .reservations
                .iter()
                .filter(|(_, known)| {
                    let is_of_sale = known.request.sale == run.sale && known.state == State::Held;
                    is_of_sale && known.id.created_at() <= run.at && meant(Bucket::of(known.request.customer).index())
                })
                .map(|(&position, _)| position)
                .collect();
            for position in holds {
                // An open group keeps its time.
                if self.is_of_group_open_at(position, run.at) {
                    continue;
                }
                if now >= self.reservations[&position].expires_at {
                    self.end(now, position, State::Expired);
                    continue;
                }
                let known = self.reservations.get_mut(&position).expect("just seen");
                known.expires_at = known.expires_at.plus_seconds(run.seconds.into());
                self.uncommitted.insert(position);
                run.holds += 1;
                extended += 1;
            }
            run.buckets = until;
            if until < BUCKETS {
                self.runs.insert(0, run);
            } else {
                self.remember_extension(now, run.sale, run.key, run.seconds, run.holds);
                self.runs_done.push((run.number, run.holds));
            }
        }
        extended
    }

    /// How many holds a run extended, once it is done.
    pub fn holds_of(&self, number: u64) -> Option<u64> {
        self.runs_done.iter().find(|run| run.0 == number).map(|run| run.1)
    }
}
