//! A set of numbers that knows how many of them are smaller than a given one, in a few dozen steps.
//!
//! A tree of counts with 64 children each, whose nodes are kept by level: a number's node on a level is its higher bits. Numbers
//! that are near each other share nodes, so a million of them take a few bytes each.

use std::collections::BTreeMap;

const FANOUT_BITS: u32 = 6;

/// Above the leaves. The highest has all numbers below 2^42 in one node, and sums up its nodes from the first on.
const LEVELS: usize = 6;

#[derive(Debug, Default)]
pub(crate) struct Ranks {
    /// By the higher bits, which of the 64 numbers are in the set.
    leaves: BTreeMap<u64, u64>,
    /// Numbers in the set, by level and node.
    counts: [BTreeMap<u64, u64>; LEVELS],
    length: usize,
}

fn node(number: u64, level: usize) -> u64 {
    number >> (FANOUT_BITS * (level as u32 + 2))
}

fn leaf(number: u64) -> (u64, u64) {
    (number >> FANOUT_BITS, 1 << (number & ((1 << FANOUT_BITS) - 1)))
}

/// The first of a node's siblings.
fn first_sibling(node: u64) -> u64 {
    node >> FANOUT_BITS << FANOUT_BITS
}

impl Ranks {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Adds a number that is not there.
    pub(crate) fn insert(&mut self, number: u64) {
        let (leaf, bit) = leaf(number);
        let bits = self.leaves.entry(leaf).or_default();
        assert_eq!(*bits & bit, 0, "{number} is there already");
        *bits |= bit;
        for (level, counts) in self.counts.iter_mut().enumerate() {
            *counts.entry(node(number, level)).or_default() += 1;
        }
        self.length += 1;
    }

    /// Removes a number that is there.
    pub(crate) fn remove(&mut self, number: u64) {
        let (leaf, bit) = leaf(number);
        let bits = self.leaves.get_mut(&leaf).filter(|bits| **bits & bit != 0).expect("it is there");
        *bits &= !bit;
        if *bits == 0 {
            self.leaves.remove(&leaf);
        }
        for (level, counts) in self.counts.iter_mut().enumerate() {
            let node = node(number, level);
            let count = counts.get_mut(&node).expect("it is counted on every level");
            *count -= 1;
            if *count == 0 {
                counts.remove(&node);
            }
        }
        self.length -= 1;
    }

    /// How many are smaller.
    pub(crate) fn below(&self, number: u64) -> usize {
        let (leaf, bit) = leaf(number);
        let mut below = self.leaves.get(&leaf).map_or(0, |bits| u64::from((bits & (bit - 1)).count_ones()));
        below +=
            self.leaves.range(first_sibling(leaf)..leaf).map(|(_, bits)| u64::from(bits.count_ones())).sum::<u64>();
        for (level, counts) in self.counts.iter().enumerate() {
            let node = node(number, level);
            let first = if level + 1 == LEVELS { 0 } else { first_sibling(node) };
            below += counts.range(first..node).map(|(_, count)| count).sum::<u64>();
        }
        below as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranks_are_those_of_a_plain_set(
            near in prop::collection::vec(0_u64..400, 1..200),
            far in prop::collection::vec(any::<u64>(), 0..20),
            asked in any::<u64>(),
        ) {
            let (mut ranks, mut plain) = (Ranks::default(), BTreeSet::new());
            for number in near.into_iter().chain(far) {
                if plain.insert(number) {
                    ranks.insert(number);
                } else {
                    plain.remove(&number);
                    ranks.remove(number);
                }
                for asked in [number, number.wrapping_add(1), asked, 0, u64::MAX] {
                    prop_assert_eq!(ranks.below(asked), plain.range(..asked).count());
                }
                prop_assert_eq!(ranks.len(), plain.len());
            }
            for number in std::mem::take(&mut plain) {
                ranks.remove(number);
            }
            prop_assert!(ranks.leaves.is_empty() && ranks.counts.iter().all(BTreeMap::is_empty));
        }
    }
}
