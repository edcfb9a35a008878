//! Deadlines: slots filed in buckets of a fixed width, O(1) per slot.
//!
//! Invariant: a slot is returned only after its deadline, at most one width later. A slot whose deadline moves is filed again
//! without removing the old entry, so the taker checks whether it is still due.

use std::collections::BTreeMap;

use super::time::Timestamp;

#[derive(Debug)]
pub struct Deadlines {
    width_millis: u64,
    due: BTreeMap<u64, Vec<u32>>,
}

impl Deadlines {
    pub fn new(width_millis: u64) -> Self {
        Self { width_millis, due: BTreeMap::new() }
    }

    pub fn file(&mut self, deadline: Timestamp, slot: u32) {
        self.due.entry(self.bucket(deadline)).or_default().push(slot);
    }

    /// A slot filed under a deadline that has passed, with the bucket it was filed in; None when there is none.
    pub fn take_due(&mut self, now: Timestamp) -> Option<(u64, u32)> {
        loop {
            let mut first = self.due.first_entry()?;
            let bucket = *first.key();
            // A bucket ends where the next begins; only then has every deadline in it passed.
            if (bucket + 1) * self.width_millis > now.millis() + 1 {
                return None;
            }
            match first.get_mut().pop() {
                Some(slot) => return Some((bucket, slot)),
                None => drop(first.remove()),
            }
        }
    }

    /// What is filed from one deadline's bucket up to another's, in order: buckets and slots.
    pub fn filed(&self, from: Timestamp, until: Timestamp) -> impl Iterator<Item = (u64, &[u32])> {
        let buckets = self.bucket(from)..=self.bucket(until).max(self.bucket(from));
        self.due.range(buckets).map(|(&bucket, slots)| (bucket, slots.as_slice()))
    }

    /// The first deadline of the bucket after this one.
    pub fn after(&self, bucket: u64) -> Timestamp {
        Timestamp::from_millis((bucket + 1) * self.width_millis)
    }

    /// The bucket that holds a deadline.
    pub fn bucket(&self, deadline: Timestamp) -> u64 {
        deadline.millis() / self.width_millis
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_early_and_nothing_is_late_by_more_than_a_width() {
        let mut deadlines = Deadlines::new(16);
        for millis in 0..200 {
            deadlines.file(Timestamp::from_millis(millis), millis as u32);
        }
        let mut taken = 0;
        for now in 0..300 {
            while let Some((_, slot)) = deadlines.take_due(Timestamp::from_millis(now)) {
                let slot = u64::from(slot);
                assert!(slot <= now && now < slot + 16, "{slot} at {now}");
                taken += 1;
            }
        }
        assert_eq!((taken, deadlines.due.len()), (200, 0));
    }
}
