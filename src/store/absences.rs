//! Records what the store of a data directory may lack.
//!
//! The record is in the data directory's file `store-gaps.json` and not in the store, so that nobody with write access to the
//! store can excuse missing rows. Invariant: the file is durable before the transaction that deletes rows commits, so every
//! deleted row is recorded.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    audit::{AuditGap, Link},
    error::StoreError,
};
use crate::{
    replace::replace,
    sale::{audit::Head, time::Timestamp},
};

/// The file's name in the data directory.
pub const ABSENCES_FILE: &str = "store-gaps.json";

/// What may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Absences {
    /// Reservations that ended before this moment.
    pub kept_from: Option<Timestamp>,
    /// Records of the audit trail, in order.
    pub audit_gaps: Vec<AuditGap>,
}

/// Where it is written down.
#[derive(Debug, Clone)]
pub struct AbsencesFile(PathBuf);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    kept_from: Option<String>,
    audit_gaps: Vec<Gap>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gap {
    after: u64,
    through: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_row: Option<String>,
}

impl Absences {
    /// Everything of the trail up to `head` may be absent; gaps within that are part of it.
    pub fn begin_behind(&mut self, head: &Head) {
        self.audit_gaps.retain(|gap| gap.through > head.sequence);
        self.audit_gaps.insert(0, AuditGap::up_to(head));
    }
}

impl AbsencesFile {
    pub fn of(data_directory: &Path) -> Self {
        Self(data_directory.join(ABSENCES_FILE))
    }

    /// Nothing may be absent where there is no file.
    pub fn read(&self) -> Result<Absences, StoreError> {
        let bytes = match fs::read(&self.0) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Absences::default()),
            Err(error) => return Err(self.failed(error)),
        };
        let invalid = || {
            self.failed(io::Error::new(
                io::ErrorKind::InvalidData,
                "its contents are not in the format that this program writes",
            ))
        };
        let document: Document = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
        let hash = |text: &String| blake3::Hash::from_hex(text).ok();
        let gap = |gap: &Gap| {
            let link = match (&gap.hash, &gap.next_row) {
                (Some(of_last), None) => Link::Hash(hash(of_last)?),
                (None, Some(of_next)) => Link::NextRow(hash(of_next)?),
                _ => return None,
            };
            Some(AuditGap { after: gap.after, through: gap.through, link })
        };
        let kept_from = document.kept_from.map(|text| Timestamp::parse(&text).ok_or_else(invalid)).transpose()?;
        let audit_gaps: Option<Vec<AuditGap>> = document.audit_gaps.iter().map(gap).collect();
        Ok(Absences { kept_from, audit_gaps: audit_gaps.ok_or_else(invalid)? })
    }

    /// Durable, whole or not at all.
    pub fn write(&self, absences: &Absences) -> Result<(), StoreError> {
        let gap = |gap: &AuditGap| {
            let text = |hash: blake3::Hash| Some(hash.to_hex().to_string());
            let (hash, next_row) = match gap.link {
                Link::Hash(hash) => (text(hash), None),
                Link::NextRow(print) => (None, text(print)),
            };
            Gap { after: gap.after, through: gap.through, hash, next_row }
        };
        let document = Document {
            kept_from: absences.kept_from.map(|at| at.to_string()),
            audit_gaps: absences.audit_gaps.iter().map(gap).collect(),
        };
        let text = serde_json::to_string_pretty(&document).expect("times and numbers are JSON") + "\n";
        replace(&self.0, text.as_bytes()).map_err(|error| self.failed(error))
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::Absences { path: self.0.display().to_string(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = AbsencesFile::of(directory.path());
        assert_eq!(file.read().unwrap(), Absences::default());
        let (one, other) = (blake3::hash(b"1"), blake3::hash(b"2"));
        let mut absences = Absences {
            kept_from: Some(Timestamp::from_millis(1_795_766_400_000)),
            audit_gaps: vec![
                AuditGap { after: 2, through: 7, link: Link::Hash(one) },
                AuditGap { after: 9, through: 12, link: Link::NextRow(other) },
            ],
        };
        file.write(&absences).unwrap();
        assert_eq!(file.read().unwrap(), absences);
        absences.begin_behind(&Head { sequence: 8, hash: other });
        assert_eq!(
            absences.audit_gaps.iter().map(|gap| (gap.after, gap.through)).collect::<Vec<_>>(),
            [(0, 8), (9, 12)]
        );
        fs::write(directory.path().join(ABSENCES_FILE), "{}").unwrap();
        assert!(file.read().unwrap_err().to_string().contains(ABSENCES_FILE));
    }
}
