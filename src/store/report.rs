//! The report of a sale, from the views of the store. `docs/kpi.md` defines every figure.
//!
//! Both databases run the same queries; only reading cells differs. Invariant: a report is of one moment, which its cursor
//! names, and no list in it is longer than `ROWS_MAX`.

use std::collections::BTreeMap;

use super::{
    error::StoreError,
    groups::{By, Groups},
    reader::parse_state,
    rows::natural,
};
use crate::sale::{event::RefusedConfirm, outcome::State};

/// Most entries of each list of a report; a total is beside each list.
pub const ROWS_MAX: usize = 1000;

/// A report on one sale.
#[derive(Debug, Clone, PartialEq)]
pub struct SaleReport {
    /// The last batch that it counts.
    pub cursor: u64,
    /// The latest time in any change that the store has: RFC 3339 text, as all times here.
    pub changed_at: Option<String>,
    /// Reservations that ended earlier are not counted: they were deleted.
    pub counts_from: Option<String>,
    pub reservations: Reserved,
    pub units: Units,
    /// Reservations that were confirmed after their hold had expired.
    pub late: u64,
    /// Confirmations that were refused, by cause.
    pub refused: BTreeMap<RefusedConfirm, u64>,
    /// None where nobody waited.
    pub waitlist: Option<WaitlistReport>,
    /// By SKU, of items that were sold to groups.
    pub group_deals: Vec<GroupDealsReport>,
    pub group_deals_total: u64,
    pub stock: Stock,
    /// By SKU.
    pub items: Vec<ItemReport>,
    pub items_total: u64,
    /// Of which nothing is available now.
    pub items_sold_out: u64,
    /// Of which nothing was available at the end of some batch.
    pub items_ever_sold_out: u64,
    /// When the last of the items was first sold out, if all were.
    pub sold_out_at: Option<String>,
    pub seconds_to_sell_out: Option<f64>,
    /// In their order; those in which nothing happened are left out.
    pub minutes: Vec<MinuteReport>,
    pub minutes_total: u64,
    /// The minute with the most units granted; the first of several.
    pub peak: Option<MinuteReport>,
    /// By SKU, currency and price.
    pub revenue: Vec<RevenueReport>,
    pub revenue_rows_total: u64,
    /// Units sold and what they come to, by currency; `""` is without a price.
    pub revenue_total: BTreeMap<String, (u64, u64)>,
    /// If it was asked to group.
    pub groups: Option<Groups>,
}

/// Reservations by what became of them; `granted` is the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reserved {
    pub granted: u64,
    pub held: u64,
    pub confirmed: u64,
    pub released: u64,
    pub expired: u64,
    pub cancelled: u64,
}

/// Units of reservations by what became of them; `granted` is the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Units {
    pub granted: u64,
    pub held: u64,
    /// Confirmed, and not cancelled.
    pub confirmed: u64,
    pub released: u64,
    pub expired: u64,
    pub cancelled: u64,
    /// Left over by a confirmation of fewer.
    pub returned: u64,
}

/// Waitlist entries by what became of them, and the holds that were offered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WaitlistReport {
    /// The sum of the next four.
    pub entries: u64,
    pub waiting: u64,
    pub offered: u64,
    pub left: u64,
    pub expired: u64,
    /// Whose customers had no room once for units that were there.
    pub passed_over: u64,
    /// Offered holds that are still held.
    pub open_offers: u64,
    /// Offered holds that were confirmed, and not cancelled since.
    pub confirmed_offers: u64,
    /// From joining to the offer, on average.
    pub seconds_to_offer: Option<f64>,
}

/// Group deals of an item by what became of them, and their members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDealsReport {
    pub sku: String,
    /// The sum of the next three.
    pub groups: u64,
    pub open: u64,
    pub complete: u64,
    pub failed: u64,
    /// Without those who left an open group.
    pub members: u64,
    /// Who confirmed, and did not cancel since.
    pub confirmed_members: u64,
}

/// Where the units of an item or a sale are, of all time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stock {
    pub stock: u64,
    pub available: u64,
    pub held: u64,
    pub confirmed: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ItemReport {
    pub sku: String,
    pub reservations: Reserved,
    pub units: Units,
    pub stock: Stock,
    pub sold_out_at: Option<String>,
    pub seconds_to_sell_out: Option<f64>,
}

/// Units of one minute, in UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinuteReport {
    pub minute: String,
    pub granted: u64,
    pub confirmed: u64,
    pub released: u64,
    pub expired: u64,
}

/// Units of one item that were sold at one price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevenueReport {
    pub sku: String,
    /// Minor units and ISO 4217 code.
    pub price: Option<(u64, String)>,
    pub units: u64,
    pub revenue: Option<u64>,
}

/// A cell of an answer, read as what it should be.
pub(super) trait Cells {
    fn integer(&self, column: usize) -> Result<Option<i64>, StoreError>;
    fn real(&self, column: usize) -> Result<Option<f64>, StoreError>;
    fn text(&self, column: usize) -> Result<Option<String>, StoreError>;
    fn time(&self, column: usize) -> Result<Option<String>, StoreError>;
}

