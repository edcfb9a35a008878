//! Configuration: a TOML file, overridden by the environment, overridden by the command line; read and checked as a
//! whole before anything starts.
//!
//! Invariant: a [`Config`] from [`Sources::load`] has passed every check, so running code can trust its values.
//!
//! `sections` holds the keys with their defaults and ranges; [`Allowed`] checks a value and words the error; [`Sources`] reads
//! and merges the sources; `runtime` converts values to the types of the layers below. `doorbuster.example.toml` explains every
//! key to operators, and a test compares it with the keys.

mod allowed;
mod error;
mod levels;
mod observing;
mod runtime;
mod sections;
mod show;
mod source;
mod store;
mod webhooks;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    allowed::Allowed,
    error::{ConfigError, ConfigErrors, Origin},
    levels::Levels,
    observing::{Log, LogFormat, Metrics, Ratio, Tracing},
    sections::{
        Ack, Auth, CustomerIds, Data, Engine, Journal, Key, Limits, Privacy, RateLimits, Secret, Section, Server,
        Snapshot, Tls, WorkerCores, Wrong,
    },
    source::{Flag, Sources},
    store::{AfterKeeping, Store, StoreTarget},
    webhooks::{Webhook, Webhooks},
};

/// Every setting, one field per section of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub auth: Auth,
    pub tls: Tls,
    pub data: Data,
    pub engine: Engine,
    pub journal: Journal,
    pub snapshot: Snapshot,
    pub store: Store,
    pub limits: Limits,
    pub rate_limits: RateLimits,
    pub privacy: Privacy,
    pub metrics: Metrics,
    pub tracing: Tracing,
    pub log: Log,
    pub webhooks: Webhooks,
}

const LOOPBACK_ONLY: &str = "must be a loopback address such as 127.0.0.1:8080 while no keys are configured: anyone \
                             who can reach this address could reserve and change stock. Make a key with `doorbuster \
                             keys new`, or set auth.required = true to refuse all callers";

/// A checked configuration, and the source of each value that is not a default.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// By key, such as `journal.ack`.
    pub origins: BTreeMap<String, Origin>,
}

/// A section's name and its keys.
type Keys = (&'static str, &'static [Key]);

const SECTIONS: [Keys; 15] = [
    keys::<Server>(),
    keys::<Auth>(),
    keys::<Tls>(),
    keys::<Data>(),
    keys::<Engine>(),
    keys::<Journal>(),
    keys::<Snapshot>(),
    keys::<Store>(),
    keys::<Limits>(),
    keys::<RateLimits>(),
    keys::<Privacy>(),
    keys::<Metrics>(),
    keys::<Tracing>(),
    keys::<Log>(),
    keys::<Webhooks>(),
];

const fn keys<S: Section>() -> Keys {
    (S::NAME, S::KEYS)
}

impl Config {
    /// Every error, section by section, then between sections; empty if the configuration is valid.
    pub fn check(&self) -> Vec<Wrong> {
        let Self {
            server,
            auth,
            tls,
            data,
            engine,
            journal,
            snapshot,
            store,
            limits,
            rate_limits,
            privacy,
            metrics,
            tracing,
            log,
            webhooks,
        } = self;
        let mut wrong = [
            server.check(),
            auth.check(),
            tls.check(),
            data.check(),
            engine.check(),
            journal.check(),
            snapshot.check(),
            store.check(),
            limits.check(),
            rate_limits.check(),
            privacy.check(),
            metrics.check(),
            tracing.check(),
            log.check(),
            webhooks.check(),
        ]
        .concat();
        if self.limits.items_per_sale_max as u64 > self.limits.items_max {
            let allowed = format!("must be at most limits.items_max, which is {}", self.limits.items_max);
            wrong.push(Wrong::new("limits.items_per_sale_max", self.limits.items_per_sale_max, allowed));
        }
        // Everything in memory must be in the store too, or `reconcile` could not compare them.
        let (keep, least) = (self.store.keep_days * 86_400, self.engine.retention_seconds + 3600);
        if keep > 0 && keep < least {
            let allowed =
                format!("must be 0 or at least {}, an hour more than engine.retention_seconds", least.div_ceil(86_400));
            wrong.push(Wrong::new("store.keep_days", self.store.keep_days, allowed));
        }
        wrong
    }

    /// What must hold when the service starts.
    pub fn check_start(&self) -> Option<Wrong> {
        let listen = self.server.listen;
        let open = !listen.ip().is_loopback() && !self.auth.asks_for_key();
        open.then(|| Wrong::new("server.listen", format!("\"{listen}\""), LOOPBACK_ONLY))
    }

    /// Settings that are allowed but may be a mistake: the service logs a warning for each at start.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let ops_listen = self.server.ops_listen;
        if !ops_listen.ip().is_loopback() {
            warnings.push(format!(
                "server.ops_listen is {ops_listen}: anyone who can reach that address can read metrics and probes"
            ));
        }
        if self.engine.retention_seconds < 86_400 {
            warnings.push(format!(
                "engine.retention_seconds is {}: idempotency keys are promised for at least 24 hours (86400)",
                self.engine.retention_seconds
            ));
        }
        if self.journal.ack == Ack::Buffered {
            warnings.push(format!(
                "journal.ack is \"buffered\": a crash may lose what was acknowledged in the last {} ms",
                self.journal.flush_ms
            ));
        }
        warnings.extend(self.without_effect());
        warnings
    }

    /// Values that somebody set but that have no effect, because of another key.
    fn without_effect(&self) -> Vec<String> {
        let Self { store, journal, tracing, .. } = self;
        let of_postgres = "the store is SQLite, because store.url is not a PostgreSQL URL";
        let no_collector = "tracing.otlp_endpoint is empty";
        let (sqlite, traces) = (store.is_sqlite(), !tracing.otlp_endpoint.is_empty());
        let durable = journal.ack == Ack::Durable;
        let mut lines: Vec<_> = [
            ("store.password", sqlite && !store.password.is_empty(), of_postgres),
            ("store.password_file", sqlite && !store.password_file.is_empty(), of_postgres),
            ("store.ca_file", sqlite && !store.ca_file.is_empty(), of_postgres),
            ("tracing.sample_ratio", !traces && tracing.sample_ratio.0 > 0.0, no_collector),
            (
                "journal.flush_ms",
                durable && journal.flush_ms != Journal::default().flush_ms,
                "journal.ack is \"durable\", which writes as fast as the disk can",
            ),
        ]
        .into_iter()
        .filter(|(_, is_idle, _)| *is_idle)
        .map(|(key, _, why)| format!("{key} has no effect: {why}"))
        .collect();
        if traces && tracing.sample_ratio.0 == 0.0 && tracing.caller_samples_per_second_max == 0 {
            lines.push(
                "tracing.otlp_endpoint has no effect: tracing.sample_ratio and tracing.caller_samples_per_second_max are 0, \
                 so nothing is traced"
                    .to_owned(),
            );
        }
        lines
    }
}
