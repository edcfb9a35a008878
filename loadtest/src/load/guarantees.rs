//! The service's guarantees, and the violations that a run found.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Examples kept per broken guarantee; the rest is counted.
const EXAMPLES_MAX: usize = 5;

/// A guarantee, as the service's README names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guarantee {
    NoOversell,
    NoLostAnswer,
    AllOrNothing,
    Once,
    SoldOutIsTrue,
    ExactTime,
    LimitsHold,
    InOrder,
    Together,
    WhoWaitsIsServed,
    WhoDidIt,
    StoreEqualsJournal,
    /// Every answer is in the contract of its request.
    Contract,
}

impl Guarantee {
    pub const ALL: [Self; 13] = [
        Self::NoOversell,
        Self::NoLostAnswer,
        Self::AllOrNothing,
        Self::Once,
        Self::SoldOutIsTrue,
        Self::ExactTime,
        Self::LimitsHold,
        Self::InOrder,
        Self::Together,
        Self::WhoWaitsIsServed,
        Self::WhoDidIt,
        Self::StoreEqualsJournal,
        Self::Contract,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::NoOversell => "No oversell",
            Self::NoLostAnswer => "No lost answer",
            Self::AllOrNothing => "All or nothing",
            Self::Once => "Once",
            Self::SoldOutIsTrue => "\"Sold out\" is true",
            Self::ExactTime => "Exact time",
            Self::LimitsHold => "Limits hold",
            Self::InOrder => "In order",
            Self::Together => "Together or not at all",
            Self::WhoWaitsIsServed => "Who waits is served",
            Self::WhoDidIt => "Who did it is known",
            Self::StoreEqualsJournal => "The SQL store equals the journal",
            Self::Contract => "The contract",
        }
    }
}

#[derive(Debug, Default)]
struct Broken {
    times: u64,
    examples: Vec<String>,
}

/// The findings of a run: checks and violations per guarantee.
#[derive(Debug, Default)]
pub struct Findings {
    broken: Mutex<BTreeMap<Guarantee, Broken>>,
    checked: Mutex<BTreeMap<Guarantee, u64>>,
}

impl Findings {
    pub fn broken(&self, guarantee: Guarantee, detail: impl Into<String>) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let broken = broken.entry(guarantee).or_default();
        broken.times += 1;
        if broken.examples.len() < EXAMPLES_MAX {
            broken.examples.push(detail.into());
        }
    }

    /// Counts a check, and a violation unless `holds`.
    pub fn check(&self, guarantee: Guarantee, holds: bool, detail: impl FnOnce() -> String) {
        self.looked_at(guarantee, 1);
        if !holds {
            self.broken(guarantee, detail());
        }
    }

    pub fn looked_at(&self, guarantee: Guarantee, times: u64) {
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner).entry(guarantee).or_default() += times;
    }

    /// How many times any guarantee was broken.
    pub fn count(&self) -> u64 {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).values().map(|broken| broken.times).sum()
    }

    /// One line per checked guarantee, and one per example of a violation.
    pub fn lines(&self) -> Vec<String> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Vec::new();
        for guarantee in Guarantee::ALL {
            let name = guarantee.name();
            match (broken.get(&guarantee), checked.get(&guarantee)) {
                (Some(broken), _) => {
                    lines.push(format!("BROKEN  {name}: {} times", broken.times));
                    lines.extend(broken.examples.iter().map(|example| format!("        {name}: {example}")));
                }
                (None, Some(times)) => lines.push(format!("holds   {name}: {times} checks")),
                (None, None) => lines.push(format!("-       {name}: not checked in this scenario")),
            }
        }
        lines
    }
}
