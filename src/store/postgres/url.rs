//! Parses the database's URL: `postgres://user@host:port/database?sslmode=require`.

use std::{fmt, net::IpAddr, str::FromStr};

use tokio_postgres::config::{Config, Host, SslMode};

/// A URL that was understood. Shown without what must not be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    config: Config,
    /// Whether the connection is encrypted, and the server's certificate verified.
    tls: bool,
}

const MODES: &str = "use sslmode=require (the server's certificate is always verified) or sslmode=disable";

impl PostgresUrl {
    /// Says what is wrong with the text, and never shows a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let (mut tls, mut kept) = (None, Vec::new());
        for option in query.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("sslmode", "disable")) => tls = Some(false),
                Some(("sslmode", "require" | "verify-full")) => tls = Some(true),
                Some(("sslmode", mode)) => return Err(format!("sslmode={mode} is not supported: {MODES}")),
                Some(("sslrootcert", _)) => {
                    return Err("put the certificate authority into store.ca_file, not into sslrootcert".into());
                }
                _ => kept.push(option),
            }
        }
        let rest = if kept.is_empty() { place.to_owned() } else { format!("{place}?{}", kept.join("&")) };
        let mut config = Config::from_str(&rest).map_err(|error| with_sources(&error))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("it names no host".to_owned());
        }
        for (what, found) in [("user", config.get_user()), ("database", config.get_dbname())] {
            if found.is_none_or(str::is_empty) {
                return Err(format!("it names no {what}"));
            }
        }
        let tls = tls.unwrap_or_else(|| !is_here(&config));
        config.ssl_mode(if tls { SslMode::Require } else { SslMode::Disable });
        Ok(Self { config, tls })
    }

    pub(super) fn config(&self) -> Config {
        self.config.clone()
    }

    pub fn tls(&self) -> bool {
        self.tls
    }

    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }
}

/// Whether all hosts are this machine: nobody in between can listen.
fn is_here(config: &Config) -> bool {
    let named_here = |name: &str| name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let host_is_here = |host: &Host| match host {
        Host::Tcp(name) => named_here(name),
        Host::Unix(_) => true,
    };
    config.get_hosts().iter().all(host_is_here) && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

/// User, hosts with their ports, and database.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.config.get_ports();
        let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        let mut places: Vec<String> = Vec::new();
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            places.push(match host {
                Host::Tcp(name) if name.contains(':') => format!("[{name}]:{}", port(index)),
                Host::Tcp(name) => format!("{name}:{}", port(index)),
                Host::Unix(path) => format!("{}:{}", path.display(), port(index)),
            });
        }
        if places.is_empty() {
            places.extend(self.config.get_hostaddrs().iter().map(IpAddr::to_string));
        }
        let (user, database) = (self.config.get_user().unwrap_or(""), self.config.get_dbname().unwrap_or(""));
        write!(f, "postgres://{user}@{}/{database}", places.join(","))
    }
}

/// An error and what it came from, on one line.
pub(super) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        let shown = |text| PostgresUrl::parse(text).unwrap().to_string();
        assert_eq!(shown("postgres://app:secret@db.example:6432/shop"), "postgres://app@db.example:6432/shop");
        assert_eq!(shown("postgresql://app@[::1]/shop?password=secret"), "postgres://app@[::1]:5432/shop");
        assert_eq!(shown("postgres://app@a,b:5433/shop"), "postgres://app@a:5432,b:5433/shop");
        let socket = shown("postgres://app@%2Fvar%2Frun%2Fpostgresql/shop");
        assert_eq!(socket, "postgres://app@/var/run/postgresql:5432/shop");
        assert!(!format!("{:?}", PostgresUrl::parse("postgres://app:secret@db/shop")).contains("secret"));
    }

    #[test]
    fn other_machines_are_spoken_to_by_tls_unless_it_is_said_otherwise() {
        for (text, tls) in [
            ("postgres://app@localhost/shop", false),
            ("postgres://app@127.0.0.9/shop", false),
            ("postgres://app@[::1]/shop", false),
            ("postgres://app@%2Frun/shop", false),
            ("postgres://app@db/shop", true),
            ("postgres://app@localhost,db/shop", true),
            ("postgres://app@db/shop?sslmode=disable", false),
            ("postgres://app@localhost/shop?sslmode=require&application_name=x", true),
            ("postgres://app@localhost/shop?connect_timeout=3&sslmode=verify-full", true),
        ] {
            assert_eq!(PostgresUrl::parse(text).unwrap().tls(), tls, "{text}");
        }
    }

    #[test]
    fn what_is_missing_or_unknown_is_told() {
        for (text, told) in [
            ("postgres://app@/shop", "no host"),
            ("postgres://localhost/shop", "no user"),
            ("postgres://app@localhost", "no database"),
            ("postgres://app:secret@db/shop?sslmode=prefer", "sslmode=require"),
            ("postgres://app:secret@db/shop?sslrootcert=x", "store.ca_file"),
            ("postgres://app:secret@db/shop?frobnicate=1", "frobnicate"),
            ("postgres://app:secret@db:port/shop", "port"),
        ] {
            let error = PostgresUrl::parse(text).unwrap_err();
            assert!(error.contains(told) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