/// Where the store stands, and whether it has the sale.
pub(super) const HEAD: &str = "
    SELECT cursor, write_behind.updated_at, CASE WHEN created_at < kept_from THEN kept_from END
      FROM write_behind JOIN sales ON id = $1";

pub(super) const OF_ITEMS: &str = "
    SELECT sku, reservations, held_reservations, confirmed_reservations, released_reservations, expired_reservations,
           cancelled_reservations, granted_units, held_units, confirmed_units, released_units, expired_units,
           cancelled_units, returned_units, stock, available, held, confirmed, sold_out_at, seconds_to_sell_out
      FROM report_items WHERE sale = $1 ORDER BY sku";

pub(super) const OF_RESERVATIONS: &str = "
    SELECT state, count(*), count(CASE WHEN late THEN 1 END)
      FROM report_reservations WHERE sale = $1 GROUP BY state";

pub(super) const OF_REFUSED: &str =
    "SELECT cause, count(*) FROM report_refused_confirmations WHERE sale = $1 GROUP BY cause";

pub(super) const OF_WAITLIST: &str = "
    SELECT entries, waiting_entries, offered_entries, left_entries, expired_entries, passed_over_entries, open_offers,
           confirmed_offers, seconds_to_offer
      FROM report_waitlist WHERE sale = $1";

pub(super) const OF_GROUP_DEALS: &str = "
    SELECT sku, all_groups, open_groups, complete_groups, failed_groups, members, confirmed_members
      FROM report_group_deals WHERE sale = $1 ORDER BY sku";

pub(super) const OF_MINUTES: &str = "
    SELECT minute, CAST(sum(granted_units) AS bigint), CAST(sum(confirmed_units) AS bigint),
           CAST(sum(released_units) AS bigint), CAST(sum(expired_units) AS bigint)
      FROM report_minutes WHERE sale = $1 GROUP BY minute ORDER BY minute";

pub(super) const OF_REVENUE: &str = "
    SELECT sku, price_currency, price_amount, units, revenue
      FROM report_revenue WHERE sale = $1 ORDER BY sku, price_currency IS NOT NULL, price_currency, price_amount";

impl SaleReport {
    pub(super) fn begin(head: &impl Cells, by: Option<&By>) -> Result<Self, StoreError> {
        Ok(Self {
            cursor: count(head, 0)?,
            changed_at: head.time(1)?,
            counts_from: head.time(2)?,
            reservations: Reserved::default(),
            units: Units::default(),
            late: 0,
            refused: BTreeMap::new(),
            waitlist: None,
            group_deals: Vec::new(),
            group_deals_total: 0,
            stock: Stock::default(),
            items: Vec::new(),
            items_total: 0,
            items_sold_out: 0,
            items_ever_sold_out: 0,
            sold_out_at: None,
            seconds_to_sell_out: None,
            minutes: Vec::new(),
            minutes_total: 0,
            peak: None,
            revenue: Vec::new(),
            revenue_rows_total: 0,
            revenue_total: BTreeMap::new(),
            groups: by.cloned().map(Groups::by),
        })
    }

    pub(super) fn item(&mut self, row: &impl Cells) -> Result<(), StoreError> {
        let item = ItemReport {
            sku: given(row, 0)?,
            reservations: Reserved::of(row, 1)?,
            units: Units::of(row, 7)?,
            stock: Stock {
                stock: count(row, 14)?,
                available: count(row, 15)?,
                held: count(row, 16)?,
                confirmed: count(row, 17)?,
            },
            sold_out_at: row.time(18)?,
            seconds_to_sell_out: row.real(19)?,
        };
        self.units.add(&item.units);
        self.stock.add(&item.stock);
        self.items_total += 1;
        self.items_sold_out += u64::from(item.stock.available == 0);
        self.items_ever_sold_out += u64::from(item.sold_out_at.is_some());
        // Texts of one length, whose order is that of time.
        if item.sold_out_at >= self.sold_out_at {
            self.sold_out_at.clone_from(&item.sold_out_at);
            self.seconds_to_sell_out = item.seconds_to_sell_out;
        }
        keep(&mut self.items, item);
        Ok(())
    }

    pub(super) fn state(&mut self, row: &impl Cells) -> Result<(), StoreError> {
        let (state, counted) = (given(row, 0)?, count(row, 1)?);
        let reserved = &mut self.reservations;
        match parse_state(&state)? {
            State::Held => reserved.held = counted,
            State::Confirmed => reserved.confirmed = counted,
            State::Released => reserved.released = counted,
            State::Expired => reserved.expired = counted,
            State::Cancelled => reserved.cancelled = counted,
        }
        reserved.granted += counted;
        self.late += count(row, 2)?;
        Ok(())
    }

