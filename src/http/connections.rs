//! Counts of open connections: in total, per address, and per worker.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crossbeam::utils::CachePadded;
use dashmap::{DashMap, mapref::entry::Entry};

/// The connections of all workers.
pub(super) struct Connections {
    most: usize,
    most_per_address: usize,
    open: AtomicUsize,
    by_address: DashMap<IpAddr, usize>,
    by_worker: Box<[CachePadded<AtomicUsize>]>,
}

/// A connection's place; freed when dropped.
pub(super) struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
    worker: usize,
}

impl Connections {
    pub(super) fn new(most: usize, most_per_address: usize, workers: usize) -> Arc<Self> {
        let by_worker = (0..workers).map(|_| CachePadded::default()).collect();
        Arc::new(Self { most, most_per_address, open: AtomicUsize::new(0), by_address: DashMap::new(), by_worker })
    }

    /// Places a connection that this worker accepted: there, or on a worker with fewer connections. The kernel spreads
    /// connections at random, and a few busy ones, with batches or HTTP/2, may all come to one worker while others idle. None
    /// past one of the limits.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr, accepted_by: usize) -> Option<Place> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let mut of_address = self.by_address.entry(address).or_default();
        if *of_address >= self.most_per_address {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        *of_address += 1;
        let least = (0..self.by_worker.len()).min_by_key(|&worker| (self.open_on(worker), worker != accepted_by));
        let worker = least.expect("there is a worker");
        self.by_worker[worker].fetch_add(1, Ordering::Relaxed);
        Some(Place { connections: self.clone(), address, worker })
    }

    /// Connections of a worker.
    pub(super) fn open_on(&self, worker: usize) -> usize {
        self.by_worker[worker].load(Ordering::Relaxed)
    }
}

impl Place {
    /// The worker that serves the connection.
    pub(super) fn worker(&self) -> usize {
        self.worker
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
        self.connections.by_worker[self.worker].fetch_sub(1, Ordering::Relaxed);
        if let Entry::Occupied(mut entry) = self.connections.by_address.entry(self.address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_for_each_address_and_come_back() {
        let connections = Connections::new(3, 2, 1);
        let [one, other, third] = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last]));
        let first = connections.take(one, 0).unwrap();
        let _second = connections.take(one, 0).unwrap();
        assert!(connections.take(one, 0).is_none(), "two from one address");
        let _third = connections.take(other, 0).unwrap();
        assert!(connections.take(third, 0).is_none(), "three in all");
        drop(first);
        drop(connections.take(third, 0).unwrap());
        assert!(connections.take(one, 0).is_some());
        assert_eq!(connections.by_address.len(), 2, "an address that has gone is forgotten");
    }

    #[test]
    fn whoever_accepts_them_no_worker_has_two_more_than_another() {
        let connections = Connections::new(100, 100, 3);
        let one = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(connections.take(one, 2).unwrap().worker(), 2, "where it was accepted, if no other has fewer");
        let mut places: Vec<Place> = (0..30).map(|_| connections.take(one, 1).unwrap()).collect();
        assert_eq!([0, 1, 2].map(|worker| connections.open_on(worker)), [10, 10, 10]);
        places.retain(|place| place.worker() != 0);
        let again: Vec<Place> = (0..10).map(|_| connections.take(one, 1).unwrap()).collect();
        assert!(again.iter().all(|place| place.worker() == 0));
    }
}
