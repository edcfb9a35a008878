//! `inspect`: the contents of a data directory's journal and snapshots.
//!
//! Invariant: it changes nothing, whatever state the directory is in, and does not disturb a running service.

mod events;
mod names;
pub(super) mod report;
mod segments;
#[cfg(test)]
mod tests;
mod trail;

use std::{
    fmt,
    io::{self, BufWriter, IsTerminal, Write},
    path::Path,
};

use anyhow::Context;

use self::{
    events::{EventLine, Totals},
    names::Names,
    report::{DamageFacts, Report, SnapshotFacts, Style, TailFacts},
    trail::Trail,
};
use super::{InspectOptions, complain, exit::ExitCode};
use crate::{
    clock,
    config::Config,
    engine::batch,
    journal::{
        Cause, Epoch, ReadError, RecoveryError, SnapshotError, SnapshotStore,
        files::{self, Damage, Scan, View, segment_id, snapshot_epoch},
    },
    sale::{
        audit::Broken,
        codec::{Malformed, Reader},
        event::Event,
    },
};

const JOURNAL: &str = "journal";

pub fn run(config: &Config, options: InspectOptions) -> anyhow::Result<ExitCode> {
    let stdout = io::stdout();
    let bold = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut out = BufWriter::new(stdout.lock());
    let code = inspect(&config.data.dir, options, Style { bold }, &mut out)?;
    out.flush()?;
    Ok(code)
}

