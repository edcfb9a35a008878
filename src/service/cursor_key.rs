//! The data directory's key for cursors of the feed, so that cursors stay valid across restarts and backups.
//!
//! Anyone with the key can decode cursors, and so learn how many events are between two. It reveals nothing else, and anyone
//! who can read it can read the journal beside it. A directory that has lost its key gets a new one, and readers of the feed
//! must start again.

use std::{fs, io, path::Path};

use super::StartError;
use crate::{events::CursorKey, replace::replace};

const FILE: &str = "cursor-key";

/// The key in the directory's file `cursor-key`, made at the first start. The directory's lock must be held.
pub(super) fn of(directory: &Path) -> Result<CursorKey, StartError> {
    let path = directory.join(FILE);
    let refuse = |source| StartError::Directory { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) => match blake3::Hash::from_hex(text.trim()) {
            Ok(bytes) => Ok(CursorKey::of_bytes(bytes.into())),
            Err(_) => {
                let told = "it must hold the 64 hexadecimal digits of the key for the feed's cursors. Put it back \
                            from a backup, or delete it: the service then makes a new one, and readers of the feed \
                            must start again";
                Err(refuse(io::Error::new(io::ErrorKind::InvalidData, told)))
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(directory).map_err(refuse),
        Err(error) => Err(refuse(error)),
    }
}

/// Durable before a reader is given a cursor.
fn make(directory: &Path) -> io::Result<CursorKey> {
    let bytes: [u8; 32] = rand::random();
    replace(&directory.join(FILE), format!("{}\n", blake3::Hash::from(bytes).to_hex()).as_bytes())?;
    Ok(CursorKey::of_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Cursor;

    #[test]
    fn it_is_made_once_and_kept() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let text = |directory: &Path| of(directory).unwrap().of_view([]).write(Cursor::at(1, 0));
        assert_eq!(text(one.path()), text(one.path()));
        assert_ne!(text(one.path()), text(other.path()));
        let file = one.path().join(FILE);
        fs::write(file, "secret").unwrap();
        let told = of(one.path()).unwrap_err().to_string();
        assert!(told.contains("cursor-key") && told.contains("64 hexadecimal digits"), "{told}");
    }
}
