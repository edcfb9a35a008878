//! What a client was told, and what it does not know because the answer never came.
//!
//! Invariant: whatever stands here as acknowledged must be true for ever after; what is open becomes known by repeating
//! the request with its key, and must then have happened at most once.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::served::{
    Answer, Ask, Client,
    documents::{address, as_made},
    now_millis, shapes,
};

/// Requests on a reservation whose answers never came; at most one is open at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    Nothing,
    Confirm,
    Release,
    Extend,
}

#[derive(Debug, Clone)]
pub struct Known {
    /// As last answered.
    pub latest: Value,
    pub open: Open,
    /// The request that made it, and the first answer to that.
    pub ask: Ask,
    pub first: Value,
    /// Whether anything was asked about it since it was last looked at.
    pub touched: bool,
}

#[derive(Debug, Default)]
pub struct Ledger {
    /// By id.
    pub reservations: BTreeMap<String, Known>,
    /// Reserves without an answer.
    pub open_reserves: Vec<Ask>,
    /// Adjustments without an answer, with SKU and delta.
    pub open_adjustments: Vec<(Ask, String, i64)>,
    /// Units that acknowledged adjustments added, by SKU.
    pub adjusted: BTreeMap<String, i64>,
}

impl Ledger {
    /// Takes over the answer to a reserve that was granted, for the first time or again.
    pub fn granted(&mut self, ask: &Ask, answer: &Answer) -> Value {
        let held = answer.reservation(201);
        assert_eq!(held["state"], "held", "a reserve is always answered as the first time");
        let id = held["id"].as_str().expect("an id").to_owned();
        let known = self.reservations.entry(id).or_insert_with(|| Known {
            latest: as_made(held.clone()),
            open: Open::Nothing,
            ask: ask.clone(),
            first: as_made(held.clone()),
            touched: true,
        });
        assert_eq!(known.first, as_made(held.clone()), "the answer to a repeat is the first one");
        held
    }

    /// Repeats every request whose answer is open, twice, and takes over what became of it.
    pub fn resolve(&mut self, client: &mut Client) {
        for ask in std::mem::take(&mut self.open_reserves) {
            let answer = client.send(&ask);
            if answer.status == 201 {
                self.granted(&ask, &answer);
                let again = client.send(&ask);
                assert!(again.is_replayed(), "a second repeat is a replay: {}", again.text());
                self.granted(&ask, &again);
            } else {
                assert_eq!(answer.status, 409, "{}", answer.text());
            }
        }
        for (ask, sku, delta) in std::mem::take(&mut self.open_adjustments) {
            let answer = client.send(&ask);
            if answer.status == 201 {
                *self.adjusted.entry(sku).or_default() += delta;
                let again = client.send(&ask);
                assert!(again.is_replayed(), "a second repeat is a replay: {}", again.text());
                assert_eq!(again.text(), answer.text());
            } else {
                answer.refused("insufficient_stock");
            }
        }
    }

    /// Looks at reservations and holds what is seen against what was acknowledged: at all of them, or at those that may
    /// have changed since.
    pub fn look(&mut self, client: &mut Client, all: bool) {
        for known in self.reservations.values_mut() {
            if all || known.touched || known.latest["state"] == "held" {
                let answer = client.get(&address(&known.latest));
                assert_eq!(answer.status, 200, "acknowledged and gone: {}\n{}", known.latest, answer.text());
                let seen = answer.reservation(200);
                known.accept(&seen);
                known.touched = false;
            }
        }
    }

    /// Repeats requests that were acknowledged: the answer is the first one.
    pub fn repeat(&mut self, client: &mut Client, every: usize) {
        for known in self.reservations.values().step_by(every) {
            let answer = client.send(&known.ask);
            assert!(answer.is_replayed(), "acknowledged and made anew: {}\n{}", known.first, answer.text());
            assert_eq!(as_made(answer.reservation(201)), known.first);
        }
    }
}

impl Known {
    /// Whether what is seen may follow what was acknowledged. If so it is what is known from now on.
    #[track_caller]
    pub fn accept(&mut self, seen: &Value) {
        let told = &self.latest;
        let fail = |why: &str| -> ! { panic!("{why}\nacknowledged: {told}\nopen: {:?}\nseen: {seen}", self.open) };
        for member in ["id", "sale", "customer", "lines", "created_at"] {
            if told[member] != seen[member] {
                fail("what never changes has changed");
            }
        }
        if told["state"] != "held" {
            if seen != told {
                fail("what is over has changed");
            }
            return;
        }
        let extended = seen["extensions"] != told["extensions"] || seen["expires_at"] != told["expires_at"];
        if extended && self.open != Open::Extend {
            fail("extended by nobody");
        }
        if shapes::check_time(&seen["expires_at"]) < shapes::check_time(&told["expires_at"]) {
            fail("an end that came nearer");
        }
        let allowed = match seen["state"].as_str().expect("a state") {
            "held" => extended || seen == told,
            "confirmed" => self.open == Open::Confirm,
            "released" => self.open == Open::Release,
            _ => shapes::check_time(&seen["expired_at"]) <= now_millis(),
        };
        if !allowed {
            fail("a state that nobody asked for");
        }
        self.latest = seen.clone();
        self.open = Open::Nothing;
    }
}

/// Units of an item that all ledgers together know as held and as confirmed.
pub fn units<'a>(ledgers: impl IntoIterator<Item = &'a Ledger>, sku: &str) -> [u64; 2] {
    let mut units = [0, 0];
    for known in ledgers.into_iter().flat_map(|ledger| ledger.reservations.values()) {
        let place = match known.latest["state"].as_str() {
            Some("held") => 0,
            Some("confirmed") => 1,
            _ => continue,
        };
        units[place] += units_of(&known.latest, sku);
    }
    units
}

/// Units of an item in one reservation.
pub fn units_of(reservation: &Value, sku: &str) -> u64 {
    let lines = reservation["lines"].as_array().expect("lines are a list");
    lines.iter().filter(|line| line["sku"] == sku).map(|line| line["quantity"].as_u64().expect("a count")).sum()
}