fn inspect(data: &Path, options: InspectOptions, style: Style, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let directory = data.join(JOURNAL);
    let view = match View::open(&directory) {
        Ok(view) => view,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            complain(&format_args!("{} is not a data directory: it has no {JOURNAL} in it", data.display()));
            return Ok(ExitCode::BadConfig);
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", directory.display())),
    };
    let mut inspection = Inspection::open(data, view)?;
    if !options.json {
        inspection.report.write_files(out, style)?;
    }
    inspection.read_journal(options, style, out)?;
    let report = &inspection.report;
    match options {
        InspectOptions { json: false, .. } => report.write_findings(out, style)?,
        InspectOptions { events: true, .. } => {
            serde_json::to_writer(&mut *out, report).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        InspectOptions { .. } => {
            serde_json::to_writer_pretty(&mut *out, report).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    if !report.damage.is_empty() {
        return Ok(ExitCode::JournalDamaged);
    }
    if report.tail.last_epoch == 0 && report.snapshots.is_empty() {
        complain(&format_args!("{}: nothing was checked: the journal is empty", directory.display()));
        return Ok(ExitCode::CheckFailed);
    }
    Ok(ExitCode::Clean)
}

struct Inspection {
    view: View,
    report: Report,
    names: Names,
    trail: Trail,
    /// What the newest snapshot asks of the journal: to start at the first and to reach the last.
    snapshot: Option<(Epoch, Epoch)>,
}

/// Why reading the journal stopped at an event.
#[derive(Debug)]
enum Stop {
    Malformed(Malformed),
    Broken(Broken),
    Output(io::Error),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::Broken(broken) => write!(f, "the audit trail is broken: {broken}"),
            Self::Output(error) => error.fmt(f),
        }
    }
}

impl From<Malformed> for Stop {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl Inspection {
    /// Takes stock of the files, and reads the newest snapshot.
    fn open(data: &Path, view: View) -> anyhow::Result<Inspection> {
        let report = Report {
            data_directory: data.display().to_string(),
            snapshots: Vec::new(),
            segments: segments::survey(&view).context("cannot read the journal")?,
            snapshot_events: Totals::default(),
            journal_events: Totals::default(),
            audit: None,
            tail: TailFacts::default(),
            damage: Vec::new(),
        };
        let mut inspection =
            Inspection { view, report, names: Names::default(), trail: Trail::default(), snapshot: None };
        inspection.list_snapshots()?;
        if let Err(error) = inspection.read_snapshot() {
            inspection.note_snapshot_damage(error)?;
        }
        Ok(inspection)
    }

    fn list_snapshots(&mut self) -> anyhow::Result<()> {
        let view = self.view.clone();
        for (file, facts) in view.files().filter(|(name, _)| snapshot_epoch(name).is_some()) {
            let summary = match view.only(file).snapshots().newest() {
                Ok(reader) => reader.map(|reader| reader.summary()),
                // Of those that a start would use, `read_snapshot` tells the damage.
                Err(SnapshotError::Damaged(_)) => None,
                Err(error) => return Err(error.into()),
            };
            self.report.snapshots.push(SnapshotFacts {
                file: file.to_owned(),
                first_epoch: summary.map(|summary| summary.first_epoch),
                last_epoch: summary.map(|summary| summary.last_epoch),
                chunks: summary.map(|summary| summary.chunks),
                bytes: facts.bytes,
                written_at: clock::timestamp(facts.modified),
            });
        }
        Ok(())
    }

    fn read_snapshot(&mut self) -> anyhow::Result<()> {
        let Some(mut reader) = self.view.snapshots().newest()? else { return Ok(()) };
        let summary = reader.summary();
        self.snapshot = Some((summary.first_epoch, summary.last_epoch));
        while let Some(chunk) = reader.next_chunk()? {
            for_each_of_chunk(chunk, |event| {
                self.names.learn(&event);
                self.trail.learn_of_snapshot(&event);
                self.report.snapshot_events.count(&event);
            })?;
        }
        Ok(())
    }

    fn note_snapshot_damage(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        let damage = match error.downcast_ref::<SnapshotError>() {
            Some(SnapshotError::Damaged(cause)) => damage_facts(cause, &error),
            None if error.is::<Malformed>() => DamageFacts::somewhere(format_args!("the newest snapshot: {error}")),
            _ => return Err(error),
        };
        self.report.damage.push(damage);
        Ok(())
    }

    /// Reads all batches, tells their events where that is asked for, and judges the journal as a start would.
    fn read_journal(&mut self, options: InspectOptions, style: Style, out: &mut dyn Write) -> anyhow::Result<()> {
        let oldest = self.report.segments.iter().find_map(|segment| segment.first_epoch).unwrap_or(1);
        let (from, reaches) = match self.snapshot {
            // Segments from before the snapshot are there as long as the store needs them.
            Some((first, last)) => (first.min(oldest), last),
            // With an unreadable snapshot nothing is known of what the journal lacks.
            None => (if self.report.damage.is_empty() { 1 } else { oldest }, 0),
        };
        let last = self.report.segments.iter().rev().find_map(|segment| segment.last_epoch).unwrap_or(0);
        let epoch_width = last.to_string().len();
        if options.events && !options.json {
            style.heading(out, "events")?;
        }
        let Inspection { view, report, names, trail, .. } = self;
        let mut last_epoch = 0;
        let scanned = files::scan(view, from, reaches, |epoch, payload| {
            last_epoch = epoch;
            batch::for_each(payload, |lane, _, event| {
                names.learn(&event);
                report.journal_events.count(&event);
                if options.events {
                    let line = EventLine::new(epoch, lane, &event, names);
                    write_event(out, &line, options.json, epoch_width).map_err(Stop::Output)?;
                }
                trail.follow(&event).map_err(Stop::Broken)
            })
        });
        report.audit = trail.facts();
        report.tail.last_epoch = last_epoch;
        match scanned {
            Ok(scan) => self.note_tail(scan),
            Err(error) => self.note_journal_damage(error)?,
        }
        Ok(())
    }

    fn note_tail(&mut self, scan: Scan) {
        let name = |id: u64| {
            let segments = self.view.files().map(|(name, _)| name);
            segments.into_iter().find(|name| segment_id(name) == Some(id)).map(str::to_owned)
        };
        self.report.tail = TailFacts {
            last_epoch: scan.tail.last_epoch,
            file: scan.tail.position.and_then(|position| name(position.segment)),
            offset: scan.tail.position.map(|position| position.offset),
            sealed: scan.tail.sealed,
            torn: scan.torn.map(Into::into),
        };
    }

    fn note_journal_damage(&mut self, error: RecoveryError<Stop>) -> anyhow::Result<()> {
        let message = error.to_string();
        let damage = match error {
            RecoveryError::Refused { error: Stop::Output(error), .. } => return Err(error.into()),
            RecoveryError::Refused { .. } => DamageFacts::somewhere(message),
            RecoveryError::Read(ReadError::Damaged(cause)) => damage_facts(&cause, message),
            RecoveryError::Read(error) => return Err(error.into()),
        };
        self.report.damage.push(damage);
        Ok(())
    }
}

fn damage_facts(cause: &Cause, message: impl ToString) -> DamageFacts {
    match cause.downcast_ref::<Damage>() {
        Some(damage) => DamageFacts::at(damage, message),
        None => DamageFacts::somewhere(message),
    }
}

fn write_event(out: &mut dyn Write, line: &EventLine, json: bool, epoch_width: usize) -> io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, line).map_err(io::Error::from)?;
        writeln!(out)
    } else {
        writeln!(out, "{}", line.to_text(epoch_width))
    }
}

/// The events of a snapshot's chunk: parts of `part u16, epoch u64, place u32, length u32, events`.
fn for_each_of_chunk(chunk: &[u8], mut each: impl FnMut(Event<'_>)) -> Result<(), Malformed> {
    let mut parts = Reader::new(chunk);
    while !parts.is_empty() {
        let (_part, _epoch, _place) = (parts.u16()?, parts.u64()?, parts.u32()?);
        let length = parts.u32()? as usize;
        let mut events = Reader::new(parts.take(length)?);
        while let Some(event) = Event::decode(&mut events)? {
            each(event);
        }
    }
    Ok(())
}
