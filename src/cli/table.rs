//! Tables in text.

use std::io::{self, Write};

use comfy_table::{CellAlignment, presets};

/// Rows under headings, each column as wide as its widest cell.
pub(super) struct Table<const COLUMNS: usize>(comfy_table::Table);

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// `numbers`: so many columns from the left hold numbers, and are aligned to the right.
    pub(super) fn new(headings: [&'static str; COLUMNS], numbers: usize) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING).set_header(headings);
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((2, 0));
            column.set_cell_alignment(if index < numbers { CellAlignment::Right } else { CellAlignment::Left });
        }
        Self(table)
    }

    pub(super) fn row(&mut self, cells: [String; COLUMNS]) {
        self.0.add_row(cells);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn write(&self, out: &mut dyn Write, when_empty: &str) -> io::Result<()> {
        if self.is_empty() { writeln!(out, "  {when_empty}") } else { writeln!(out, "{}", self.0.trim_fmt()) }
    }
}
