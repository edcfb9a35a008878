//! The budget of open files: every connection is one, and the process has a limit.
//!
//! Invariant: the files of the durable path are reserved before the first connection, so journal, snapshots and store never
//! wait for a caller to disconnect. The rest bounds everything that callers can open: connections, readers of events (each may
//! have a segment open), probes.

use std::{fs, io};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, Limits, StoreTarget, Webhooks};

/// Open at rest, besides workers: the lock, the ops listener, its event loop and one connection that takes another's place, the
/// journal's directory and two segments, the three files of SQLite, and what the event loops share.
const FILES_AT_REST: u64 = 15;

/// Opened for a moment, all at once at worst: the journal's next segment and a list of its directory; a snapshot; what the
/// store reads and sorts; the files of a report; the configuration's file and those of TLS; what the kernel says of the
/// process.
const FILES_FOR_A_MOMENT: u64 = 17;

/// A store on PostgreSQL has an event loop, a socket and look-ups of names, which are more than the files of SQLite; so have
/// reports.
const FILES_OF_POSTGRES: u64 = 6;

/// The event loop of the thread that sends traces, its socket and look-ups of names.
const FILES_OF_TRACES: u64 = 8;

/// The event loop of the thread that sends to webhooks, and the file with where they are, while it is written.
const FILES_OF_WEBHOOKS: u64 = 5;

/// Of one webhook besides its connections: a segment that is read, and look-ups of names.
const FILES_PER_WEBHOOK: u64 = 5;

/// The event loops of the demo's shoppers.
const FILES_OF_DEMO: u64 = 20;

/// Of one worker: its socket, its event loop and its wakers, and a connection that it refuses.
const FILES_PER_WORKER: u64 = 6;

/// With fewer than these nothing can be served.
const CONNECTIONS_LEAST: u64 = 4;
const OPS_CONNECTIONS_LEAST: u64 = 4;

/// What the process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Serve,
    /// It connects to itself so many times: each of these connections has two ends here.
    Demo {
        connections: usize,
    },
}

/// The process may not open as many files as it needs to serve at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may open {limit} files, but with this configuration the service needs at least {least}, and one \
     more per connection: raise the limit (ulimit -Hn, LimitNOFILE of systemd, ulimits of a container)"
)]
pub struct TooFew {
    limit: u64,
    least: u64,
}

/// Raises the limit of open files where the configuration's connections need more than it allows. Where it stays too low, the
/// limits of connections are lowered in `config` to what it allows, and it is said what they are now.
pub fn make_room(config: &mut Config, purpose: Purpose) -> Result<Option<String>, TooFew> {
    let demand = Demand::of(config, purpose, open_files());
    let before = config.limits.clone();
    let raised = raise(demand.whole());
    let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < demand.whole()) else {
        return Ok(None);
    };
    demand.fit(limit, &mut config.limits)?;
    let Limits { connections_max, event_readers_max, ops_connections_max, .. } = config.limits;
    let why = raised.err().map(|error| format!(" (the limit could not be raised: {error})")).unwrap_or_default();
    Ok(Some(format!(
        "limits.connections_max = {} may need {} open files, but this process may open {limit}{why}: the service \
         serves {connections_max} connections at a time, {event_readers_max} of them readers of events, and \
         {ops_connections_max} of probes, and answers the rest with 503. Raise the limit (ulimit -Hn, LimitNOFILE of \
         systemd, ulimits of a container) or lower limits.connections_max",
        before.connections_max,
        demand.whole(),
    )))
}

/// Files that are open now: what whoever started this process left open counts as well.
fn open_files() -> u64 {
    // One of them is the directory that is being read. Where the kernel does not tell: the standard streams and some more.
    fs::read_dir("/proc/self/fd").map_or(8, |files| files.count() as u64 - 1)
}

