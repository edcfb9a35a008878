//! Serves one reader, from its start to its end.

use std::{convert::Infallible, rc::Rc};

use tokio::sync::Notify;

use super::{
    Cursor, Filter, ViewCursors,
    cloud::FeedEvent,
    hub::Parts,
    levels::{Levels, Unwinding},
    opening::Opening,
    outbox::End,
    outlet::Outlet,
};
use crate::{
    engine::{Durable, Epoch, batch::Events},
    journal::ReadError,
    sale::codec::Malformed,
};

pub(super) struct Follower<O> {
    pub parts: Rc<Parts>,
    /// Notified after each commit.
    pub commits: Rc<Notify>,
    pub filter: Filter,
    pub cursors: ViewCursors,
    pub outlet: O,
}

impl<O: Outlet> Follower<O> {
    pub(super) async fn run(mut self, opening: Opening) {
        let telemetry = self.parts.telemetry.clone();
        let Err(mut end) = self.follow(opening).await;
        if self.outlet.is_abandoned() {
            end = End::Gone;
        }
        self.outlet.end(end, &telemetry.events);
    }

    async fn follow(&mut self, opening: Opening) -> Result<Infallible, End> {
        let mut levels = self.levels_behind(opening.base).await?;
        let mut journal = self.parts.log.read(opening.base);
        let mut skip_to = opening.skip_to;
        loop {
            let durable = self.durable(journal.last_epoch() + 1).await?;
            let batch = journal.next(durable)?.expect("it is durable");
            self.tell(batch.epoch, batch.payload, skip_to.take(), &mut levels).await?;
            self.outlet.reached(batch.epoch);
            self.pause().await?;
        }
    }

    async fn tell(
        &mut self,
        epoch: Epoch,
        payload: &[u8],
        skip_to: Option<u32>,
        levels: &mut Levels,
    ) -> Result<(), End> {
        let mut place = 0;
        let mut events = Events::new(payload);
        while let Some((_, _, event)) = events.next()? {
            levels.take(&event);
            if skip_to.is_none_or(|last| place > last) {
                let catalogue = self.parts.engine.catalogue();
                self.put(FeedEvent::of(&event, &catalogue), Cursor::at(epoch, place));
            }
            place += 1;
            if self.outlet.is_full() {
                self.outlet.flush(&self.parts.telemetry.events).await?;
            }
        }
        let catalogue = self.parts.engine.catalogue();
        for change in levels.changes() {
            if skip_to.is_none_or(|last| place > last) {
                self.put(Some(FeedEvent::of_level(change, &catalogue)), Cursor::at(epoch, place));
            }
            place += 1;
        }
        Ok(())
    }

    fn put(&mut self, told: Option<FeedEvent<'_>>, cursor: Cursor) {
        if let Some(told) = told.filter(|told| (self.filter)(told.sale, told.kind)) {
            self.outlet.put(&told, cursor, self.cursors.write(cursor));
        }
    }

    /// Reads forward once, from the start to a cut with known levels, to compute the levels at the start.
    async fn levels_behind(&mut self, epoch: Epoch) -> Result<Levels, End> {
        let mut unwinding = Unwinding::begin(&self.parts.engine);
        let mut journal = self.parts.log.read(epoch);
        while journal.last_epoch() < unwinding.reach() {
            let durable = self.durable(journal.last_epoch() + 1).await?;
            let batch = journal.next(durable)?.expect("it is durable");
            unwinding.undo(batch.epoch, batch.payload)?;
            self.pause().await?;
        }
        Ok(unwinding.finish())
    }

    /// The durable epoch, once it has come to `wanted`.
    async fn durable(&mut self, wanted: Epoch) -> Result<Epoch, End> {
        let commits = self.commits.clone();
        loop {
            // Before the look: a commit after it is not missed.
            let mut commit = std::pin::pin!(commits.notified());
            commit.as_mut().enable();
            let durability = self.parts.engine.durability();
            match durability.of(wanted) {
                Durable::Yes => return Ok(durability.epoch()),
                Durable::Unknown => return Err(End::Failed),
                Durable::NotYet => self.outlet.flush(&self.parts.telemetry.events).await?,
            }
            tokio::select! {
                () = commit => {}
                () = self.outlet.interrupted() => {
                    if self.outlet.is_abandoned() {
                        return Err(End::Gone);
                    }
                    self.outlet.keep_alive(&self.parts.telemetry.events).await?;
                }
            }
        }
    }

    /// Between two batches: other readers have their turn.
    async fn pause(&mut self) -> Result<(), End> {
        self.outlet.keep_alive(&self.parts.telemetry.events).await?;
        tokio::task::yield_now().await;
        Ok(())
    }
}

impl From<ReadError> for End {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooOld { .. } => Self::TooOld,
            error => {
                tracing::error!(%error, "the journal cannot be read for the feed");
                Self::Failed
            }
        }
    }
}

impl From<Malformed> for End {
    fn from(error: Malformed) -> Self {
        tracing::error!(%error, "the feed cannot read an event in the journal");
        Self::Failed
    }
}
