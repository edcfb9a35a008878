//! The journal as the store's feed, always read from the log. While the store keeps up, it reads what was just written, so one
//! code path serves both keeping up and catching up.

use std::sync::Arc;

use super::backlog::Backlog;
use crate::{
    engine::Engine,
    journal::{Log, LogReader, ReadError},
    store::{Feed, FeedError, Span},
};

pub struct JournalFeed {
    log: Arc<dyn Log>,
    engine: Arc<Engine>,
    backlog: Arc<Backlog>,
    reader: Box<dyn LogReader>,
    /// Bytes given out and not yet in the store.
    given_bytes: u64,
}

impl JournalFeed {
    pub fn new(log: Arc<dyn Log>, engine: Arc<Engine>, backlog: Arc<Backlog>) -> Self {
        let reader = log.read(0);
        Self { log, engine, backlog, reader, given_bytes: 0 }
    }
}

impl Feed for JournalFeed {
    fn seek(&mut self, epoch: u64) -> Result<Span, FeedError> {
        let durable = self.engine.durability().epoch();
        // Before the measure: what comes after it is added.
        let end = self.backlog.end();
        self.reader = self.log.read(epoch);
        self.given_bytes = 0;
        // A batch that is appended and not yet durable for others is added when it is.
        let behind = if epoch < durable { self.log.bytes_after(epoch) } else { Ok(0) };
        match behind {
            Ok(behind) => self.backlog.measured(behind, &end),
            Err(ReadError::TooOld { oldest, .. }) => return Ok(Span { oldest, durable }),
            Err(error) => return Err(describe(error)),
        }
        Ok(Span { oldest: epoch.min(durable) + 1, durable })
    }

    fn next(&mut self, payload: &mut Vec<u8>) -> Result<Option<u64>, FeedError> {
        let durable = self.engine.durability().epoch();
        let Some(batch) = self.reader.next(durable).map_err(describe)? else { return Ok(None) };
        payload.clear();
        payload.extend_from_slice(batch.payload);
        self.given_bytes += batch.stored_bytes;
        Ok(Some(batch.epoch))
    }

    fn applied(&mut self) {
        self.backlog.applied(std::mem::take(&mut self.given_bytes), self.reader.last_epoch());
    }
}

fn describe(error: ReadError) -> FeedError {
    match error {
        ReadError::Unreadable(cause) => FeedError::Unreadable(cause.to_string()),
        _ => FeedError::Damaged(error.to_string()),
    }
}
