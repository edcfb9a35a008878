//! Room for open files: every connection is one, and a process starts with few.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Standard streams, the lock, listeners and event loops of what is not a worker, segments, snapshots and the store: about
/// forty of them are open at rest.
const FILES_AT_REST: u64 = 128;

/// Of one worker: its socket, its event loop and its wakers.
const FILES_PER_WORKER: u64 = 8;

/// What became of the limit of open files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Enough,
    /// The soft limit is to be raised to this.
    Raise(Option<u64>),
    /// It is to be raised, and still is too low.
    Short {
        hard: u64,
    },
}

/// Raises the limit of open files where the configuration's connections need more than it allows. What to tell where it
/// stays too low: connections past it wait in the kernel instead of being answered.
pub fn make_room(config: &Config) -> Option<String> {
    let limit = getrlimit(Resource::Nofile);
    let needed = needed(config);
    let short = |hard: u64| {
        format!(
            "limits.connections_max = {} may need {needed} open files, and this process may open {hard}: raise its limit \
             (ulimit -Hn, LimitNOFILE of systemd, ulimits of a container) or lower limits.connections_max",
            config.limits.connections_max
        )
    };
    let (wanted, told) = match judge(needed, limit) {
        Room::Enough => return None,
        Room::Raise(to) => (to, None),
        Room::Short { hard } => (Some(hard), Some(short(hard))),
    };
    match setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: limit.maximum }) {
        Ok(()) => told,
        Err(error) => {
            let soft = limit.current.unwrap_or(u64::MAX);
            Some(format!("{}; the limit could not be raised: {error}", short(soft)))
        }
    }
}

/// Open files that this configuration may come to.
fn needed(config: &Config) -> u64 {
    let limits = &config.limits;
    let workers = config.workers() as u64;
    // A reader of events may have a segment open besides its connection.
    limits.connections_max as u64
        + limits.event_readers_max as u64
        + workers * FILES_PER_WORKER
        + limits.ops_connections_max as u64
        + limits.refused_connections_max as u64
        + FILES_AT_REST
}

/// None in a limit is no limit.
fn judge(needed: u64, limit: Rlimit) -> Room {
    match (limit.current, limit.maximum) {
        (None, _) => Room::Enough,
        (Some(soft), _) if soft >= needed => Room::Enough,
        (_, Some(hard)) if hard < needed => Room::Short { hard },
        (_, hard) => Room::Raise(hard),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one_and_no_further() {
        let limit = |current, maximum| Rlimit { current, maximum };
        let cases = [
            (limit(Some(100), Some(100)), Room::Enough),
            (limit(None, None), Room::Enough),
            (limit(Some(99), Some(100)), Room::Raise(Some(100))),
            (limit(Some(99), Some(4096)), Room::Raise(Some(4096))),
            (limit(Some(99), None), Room::Raise(None)),
            (limit(Some(99), Some(99)), Room::Short { hard: 99 }),
            (limit(Some(10), Some(99)), Room::Short { hard: 99 }),
        ];
        for (limit, room) in cases {
            assert_eq!(judge(100, limit), room, "{limit:?}");
        }
    }

    #[test]
    fn connections_and_readers_each_need_a_file() {
        let mut config = Config::default();
        config.server.workers = 2;
        let before = needed(&config);
        assert!(before > config.limits.connections_max as u64);
        config.limits.connections_max += 1000;
        config.limits.event_readers_max += 10;
        config.server.workers = 3;
        assert_eq!(needed(&config), before + 1010 + FILES_PER_WORKER);
    }
}
