//! A storage in memory with fault injection and power loss, for tests inside and outside this crate.
//!
//! Like a real disk behind a page cache, each file has durable and cached contents. Readers see the cached contents; a sync
//! copies writes into the durable ones; [`MemoryStorage::crash`] returns what a machine finds after a power loss. A process
//! kill needs no call: continue with the same storage. A failed sync drops what it should have synced, as Linux does: it stays
//! readable, but no later sync makes it durable.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::storage::{Storage, StorageFile};

/// "No space left on device", for [`MemoryStorage::fail_write`] and its like.
pub const ENOSPC: i32 = 28;
/// "Input/output error".
pub const EIO: i32 = 5;

/// What a power loss leaves of the writes that were not synced.
#[derive(Clone, Copy, Debug)]
pub enum Survival {
    Nothing,
    Everything,
    /// So many bytes of them, in the order they were written.
    Prefix(u64),
    /// Each sector that they touched, or not, as the seed decides. A sector is whole, old or new.
    Sectors {
        seed: u64,
        sector_bytes: usize,
    },
}

/// A storage in memory. Clones are the same storage.
#[derive(Clone, Default)]
pub struct MemoryStorage {
    disk: Arc<Disk>,
}

#[derive(Default)]
struct Disk {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Arc<Mutex<Content>>>,
    write_bytes_max: Option<usize>,
    failing_write: Countdown,
    failing_sync: Countdown,
    failing_create: Countdown,
    /// Changes that are still carried out; then the device is gone.
    changes_left: Option<u64>,
    syncs_held: bool,
    syncs: u64,
}

#[derive(Clone, Default)]
struct Content {
    durable: Vec<u8>,
    cached: Vec<u8>,
    unsynced: Vec<Write>,
}

#[derive(Clone)]
struct Write {
    offset: u64,
    bytes: Vec<u8>,
    /// A sync that should have made it durable failed.
    forgotten: bool,
}

/// An error due at the nth call from now.
#[derive(Default)]
struct Countdown(Option<(u64, i32)>);

