//! The guarantees, each held against what the service answered and what the demo counted itself.
//!
//! Invariant: every check can fail; one that found nothing to judge says so instead of passing.

use super::{answer_checks as answers, history::History, screen::number, stock_checks as stock};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Holds,
    Broken,
    /// There was nothing in this run to judge by.
    NotSeen,
}

#[derive(Debug, Clone)]
pub struct Check {
    pub guarantee: &'static str,
    pub title: &'static str,
    pub verdict: Verdict,
    pub evidence: String,
}

pub fn all(history: &History) -> Vec<Check> {
    [
        ("G1", "no oversell", stock::no_oversell as fn(&History) -> Finding),
        ("G2", "no lost answer", answers::no_lost_answer),
        ("G3", "all or nothing", stock::all_or_nothing),
        ("G4", "once", answers::once),
        ("G5", "true refusals", stock::true_refusals),
        ("G6", "exact time", answers::exact_time),
        ("G7", "limits hold", stock::limits_hold),
        ("G8", "disk first", answers::disk_first),
        ("G9", "store = journal", answers::store_is_journal),
        ("G10", "all answered", answers::all_answered),
    ]
    .map(|(guarantee, title, check)| {
        let Finding { broken, seen, evidence, unjudged } = check(history);
        let (verdict, evidence) = match broken.as_slice() {
            [] if seen == 0 => (Verdict::NotSeen, unjudged.to_owned()),
            [] => (Verdict::Holds, evidence),
            [only] => (Verdict::Broken, only.clone()),
            [first, rest @ ..] => (Verdict::Broken, format!("{first} (and {} more)", number(rest.len() as u64))),
        };
        Check { guarantee, title, verdict, evidence }
    })
    .into()
}

/// What a check found.
pub struct Finding {
    /// Each contradiction.
    pub broken: Vec<String>,
    /// How much there was to judge.
    pub seen: usize,
    /// In short, when nothing is broken.
    pub evidence: String,
    /// Why there was nothing to judge, where there was nothing.
    pub unjudged: &'static str,
}

impl Finding {
    pub fn new(broken: Vec<String>, seen: usize, evidence: String) -> Self {
        Self { broken, seen, evidence, unjudged: "nothing to judge by in this run" }
    }

    /// Nothing can be judged because something is not there.
    pub fn missing(what: String) -> Self {
        Self::new(vec![what], 0, String::new())
    }

    pub fn not_promised(unjudged: &'static str) -> Self {
        Self { unjudged, ..Self::new(Vec::new(), 0, String::new()) }
    }
}
