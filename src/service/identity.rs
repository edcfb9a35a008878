//! The data directory's id, which its store records, so that no other directory writes to that store.

use std::{fs, io, path::Path};

use uuid::Uuid;

use super::StartError;
use crate::replace::replace;

const FILE: &str = "identity";

/// The id in the directory's file `identity`, made at the first start. The directory's lock must be held.
pub fn of(directory: &Path) -> Result<Uuid, StartError> {
    let path = directory.join(FILE);
    let refuse = |source| StartError::Directory { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) => Uuid::try_parse(text.trim()).map_err(|error| {
            let told = format!("it must hold the id by which the store knows this directory, but does not: {error}");
            refuse(io::Error::new(io::ErrorKind::InvalidData, told))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(directory).map_err(refuse),
        Err(error) => Err(refuse(error)),
    }
}

/// Durable before a store may learn it.
fn make(directory: &Path) -> io::Result<Uuid> {
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    replace(&directory.join(FILE), format!("{id}\n").as_bytes())?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_kept() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = of(one.path()).unwrap();
        assert_eq!(of(one.path()).unwrap(), id);
        assert_ne!(of(other.path()).unwrap(), id);
        fs::write(one.path().join(FILE), "somebody").unwrap();
        let told = of(one.path()).unwrap_err().to_string();
        assert!(told.contains("identity") && told.contains("id by which the store knows"), "{told}");
    }
}
