//! The contents of rows, the same for every database: only the encoding of values differs.

use crate::sale::{ids::ReservationId, outcome::State, settings::Price, time::Timestamp};

use super::{
    error::StoreError,
    fold::{Begun, ReservationChange},
};

/// The reason of the movement that an item begins with.
pub(super) const INITIAL: &str = "initial";

/// The columns of a reservation that change after it began; None leaves what is there.
pub(super) struct ChangedReservation<'a> {
    pub state: State,
    pub reference: Option<&'a str>,
    pub expires_at: Option<Timestamp>,
    pub extensions: Option<u16>,
    pub confirmed_at: Option<Timestamp>,
    pub released_at: Option<Timestamp>,
    pub expired_at: Option<Timestamp>,
    pub release_reason: Option<&'a str>,
}

/// The columns of a reservation that begins, and may have ended in the same window.
pub(super) struct NewReservation<'a> {
    pub customer: &'a str,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub extensions: u16,
    /// What else there is; `reference` is the one to write.
    pub rest: ChangedReservation<'a>,
}

impl<'a> ChangedReservation<'a> {
    pub(super) fn of(change: &'a ReservationChange) -> Self {
        let end = change.end.as_ref();
        let at_if = |this: State| end.filter(|end| end.state == this).map(|end| end.at);
        let text_if = |this: State| end.filter(|end| end.state == this).and_then(|end| end.text.as_deref());
        Self {
            state: end.map_or(State::Held, |end| end.state),
            reference: text_if(State::Confirmed),
            expires_at: change.extension.map(|extension| extension.expires_at),
            extensions: change.extension.map(|extension| extension.count),
            confirmed_at: at_if(State::Confirmed),
            released_at: at_if(State::Released),
            expired_at: at_if(State::Expired),
            release_reason: text_if(State::Released),
        }
    }

    /// Without texts from before the customer was erased.
    pub(super) fn without_texts_if(self, erased: bool) -> Self {
        if erased { Self { reference: None, release_reason: None, ..self } } else { self }
    }
}

impl<'a> NewReservation<'a> {
    pub(super) fn of(id: &ReservationId, begun: &'a Begun, change: &'a ReservationChange) -> Self {
        let created_at = id.created_at();
        let mut rest = ChangedReservation::of(change);
        rest.reference = rest.reference.or(begun.reference.as_deref());
        Self {
            customer: &begun.customer,
            created_at,
            expires_at: rest.expires_at.unwrap_or_else(|| created_at.plus_seconds(begun.hold_seconds.into())),
            extensions: rest.extensions.unwrap_or(0),
            rest,
        }
    }
}

/// Amount and currency, each a column.
pub(super) fn price_columns(price: &Option<Price>) -> Result<(Option<i64>, Option<&str>), StoreError> {
    let amount = price.as_ref().map(|price| integer(price.amount)).transpose()?;
    Ok((amount, price.as_ref().map(|price| price.currency.as_str())))
}

pub(super) fn integer(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Contradiction(format!("{value} is more than a column holds")))
}

/// A number that a column holds and that is never negative, such as the cursor.
pub(super) fn natural(what: &str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Content(format!("{what} of {value}")))
}
