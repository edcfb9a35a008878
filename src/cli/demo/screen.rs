//! What the demo prints on: colours and redrawing only where a person looks at a terminal.
//!
//! Invariant: nobody's closing of standard output stops the demo; what cannot be printed is not missed.

use std::{
    fmt::Display,
    io::{self, IsTerminal},
};

use crate::telemetry::output;

/// Whoever reads slowly, or not at all, does not hold the demo up.
fn print(text: &str) {
    if let Some(lines) = output::stdout() {
        lines.push(text.as_bytes());
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Screen {
    colour: bool,
    /// Whether what stands there can be drawn over.
    pub redraws: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Bold,
    Dim,
    Green,
    Yellow,
    Red,
}

impl Screen {
    pub fn of_stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        // https://no-color.org: present and not empty.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: terminal && !dumb && !plain, redraws: terminal && !dumb }
    }

    /// Nobody looks: no colours, nothing drawn over.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { colour: false, redraws: false }
    }

    pub fn line(&self, text: impl Display) {
        print(&format!("{text}\n"));
    }

    /// Prints `lines` over the `above` lines that were printed last.
    pub fn redraw(&self, above: usize, lines: &[String]) {
        let mut frame = String::new();
        if above > 0 {
            frame.push_str(&format!("\x1b[{above}A"));
        }
        for line in lines {
            frame.push_str("\r\x1b[2K");
            frame.push_str(line);
            frame.push('\n');
        }
        // One write, so that no half-drawn frame is seen.
        print(&frame);
    }

    /// The text in a colour. To be padded before: the colour's own bytes count as width.
    pub fn paint(&self, paint: Paint, text: impl Display) -> String {
        if !self.colour {
            return text.to_string();
        }
        let code = match paint {
            Paint::Bold => 1,
            Paint::Dim => 2,
            Paint::Green => 32,
            Paint::Yellow => 33,
            Paint::Red => 31,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// With thousands separators: `1,234,567`.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// With its noun: `1 basket`, `2 baskets`.
pub fn counted(value: usize, noun: &str) -> String {
    format!("{} {noun}{}", number(value as u64), if value == 1 { "" } else { "s" })
}

/// Microseconds as milliseconds, with as many decimals as mean something.
pub fn milliseconds(micros: u64) -> String {
    if micros < 10_000 {
        format!("{:.2}", micros as f64 / 1e3)
    } else if micros < 100_000 {
        format!("{:.1}", micros as f64 / 1e3)
    } else {
        number(micros.div_ceil(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators() {
        for (value, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")] {
            assert_eq!(number(value), text);
        }
        assert_eq!(counted(1, "hold"), "1 hold");
        assert_eq!(counted(1200, "hold"), "1,200 holds");
    }

    #[test]
    fn milliseconds_keep_what_means_something() {
        for (micros, text) in [(42, "0.04"), (7_133, "7.13"), (48_060, "48.1"), (1_234_567, "1,235")] {
            assert_eq!(milliseconds(micros), text);
        }
    }

    #[test]
    fn without_a_terminal_nothing_is_coloured() {
        assert_eq!(Screen::plain().paint(Paint::Red, "no"), "no");
        assert_eq!(Screen { colour: true, redraws: true }.paint(Paint::Red, "no"), "\x1b[31mno\x1b[0m");
    }
}
