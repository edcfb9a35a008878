//! The file in the data directory that says where each endpoint is.
//!
//! Invariant: a position in the file is behind an event only if the event was delivered.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{engine::Epoch, events::Cursor, replace::replace, sale::time::Timestamp};

/// Its name in the data directory.
pub const FILE: &str = "webhooks.json";

/// Where an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    epoch: Epoch,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<u32>,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parked_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skipped_at: Option<u64>,
}

impl Place {
    pub(super) fn new(cursor: Cursor) -> Self {
        Self { epoch: cursor.epoch, place: cursor.place, parked_at: None, skipped_at: None }
    }

    /// When the endpoint was parked, if it is, and when it last missed events.
    pub(super) fn with_times(self, parked_at: Option<Timestamp>, skipped_at: Option<Timestamp>) -> Self {
        let [parked_at, skipped_at] = [parked_at, skipped_at].map(|at| at.map(Timestamp::millis));
        Self { parked_at, skipped_at, ..self }
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch, place: self.place }
    }

    pub(super) fn parked_at(&self) -> Option<Timestamp> {
        self.parked_at.map(Timestamp::from_millis)
    }

    pub(super) fn skipped_at(&self) -> Option<Timestamp> {
        self.skipped_at.map(Timestamp::from_millis)
    }
}

/// Places by the endpoints' names.
pub(super) type Places = BTreeMap<String, Place>;

/// None where there never was one.
pub(super) fn read(directory: &Path) -> io::Result<Places> {
    let text = match fs::read_to_string(directory.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Places::new()),
        Err(error) => return Err(error),
    };
    // Where the text is damaged helps nobody.
    serde_json::from_str(&text).map_err(|_| {
        let told = "the file is damaged. It says where each webhook continues: restore it from a backup, or delete it, and webhooks \
                    continue with the events that happen from now on";
        io::Error::new(io::ErrorKind::InvalidData, told)
    })
}

/// Durable when it returns.
pub(super) fn write(directory: &Path, places: &Places) -> io::Result<()> {
    let text = serde_json::to_string_pretty(places).expect("places are plain data");
    replace(&directory.join(FILE), format!("{text}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_kept_and_damage_is_told() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path()).unwrap().is_empty());
        let places = Places::from([
            ("a".to_owned(), Place::new(Cursor::at(7, 3))),
            (
                "b".to_owned(),
                Place::new(Cursor::behind(9))
                    .with_times(Some(Timestamp::from_millis(5)), Some(Timestamp::from_millis(6))),
            ),
        ]);
        write(directory.path(), &places).unwrap();
        let read_back = read(directory.path()).unwrap();
        assert_eq!(read_back, places);
        assert_eq!((read_back["a"].cursor(), read_back["a"].parked_at()), (Cursor::at(7, 3), None));
        let [parked, skipped] = [read_back["b"].parked_at(), read_back["b"].skipped_at()];
        assert_eq!((parked, skipped), (Some(Timestamp::from_millis(5)), Some(Timestamp::from_millis(6))));
        for damaged in ["", "{", "{\"a\":{\"epoch\":-1}}", "{\"a\":{\"epoch\":1,\"other\":2}}"] {
            fs::write(directory.path().join(FILE), damaged).unwrap();
            let told = read(directory.path()).unwrap_err().to_string();
            assert!(told.contains("delete it") && !told.contains("line"), "{damaged}: {told}");
        }
    }
}
