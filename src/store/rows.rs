//! The contents of rows, the same for every database: only the encoding of values differs.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::sale::{
    attributes::Attributes,
    event::{AskedUnits, record::Numbers},
    ids::{EntryId, GroupId, PoolNumber, ReservationId},
    outcome::State,
    settings::{Currency, ItemSettings, PoolSettings, Price},
    time::Timestamp,
};

use super::{
    error::StoreError,
    fold::Place,
    life::{Begun, GroupWord, ReservationChange, Told},
    names::Names,
};

/// The reason of the movement that a pool begins with.
pub(super) const INITIAL: &str = "initial";

/// The columns of a reservation that change after it began; None leaves what is there, unless it says otherwise.
pub(super) struct ChangedReservation<'a> {
    /// What its row says before. Always `Held` for one that begins.
    pub found: State,
    pub state: State,
    pub reference: Option<&'a str>,
    pub expires_at: Option<Timestamp>,
    pub extensions: Option<u16>,
    /// Left where it is released, no event says so, and its row says that its group is open.
    pub group_state: Option<&'static str>,
    pub confirmed_at: Option<Timestamp>,
    /// None is none.
    pub released_at: Option<Timestamp>,
    /// None is none: what was confirmed late has not expired.
    pub expired_at: Option<Timestamp>,
    pub cancelled_at: Option<Timestamp>,
    pub is_late: Option<bool>,
    /// None is none.
    pub release_reason: Option<&'a str>,
    pub cancel_reason: Option<&'a str>,
    /// The hold got other lines, so what it got less of is known no more.
    pub is_changed: bool,
}

/// The columns of a reservation that begins, and may have ended in the same window.
pub(super) struct NewReservation<'a> {
    pub customer: &'a str,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub extensions: u16,
    pub tier: Option<&'a str>,
    pub channel: Option<&'a str>,
    pub region: Option<&'a str>,
    /// A JSON object.
    pub labels: Option<String>,
    /// A JSON list.
    pub short: Option<String>,
    /// Its group, and how many members make it complete.
    pub group: Option<(GroupId, u8)>,
    /// The waitlist entry that it was offered to.
    pub entry: Option<EntryId>,
    /// What else there is; `reference` is the one to write.
    pub rest: ChangedReservation<'a>,
}

/// What a document says of a pool.
pub(super) struct PoolRow<'a> {
    pub number: PoolNumber,
    pub id: &'a str,
    /// From 1.
    pub position: i64,
    pub location: Option<&'a str>,
    pub initial_stock: i64,
    /// The price of a unit from it.
    pub price: Option<Price>,
    /// JSON lists.
    pub tiers: Option<String>,
    pub channels: Option<String>,
    pub shared_at: Option<Timestamp>,
}

impl<'a> ChangedReservation<'a> {
    /// `erased_at`: where in the window its customer was erased, if the window did that and the fold could not know.
    pub(super) fn of(change: &'a ReservationChange, erased_at: Option<Place>) -> Self {
        let end = change.end.as_ref();
        let at_if = |this: State| end.filter(|end| end.state == this).map(|end| end.at);
        let text_if = |this: State| {
            let told = end.filter(|end| end.state == this).and_then(|end| end.text.as_ref());
            Told::unless_erased(told, erased_at)
        };
        Self {
            found: change.found.unwrap_or(State::Held),
            state: change.state(),
            reference: text_if(State::Confirmed),
            expires_at: change.expires_at,
            extensions: change.extension.map(|extension| extension.count),
            group_state: change.group.map(GroupWord::as_str),
            confirmed_at: at_if(State::Confirmed),
            released_at: at_if(State::Released),
            expired_at: at_if(State::Expired),
            cancelled_at: change.cancellation.filter(|cancelled| cancelled.is_all).map(|cancelled| cancelled.at),
            is_late: end.filter(|end| end.state == State::Confirmed).map(|end| end.is_late),
            release_reason: text_if(State::Released),
            cancel_reason: Told::unless_erased(change.cancel_reason.as_ref(), erased_at),
            is_changed: change.is_changed,
        }
    }
}