/// Raises the soft limit to the hard one where it is lower than needed.
fn raise(needed: u64) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|soft| soft >= needed) || limit.current == limit.maximum {
        return Ok(());
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

/// Files that a configuration may come to.
#[derive(Debug, Clone, Copy)]
struct Demand {
    /// The service's own.
    own: u64,
    workers: u64,
    connections: u64,
    /// Connections past the limits, while they are answered.
    refused: u64,
    event_readers: u64,
    ops_connections: u64,
    /// The other ends of connections that are in this process, too.
    clients: u64,
}

impl Demand {
    fn of(config: &Config, purpose: Purpose, open: u64) -> Self {
        let limits = &config.limits;
        let (clients, of_demo) = match purpose {
            Purpose::Serve => (0, 0),
            Purpose::Demo { connections } => (connections as u64, FILES_OF_DEMO),
        };
        let of_store = if matches!(config.store_target(), StoreTarget::Postgres(_)) { FILES_OF_POSTGRES } else { 0 };
        let of_traces = if config.tracing.settings().is_some() { FILES_OF_TRACES } else { 0 };
        let of_webhooks = webhooks(&config.webhooks);
        let workers = config.workers() as u64;
        let of_workers = workers * FILES_PER_WORKER;
        let connections = limits.connections_max as u64;
        Self {
            own: open + FILES_AT_REST + FILES_FOR_A_MOMENT + of_workers + of_store + of_traces + of_webhooks + of_demo,
            workers,
            connections,
            // Each worker has its share, rounded up.
            refused: (limits.refused_connections_max as u64).next_multiple_of(workers),
            event_readers: (limits.event_readers_max as u64).min(connections),
            ops_connections: limits.ops_connections_max as u64,
            clients: clients.min(connections),
        }
    }

    fn whole(&self) -> u64 {
        self.own + self.connections + self.refused + self.event_readers + self.ops_connections + self.clients
    }

    /// Divides what a limit leaves behind the service's own.
    fn fit(&self, limit: u64, limits: &mut Limits) -> Result<(), TooFew> {
        let ends = if self.clients > 0 { 2 } else { 1 };
        let least =
            self.own + OPS_CONNECTIONS_LEAST + 1 + self.workers + CONNECTIONS_LEAST.min(self.connections) * ends;
        let left = limit.checked_sub(self.own).filter(|_| limit >= least).ok_or(TooFew { limit, least })?;
        let share = (left / 8).max(1);
        let ops_connections = self.ops_connections.min(share.max(OPS_CONNECTIONS_LEAST));
        let event_readers = self.event_readers.min(share);
        let refused = self.refused.min((share / 2 / self.workers).max(1) * self.workers);
        let left = left - ops_connections - event_readers - refused;
        // Both ends of a client's connection, as long as there may be more clients.
        let connections = self.connections.min((left / ends).max(left.saturating_sub(self.clients)));
        let narrow = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        limits.connections_max = narrow(connections);
        limits.refused_connections_max = narrow(refused);
        limits.event_readers_max = narrow(event_readers);
        limits.ops_connections_max = narrow(ops_connections);
        Ok(())
    }
}

/// Files of webhooks.
fn webhooks(webhooks: &Webhooks) -> u64 {
    let each = webhooks.0.values().map(|webhook| webhook.deliveries_max as u64 + FILES_PER_WEBHOOK);
    if webhooks.0.is_empty() { 0 } else { each.sum::<u64>() + FILES_OF_WEBHOOKS }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(config: &Config, purpose: Purpose) -> Demand {
        Demand::of(config, purpose, 5)
    }

    fn config() -> Config {
        let mut config = Config::default();
        config.server.workers = 2;
        config
    }

    #[test]
    fn whatever_the_limit_all_that_may_be_opened_stays_within_it() {
        for purpose in [Purpose::Serve, Purpose::Demo { connections: 136 }] {
            for limit in (1..5000).chain([20_000, 1_000_000]) {
                let mut config = config();
                let before = demand(&config, purpose);
                if before.whole() <= limit {
                    continue;
                }
                match before.fit(limit, &mut config.limits) {
                    Ok(()) => {
                        let after = demand(&config, purpose);
                        assert!(after.whole() <= limit, "{limit}: {after:?}");
                        assert!(
                            after.connections >= CONNECTIONS_LEAST && after.event_readers >= 1,
                            "{limit}: {after:?}"
                        );
                        assert!(config.check().is_empty(), "{limit}: {after:?}");
                    }
                    Err(TooFew { least, .. }) => {
                        assert!(limit < least);
                        assert_eq!(before.fit(least, &mut config.limits), Ok(()), "what is named is enough");
                    }
                }
            }
        }
    }

    #[test]
    fn a_small_limit_serves() {
        for (limit, connections) in [(64, 8), (128, 50), (256, 140), (4096, 3000)] {
            let mut config = config();
            demand(&config, Purpose::Serve).fit(limit, &mut config.limits).unwrap();
            assert!(config.limits.connections_max >= connections, "{limit}: {:?}", config.limits.connections_max);
        }
    }

    #[test]
    fn what_is_configured_counts() {
        let before = demand(&config(), Purpose::Serve).whole();
        let mut more = config();
        more.limits.connections_max += 1000;
        more.limits.event_readers_max += 10;
        more.server.workers = 4;
        more.store.url = "postgres://app@localhost/shop".to_owned();
        more.tracing.otlp_endpoint = "http://127.0.0.1:4318".to_owned();
        let further = 1010 + 2 * FILES_PER_WORKER + FILES_OF_POSTGRES + FILES_OF_TRACES;
        assert_eq!(demand(&more, Purpose::Serve).whole(), before + further);
    }
}
