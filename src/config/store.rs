//! The section `store`: which database follows the journal, and how.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Config,
    allowed::{Allowed, integer, sqlite_path},
    sections::{GIB, KIB, Key, MIB, Section, Wrong, key},
};
use crate::store::{Password, PostgresSettings, PostgresUrl, WriteBehindSettings};

/// The SQL store, and how it follows the journal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Empty: `store.db` in the data directory; see `Config::store_target`.
    pub url: String,
    pub password: String,
    pub password_file: String,
    pub ca_file: String,
    pub connect_seconds: u64,
    pub statement_seconds: u64,
    pub window_events_max: u64,
    pub window_bytes_max: u64,
    pub linger_ms: u64,
    pub retry_ms_min: u64,
    pub retry_ms_max: u64,
    pub drain_windows_max: u32,
    pub drain_seconds: u64,
    /// In days; 0: for ever.
    pub keep_days: u64,
    pub after_keeping: AfterKeeping,
    pub keep_step_rows: u32,
}

/// What happens to rows after `keep_days`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AfterKeeping {
    /// They move to the archive tables.
    Archive,
    Delete,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: String::new(),
            password: String::new(),
            password_file: String::new(),
            ca_file: String::new(),
            connect_seconds: 5,
            statement_seconds: 60,
            window_events_max: 20_000,
            window_bytes_max: 8 * MIB,
            linger_ms: 100,
            retry_ms_min: 50,
            retry_ms_max: 5_000,
            drain_windows_max: 64,
            drain_seconds: 5,
            keep_days: 0,
            after_keeping: AfterKeeping::Archive,
            keep_step_rows: 500,
        }
    }
}

/// Without secrets.
impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Section for Store {
    const NAME: &'static str = "store";
    const KEYS: &'static [Key] = &[
        key("url", Allowed::StoreUrl),
        key("password", Allowed::Secret),
        key("password_file", Allowed::File),
        key("ca_file", Allowed::File),
        key("connect_seconds", integer(1, 600)),
        key("statement_seconds", integer(1, 3600)),
        key("window_events_max", integer(1, 10_000_000)),
        key("window_bytes_max", integer(64 * KIB, GIB)),
        key("linger_ms", integer(1, 60_000)),
        key("retry_ms_min", integer(1, 60_000)),
        key("retry_ms_max", integer(1, 3_600_000)),
        key("drain_windows_max", integer(0, 1_000_000)),
        key("drain_seconds", integer(1, 3600)),
        key("keep_days", integer(0, 36_500)),
        key("after_keeping", Allowed::OneOf(&["archive", "delete"])),
        key("keep_step_rows", integer(1, 100_000)),
    ];

    fn check_together(&self, wrong: &mut Vec<Wrong>) {
        if self.retry_ms_max < self.retry_ms_min {
            let allowed = format!("must be at least store.retry_ms_min, which is {}", self.retry_ms_min);
            wrong.push(Wrong::new("store.retry_ms_max", self.retry_ms_max, allowed));
        }
        if !self.password.is_empty() && !self.password_file.is_empty() {
            let allowed = "must be left out, because store.password is set; use one of the two";
            wrong.push(Wrong::new("store.password_file", "a file", allowed));
        }
    }
}

/// The database that follows the journal.
#[derive(Debug, Clone)]
pub enum StoreTarget {
    Sqlite(PathBuf),
    Postgres(Box<PostgresSettings>),
}

impl StoreTarget {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }
}

impl Config {
    /// The database that follows the journal.
    pub fn store_target(&self) -> StoreTarget {
        match PostgresUrl::parse(&self.store.url) {
            Ok(url) if !self.store.is_sqlite() => StoreTarget::Postgres(Box::new(self.store.postgres_settings(url))),
            _ => StoreTarget::Sqlite(self.store_path()),
        }
    }

    /// The file of the SQLite store.
    pub fn store_path(&self) -> PathBuf {
        sqlite_path(&self.store.url).map_or_else(|| self.data.dir.join("store.db"), PathBuf::from)
    }
}

impl Store {
    pub(super) fn is_sqlite(&self) -> bool {
        self.url.is_empty() || sqlite_path(&self.url).is_some()
    }

    fn postgres_settings(&self, url: PostgresUrl) -> PostgresSettings {
        let file = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        let given = (!self.password.is_empty()).then(|| Password::Given(self.password.clone()));
        PostgresSettings {
            url,
            password: file(&self.password_file).map(Password::File).or(given),
            ca_file: file(&self.ca_file),
            connect_time: Duration::from_secs(self.connect_seconds),
            statement_time: Duration::from_secs(self.statement_seconds),
            drain_time: self.drain_time(),
        }
    }

    /// How long the last transactions may take when the service stops.
    pub fn drain_time(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }

    pub fn write_behind_settings(&self) -> WriteBehindSettings {
        let Self {
            window_events_max, window_bytes_max, linger_ms, retry_ms_min, retry_ms_max, drain_windows_max, ..
        } = *self;
        WriteBehindSettings {
            window_events_max,
            window_bytes_max,
            linger_ms,
            retry_ms_min,
            retry_ms_max,
            drain_windows_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_layer() {
        assert_eq!(Store::default().write_behind_settings(), WriteBehindSettings::default());
    }

    #[test]
    fn the_store_is_in_the_data_directory_unless_it_is_told_to_be_elsewhere() {
        let mut config = Config::default();
        let file = |config: &Config| match config.store_target() {
            StoreTarget::Sqlite(path) => path,
            StoreTarget::Postgres(settings) => panic!("{settings:?}"),
        };
        assert_eq!(file(&config), PathBuf::from("./data/store.db"));
        config.store.url = "sqlite:///var/lib/sales.db".to_owned();
        assert_eq!(file(&config), PathBuf::from("/var/lib/sales.db"));
    }

    #[test]
    fn the_password_comes_from_file_or_key_and_is_never_shown() {
        let mut config = Config::default();
        config.store.url = "postgres://app@db/shop".to_owned();
        config.store.password = "secret".to_owned();
        assert!(!format!("{config:?}").contains("secret"));
        let StoreTarget::Postgres(settings) = config.store_target() else { panic!("PostgreSQL") };
        assert!(matches!(&settings.password, Some(Password::Given(text)) if text == "secret"));
        assert!(!format!("{settings:?}").contains("secret"));
        config.store.password_file = "/run/secrets/db".to_owned();
        let mut wrong = Vec::new();
        config.store.check_together(&mut wrong);
        assert_eq!(wrong[0].key, "store.password_file");
    }
}
