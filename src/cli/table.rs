//! Tables in text.

use std::io::{self, Write};

/// Rows under headings, each column as wide as its widest cell.
pub struct Table<const COLUMNS: usize> {
    headings: [&'static str; COLUMNS],
    /// So many columns from the left hold numbers, which end in one line.
    numbers: usize,
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub fn new(headings: [&'static str; COLUMNS], numbers: usize) -> Self {
        Self { headings, numbers, rows: Vec::new() }
    }

    pub fn row(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn write(&self, out: &mut dyn Write, when_empty: &str) -> io::Result<()> {
        if self.rows.is_empty() {
            return writeln!(out, "  {when_empty}");
        }
        let headings = self.headings.map(str::to_owned);
        let mut widths = [0; COLUMNS];
        for row in self.rows.iter().chain([&headings]) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.len().max(*width);
            }
        }
        for row in [&headings].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                let padded =
                    if column < self.numbers { format!("  {cell:>width$}") } else { format!("  {cell:<width$}") };
                line.push_str(&padded);
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
