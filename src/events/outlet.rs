//! Where a follower's events go.

use super::{Cursor, cloud::FeedEvent, outbox::End};
use crate::{engine::Epoch, telemetry};

pub(super) trait Outlet {
    /// Takes an event, with its cursor and the cursor's text.
    fn put(&mut self, told: &FeedEvent<'_>, at: Cursor, cursor: String);

    /// Everything up to the end of this batch was put, or was not for this reader.
    fn reached(&mut self, epoch: Epoch);

    /// Whether it is to be flushed before more is put.
    fn is_full(&self) -> bool;

    /// Hands over what is gathered.
    async fn flush(&mut self, telemetry: &telemetry::Events) -> Result<(), End>;

    /// To be called between batches.
    async fn keep_alive(&mut self, telemetry: &telemetry::Events) -> Result<(), End>;

    /// Resolves when there is something to do besides reading on.
    async fn interrupted(&mut self);

    /// Whether its reader is gone.
    fn is_abandoned(&self) -> bool;

    fn end(self, end: End, telemetry: &telemetry::Events);
}
