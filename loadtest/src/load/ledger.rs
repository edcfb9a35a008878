//! The run's ledger: requests, answers, and what follows from them.
//!
//! Invariant: a reserve is in `open` from before it is sent until an answer settles it, so the ledger always knows which
//! outcomes are unknown, even if a run is interrupted.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    watch::Moment,
    wire::{GroupState, Lines, Pools, Reservation, State},
};

/// A reserve that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub key: String,
    pub customer: String,
    /// As they are sent: a SKU may stand in two of them.
    pub lines: Vec<(String, u64)>,
    pub tier: Option<&'static str>,
    pub channel: Option<&'static str>,
    /// The group that it joins.
    pub group: Option<String>,
}

impl Wanted {
    /// Each SKU once, as the service sums them.
    pub fn summed(&self) -> Lines {
        let mut summed = Lines::new();
        for (sku, quantity) in &self.lines {
            *summed.entry(sku.clone()).or_default() += quantity;
        }
        summed
    }
}

/// When something was asked for and when it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub sent: Moment,
    pub answered: Moment,
}

/// A reservation that was granted, and what became of it by the answers.
#[derive(Debug, Clone)]
pub struct Grant {
    pub key: String,
    pub customer: String,
    pub lines: Lines,
    /// Units by SKU and pool; empty if the items declare none.
    pub from: Pools,
    pub granted: Span,
    pub expires_at: Moment,
    pub state: State,
    /// The call that ended it.
    pub ended: Option<Span>,
    /// A confirm or release was sent, with an unknown outcome.
    pub doubtful: bool,
    /// An answer that called it expired.
    pub told_expired: Option<Moment>,
    /// The last request that was answered with it as held.
    pub seen_held: Option<Moment>,
    /// It was confirmed after its end.
    pub late: bool,
    /// The group that it was made in.
    pub group: Option<String>,
}

/// A refusal for want of stock, of one line.
#[derive(Debug, Clone)]
pub struct Shortage {
    pub sku: String,
    pub requested: u64,
    pub span: Span,
}

#[derive(Debug, Clone)]
pub struct Adjusted {
    pub sku: String,
    pub delta: i64,
    pub span: Span,
}

/// From a pause to the resume after it.
#[derive(Debug, Clone, Copy)]
pub struct Pause {
    pub pause: Span,
    pub resume: Option<Span>,
}

/// Refusals that are kept to be judged at the end; more are counted.
pub const SHORTAGES_MAX: usize = 1_000_000;

#[derive(Debug, Default)]
pub struct Books {
    /// By id.
    pub grants: HashMap<String, Grant>,
    /// Id by idempotency key.
    keys: HashMap<String, String>,
    /// Reserves without an answer, and when each was first sent.
    pub open: HashMap<String, (Wanted, Moment)>,
    pub shortages: Vec<Shortage>,
    pub shortages_left_out: u64,
    pub adjusted: Vec<Adjusted>,
    /// Units that left the sale with a cancellation. The audit trail has no record of them.
    pub left: Vec<Adjusted>,
    pub pauses: Vec<Pause>,
    pub refused_as_paused: Vec<Span>,
    /// When each reserve was sent that was refused because the sale had not started, and when it opened to it.
    pub refused_as_early: Vec<(Moment, Moment)>,
    /// Customers who wait or waited, by the key of their request to join.
    pub waits: HashMap<String, Wait>,
    /// Groups by id, and those of them that may have a place left.
    pub groups: HashMap<String, Together>,
    pub invitations: Vec<String>,
    /// What could not be found out: a line each.
    pub undecided: Vec<String>,
}

/// A customer who asked for a place on the waitlist, and what the answers say became of it.
#[derive(Debug, Clone)]
pub struct Wait {
    pub wanted: Wanted,
    /// From the first request to join to the first answer.
    pub joined: Span,
    /// The entry, once an answer showed it.
    pub entry: Option<String>,
    pub became: Became,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// No answer said yet whether there is an entry.
    Unknown,
    Refused,
    Waiting,
    /// It was offered a hold, by the service's clock.
    Offered(Moment),
    /// It left; when that was asked for first.
    Left(Moment),
}

/// A group, as answers showed it.
#[derive(Debug, Clone)]
pub struct Together {
    pub sku: String,
    pub size: usize,
    pub state: GroupState,
    /// Until when an open group may be joined.
    pub expires_at: Moment,
    /// When the holds of a complete group end.
    pub holds_until: Option<Moment>,
}

#[derive(Debug, Default)]
pub struct Ledger {
    books: Mutex<Books>,
}

