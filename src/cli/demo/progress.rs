//! The sale while it is on: on a terminal bars that drain and one line of figures, drawn over a few times a second;
//! elsewhere one line a second.

use std::collections::VecDeque;

use super::{
    answers::Sale,
    client::{Moment, moment},
    live::Figures,
    plan::Offer,
    screen::{Paint, Screen, milliseconds, number},
};

/// Columns of a bar. The whole line stays below 80: a line that wraps could not be drawn over.
const BAR: u64 = 32;

/// The rate shown is that of so many microseconds.
const RATE_OVER: Moment = 700_000;

pub struct Progress {
    screen: Screen,
    opens_at: Moment,
    /// Lines that are drawn over next.
    drawn: usize,
    /// Second of the last plain line.
    told: Option<i64>,
    /// Requests at moments not long ago.
    recent: VecDeque<(Moment, u64)>,
}

impl Progress {
    pub fn new(screen: Screen, offer: &Offer) -> Self {
        Self { screen, opens_at: moment(offer.opens_at), drawn: 0, told: None, recent: VecDeque::new() }
    }

    pub fn show(&mut self, now: Moment, sale: &Sale, figures: Figures) {
        let rate = self.rate(now, figures.requests);
        let since_opening = (now as i64 - self.opens_at as i64) as f64 / 1e6;
        let when = if since_opening < 0.0 {
            format!("opens in {:.1} s", -since_opening)
        } else {
            format!("{since_opening:.1} s")
        };
        if self.screen.redraws {
            let mut lines: Vec<_> =
                sale.items.iter().map(|item| self.bar(&item.sku, item.available, item.stock)).collect();
            lines.push(self.screen.paint(Paint::Dim, format!("  {when:>14}  {}", told(rate, figures))));
            self.screen.redraw(self.drawn, &lines);
            self.drawn = lines.len();
        } else if self.told != Some(since_opening.floor() as i64) {
            self.told = Some(since_opening.floor() as i64);
            let (stock, left) =
                sale.items.iter().fold((0, 0), |sum, item| (sum.0 + item.stock, sum.1 + item.available));
            self.screen.line(format!(
                "  {when:>14}  {:>7} of {} left  {}",
                number(left),
                number(stock),
                told(rate, figures)
            ));
        }
    }

    fn bar(&self, sku: &str, available: u64, stock: u64) -> String {
        // What is there shows, however little it is.
        let filled = (available * BAR).div_ceil(stock.max(1)) as usize;
        let full =
            self.screen.paint(if filled * 4 > BAR as usize { Paint::Green } else { Paint::Yellow }, "█".repeat(filled));
        let empty = self.screen.paint(Paint::Dim, "░".repeat(BAR as usize - filled));
        let left = if available == 0 { "none left".to_owned() } else { format!("{} left", number(available)) };
        format!("  {sku:<16}{full}{empty} {left:>15}")
    }

    fn rate(&mut self, now: Moment, requests: u64) -> u64 {
        self.recent.push_back((now, requests));
        while self.recent.len() > 2 && self.recent[1].0 + RATE_OVER < now {
            self.recent.pop_front();
        }
        let (then, before) = self.recent[0];
        (requests - before) * 1_000_000 / (now - then).max(1)
    }
}

fn told(rate: u64, figures: Figures) -> String {
    format!(
        "{:>7}/s  {} granted  {} refused  p99 {} ms",
        number(rate),
        number(figures.granted),
        number(figures.refused),
        milliseconds(figures.p99)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::DemoOptions, config::Config, sale::time::Timestamp};

    #[test]
    fn a_bar_fits_its_line_and_never_hides_the_last_unit() {
        let offer = Offer::new(&Config::default(), DemoOptions { shoppers: 1, units: 1000 }, Timestamp::from_millis(0));
        let progress = Progress::new(Screen::plain(), &offer);
        assert!(progress.bar("noise-free-buds", 1, 1_000_000).contains("█░"));
        assert!(!progress.bar("noise-free-buds", 0, 300).contains('█'));
        assert!(progress.bar("noise-free-buds", 10_000_000, 10_000_000).chars().count() < 80);
        let figures = Figures { requests: 9_999_999, granted: 100_000, refused: 1_000_000, p99: 10_000 };
        assert!(told(100_000, figures).chars().count() + 18 < 80);
    }

    #[test]
    fn the_rate_is_that_of_the_last_moments() {
        let offer = Offer::new(&Config::default(), DemoOptions { shoppers: 1, units: 1000 }, Timestamp::from_millis(0));
        let mut progress = Progress::new(Screen::plain(), &offer);
        let rates: Vec<_> = (0..30).map(|tenth| progress.rate(tenth * 100_000, 100 * tenth.min(10))).collect();
        assert_eq!((rates[5], rates[29]), (1000, 0));
    }
}
