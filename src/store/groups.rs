//! The groups of a report: reservations, units and revenue by channel, tier, pool, location or a label.
//!
//! Both databases run the same query; only a label is read in the words of each. Invariant: no more than `ROWS_MAX` groups are
//! read, those with the most reservations, and their number is beside them.

use std::{collections::BTreeMap, fmt};

use super::{
    error::StoreError,
    report::{Cells, ROWS_MAX, Reserved, Units, count, given},
    tables::Dialect,
};
use crate::sale::ids::check_slug;

/// What a report is grouped by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum By {
    Channel,
    Tier,
    Pool,
    Location,
    /// A slug.
    Label(String),
}

/// What a report has of each group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    pub by: By,
    /// The one with the most reservations first.
    pub groups: Vec<GroupReport>,
    pub total: u64,
}

/// Reservations, and units of them, that have the same value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupReport {
    /// None: those that have none.
    pub value: Option<String>,
    pub reservations: Reserved,
    pub units: Units,
    /// Units sold for a price and what they come to, by currency.
    pub revenue: BTreeMap<String, (u64, u64)>,
}

const LABEL: &str = "label:";

impl By {
    /// Reads `channel`, `tier`, `pool`, `location`, or `label:` and the name of a label.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "channel" => Some(Self::Channel),
            "tier" => Some(Self::Tier),
            "pool" => Some(Self::Pool),
            "location" => Some(Self::Location),
            _ => {
                let name = text.strip_prefix(LABEL).filter(|name| check_slug(name).is_ok())?;
                Some(Self::Label(name.to_owned()))
            }
        }
    }

    /// The groups of a sale. The value of those that have none is empty, which no value is.
    pub(super) fn select(&self, dialect: Dialect) -> String {
        let (value, from) = match (self, dialect) {
            (Self::Channel, _) => ("channel".to_owned(), ""),
            (Self::Tier, _) => ("tier".to_owned(), ""),
            (Self::Pool, _) => ("pool".to_owned(), ""),
            (Self::Location, _) => ("location".to_owned(), " LEFT JOIN pools USING (sale, sku, pool)"),
            // A slug has no quotes in it.
            (Self::Label(name), Dialect::Sqlite) => (format!("json_extract(labels, '$.\"{name}\"')"), ""),
            (Self::Label(name), Dialect::Postgres) => (format!("(labels::jsonb ->> '{name}') COLLATE \"C\""), ""),
        };
        format!(
            "WITH line AS (
                    SELECT coalesce({value}, '') AS value, id, state, quantity, returned, cancelled, sold,
                           line.price_currency, line.price_amount
                      FROM report_lines AS line{from} WHERE sale = $1),
                  reservation AS (
                    SELECT value, id, state, sum(quantity) AS units, sum(returned) AS returned,
                           sum(cancelled) AS cancelled, sum(sold) AS sold
                      FROM line GROUP BY value, id, state),
                  most AS (
                    SELECT value, count(*) AS granted,
                           count(CASE state WHEN 'held' THEN 1 END) AS still_held,
                           count(CASE state WHEN 'confirmed' THEN 1 END) AS were_confirmed,
                           count(CASE state WHEN 'released' THEN 1 END) AS were_released,
                           count(CASE state WHEN 'expired' THEN 1 END) AS were_expired,
                           count(CASE state WHEN 'cancelled' THEN 1 END) AS were_cancelled,
                           CAST(sum(units) AS bigint) AS granted_units,
                           CAST(coalesce(sum(CASE state WHEN 'held' THEN units END), 0) AS bigint) AS held_units,
                           CAST(coalesce(sum(sold), 0) AS bigint) AS confirmed_units,
                           CAST(coalesce(sum(CASE state WHEN 'released' THEN units END), 0) AS bigint) AS released_units,
                           CAST(coalesce(sum(CASE state WHEN 'expired' THEN units END), 0) AS bigint) AS expired_units,
                           CAST(coalesce(sum(cancelled), 0) AS bigint) AS cancelled_units,
                           CAST(coalesce(sum(returned), 0) AS bigint) AS returned_units,
                           count(*) OVER () AS total
                      FROM reservation GROUP BY value ORDER BY granted DESC, value LIMIT {ROWS_MAX}),
                  sold AS (
                    SELECT value, price_currency, price_amount, CAST(sum(sold) AS bigint) AS units
                      FROM line WHERE sold > 0 AND price_currency IS NOT NULL
                     GROUP BY value, price_currency, price_amount)
             SELECT most.value, granted, still_held, were_confirmed, were_released, were_expired, were_cancelled,
                    granted_units, held_units, confirmed_units, released_units, expired_units, cancelled_units,
                    returned_units, total,
                    price_currency, price_amount, units
               FROM most LEFT JOIN sold ON sold.value = most.value
              ORDER BY granted DESC, most.value, price_currency, price_amount"
        )
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel => f.write_str("channel"),
            Self::Tier => f.write_str("tier"),
            Self::Pool => f.write_str("pool"),
            Self::Location => f.write_str("location"),
            Self::Label(name) => write!(f, "{LABEL}{name}"),
        }
    }
}

impl Groups {
    pub(super) fn by(by: By) -> Self {
        Self { by, groups: Vec::new(), total: 0 }
    }

    /// Takes a row of the query: a group, and what it sold at one price.
    pub(super) fn row(&mut self, row: &impl Cells) -> Result<(), StoreError> {
        let value = Some(given(row, 0)?).filter(|value| !value.is_empty());
        if self.groups.last().is_none_or(|last| last.value != value) {
            self.total = count(row, 14)?;
            let (reservations, units) = (Reserved::of(row, 1)?, Units::of(row, 7)?);
            self.groups.push(GroupReport { value, reservations, units, revenue: BTreeMap::new() });
        }
        let group = self.groups.last_mut().expect("pushed above");
        if let Some(currency) = row.text(15)? {
            let (price, units) = (count(row, 16)?, count(row, 17)?);
            let (units_total, revenue) = group.revenue.entry(currency).or_default();
            *units_total += units;
            *revenue = revenue.saturating_add(price.saturating_mul(units)).min(i64::MAX as u64);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_report_is_by_is_read_and_shown() {
        for text in ["channel", "tier", "pool", "location", "label:campaign", "label:a.b-c_1"] {
            assert_eq!(By::parse(text).map(|by| by.to_string()).as_deref(), Some(text));
        }
        for text in ["", "region", "Channel", "label", "label:", "label:It's", "label:a'b", "channel "] {
            assert_eq!(By::parse(text), None, "{text}");
        }
    }
}
