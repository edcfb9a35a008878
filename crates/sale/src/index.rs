//! Finds slots by a hash: one table, one cache line per look-up.
//!
//! There are millions of entries, and a look-up of one that is not in the cache waits for memory. So a cell holds 32 bits of
//! the hash beside the slot, which is enough to skip the cells of other entries. A look-up reads the entry itself only if these
//! bits are equal, and a growing table reads only cells.
//!
//! Invariant: a cell is at the place of its hash or after it, and no cell between the two is empty. (Linear probing; the cells
//! after a removed one close the gap: Knuth, The Art of Computer Programming 3, 6.4, algorithm R.)

use prefetch_index::prefetch_index;

/// In the place of a slot: the cell is empty.
const EMPTY: u32 = u32::MAX;

/// Cells of the smallest table.
const CELLS_MIN: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Cell {
    tag: u32,
    slot: u32,
}

/// How far a walk over a table came that is changed meanwhile.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Walk {
    /// Cells of the table when the walk began; 0: it has not.
    cells: usize,
    /// The cell that it began behind, which was empty.
    start: usize,
    /// Cells behind it that were looked at.
    passed: usize,
}

/// What a portion of a walk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walked {
    /// The table has grown, or the walk had not begun: what was met before counts for nothing. There is more to look at.
    Restarted,
    More,
    Over,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    /// A power of two of them, or none. At least a quarter is empty.
    cells: Box<[Cell]>,
    length: usize,
}

impl Index {
    /// The slot under this hash that is the one asked for.
    pub(crate) fn find(&self, hash: u64, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.probe(hash, is_it).map(|place| self.cells[place].slot)
    }

    /// Puts a slot in that is not there. A hash's higher half is what it is found by.
    pub(crate) fn insert(&mut self, hash: u64, slot: u32) {
        assert_ne!(slot, EMPTY, "the last number is no slot");
        if (self.length + 1) * 4 > self.cells.len() * 3 {
            self.grow();
        }
        put(&mut self.cells, Cell { tag: tag(hash), slot });
        self.length += 1;
    }

    /// Takes a slot out.
    ///
    /// # Panics
    /// When it is not there.
    pub(crate) fn remove(&mut self, hash: u64, slot: u32) {
        let mut gap = self.probe(hash, |other| other == slot).expect("what is removed is in its table");
        let last = self.cells.len() - 1;
        let mut place = gap;
        loop {
            place = (place + 1) & last;
            let cell = self.cells[place];
            if cell.slot == EMPTY {
                break;
            }
            let (from_home, from_gap) = (place.wrapping_sub(cell.tag as usize) & last, place.wrapping_sub(gap) & last);
            if from_home >= from_gap {
                self.cells[gap] = cell;
                gap = place;
            }
        }
        self.cells[gap].slot = EMPTY;
        self.length -= 1;
    }

    /// All slots, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.cells.iter().map(|cell| cell.slot).filter(|&slot| slot != EMPTY)
    }

    /// The next portion of a walk, of `most` cells or a few more. A slot that is in the table from the walk's beginning to its end
    /// is met once, whatever is put in and taken out between two portions: a portion ends at an empty cell, and no cell ever
    /// moves over one that was empty, because it never moves past the place of its hash.
    pub(crate) fn walk(&self, walk: &mut Walk, most: usize, mut each: impl FnMut(u32)) -> Walked {
        let Some(last) = self.cells.len().checked_sub(1) else { return Walked::Over };
        if walk.cells != self.cells.len() {
            let start = self.cells.iter().position(|cell| cell.slot == EMPTY).expect("a quarter is empty");
            *walk = Walk { cells: self.cells.len(), start, passed: 0 };
            return Walked::Restarted;
        }
        let mut looked_at = 0;
        while walk.passed < last {
            walk.passed += 1;
            looked_at += 1;
            match self.cells[(walk.start + walk.passed) & last].slot {
                EMPTY if looked_at >= most => return Walked::More,
                EMPTY => {}
                slot => each(slot),
            }
        }
        Walked::Over
    }

    /// Has the processor fetch what a look-up of this hash will need, while it goes on with something else.
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(last) = self.cells.len().checked_sub(1) {
            prefetch_index(&self.cells, tag(hash) as usize & last);
        }
    }

    fn probe(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<usize> {
        let last = self.cells.len().checked_sub(1)?;
        let tag = tag(hash);
        let mut place = tag as usize & last;
        loop {
            let cell = self.cells[place];
            if cell.slot == EMPTY {
                return None;
            }
            if cell.tag == tag && is_it(cell.slot) {
                return Some(place);
            }
            place = (place + 1) & last;
        }
    }

    fn grow(&mut self) {
        let empty = Cell { tag: 0, slot: EMPTY };
        let mut cells = vec![empty; (self.cells.len() * 2).max(CELLS_MIN)].into_boxed_slice();
        self.cells.iter().filter(|cell| cell.slot != EMPTY).for_each(|&cell| put(&mut cells, cell));
        self.cells = cells;
    }
}

fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

fn put(cells: &mut [Cell], cell: Cell) {
    let last = cells.len() - 1;
    let mut place = cell.tag as usize & last;
    while cells[place].slot != EMPTY {
        place = (place + 1) & last;
    }
    cells[place] = cell;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_table_that_is_empty_has_nothing() {
        let index = Index::default();
        index.prefetch(7);
        assert_eq!((index.find(7, |_| true), index.iter().count()), (None, 0));
    }

    #[test]
    #[should_panic(expected = "what is removed is in its table")]
    fn what_is_not_there_is_not_removed() {
        let mut index = Index::default();
        index.insert(1 << 32, 1);
        index.remove(1 << 32, 2);
    }

    #[test]
    fn a_quarter_is_empty_whatever_comes() {
        let mut index = Index::default();
        for slot in 0..10_000 {
            index.insert(u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15), slot);
            assert!(index.length * 4 <= index.cells.len() * 3);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Hashes that meet, at the end of the table too, so that cells stand far from their places and around the end.
        #[test]
        fn it_holds_what_a_map_holds(steps in prop::collection::vec((any::<bool>(), 0_u32..24, 0_u64..6), 1..120)) {
            let mut index = Index::default();
            let mut plain: BTreeMap<u32, u64> = BTreeMap::new();
            for (put, slot, hash) in steps {
                let hash = [0, 1, 2, 0xffff_ffff, 0xffff_fffe, 3][hash as usize] << 32;
                match (put, plain.get(&slot)) {
                    (true, None) => {
                        index.insert(hash, slot);
                        plain.insert(slot, hash);
                    }
                    (false, Some(&hash)) => {
                        index.remove(hash, slot);
                        plain.remove(&slot);
                    }
                    _ => {}
                }
                for slot in 0..24 {
                    let at = plain.get(&slot).copied();
                    prop_assert_eq!(at.and_then(|hash| index.find(hash, |it| it == slot)), at.map(|_| slot));
                    if at.is_none() {
                        prop_assert_eq!(index.find(hash, |it| it == slot), None);
                    }
                }
                let mut slots: Vec<u32> = index.iter().collect();
                slots.sort_unstable();
                prop_assert_eq!(slots, plain.keys().copied().collect::<Vec<_>>());
            }
        }
    }
}