impl Ledger {
    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    pub fn asking(&mut self, wanted: &Wanted, sent: Moment) {
        if !self.keys.contains_key(&wanted.key) {
            self.open.entry(wanted.key.clone()).or_insert_with(|| (wanted.clone(), sent));
        }
    }

    /// An answer granted it. `Err`: why that cannot be.
    pub fn granted(&mut self, wanted: &Wanted, made: &Reservation, span: Span) -> Result<(), String> {
        let first_sent = self.open.remove(&wanted.key).map_or(span.sent, |(_, sent)| sent.min(span.sent));
        if let Some(id) = self.keys.get(&wanted.key) {
            if *id == made.id {
                return Ok(());
            }
            return Err(format!("key {} made two reservations, {id} and {}", wanted.key, made.id));
        }
        if let Some(other) = self.grants.get(&made.id) {
            return Err(format!("reservation {} was granted to key {} and to key {}", made.id, other.key, wanted.key));
        }
        self.keys.insert(wanted.key.clone(), made.id.clone());
        let grant = Grant {
            key: wanted.key.clone(),
            customer: wanted.customer.clone(),
            lines: wanted.summed(),
            from: made.pools.clone(),
            granted: Span { sent: first_sent, answered: span.answered },
            expires_at: made.expires_at,
            state: State::Held,
            ended: None,
            doubtful: false,
            told_expired: None,
            seen_held: None,
            late: false,
            group: made.group.as_ref().map(|group| group.id.clone()),
        };
        self.grants.insert(made.id.clone(), grant);
        Ok(())
    }

    /// Whether an answer granted it.
    pub fn is_granted(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    pub fn refused(&mut self, wanted: &Wanted) {
        self.open.remove(&wanted.key);
    }

    pub fn short(&mut self, sku: &str, requested: u64, span: Span) {
        if self.shortages.len() < SHORTAGES_MAX {
            self.shortages.push(Shortage { sku: sku.to_owned(), requested, span });
        } else {
            self.shortages_left_out += 1;
        }
    }

    /// The first answer that ended it counts; `Err`: it was ended otherwise before.
    pub fn ended(&mut self, id: &str, state: State, span: Span) -> Result<(), String> {
        let Some(grant) = self.grants.get_mut(id) else { return Ok(()) };
        grant.doubtful = false;
        if grant.state == State::Held {
            grant.state = state;
            grant.ended = Some(span);
        } else if grant.state != state {
            return Err(format!("{id} was {}, but an answer says {}", grant.state.name(), state.name()));
        } else if let Some(ended) = &mut grant.ended {
            // Two at once: whichever came first.
            ended.sent = ended.sent.min(span.sent);
            ended.answered = ended.answered.min(span.answered);
        }
        Ok(())
    }

    /// An answer says that it stands so: confirmed, a part or all of it, or cancelled.
    pub fn stands(&mut self, id: &str, state: State, lines: &Lines, late: bool, span: Span) {
        let Some(grant) = self.grants.get_mut(id) else { return };
        (grant.state, grant.late, grant.ended) = (state, late, Some(span));
        grant.lines.clone_from(lines);
    }

    /// What must be there of each item: units held and units confirmed.
    pub fn units(&self) -> BTreeMap<String, (i64, i64)> {
        let mut units: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for grant in self.grants.values() {
            for (sku, quantity) in &grant.lines {
                let (held, confirmed) = units.entry(sku.clone()).or_default();
                match grant.state {
                    State::Held => *held += *quantity as i64,
                    State::Confirmed => *confirmed += *quantity as i64,
                    State::Released | State::Expired | State::Cancelled => {}
                }
            }
        }
        units
    }

    /// Units that must be held or confirmed of each pool, by SKU and pool.
    pub fn units_of_pools(&self) -> BTreeMap<(String, String), i64> {
        let mut units = BTreeMap::new();
        let out = self.grants.values().filter(|grant| matches!(grant.state, State::Held | State::Confirmed));
        for (place, quantity) in out.flat_map(|grant| &grant.from) {
            *units.entry(place.clone()).or_default() += *quantity as i64;
        }
        units
    }

    /// Units that were put into an item beyond its initial stock.
    pub fn adjusted_units(&self, sku: &str) -> i64 {
        self.changes_of(sku).map(|adjusted| adjusted.delta).sum()
    }

    /// All changes of an item's stock.
    pub fn changes_of(&self, sku: &str) -> impl Iterator<Item = &Adjusted> {
        self.adjusted.iter().chain(&self.left).filter(move |adjusted| adjusted.sku == sku)
    }
}
