//! Where in the journal a reader starts, and whether it can.

use super::{Cursor, Refused, Start, ViewCursors, levels::CHANGES_MAX};
use crate::{
    engine::{Epoch, batch::Events},
    journal::{Log, ReadError},
    sale::event::{CatalogueEvent, Event},
};

/// A start that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opening {
    pub from: Cursor,
    /// Batches are read from the one after this,
    pub base: Epoch,
    /// and the first of them is left out up to this place.
    pub skip_to: Option<u32>,
}

impl Opening {
    fn behind(epoch: Epoch) -> Self {
        Self { from: Cursor::behind(epoch), base: epoch, skip_to: None }
    }
}

pub(super) fn open(log: &dyn Log, durable: Epoch, start: Start, cursors: &ViewCursors) -> Result<Opening, Refused> {
    let cursor = match start {
        Start::Now => return Ok(Opening::behind(durable)),
        Start::After(cursor) => cursor,
    };
    if cursor.epoch > durable {
        return Err(Refused::Unknown);
    }
    let base = if cursor.place.is_some() { cursor.epoch - 1 } else { cursor.epoch };
    let mut journal = log.read(base);
    let batch = match journal.next(durable) {
        Ok(batch) => batch,
        Err(ReadError::TooOld { oldest, .. }) => {
            return Err(Refused::TooOld { oldest: cursors.write(Cursor::behind(oldest - 1)) });
        }
        Err(error) => {
            tracing::error!(%error, "the journal cannot be read for the feed");
            return Err(Refused::Unreadable);
        }
    };
    if let (Some(place), Some(batch)) = (cursor.place, batch)
        && place >= places_max(batch.payload)
    {
        return Err(Refused::Unknown);
    }
    Ok(Opening { from: cursor, base, skip_to: cursor.place })
}

/// As many places as a batch may have: one for each event, and those of each item that it moves or whose `low_stock_at` it changes.
fn places_max(payload: &[u8]) -> u32 {
    let mut count = 0;
    let mut items = std::collections::BTreeSet::new();
    let mut events = Events::new(payload);
    while let Ok(Some((_, _, event))) = events.next() {
        count += 1;
        event.moves(|moved| {
            items.insert(moved.item);
        });
        if let Event::Catalogue(CatalogueEvent::SaleDefined(defined)) = event {
            items.extend(defined.low_stock.iter().map(|change| change.item));
        }
    }
    count + (CHANGES_MAX * items.len()) as u32
}
