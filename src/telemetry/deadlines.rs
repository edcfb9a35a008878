//! Metrics about deadlines: certificates that expire, and the age of the last backup.

use metrics::Gauge;

use super::{Maker, families};

pub struct Deadlines {
    make: Maker,
    backup_at: Gauge,
}

impl Deadlines {
    pub(super) fn new(make: &Maker) -> Self {
        Self { make: make.clone(), backup_at: make.gauge(&families::BACKUP_AT, &[]) }
    }

    /// `file`: the configuration's key for it. `expires_at`: seconds since 1970.
    pub fn certificate(&self, file: &str, expires_at: u64) {
        self.make.gauge(&families::CERTIFICATE_EXPIRY, &[file]).set(expires_at as f64);
    }

    /// When the last backup began, in seconds since 1970; 0 when there was none.
    pub fn backup(&self, at: f64) {
        self.backup_at.set(at);
    }
}
