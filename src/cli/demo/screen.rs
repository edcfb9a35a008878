//! What the demo prints: colours and redrawing only on a terminal.
//!
//! Invariant: a reader that is slow or gone neither delays nor stops the demo.

use std::{
    fmt::Display,
    io::{self, IsTerminal},
};

use crate::{cli::inspect::report::grouped, telemetry::output};

/// Columns of a bar. A whole line stays below 80: a line that wraps could not be drawn over.
const BAR: u64 = 32;

#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    colour: bool,
    pub redraws: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Paint {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

impl Screen {
    pub(super) fn of_stdout() -> Self {
        let redraws = io::stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        // https://no-color.org: present and not empty.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: redraws && !plain, redraws }
    }

    pub(super) fn line(&self, text: impl Display) {
        if let Some(lines) = output::stdout() {
            lines.push(format!("{text}\n").as_bytes());
        }
    }

    pub(super) fn heading(&self, text: &str) {
        self.line(format_args!("\n{}", self.paint(Paint::Bold, text)));
    }

    /// Prints `lines` over the `above` lines that were printed last, in one write, so that no half-drawn frame shows.
    pub(super) fn redraw(&self, above: usize, lines: &[String]) {
        let up = if above > 0 { format!("\x1b[{above}A") } else { String::new() };
        let lines: Vec<_> = lines.iter().map(|line| format!("\r\x1b[2K{line}")).collect();
        self.line(format_args!("{up}{}", lines.join("\n")));
    }

    /// The text in a colour. Pad it first: the colour's own bytes count as width.
    pub(super) fn paint(&self, paint: Paint, text: impl Display) -> String {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", paint as u8) } else { text.to_string() }
    }

    /// How much of an item is left. A single unit that is left shows.
    pub(super) fn bar(&self, sku: &str, available: u64, stock: u64) -> String {
        let filled = (available * BAR).div_ceil(stock.max(1)) as usize;
        let colour = if filled * 4 > BAR as usize { Paint::Green } else { Paint::Yellow };
        let (full, empty) = ("█".repeat(filled), "░".repeat(BAR as usize - filled));
        let left = format!("{} left", grouped(available));
        format!("  {sku:<16}{}{} {left:>15}", self.paint(colour, full), self.paint(Paint::Dim, empty))
    }
}

/// With its noun: `1 basket`, `2 baskets`.
pub(super) fn counted(value: usize, noun: &str) -> String {
    format!("{} {noun}{}", grouped(value as u64), if value == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_gets_colours_and_a_bar_fits_its_line() {
        let (plain, terminal) = (Screen { colour: false, redraws: false }, Screen { colour: true, redraws: true });
        assert_eq!(
            (plain.paint(Paint::Red, "no"), terminal.paint(Paint::Red, "no").as_str()),
            ("no".to_owned(), "\x1b[31mno\x1b[0m")
        );
        assert_eq!((counted(1, "hold"), counted(1200, "hold")), ("1 hold".to_owned(), "1,200 holds".to_owned()));
        assert!(plain.bar("noise-free-buds", 1, 1_000_000).contains("█░"));
        assert!(!plain.bar("noise-free-buds", 0, 300).contains('█'));
        assert!(plain.bar("noise-free-buds", 10_000_000, 10_000_000).chars().count() < 80);
    }
}
