//! What becomes of one waitlist entry within a window, and the columns that its row has.
//!
//! Invariant: an entry that has ended never changes again, so a row from before the window that changes is one that waits.

use compact_str::CompactString;
use serde::Serialize;
use smallvec::SmallVec;

use super::{
    error::StoreError,
    fold::FoldError,
    names::Names,
    rows::{json, labels},
};
use crate::sale::{
    attributes::Attributes,
    event::{AskedUnits, Joined, NoRoom, Offered, PassedOver, WaitEnded},
    ids::{EntryId, ReservationId, SaleNumber, erased_customer},
    outcome::WaitState,
    time::Timestamp,
};

/// What became of an entry: a new row when its customer has `joined`, else a change of one written before.
#[derive(Debug, Default)]
pub struct EntryChange {
    pub joined: Option<Waiter>,
    /// How it ended.
    pub end: Option<WaitEnd>,
    /// When there were units for it last but its customer had no room, and why.
    pub passed_over: Option<(Timestamp, NoRoom)>,
}

/// An entry as it began; when its customer joined is in its id.
#[derive(Debug)]
pub struct Waiter {
    pub sale: SaleNumber,
    pub customer: CompactString,
    pub place: u64,
    pub expires_at: Timestamp,
    pub lines: SmallVec<[AskedUnits; 1]>,
    pub reference: Option<Box<str>>,
    pub attributes: Option<Box<Attributes<'static>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitEnd {
    /// Offered, left or expired.
    pub state: WaitState,
    pub at: Timestamp,
    /// What was offered.
    pub reservation: Option<ReservationId>,
}

impl EntryChange {
    /// Its state now.
    pub fn state(&self) -> WaitState {
        self.end.map_or(WaitState::Waiting, |end| end.state)
    }

    pub(super) fn join(&mut self, joined: Joined<'_>) -> Result<(), FoldError> {
        let Joined { id, sale, customer, place, expires_at, lines, reference, attributes, .. } = joined;
        if self.joined.is_some() || self.end.is_some() || self.passed_over.is_some() {
            return Err(self.out_of_order(id, "joined"));
        }
        self.joined = Some(Waiter {
            sale,
            customer: customer.into(),
            place,
            expires_at,
            lines,
            reference: reference.map(Into::into),
            attributes: attributes.map(|attributes| Box::new(attributes.into_owned())),
        });
        Ok(())
    }

    pub(super) fn offer(&mut self, offered: &Offered) -> Result<(), FoldError> {
        let Offered { id, at, reservation, .. } = *offered;
        self.finish(id, WaitEnd { state: WaitState::Offered, at, reservation: Some(reservation) })
    }

    /// It left or expired.
    pub(super) fn end(&mut self, ended: &WaitEnded, state: WaitState) -> Result<(), FoldError> {
        self.finish(ended.id, WaitEnd { state, at: ended.at, reservation: None })
    }

    pub(super) fn pass_over(&mut self, passed: &PassedOver) -> Result<(), FoldError> {
        if self.end.is_some() {
            return Err(self.out_of_order(passed.id, "passed over"));
        }
        self.passed_over = Some((passed.at, passed.cause));
        Ok(())
    }

    /// Takes the customer out, if it is this entry's.
    pub(super) fn erase(&mut self, id: EntryId, customer: &str) {
        let Some(waiter) = self.joined.as_mut().filter(|waiter| waiter.customer == customer) else { return };
        (waiter.customer, waiter.reference) = (erased_customer(id), None);
        // Tier, channel and region are many customers'.
        if let Some(attributes) = &mut waiter.attributes {
            attributes.labels.clear();
        }
    }

    fn finish(&mut self, id: EntryId, end: WaitEnd) -> Result<(), FoldError> {
        if self.end.is_some() {
            return Err(self.out_of_order(id, end.state.as_str()));
        }
        self.end = Some(end);
        Ok(())
    }

    fn out_of_order(&self, id: EntryId, event: &'static str) -> FoldError {
        FoldError::EntryOutOfOrder { id, event, state: self.state().as_str() }
    }
}

/// The columns that change while an entry waits, or when it ends.
pub(super) struct ChangedEntry {
    pub state: WaitState,
    pub ended_at: Option<Timestamp>,
    pub reservation: Option<ReservationId>,
    /// None leaves what is there.
    pub passed_over_at: Option<Timestamp>,
    pub passed_over_code: Option<&'static str>,
}

/// The columns of an entry that is new, and may have ended in the same window.
pub(super) struct NewEntry<'a> {
    pub customer: &'a str,
    pub place: u64,
    /// A JSON list.
    pub lines: String,
    pub reference: Option<&'a str>,
    pub joined_at: Timestamp,
    pub expires_at: Timestamp,
    pub tier: Option<&'a str>,
    pub channel: Option<&'a str>,
    pub region: Option<&'a str>,
    /// A JSON object.
    pub labels: Option<String>,
    /// A JSON list.
    pub locations: Option<String>,
    pub rest: ChangedEntry,
}

impl ChangedEntry {
    pub(super) fn of(change: &EntryChange) -> Self {
        Self {
            state: change.state(),
            ended_at: change.end.map(|end| end.at),
            reservation: change.end.and_then(|end| end.reservation),
            passed_over_at: change.passed_over.map(|(at, _)| at),
            passed_over_code: change.passed_over.map(|(_, cause)| cause.code().as_str()),
        }
    }
}

impl<'a> NewEntry<'a> {
    pub(super) fn of(
        names: &Names,
        id: &EntryId,
        waiter: &'a Waiter,
        change: &EntryChange,
    ) -> Result<Self, StoreError> {
        #[derive(Serialize)]
        struct Line<'a> {
            sku: &'a str,
            quantity: u32,
        }
        let line = |asked: &AskedUnits| Ok(Line { sku: &names.item(asked.item)?.sku, quantity: asked.units });
        let lines = waiter.lines.iter().map(line).collect::<Result<Vec<_>, StoreError>>()?;
        let attributes = waiter.attributes.as_deref();
        Ok(Self {
            customer: &waiter.customer,
            place: waiter.place,
            lines: json(&lines),
            reference: waiter.reference.as_deref(),
            joined_at: id.created_at(),
            expires_at: waiter.expires_at,
            tier: attributes.and_then(|attributes| attributes.tier.as_deref()),
            channel: attributes.and_then(|attributes| attributes.channel.as_deref()),
            region: attributes.and_then(|attributes| attributes.region.as_deref()),
            labels: attributes.and_then(labels),
            locations: attributes.map(|it| &it.locations).filter(|locations| !locations.is_empty()).map(json),
            rest: ChangedEntry::of(change),
        })
    }
}
