//! Reads when certificates expire, and when the last backup was made.

use std::path::{Path, PathBuf};

use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_cert::{Certificate, der::Decode};

use crate::{backup, config::Config, telemetry::Telemetry};

/// What to look at. Files are read as they are now: the service takes over new ones within a second.
pub(super) struct Deadlines {
    data: PathBuf,
    /// The configuration's keys, and their files.
    certificates: Vec<(&'static str, PathBuf, Kind)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One certificate and those that lead to its authority: all of them are needed.
    Chain,
    /// Authorities: one of them is enough, and old ones may stay in the file.
    Authorities,
}

impl Deadlines {
    pub(super) fn new(config: &Config) -> Self {
        let certificates = [
            ("tls.certificate_file", &config.tls.certificate_file, Kind::Chain),
            ("tls.client_ca_file", &config.tls.client_ca_file, Kind::Authorities),
            ("store.ca_file", &config.store.ca_file, Kind::Authorities),
        ];
        let configured = certificates.into_iter().filter(|(_, file, _)| !file.is_empty());
        let certificates = configured.map(|(key, file, kind)| (key, PathBuf::from(file), kind)).collect();
        Self { data: config.data.dir.clone(), certificates }
    }

    /// A file that cannot be read leaves its metric as it was: the log says why when it is needed.
    pub(super) fn observe(&self, telemetry: &Telemetry) {
        for (key, file, kind) in &self.certificates {
            if let Some(expires_at) = expires_at(file, *kind) {
                telemetry.deadlines.certificate(key, expires_at);
            }
        }
        let last = backup::last(&self.data);
        telemetry.deadlines.backup(last.map_or(0.0, |at| at.millis() as f64 / 1000.0));
    }
}

/// In seconds since 1970.
fn expires_at(file: &Path, kind: Kind) -> Option<u64> {
    let certificates = CertificateDer::pem_file_iter(file).ok()?;
    let times = certificates.map(|der| {
        let certificate = Certificate::from_der(&der.ok()?).ok()?;
        Some(certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs())
    });
    let times: Vec<u64> = times.collect::<Option<_>>()?;
    match kind {
        Kind::Chain => times.into_iter().min(),
        Kind::Authorities => times.into_iter().max(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn certificate(year: i32) -> String {
        let mut params = rcgen::CertificateParams::new(vec!["doorbuster.test".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 2);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn a_chain_ends_with_its_first_certificate_and_authorities_with_their_last() {
        const YEAR_2031: u64 = 1_925_078_400;
        const YEAR_2041: u64 = 2_240_697_600;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pem");
        let at = |kind| expires_at(&file, kind);
        fs::write(&file, certificate(2031) + &certificate(2041)).unwrap();
        assert_eq!((at(Kind::Chain), at(Kind::Authorities)), (Some(YEAR_2031), Some(YEAR_2041)));
        for wrong in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            fs::write(&file, wrong).unwrap();
            assert_eq!((at(Kind::Chain), at(Kind::Authorities)), (None, None), "{wrong}");
        }
        fs::remove_file(&file).unwrap();
        assert_eq!(at(Kind::Chain), None);
    }
}