impl Countdown {
    fn check(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Some((1, error)) => {
                let error = io::Error::from_raw_os_error(*error);
                self.0 = None;
                Err(error)
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl MemoryStorage {
    pub fn new() -> MemoryStorage {
        MemoryStorage::default()
    }

    /// The storage as the machine finds it after a power loss now. Faults do not carry over.
    pub fn crash(&self, survival: Survival) -> MemoryStorage {
        let state = self.disk.state.lock();
        let mut chance = Chance(if let Survival::Sectors { seed, .. } = survival { seed } else { 0 });
        let mut budget = if let Survival::Prefix(bytes) = survival { bytes } else { 0 };
        let mut survive = |content: &Content| match survival {
            Survival::Nothing => content.durable.clone(),
            Survival::Everything => content.cached.clone(),
            Survival::Prefix(_) => content.with_prefix(&mut budget),
            Survival::Sectors { sector_bytes, .. } => content.with_sectors(sector_bytes, &mut chance),
        };
        let files = state.files.iter().map(|(name, content)| {
            let durable = survive(&content.lock());
            let content = Content { cached: durable.clone(), durable, unsynced: Vec::new() };
            (name.clone(), Arc::new(Mutex::new(content)))
        });
        let state = State { files: files.collect(), ..State::default() };
        MemoryStorage { disk: Arc::new(Disk { state: Mutex::new(state), released: Condvar::new() }) }
    }

    /// From now on a write takes at most so many bytes.
    pub fn shorten_writes(&self, bytes_max: usize) {
        self.disk.state.lock().write_bytes_max = Some(bytes_max);
    }

    /// The nth write from now (1 is the next) fails with this OS error and writes nothing.
    pub fn fail_write(&self, nth: u64, os_error: i32) {
        self.disk.state.lock().failing_write = Countdown(Some((nth, os_error)));
    }

    /// The nth sync from now fails, and forgets what it should have synced.
    pub fn fail_sync(&self, nth: u64, os_error: i32) {
        self.disk.state.lock().failing_sync = Countdown(Some((nth, os_error)));
    }

    /// The nth create from now fails and leaves no file.
    pub fn fail_create(&self, nth: u64, os_error: i32) {
        self.disk.state.lock().failing_create = Countdown(Some((nth, os_error)));
    }

    /// The device goes away after so many more changes (creates, renames, removals, writes, syncs); a file whose creation
    /// is cut off is there, and empty. For crashing at every step of something.
    pub fn die_after(&self, changes: u64) {
        self.disk.state.lock().changes_left = Some(changes);
    }

    /// Syncs wait from now on, until [`MemoryStorage::release_syncs`].
    pub fn hold_syncs(&self) {
        self.disk.state.lock().syncs_held = true;
    }

    pub fn release_syncs(&self) {
        self.disk.state.lock().syncs_held = false;
        self.disk.released.notify_all();
    }

    /// How many syncs were asked for.
    pub fn syncs(&self) -> u64 {
        self.disk.state.lock().syncs
    }

    /// The file's bytes as readers see them; `None` without such a file.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        Some(self.content(name)?.lock().cached.clone())
    }

    /// Flips one bit of a byte, durably: bit rot.
    ///
    /// # Panics
    /// Like [`MemoryStorage::truncate`] and [`MemoryStorage::overwrite`] when there is no such file or byte: the test is wrong.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) {
        self.rot(name, |bytes| bytes[offset as usize] ^= 1 << bit);
    }

    /// Replaces bytes of a file, durably.
    pub fn overwrite(&self, name: &str, offset: u64, new: &[u8]) {
        self.rot(name, |bytes| bytes[offset as usize..][..new.len()].copy_from_slice(new));
    }

    /// Cuts a file to `size` bytes, durably.
    pub fn truncate(&self, name: &str, size: u64) {
        self.rot(name, |bytes| bytes.truncate(size as usize));
    }

    fn rot(&self, name: &str, change: impl Fn(&mut Vec<u8>)) {
        let content = self.content(name).unwrap_or_else(|| panic!("no file {name}"));
        let mut content = content.lock();
        change(&mut content.durable);
        change(&mut content.cached);
    }

    fn content(&self, name: &str) -> Option<Arc<Mutex<Content>>> {
        self.disk.state.lock().files.get(name).cloned()
    }
}

impl State {
    fn change(&mut self) -> io::Result<()> {
        match &mut self.changes_left {
            Some(0) => Err(io::Error::from_raw_os_error(EIO)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Storage for MemoryStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk.state.lock().files.keys().cloned().collect())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn StorageFile>> {
        let mut state = self.disk.state.lock();
        if state.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.failing_create.check()?;
        let last_gasp = state.changes_left == Some(1);
        state.change()?;
        let zeros = vec![0; if last_gasp { 0 } else { bytes as usize }];
        let content = Arc::new(Mutex::new(Content { durable: zeros.clone(), cached: zeros, unsynced: Vec::new() }));
        state.files.insert(name.to_owned(), content.clone());
        if last_gasp {
            state.change()?;
        }
        Ok(Arc::new(MemoryFile { disk: self.disk.clone(), content }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let content = self.content(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile { disk: self.disk.clone(), content }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.change()?;
        let content = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.change()?;
        state.files.remove(name).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }
}

struct MemoryFile {
    disk: Arc<Disk>,
    content: Arc<Mutex<Content>>,
}

impl StorageFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.content.lock().cached.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let content = self.content.lock();
        let left = content.cached.get(offset as usize..).unwrap_or_default();
        let read = left.len().min(buffer.len());
        buffer[..read].copy_from_slice(&left[..read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let written = {
            let mut state = self.disk.state.lock();
            state.change()?;
            state.failing_write.check()?;
            bytes.len().min(state.write_bytes_max.unwrap_or(usize::MAX))
        };
        let write = Write { offset, bytes: bytes[..written].to_vec(), forgotten: false };
        let mut content = self.content.lock();
        write.apply(&mut content.cached);
        content.unsynced.push(write);
        Ok(written)
    }

    fn sync(&self) -> io::Result<()> {
        let outcome = {
            let mut state = self.disk.state.lock();
            state.syncs += 1;
            while state.syncs_held {
                self.disk.released.wait(&mut state);
            }
            state.change().and_then(|()| state.failing_sync.check())
        };
        let mut content = self.content.lock();
        if outcome.is_err() {
            content.unsynced.iter_mut().for_each(|write| write.forgotten = true);
            return outcome;
        }
        let Content { durable, unsynced, .. } = &mut *content;
        unsynced.iter().filter(|write| !write.forgotten).for_each(|write| write.apply(durable));
        unsynced.retain(|write| write.forgotten);
        Ok(())
    }
}

impl Write {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let start = self.offset as usize;
        let end = start + self.bytes.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(&self.bytes);
    }
}

impl Content {
    fn with_prefix(&self, budget: &mut u64) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for write in &self.unsynced {
            let kept = write.bytes.len().min(*budget as usize);
            *budget -= kept as u64;
            Write { bytes: write.bytes[..kept].to_vec(), ..*write }.apply(&mut bytes);
        }
        bytes
    }

    fn with_sectors(&self, sector_bytes: usize, chance: &mut Chance) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for (index, new) in self.cached.chunks(sector_bytes).enumerate() {
            let start = index * sector_bytes;
            let old = self.durable.get(start..self.durable.len().min(start + new.len())).unwrap_or_default();
            if old != new && chance.coin() {
                Write { offset: start as u64, bytes: new.to_vec(), forgotten: false }.apply(&mut bytes);
            }
        }
        bytes
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the same coins for the same seed.
struct Chance(u64);

impl Chance {
    fn coin(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) & 1 == 1
    }
}
