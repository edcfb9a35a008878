//! How many connections are open, in all and from each address.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use dashmap::{DashMap, mapref::entry::Entry};

/// The connections of all workers.
pub struct Connections {
    most: usize,
    most_per_address: usize,
    open: AtomicUsize,
    by_address: DashMap<IpAddr, usize>,
}

/// A connection's place; given back when it is dropped.
pub struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Connections {
    pub fn new(most: usize, most_per_address: usize) -> Arc<Self> {
        Arc::new(Self { most, most_per_address, open: AtomicUsize::new(0), by_address: DashMap::new() })
    }

    /// None past one of the limits.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
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
        Some(Place { connections: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
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
        let connections = Connections::new(3, 2);
        let [one, other, third] = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last]));
        let first = connections.take(one).unwrap();
        let _second = connections.take(one).unwrap();
        assert!(connections.take(one).is_none(), "two from one address");
        let _third = connections.take(other).unwrap();
        assert!(connections.take(third).is_none(), "three in all");
        drop(first);
        drop(connections.take(third).unwrap());
        assert!(connections.take(one).is_some());
        assert_eq!(connections.by_address.len(), 2, "an address that has gone is forgotten");
    }
}
