//! What was found, for people and for machines.

use std::io::{self, Write};

use serde::Serialize;

use super::{events::Totals, segments::SegmentFacts, trail::TrailFacts};
use crate::{
    cli::table::Table,
    journal::{
        Epoch,
        files::{Damage, Torn},
    },
    sale::time::Timestamp,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SnapshotFacts {
    pub file: String,
    /// The journal is replayed from here; none when the snapshot cannot be read.
    pub first_epoch: Option<Epoch>,
    /// The journal must reach this far.
    pub last_epoch: Option<Epoch>,
    pub chunks: Option<u64>,
    pub bytes: u64,
    /// When it was written to last.
    pub written_at: Timestamp,
}

/// Where the journal ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct TailFacts {
    /// The last epoch that can be read, 0 when there is none.
    pub last_epoch: Epoch,
    /// Where the next frame goes; none where there is no frame, or where damage stands before the end.
    pub file: Option<String>,
    pub offset: Option<u64>,
    pub sealed: bool,
    pub torn: Option<TornFacts>,
}

/// Bytes at the end that are no batch, and may become one or be cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TornFacts {
    pub file: String,
    pub offset: u64,
    pub bytes: u64,
    pub found: String,
}

impl From<Torn> for TornFacts {
    fn from(torn: Torn) -> Self {
        Self { file: torn.file, offset: torn.offset, bytes: torn.bytes, found: torn.found.to_string() }
    }
}

/// Something that keeps the service from starting on this directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DamageFacts {
    pub file: Option<String>,
    /// In bytes from the file's start.
    pub offset: Option<u64>,
    pub message: String,
}

impl DamageFacts {
    pub(crate) fn somewhere(message: impl ToString) -> Self {
        Self { file: None, offset: None, message: message.to_string() }
    }

    pub(crate) fn at(damage: &Damage, message: impl ToString) -> Self {
        Self { file: Some(damage.file().to_owned()), offset: damage.offset(), message: message.to_string() }
    }
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub data_directory: String,
    pub snapshots: Vec<SnapshotFacts>,
    pub segments: Vec<SegmentFacts>,
    /// Events by kind in the newest snapshot.
    pub snapshot_events: Totals,
    /// Events by kind in the journal, as far as it can be read.
    pub journal_events: Totals,
    /// Where the audit trail ends; none where nothing was recorded yet.
    pub audit: Option<TrailFacts>,
    pub tail: TailFacts,
    pub damage: Vec<DamageFacts>,
}

/// How text is laid out for whoever reads it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Headings stand out, by a terminal's escape codes.
    pub bold: bool,
}

impl Style {
    pub(crate) fn heading(self, out: &mut dyn Write, text: &str) -> io::Result<()> {
        if self.bold { writeln!(out, "\n\x1b[1m{text}\x1b[0m") } else { writeln!(out, "\n{text}") }
    }
}

impl Report {
    /// What can be told before the events.
    pub(crate) fn write_files(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        writeln!(out, "data directory  {}", self.data_directory)?;
        style.heading(out, "snapshots")?;
        let mut table = Table::new(["first epoch", "last epoch", "chunks", "size", "written at"], 4);
        for snapshot in &self.snapshots {
            let SnapshotFacts { first_epoch, last_epoch, chunks, bytes, written_at, .. } = snapshot;
            table.row([known(first_epoch), known(last_epoch), known(chunks), size(*bytes), written_at.to_string()]);
        }
        table.write(out, "none")?;
        style.heading(out, "segments")?;
        let mut table = Table::new(["id", "first epoch", "last epoch", "frames", "used", "preallocated", ""], 6);
        for segment in &self.segments {
            let state = match (segment.frames, segment.sealed) {
                (0, _) => "unused",
                (_, true) => "sealed",
                (_, false) => "",
            };
            table.row([
                segment.id.to_string(),
                known(&segment.first_epoch),
                known(&segment.last_epoch),
                grouped(segment.frames),
                size(segment.used_bytes),
                size(segment.allocated_bytes),
                state.to_owned(),
            ]);
        }
        table.write(out, "none")
    }

    /// What is known once all events were read.
    pub(crate) fn write_findings(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        style.heading(out, "totals")?;
        let mut table = Table::new(["journal", "snapshot", "event"], 2);
        for ((kind, journal), (_, snapshot)) in self.journal_events.iter().zip(self.snapshot_events.iter()) {
            if journal + snapshot > 0 {
                table.row([grouped(journal), grouped(snapshot), kind.to_owned()]);
            }
        }
        if !table.is_empty() {
            let sums = [self.journal_events.sum(), self.snapshot_events.sum()].map(grouped);
            let [journal, snapshot] = sums;
            table.row([journal, snapshot, "all".to_owned()]);
        }
        table.write(out, "no events")?;
        if let Some(TrailFacts { sequence, hash }) = &self.audit {
            style.heading(out, "audit trail")?;
            writeln!(out, "  records     {}", grouped(*sequence))?;
            writeln!(out, "  hash        {hash}")?;
        }
        style.heading(out, "tail")?;
        self.write_tail(out)?;
        for damage in &self.damage {
            writeln!(out, "  DAMAGED     {}", damage.message)?;
        }
        Ok(())
    }

    fn write_tail(&self, out: &mut dyn Write) -> io::Result<()> {
        let TailFacts { last_epoch, file, offset, sealed, torn } = &self.tail;
        writeln!(out, "  last epoch  {last_epoch}")?;
        if let (Some(file), Some(offset)) = (file, offset) {
            let seal = if *sealed { "sealed" } else { "not sealed" };
            writeln!(out, "  ends at     {file}, byte {offset}, {seal}")?;
        }
        if let Some(TornFacts { file, offset, bytes, found }) = torn {
            writeln!(out, "  torn        {bytes} bytes at {file}, byte {offset}: {found}")?;
            writeln!(
                out,
                "              (the next start cuts them off, unless the service is writing them right now)"
            )?;
        }
        if self.damage.is_empty() {
            writeln!(out, "  sound       the service can start from it")?;
        }
        Ok(())
    }
}

fn known(number: &Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// Bytes with a unit of 1024 or more, to one decimal.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be rounded up to 1024.0 is one of the next unit.
    while value >= 1023.95 {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A count with a comma every three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_reads_best() {
        let shown = [0, 1023, 1024, 1536, 67_108_864, (1 << 20) - 1, u64::MAX].map(size);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "64.0 MiB", "1.0 MiB", "16.0 EiB"]);
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
