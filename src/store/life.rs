//! What becomes of one reservation within a window.
//!
//! Invariant: only events that can follow one another are taken, as `sale::transition` has it. Of a reservation that began before
//! the window, the first event says in which state its row must be.

use compact_str::CompactString;

use super::{
    fold::{FoldError, Place},
    lines::{Line, Lines, LinesChange},
};
use crate::sale::{
    attributes::Attributes,
    event::{AskedUnits, Cancelled, Changed, ConfirmRefused, GroupNoted, Held, JoinedGroup, RefusedConfirm, Settled},
    ids::{EntryId, GroupId, ItemNumber, PoolNumber, ReservationId, SaleNumber, erased_customer},
    outcome::{GroupState, State},
    time::Timestamp,
};

/// What became of a reservation: a new row when it has `begun`, else a change of one written before.
#[derive(Debug, Default)]
pub struct ReservationChange {
    pub begun: Option<Begun>,
    /// Its state when the window began, if it had one.
    pub found: Option<State>,
    /// Its state now; None until the first event.
    state: Option<State>,
    pub extension: Option<Extension>,
    /// When the hold ends, if that is another time than when it began.
    pub expires_at: Option<Timestamp>,
    /// How it stands with its group, if an event said so.
    pub group: Option<GroupWord>,
    pub end: Option<End>,
    /// The last cancellation.
    pub cancellation: Option<Cancellation>,
    /// The last reason of a cancellation.
    pub cancel_reason: Option<Told>,
    /// What it got less of than it asked for is known no more: it has other lines.
    pub is_changed: bool,
    /// Of one that began before the window: what became of its lines, in order.
    pub lines: Vec<LinesChange>,
}

/// A hold as it began; its creation time is in its id.
#[derive(Debug)]
pub struct Begun {
    pub sale: SaleNumber,
    pub customer: CompactString,
    /// When the hold was to end when it began.
    pub expires_at: Timestamp,
    pub reference: Option<Box<str>>,
    /// As they are now.
    pub lines: Lines<(ItemNumber, PoolNumber)>,
    pub attributes: Option<Box<Attributes<'static>>>,
    /// What was asked of the items of which it got less.
    pub short: Box<[AskedUnits]>,
    /// The group that it opened or joined, and how many members make it complete.
    pub group: Option<(GroupId, u8)>,
    /// The waitlist entry that it was offered to.
    pub entry: Option<EntryId>,
}

/// What a reservation's row says of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupWord {
    Is(GroupState),
    /// It was released while the group was open.
    Left,
}

impl GroupWord {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Is(state) => state.as_str(),
            Self::Left => "left",
        }
    }
}

/// The last extension; `count` is how many there were since the hold began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    pub expires_at: Timestamp,
    pub count: u16,
}

/// How a hold ended, the last time: one that expired may be confirmed late.
#[derive(Debug)]
pub struct End {
    /// Confirmed, released or expired.
    pub state: State,
    pub at: Timestamp,
    /// Confirmed: the order's reference, which takes the place of the hold's. Released: the reason.
    pub text: Option<Told>,
    pub is_late: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Cancellation {
    pub at: Timestamp,
    /// Nothing is left of the reservation.
    pub is_all: bool,
}

/// A text of a caller, and where in the window it was told: before its customer was erased or after.
#[derive(Debug, Clone)]
pub struct Told {
    pub text: Box<str>,
    pub place: Place,
}

/// A confirmation that was refused: a row of its own.
#[derive(Debug)]
pub struct Refused {
    pub id: ReservationId,
    pub sale: SaleNumber,
    pub at: Timestamp,
    pub reference: Option<Told>,
    pub cause: RefusedConfirm,
}

impl Told {
    pub fn of(text: Option<&str>, place: Place) -> Option<Self> {
        text.map(|text| Self { text: text.into(), place })
    }

    /// The text to write. `erased_at`: where the customer was erased, if that was in this window.
    pub fn unless_erased(told: Option<&Self>, erased_at: Option<Place>) -> Option<&str> {
        told.filter(|told| erased_at.is_none_or(|erased_at| erased_at < told.place)).map(|told| &*told.text)
    }
}

impl Refused {
    pub fn of(refused: &ConfirmRefused<'_>, place: Place) -> Self {
        let ConfirmRefused { id, sale, at, reference, cause } = *refused;
        Self { id, sale, at, reference: Told::of(reference, place), cause }
    }
}

impl ReservationChange {
    /// Its state now.
    pub fn state(&self) -> State {
        self.state.unwrap_or(State::Held)
    }

    /// Whether an event told a text that a column would have.
    pub fn has_text(&self) -> bool {
        self.cancel_reason.is_some() || self.end.as_ref().is_some_and(|end| end.text.is_some())
    }