    pub(super) fn refused(&mut self, row: &impl Cells) -> Result<(), StoreError> {
        let (word, counted) = (given(row, 0)?, count(row, 1)?);
        let found = RefusedConfirm::ALL.into_iter().find(|cause| cause.as_str() == word);
        let unknown = || StoreError::Content(format!("a confirmation that was refused for the cause {word:?}"));
        self.refused.insert(found.ok_or_else(unknown)?, counted);
        Ok(())
    }

    pub(super) fn waited(&mut self, row: &impl Cells) -> Result<(), StoreError> {
        self.waitlist = Some(WaitlistReport {
            entries: count(row, 0)?,
            waiting: count(row, 1)?,
            offered: count(row, 2)?,
            left: count(row, 3)?,
            expired: count(row, 4)?,
            passed_over: count(row, 5)?,
            open_offers: count(row, 6)?,
            confirmed_offers: count(row, 7)?,
            seconds_to_offer: row.real(8)?,
        });
        Ok(())
    }

    pub(super) fn group_deals(&mut self, row: &impl Cells) -> Result<(), StoreError> {
        let deals = GroupDealsReport {
            sku: given(row, 0)?,
            groups: count(row, 1)?,
            open: count(row, 2)?,
            complete: count(row, 3)?,
            failed: count(row, 4)?,
            members: count(row, 5)?,
            confirmed_members: count(row, 6)?,
        };
        self.group_deals_total += 1;
        keep(&mut self.group_deals, deals);
        Ok(())
    }

    pub(super) fn minute(&mut self, row: &impl Cells) -> Result<(), StoreError> {
        let minute = MinuteReport {
            minute: row.time(0)?.ok_or_else(|| missing(0))?,
            granted: count(row, 1)?,
            confirmed: count(row, 2)?,
            released: count(row, 3)?,
            expired: count(row, 4)?,
        };
        self.minutes_total += 1;
        if minute.granted > self.peak.as_ref().map_or(0, |peak| peak.granted) {
            self.peak = Some(minute.clone());
        }
        keep(&mut self.minutes, minute);
        Ok(())
    }

    pub(super) fn revenue(&mut self, row: &impl Cells) -> Result<(), StoreError> {
        let (currency, amount) = (row.text(1)?, row.integer(2)?.map(i64::unsigned_abs));
        let (units, revenue) = (count(row, 3)?, row.integer(4)?.map(i64::unsigned_abs));
        let (units_total, total) = self.revenue_total.entry(currency.clone().unwrap_or_default()).or_default();
        *units_total += units;
        *total = total.saturating_add(revenue.unwrap_or(0)).min(i64::MAX as u64);
        self.revenue_rows_total += 1;
        keep(&mut self.revenue, RevenueReport { sku: given(row, 0)?, price: amount.zip(currency), units, revenue });
        Ok(())
    }

    pub(super) fn group(&mut self, row: &impl Cells) -> Result<(), StoreError> {
        self.groups.as_mut().map_or(Ok(()), |groups| groups.row(row))
    }

    pub(super) fn finish(mut self) -> Self {
        if self.items_ever_sold_out < self.items_total {
            (self.sold_out_at, self.seconds_to_sell_out) = (None, None);
        }
        self
    }
}

impl Reserved {
    /// From the six columns that begin at `first`.
    pub(super) fn of(row: &impl Cells, first: usize) -> Result<Self, StoreError> {
        Ok(Self {
            granted: count(row, first)?,
            held: count(row, first + 1)?,
            confirmed: count(row, first + 2)?,
            released: count(row, first + 3)?,
            expired: count(row, first + 4)?,
            cancelled: count(row, first + 5)?,
        })
    }
}

impl Units {
    /// From the seven columns that begin at `first`.
    pub(super) fn of(row: &impl Cells, first: usize) -> Result<Self, StoreError> {
        Ok(Self {
            granted: count(row, first)?,
            held: count(row, first + 1)?,
            confirmed: count(row, first + 2)?,
            released: count(row, first + 3)?,
            expired: count(row, first + 4)?,
            cancelled: count(row, first + 5)?,
            returned: count(row, first + 6)?,
        })
    }

    fn add(&mut self, other: &Self) {
        self.granted += other.granted;
        self.held += other.held;
        self.confirmed += other.confirmed;
        self.released += other.released;
        self.expired += other.expired;
        self.cancelled += other.cancelled;
        self.returned += other.returned;
    }
}

impl Stock {
    fn add(&mut self, other: &Self) {
        self.stock += other.stock;
        self.available += other.available;
        self.held += other.held;
        self.confirmed += other.confirmed;
    }
}

fn keep<T>(list: &mut Vec<T>, entry: T) {
    if list.len() < ROWS_MAX {
        list.push(entry);
    }
}

fn missing(column: usize) -> StoreError {
    StoreError::Content(format!("nothing in column {column} of a report"))
}

pub(super) fn given(row: &impl Cells, column: usize) -> Result<String, StoreError> {
    row.text(column)?.ok_or_else(|| missing(column))
}

pub(super) fn count(row: &impl Cells, column: usize) -> Result<u64, StoreError> {
    natural("a count", row.integer(column)?.ok_or_else(|| missing(column))?)
}
