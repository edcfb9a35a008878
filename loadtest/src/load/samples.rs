//! Results of the run's requests per second, for progress lines, summary and plots.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

/// What an answer was, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Granted,
    Refused,
    Other,
    Unanswered,
}

/// A second of the run. Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Second {
    pub at: f64,
    pub granted: u64,
    pub refused: u64,
    pub other: u64,
    pub unanswered: u64,
    pub p50: f64,
    pub p99: f64,
}

/// Where the units of all items were at a look.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    pub at: f64,
    pub available: i64,
    pub held: i64,
    pub confirmed: i64,
}

#[derive(Debug)]
struct Kept {
    begin: Option<Instant>,
    present: Second,
    times: Histogram<u64>,
    all: Histogram<u64>,
    seconds: Vec<Second>,
    looks: Vec<Look>,
    codes: BTreeMap<String, u64>,
}

#[derive(Debug)]
pub struct Samples {
    kept: Mutex<Kept>,
}

impl Default for Samples {
    fn default() -> Self {
        // Up to a minute, in microseconds.
        let times = || Histogram::new_with_max(60_000_000, 3).expect("sound bounds");
        Self {
            kept: Mutex::new(Kept {
                begin: None,
                present: Second::default(),
                times: times(),
                all: times(),
                seconds: Vec::new(),
                looks: Vec::new(),
                codes: BTreeMap::new(),
            }),
        }
    }
}

/// The whole run.
pub struct Told {
    pub seconds: Vec<Second>,
    pub looks: Vec<Look>,
    pub codes: BTreeMap<String, u64>,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Samples {
    /// `code`: the status of a success, the problem's code of a refusal.
    pub fn add(&self, name: &str, kind: Kind, code: &str, elapsed: Duration) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.turn();
        match kind {
            Kind::Granted => kept.present.granted += 1,
            Kind::Refused => kept.present.refused += 1,
            Kind::Other => kept.present.other += 1,
            Kind::Unanswered => kept.present.unanswered += 1,
        }
        kept.times.saturating_record(elapsed.as_micros() as u64);
        *kept.codes.entry(format!("{name} {code}")).or_default() += 1;
    }

    pub fn look(&self, available: i64, held: i64, confirmed: i64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.turn();
        let at = kept.begin.map_or(0.0, |begin| begin.elapsed().as_secs_f64());
        kept.looks.push(Look { at, available, held, confirmed });
    }

    /// The sums of all seconds, for a line of progress.
    pub fn so_far(&self) -> Second {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = kept.seconds.iter().fold(kept.present, |sum, second| Second {
            granted: sum.granted + second.granted,
            refused: sum.refused + second.refused,
            other: sum.other + second.other,
            unanswered: sum.unanswered + second.unanswered,
            ..sum
        });
        sum.at = kept.begin.map_or(0.0, |begin| begin.elapsed().as_secs_f64());
        sum
    }

    pub fn told(&self) -> Told {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.close();
        let millis = |quantile| kept.all.value_at_quantile(quantile) as f64 / 1000.0;
        Told {
            p50: millis(0.5),
            p99: millis(0.99),
            max: millis(1.0),
            seconds: kept.seconds.clone(),
            looks: kept.looks.clone(),
            codes: kept.codes.clone(),
        }
    }
}

impl Kept {
    /// Closes the present second when it is over.
    fn turn(&mut self) {
        let begin = *self.begin.get_or_insert_with(Instant::now);
        let at = begin.elapsed().as_secs() as f64;
        if at > self.present.at {
            self.close();
            self.present.at = at;
        }
    }

    fn close(&mut self) {
        let millis = |quantile| self.times.value_at_quantile(quantile) as f64 / 1000.0;
        let (p50, p99) = (millis(0.5), millis(0.99));
        let Second { granted, refused, other, unanswered, .. } = self.present;
        if granted + refused + other + unanswered > 0 {
            self.seconds.push(Second { p50, p99, ..self.present });
        }
        self.all.add(&self.times).expect("of the same bounds");
        self.times.reset();
        self.present = Second { at: self.present.at, ..Second::default() };
    }
}
