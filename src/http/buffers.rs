//! The memory budget for bodies and answers in flight, over all connections.
//!
//! Invariants: bytes return to the budget when the last reference to them is dropped, however a request ends. Calls that may be
//! large (batches, sale documents, lists) leave a quarter of the budget to the others, so they never make the service refuse a
//! reserve. A body that comes whole with its head, and is processed before the worker does anything else, does not count: it is
//! in its connection's read buffer, which has its own limit. So an ordinary reserve touches nothing that workers share.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;

use crate::api::{problems, refused::Refused};

/// Bytes counted for a request that waits for its body, in addition to the bytes that have come.
pub(super) const WAITING_BYTES: usize = 4096;

/// Uncounted bytes for the requests of one connection: enough for one waiting request and the body of a reserve. So the service
/// handles a reserve that comes in pieces even if the budget is used up.
const ALLOWANCE_BYTES: usize = 8192;

/// The kind of call that uses the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// A small call.
    Small,
    /// A batch, a sale document, or an answer that may be long.
    Large,
}

/// The budget.
#[derive(Debug)]
pub struct Buffers {
    most: usize,
    most_of_large: usize,
    taken: AtomicUsize,
}

/// The budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl From<Full> for Refused {
    fn from(Full: Full) -> Self {
        problems::OVERLOADED.because("bodies and answers in flight take all of limits.buffered_bytes_max")
    }
}

impl Buffers {
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_large: most - most / 4, taken: AtomicUsize::new(0) })
    }

    /// Bytes in use.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// No bytes yet, of this share.
    pub fn begin(self: &Arc<Self>, share: Share) -> Room {
        Room { buffers: self.clone(), share, bytes: 0, allowance: None }
    }

    /// An answer's bytes, which count until they are sent.
    pub fn hold_answer(self: &Arc<Self>, bytes: Vec<u8>) -> Result<Bytes, Full> {
        let mut room = self.begin(Share::Large);
        room.take(bytes.len())?;
        Ok(held(bytes, room))
    }

    /// As `hold_answer`, for an answer that can no longer be refused.
    pub fn hold_owed_answer(self: &Arc<Self>, bytes: Vec<u8>) -> Bytes {
        let mut room = self.begin(Share::Large);
        room.force(bytes.len());
        held(bytes, room)
    }
}

/// Uncounted bytes that the requests of one connection may still use.
#[derive(Debug, Clone)]
pub struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    pub fn of_connection() -> Self {
        Self(Arc::new(AtomicUsize::new(ALLOWANCE_BYTES)))
    }
}

/// Bytes of the budget; returns them when dropped.
#[derive(Debug)]
pub struct Room {
    buffers: Arc<Buffers>,
    share: Share,
    bytes: usize,
    /// Bytes of the connection's allowance.
    allowance: Option<(Allowance, usize)>,
}

impl Room {
    /// Uses the connection's allowance first.
    pub fn with(mut self, allowance: Allowance) -> Self {
        self.allowance = Some((allowance, 0));
        self
    }

    pub fn take(&mut self, bytes: usize) -> Result<(), Full> {
        let mut bytes = bytes;
        if let Some((allowance, taken)) = &mut self.allowance {
            let take = |left: usize| Some(left - left.min(bytes));
            let left =
                allowance.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).expect("something is taken");
            let part = left.min(bytes);
            *taken += part;
            bytes -= part;
        }
        if bytes == 0 {
            return Ok(());
        }
        let most = if self.share == Share::Small { self.buffers.most } else { self.buffers.most_of_large };
        let before = self.buffers.taken.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > most {
            self.buffers.taken.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Full);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Counts the bytes even if they exceed the budget.
    fn force(&mut self, bytes: usize) {
        self.buffers.taken.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.buffers.taken.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        if let Some((allowance, taken)) = &self.allowance {
            allowance.0.fetch_add(*taken, Ordering::Relaxed);
        }
    }
}

struct Held<T, R> {
    bytes: T,
    _room: R,
}

impl<T: AsRef<[u8]>, R> AsRef<[u8]> for Held<T, R> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// Bytes with their share of the budget, which returns when the last slice of them is dropped.
pub(super) fn held<R: Send + 'static>(bytes: impl AsRef<[u8]> + Send + 'static, room: R) -> Bytes {
    Bytes::from_owner(Held { bytes, _room: room })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_requests_leave_a_quarter_to_small_ones_and_all_comes_back() {
        let buffers = Buffers::new(1000);
        let (mut large, mut small) = (buffers.begin(Share::Large), buffers.begin(Share::Small));
        assert_eq!((large.take(750), large.take(1)), (Ok(()), Err(Full)));
        assert_eq!((small.take(250), small.take(1)), (Ok(()), Err(Full)));
        assert_eq!(buffers.taken(), 1000);
        drop(large);
        assert_eq!((buffers.taken(), buffers.begin(Share::Large).take(501)), (250, Err(Full)));
        drop(small);
        assert_eq!(buffers.taken(), 0);
    }

    #[test]
    fn a_connection_s_allowance_is_taken_first_and_comes_back() {
        let (buffers, allowance) = (Buffers::new(1000), Allowance::of_connection());
        let mut flood = buffers.begin(Share::Small);
        flood.take(1000).unwrap();
        let mut one = buffers.begin(Share::Small).with(allowance.clone());
        assert_eq!((one.take(ALLOWANCE_BYTES), buffers.taken()), (Ok(()), 1000));
        let mut other = buffers.begin(Share::Small).with(allowance.clone());
        assert_eq!(other.take(1), Err(Full));
        drop(one);
        assert_eq!((other.take(ALLOWANCE_BYTES), other.take(1)), (Ok(()), Err(Full)));
        drop((flood, other));
        assert_eq!((buffers.taken(), allowance.0.load(Ordering::Relaxed)), (0, ALLOWANCE_BYTES));
    }

    #[test]
    fn bytes_count_until_their_last_slice_is_gone() {
        let buffers = Buffers::new(1000);
        let mut answer = buffers.hold_answer(vec![7; 500]).unwrap();
        assert_eq!(buffers.hold_answer(vec![7; 251]), Err(Full));
        let piece = answer.split_to(10);
        drop(answer);
        assert_eq!((buffers.taken(), &*piece), (500, [7; 10].as_slice()));
        let owed = buffers.hold_owed_answer(vec![7; 5000]);
        assert_eq!(buffers.taken(), 5500);
        drop((piece, owed));
        assert_eq!(buffers.taken(), 0);
    }
}
