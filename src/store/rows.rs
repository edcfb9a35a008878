//! The contents of rows, the same for every database: only the encoding of values differs.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::sale::{
    attributes::Attributes,
    event::{AskedUnits, record::Numbers},
    ids::{PoolNumber, ReservationId},
    outcome::State,
    settings::{ItemSettings, PoolSettings, Price},
    time::Timestamp,
};

use super::{
    error::StoreError,
    fold::{Begun, ReservationChange},
    names::Names,
};

/// The reason of the movement that a pool begins with.
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
    pub tier: Option<&'a str>,
    pub channel: Option<&'a str>,
    pub region: Option<&'a str>,
    /// A JSON object.
    pub labels: Option<String>,
    /// A JSON list.
    pub short: Option<String>,
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
    pub(super) fn of(
        names: &Names,
        id: &ReservationId,
        begun: &'a Begun,
        change: &'a ReservationChange,
    ) -> Result<Self, StoreError> {
        let created_at = id.created_at();
        let mut rest = ChangedReservation::of(change);
        rest.reference = rest.reference.or(begun.reference.as_deref());
        let attributes = begun.attributes.as_deref();
        Ok(Self {
            customer: &begun.customer,
            created_at,
            expires_at: rest.expires_at.unwrap_or_else(|| created_at.plus_seconds(begun.hold_seconds.into())),
            extensions: rest.extensions.unwrap_or(0),
            tier: attributes.and_then(|attributes| attributes.tier.as_deref()),
            channel: attributes.and_then(|attributes| attributes.channel.as_deref()),
            region: attributes.and_then(|attributes| attributes.region.as_deref()),
            labels: attributes.and_then(labels),
            short: short(names, begun)?,
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

fn labels(attributes: &Attributes<'_>) -> Option<String> {
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
        let of_item = begun.portions.iter().filter(|portion| portion.item == asked.item);
        let granted = of_item.map(|portion| portion.units).sum();
        Ok(Short { sku: &names.item(asked.item)?.sku, requested: asked.units, granted })
    };
    let lines = begun.short.iter().map(line).collect::<Result<Vec<_>, StoreError>>()?;
    Ok(Some(json(&lines)))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("names and numbers are JSON")
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