impl<'a> NewReservation<'a> {
    pub(super) fn of(
        names: &Names,
        id: &ReservationId,
        begun: &'a Begun,
        change: &'a ReservationChange,
    ) -> Result<Self, StoreError> {
        let created_at = id.created_at();
        let mut rest = ChangedReservation::of(change, None);
        rest.reference = rest.reference.or(begun.reference.as_deref());
        let attributes = begun.attributes.as_deref();
        Ok(Self {
            customer: &begun.customer,
            created_at,
            expires_at: rest.expires_at.unwrap_or(begun.expires_at),
            extensions: rest.extensions.unwrap_or(0),
            tier: attributes.and_then(|attributes| attributes.tier.as_deref()),
            channel: attributes.and_then(|attributes| attributes.channel.as_deref()),
            region: attributes.and_then(|attributes| attributes.region.as_deref()),
            labels: attributes.and_then(labels),
            short: short(names, begun)?,
            group: begun.group,
            entry: begun.entry,
            rest,
        })
    }
}

impl<'a> PoolRow<'a> {
    /// Those of an item, in the order of its document.
    pub(super) fn of(
        numbers: &'a Numbers,
        item: &'a ItemSettings,
    ) -> impl Iterator<Item = Result<PoolRow<'a>, StoreError>> {
        let pools = numbers.pools.iter().zip(item.pools_or_default()).enumerate();
        pools.map(|(index, (&number, (id, initial_stock)))| {
            let declared: Option<&PoolSettings> = item.pools.get(index);
            let list = |list: Option<&[String]>| list.map(|names| json(&names));
            Ok(PoolRow {
                number,
                id,
                position: index as i64 + 1,
                location: declared.and_then(|pool| pool.location.as_deref()),
                initial_stock: integer(initial_stock)?,
                price: declared.and_then(|pool| pool.price).or(item.price),
                tiers: list(declared.and_then(|pool| pool.tiers.as_deref())),
                channels: list(declared.and_then(|pool| pool.channels.as_deref())),
                shared_at: declared.and_then(|pool| pool.shared_at),
            })
        })
    }
}

pub(super) fn labels(attributes: &Attributes<'_>) -> Option<String> {
    let labels: BTreeMap<&str, &str> = attributes.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
    (!labels.is_empty()).then(|| json(&labels))
}

/// What the reservation got less of than it asked for.
fn short(names: &Names, begun: &Begun) -> Result<Option<String>, StoreError> {
    #[derive(Serialize)]
    struct Short<'a> {
        sku: &'a str,
        requested: u32,
        granted: u32,
    }
    if begun.short.is_empty() {
        return Ok(None);
    }
    let line = |asked: &AskedUnits| {
        let of_item = begun.lines.iter().filter(|line| line.pool.0 == asked.item);
        let granted = of_item.map(|line| line.quantity).sum();
        Ok(Short { sku: &names.item(asked.item)?.sku, requested: asked.units, granted })
    };
    let lines = begun.short.iter().map(line).collect::<Result<Vec<_>, StoreError>>()?;
    Ok(Some(json(&lines)))
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("names and numbers are JSON")
}

/// A pool in a row of a reservation, whose sale is known: its SKU and its id.
pub(super) type PoolKey = (String, String);

/// A price as two columns have it.
pub(super) fn price_of(amount: Option<i64>, currency: Option<&str>) -> Result<Option<Price>, StoreError> {
    let Some((amount, currency)) = amount.zip(currency) else { return Ok(None) };
    let unknown = || StoreError::Content(format!("a price in {currency:?}"));
    Ok(Some(Price { amount: natural("a price", amount)?, currency: Currency::parse(currency).ok_or_else(unknown)? }))
}

/// Units or a count, of which a column may hold more than there can be.
pub(super) fn small(what: &str, number: i64) -> Result<u32, StoreError> {
    u32::try_from(number).map_err(|_| StoreError::Content(format!("{what} of {number}")))
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
