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
}

impl Place {
    pub(super) fn new(cursor: Cursor, parked_at: Option<Timestamp>) -> Self {
        Self { epoch: cursor.epoch, place: cursor.place, parked_at: parked_at.map(Timestamp::millis) }
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch, place: self.place }
    }

    pub(super) fn parked_at(&self) -> Option<Timestamp> {
        self.parked_at.map(Timestamp::from_millis)
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
    serde_json::from_str(&text).map_err(|error| {
        let told = format!(
            "it must say where each webhook continues, but cannot be read ({error}). Put it back from a backup, or delete it: \
             webhooks then begin with the events from now on"
        );
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
            ("a".to_owned(), Place::new(Cursor::at(7, 3), None)),
            ("b".to_owned(), Place::new(Cursor::behind(9), Some(Timestamp::from_millis(5)))),
        ]);
        write(directory.path(), &places).unwrap();
        let read_back = read(directory.path()).unwrap();
        assert_eq!(read_back, places);
        assert_eq!(
            (read_back["a"].cursor(), read_back["b"].parked_at()),
            (Cursor::at(7, 3), Some(Timestamp::from_millis(5)))
        );
        for damaged in ["", "{", "{\"a\":{\"epoch\":-1}}", "{\"a\":{\"epoch\":1,\"other\":2}}"] {
            fs::write(directory.path().join(FILE), damaged).unwrap();
            assert!(read(directory.path()).unwrap_err().to_string().contains("delete it"), "{damaged}");
        }
    }
}
