//! Pins each worker to a core.
//!
//! A worker's memory is in the cache of its core. Without pinning, a kernel that balances load by time and weight may put two
//! workers on one core, while the store's thread, which should get only what they leave, has another core to itself.

use rustix::thread::{CpuSet, sched_getaffinity};

use crate::config::{Config, WorkerCores};

/// A core for each worker; None where they are not to keep to any.
pub(super) fn of_workers(config: &Config) -> Option<Vec<usize>> {
    let allowed = sched_getaffinity(None).ok()?;
    let allowed = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    match config.server.worker_cores {
        WorkerCores::Own => one_each(config.workers(), allowed),
        WorkerCores::Any => None,
    }
}

/// The cores that may be used, if there is one for each worker and none is left over: with more of them than workers, the
/// kernel knows better which are free.
fn one_each(workers: usize, allowed: Vec<usize>) -> Option<Vec<usize>> {
    (allowed.len() == workers).then_some(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_workers_as_cores_have_one_each() {
        assert_eq!(one_each(2, vec![4, 7]), Some(vec![4, 7]));
        assert_eq!(one_each(1, vec![4, 7]), None);
        assert_eq!(one_each(3, vec![4, 7]), None);
    }

    #[test]
    fn workers_are_left_free_where_that_was_chosen() {
        let mut config = Config::default();
        let cores = of_workers(&config).map(|cores| cores.len());
        assert!(cores.is_none_or(|cores| cores == config.workers()));
        config.server.worker_cores = WorkerCores::Any;
        assert_eq!(of_workers(&config), None);
    }
}
