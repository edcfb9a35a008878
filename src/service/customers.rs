//! Records in the data directory how it identifies customers, so that nobody changes that by accident.

use std::{fs, io, path::Path};

use super::StartError;
use crate::{privacy::CustomerIds, replace::replace};

const FILE: &str = "customer-ids";

/// Refuses a directory that knows customers by something else. One that knows nothing yet learns it.
pub(super) fn keep(directory: &Path, ids: &CustomerIds) -> Result<(), StartError> {
    let refuse = |source| StartError::Directory { path: directory.to_owned(), source };
    let (file, configured) = (directory.join(FILE), ids.fingerprint());
    match fs::read_to_string(&file) {
        Ok(text) if text.trim() == configured => Ok(()),
        Ok(text) => Err(StartError::OtherCustomers { known: text.trim().to_owned(), configured, file }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            replace(&file, format!("{configured}\n").as_bytes()).map_err(refuse)
        }
        Err(error) => Err(refuse(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::CustomerKey;

    #[test]
    fn another_way_to_know_customers_is_refused_until_the_file_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let keyed = |byte| CustomerIds::Keyed(CustomerKey::of_bytes([byte; 32]));
        let keep = |ids: CustomerIds| keep(directory.path(), &ids);
        keep(CustomerIds::Plain).unwrap();
        keep(CustomerIds::Plain).unwrap();
        assert!(matches!(keep(keyed(1)), Err(StartError::OtherCustomers { known, .. }) if known == "plain"));
        fs::remove_file(directory.path().join(FILE)).unwrap();
        keep(keyed(1)).unwrap();
        keep(keyed(1)).unwrap();
        let told = keep(keyed(2)).unwrap_err().to_string();
        assert!(told.contains(&keyed(1).fingerprint()) && told.contains("customer-ids"), "{told}");
        assert!(keep(CustomerIds::Plain).is_err());
    }
}