    pub(super) fn begin(&mut self, held: Held<'_>) -> Result<(), FoldError> {
        if let Some(state) = self.state {
            return Err(FoldError::OutOfOrder { id: held.id, event: "held", state: state.as_str() });
        }
        self.state = Some(State::Held);
        let is_complete = |group: &JoinedGroup| group.members == group.size;
        self.group = held
            .group
            .as_deref()
            .map(|group| GroupWord::Is(if is_complete(group) { GroupState::Complete } else { GroupState::Open }));
        self.begun = Some(Begun {
            sale: held.sale,
            customer: held.customer.into(),
            expires_at: held.expires_at(),
            reference: held.reference.map(Into::into),
            lines: held.portions.iter().map(|of| Line::held((of.item, of.pool), of.units, of.price)).collect(),
            attributes: held.attributes.map(|attributes| Box::new(attributes.into_owned())),
            short: held.short,
            group: held.group.map(|group| (group.id, group.size)),
            entry: held.entry,
        });
        Ok(())
    }

    pub(super) fn extend(&mut self, id: ReservationId, extension: Extension) -> Result<(), FoldError> {
        self.pass(id, "extended", State::Held, State::Held)?;
        self.extension = Some(extension);
        self.expires_at = Some(extension.expires_at);
        Ok(())
    }

    /// Takes what became of its group.
    pub(super) fn note_group(&mut self, noted: &GroupNoted) -> Result<(), FoldError> {
        self.pass(noted.id, "told of its group", State::Held, State::Held)?;
        self.expires_at = Some(noted.expires_at);
        self.group = Some(GroupWord::Is(noted.state));
        Ok(())
    }

    /// Takes an end: confirmed, released or expired.
    pub(super) fn end(&mut self, settled: Settled<'_>, state: State, place: Place) -> Result<(), FoldError> {
        let Settled { id, at, text, portions, returned, late, .. } = settled;
        self.pass(id, state.as_str(), if late { State::Expired } else { State::Held }, state)?;
        self.end = Some(End { state, at, text: Told::of(text, place), is_late: late });
        if state == State::Released && self.group == Some(GroupWord::Is(GroupState::Open)) {
            self.group = Some(GroupWord::Left);
        }
        if late {
            self.move_units(id, LinesChange::ConfirmedLate(portions))
        } else if returned.is_empty() {
            Ok(())
        } else {
            self.move_units(id, LinesChange::LeftOver(returned))
        }
    }

    pub(super) fn change(&mut self, changed: Changed) -> Result<(), FoldError> {
        let Changed { id, returned, taken, .. } = changed;
        self.pass(id, "changed", State::Held, State::Held)?;
        self.is_changed = true;
        if let Some(begun) = &mut self.begun {
            begun.short = Box::default();
        }
        self.move_units(id, LinesChange::Changed { returned, taken })
    }

    pub(super) fn cancel(&mut self, cancelled: Cancelled<'_>, place: Place) -> Result<(), FoldError> {
        let Cancelled { id, at, reason, portions, is_all, .. } = cancelled;
        self.pass(id, "cancelled", State::Confirmed, if is_all { State::Cancelled } else { State::Confirmed })?;
        self.cancellation = Some(Cancellation { at, is_all });
        self.cancel_reason = Told::of(reason, place).or(self.cancel_reason.take());
        self.move_units(id, LinesChange::Cancelled(portions))
    }

    /// Takes the customer out, with every text so far; says whether it is this reservation's.
    pub(super) fn erase(&mut self, id: ReservationId, customer: &str) -> bool {
        let Some(begun) = self.begun.as_mut().filter(|begun| begun.customer == customer) else { return false };
        (begun.customer, begun.reference) = (erased_customer(id), None);
        // Tier, channel and region are many customers'.
        if let Some(attributes) = &mut begun.attributes {
            attributes.labels.clear();
        }
        if let Some(end) = &mut self.end {
            end.text = None;
        }
        self.cancel_reason = None;
        true
    }

    /// Goes from one state to another.
    fn pass(&mut self, id: ReservationId, event: &'static str, from: State, to: State) -> Result<(), FoldError> {
        match self.state {
            None => self.found = Some(from),
            Some(state) if state != from => {
                return Err(FoldError::OutOfOrder { id, event, state: state.as_str() });
            }
            Some(_) => {}
        }
        self.state = Some(to);
        Ok(())
    }

    fn move_units(&mut self, id: ReservationId, change: LinesChange) -> Result<(), FoldError> {
        match &mut self.begun {
            Some(begun) => match change.apply(&mut begun.lines, |item, pool| Ok::<_, FoldError>((item, pool)))? {
                true => Ok(()),
                false => Err(FoldError::LacksUnits { id }),
            },
            None => {
                self.lines.push(change);
                Ok(())
            }
        }
    }
}
