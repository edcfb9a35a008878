//! Numbered slots for values, in chunks: growing never moves existing values, so no insert pays for all others.

use prefetch_index::prefetch_index;

/// A chunk's size: an allocator's classes are near it, so that little is left over.
const CHUNK_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    length: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), length: 0 }
    }
}

impl<T> Slab<T> {
    const CHUNK: usize = CHUNK_BYTES / size_of::<Option<T>>();

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.length += 1;
        if let Some(slot) = self.free.pop() {
            self.chunks[slot as usize / Self::CHUNK][slot as usize % Self::CHUNK] = Some(value);
            return slot;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == Self::CHUNK) {
            self.chunks.push(Vec::with_capacity(Self::CHUNK));
        }
        let chunk = self.chunks.last_mut().expect("just made");
        chunk.push(Some(value));
        let slot = (self.chunks.len() - 1) * Self::CHUNK + self.chunks.last().expect("just made").len() - 1;
        u32::try_from(slot).expect("a shard holds fewer than 2^32 values")
    }

    /// Has the processor fetch the place of the next value.
    pub(crate) fn prefetch_insert(&self) {
        match (self.free.last(), self.chunks.last()) {
            (Some(&slot), _) => prefetch_index(&self.chunks[slot as usize / Self::CHUNK], slot as usize % Self::CHUNK),
            (None, Some(chunk)) => prefetch_index(chunk, chunk.len()),
            (None, None) => {}
        }
    }

    pub(crate) fn remove(&mut self, slot: u32) -> T {
        let value =
            self.chunks[slot as usize / Self::CHUNK][slot as usize % Self::CHUNK].take().expect("a slot in use");
        self.free.push(slot);
        self.length -= 1;
        value
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.chunks.get(slot as usize / Self::CHUNK)?.get(slot as usize % Self::CHUNK)?.as_ref()
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, slot: u32) -> &T {
        self.get(slot).expect("a slot in use")
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        self.chunks[slot as usize / Self::CHUNK][slot as usize % Self::CHUNK].as_mut().expect("a slot in use")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_stable_and_used_again() {
        let mut slab = Slab::default();
        let slots: Vec<u32> = (0..30_000).map(|value| slab.insert(value)).collect();
        assert!(slots.iter().enumerate().all(|(value, &slot)| slab[slot] == value));
        assert_eq!(slab.remove(slots[15_000]), 15_000);
        assert_eq!((slab.len(), slab.get(slots[15_000])), (29_999, None));
        assert_eq!(slab.insert(7), slots[15_000]);
        assert_eq!(slab.len(), 30_000);
    }
}
