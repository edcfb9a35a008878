//! The JSON of a report. `docs/kpi.md` defines its members, in words and in SQL.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::refusal_counts::{REASONS, RefusalCounts},
    reports::Read,
    sale::{
        ids::SaleNumber,
        outcome::State,
        settings::{Currency, Price},
        time::Timestamp,
    },
    store::{
        GroupDealsReport, GroupReport, ItemReport, MinuteReport, Reserved, RevenueReport, SaleReport, Stock, Units,
        WaitlistReport,
    },
};

/// The report of a sale, from the store.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Report)]
pub struct ReportBody<'a> {
    /// The sale's id.
    sale: &'a str,
    /// What the report counts.
    as_of: AsOf<'a>,
    /// The report counts only reservations that are held or that ended at or after this time, because the service deleted
    /// earlier ones (`store.keep_days`). Left out if it counts all of them. Stock is always complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    counts_from: Option<&'a str>,
    /// Reservations by outcome.
    reservations: CountsBody,
    /// Units of those reservations by outcome.
    units: UnitsBody,
    /// Confirmations of those reservations that came late or were refused.
    confirmations: ConfirmationsBody,
    /// The waitlist; left out if nobody waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    waitlist: Option<WaitlistBody>,
    /// Group deals of each item that was sold to groups, by SKU; the first 1000.
    group_deals: Vec<GroupDealsBody<'a>>,
    /// How many such items there are.
    group_deals_total: u64,
    /// Units of all items by state.
    stock: StockBody,
    /// Shares.
    rates: RatesBody,
    /// When the last item sold out for the first time; left out unless every item has sold out.
    #[serde(skip_serializing_if = "Option::is_none")]
    sold_out_at: Option<&'a str>,
    /// Seconds from the sale's opening to `sold_out_at`; left out if there is no such time, or the sale opened later.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_to_sell_out: Option<f64>,
    /// Each item, by SKU; the first 1000.
    items: Vec<ItemBody<'a>>,
    /// How many items there are.
    items_total: u64,
    /// How many of them have no available units now.
    items_sold_out: u64,
    /// How many of them have ever sold out.
    items_ever_sold_out: u64,
    /// Units per minute, in order, without minutes in which nothing happened; the first 1000.
    minutes: Vec<MinuteBody<'a>>,
    /// How many such minutes there are.
    minutes_total: u64,
    /// The minute in which the most units were granted; left out if none were.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_minute: Option<MinuteBody<'a>>,
    /// Confirmed units by item and price; the first 1000.
    revenue: Vec<RevenueBody<'a>>,
    /// How many such entries there are.
    revenue_entries_total: u64,
    /// Confirmed units by currency, for all items and prices.
    revenue_by_currency: Vec<CurrencyBody<'a>>,
    /// What the groups have in common, as the call asked with `by`; left out if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// The groups, the one with the most reservations first; the first 1000. Left out without `by`.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<GroupBody<'a>>>,
    /// How many groups there are. Left out without `by`.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups_total: Option<u64>,
    /// Refused reserves.
    refusals: RefusalsBody,
}

/// The state of the store that an answer was read from.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportAsOf)]
pub struct AsOf<'a> {
    /// The last batch of the journal that the answer counts. Only for a key for all sales, because it would reveal how many
    /// batches other sales have.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    /// The time of the latest change in the store, in any sale. Left out if there is none, and for a key that is limited to
    /// certain sales.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_at: Option<&'a str>,
    /// When the service read the report. It gives the same report again for some seconds.
    #[schema(value_type = String)]
    read_at: Timestamp,
    /// Batches that were durable but not yet in the store. Only for a key for all sales.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_epochs: Option<u64>,
    /// The age of the oldest such batch, in seconds; 0 if there was none.
    lag_seconds: f64,
}

/// Reservations by outcome: `granted = held + confirmed + released + expired + cancelled`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportCounts)]
struct CountsBody {
    /// Ever granted.
    granted: u64,
    /// Still held.
    held: u64,
    /// Confirmed: sold, all of it or a part.
    confirmed: u64,
    /// Released by their callers.
    released: u64,
    /// Expired, and not confirmed late.
    expired: u64,
    /// Cancelled: nothing is left of them.
    cancelled: u64,
}

/// Units by outcome: `granted = held + confirmed + released + expired + cancelled + returned`. Where a hold was changed, its units
/// are those that it had after its last change.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportUnits)]
struct UnitsBody {
    /// Ever granted.
    granted: u64,
    /// Still held.
    held: u64,
    /// Confirmed and not cancelled: sold.
    confirmed: u64,
    /// Released by their callers.
    released: u64,
    /// Expired, of reservations that were not confirmed late.
    expired: u64,
    /// Confirmed, and cancelled later.
    cancelled: u64,
    /// Returned to stock by a confirmation of fewer units than were held.
    returned: u64,
}

/// Waitlist entries by what became of them: `entries = waiting + offered + left + expired`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportWaitlist)]
struct WaitlistBody {
    /// All of them.
    entries: u64,
    /// Still waiting.
    waiting: u64,
    /// For which a hold was made.
    offered: u64,
    /// Left by their customers.
    left: u64,
    /// Whose time ran out.
    expired: u64,
    /// Whose customers once had no room for units that were there.
    passed_over: u64,
    /// Offered holds that are still held.
    open_offers: u64,
    /// Offered holds that were confirmed, and not cancelled since.
    confirmed_offers: u64,
    /// `confirmed_offers` ÷ `offered`; left out without offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    conversion: Option<f64>,
    /// Seconds from joining to the offer, on average; left out without offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_to_offer: Option<f64>,
}

/// Group deals of an item by what became of them: `groups = open + complete + failed`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportGroupDeals)]
struct GroupDealsBody<'a> {
    /// The item's SKU.
    sku: &'a str,
    /// All of them.
    groups: u64,
    /// Members are missing, and there is time left.
    open: u64,
    /// All members joined in time.
    complete: u64,
    /// The time was over first, or everybody left.
    failed: u64,
    /// Members of all groups, without those who left an open one.
    members: u64,
    /// Members whose reservation was confirmed, and not cancelled since.
    confirmed_members: u64,
    /// `complete` ÷ (`complete` + `failed`); left out while no group has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_rate: Option<f64>,
}

/// Late and refused confirmations. A refused one may stand for a payment that is to be returned.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportConfirmations)]
struct ConfirmationsBody {
    /// Reservations that were confirmed after their holds had expired, cancelled or not.
    late: u64,
    /// Refused confirmations, each reference of a reservation counted once.
    refused: u64,
    /// Of them: those that came after the hold had expired.
    refused_late: u64,
    /// By cause; causes without refusals are left out.
    refused_by_cause: Vec<RefusedConfirmationsBody>,
}

/// Confirmations that were refused for one cause.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportRefusedConfirmations)]
struct RefusedConfirmationsBody {
    /// Why: `too_late`, `stock`, `limit`, `released`, `cancelled` or `already_confirmed`.
    cause: &'static str,
    /// How many.
    count: u64,
}

/// Units by state, whatever `counts_from` says: `stock = available + held + confirmed`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportStock)]
struct StockBody {
    /// Units put into the sale: initial stock plus adjustments.
    stock: u64,
    /// Units that can be reserved.
    available: u64,
    /// Held.
    held: u64,
    /// Confirmed.
    confirmed: u64,
}

/// Shares from 0 to 1, rounded to four digits; a share of nothing is left out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportRates)]
struct RatesBody {
    /// Reservations confirmed ÷ granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    conversion: Option<f64>,
    /// Units confirmed ÷ granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    unit_conversion: Option<f64>,
    /// Reservations expired ÷ granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry_rate: Option<f64>,
    /// Reservations released ÷ granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    release_rate: Option<f64>,
    /// Units confirmed ÷ stock, whatever `counts_from` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    sell_through: Option<f64>,
}

/// How one item sold.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportItem)]
struct ItemBody<'a> {
    /// The item's SKU.
    sku: &'a str,
    /// Reservations of the item, by outcome.
    reservations: CountsBody,
    /// Units of the item in those reservations, by outcome.
    units: UnitsBody,
    /// The item's units by state.
    stock: StockBody,
    /// Shares.
    rates: RatesBody,
    /// When the item first sold out; left out if it never has.
    #[serde(skip_serializing_if = "Option::is_none")]
    sold_out_at: Option<&'a str>,
    /// Seconds from the sale's opening to `sold_out_at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_to_sell_out: Option<f64>,
}

/// Units of a minute.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportMinute)]
struct MinuteBody<'a> {
    /// When the minute begins, in UTC.
    minute: &'a str,
    /// Units granted in this minute.
    granted: u64,
    /// Units confirmed in this minute, cancelled later or not.
    confirmed: u64,
    /// Units released in this minute.
    released: u64,
    /// Units that expired in this minute.
    expired: u64,
}

/// Confirmed units of an item at one price.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportRevenue)]
struct RevenueBody<'a> {
    /// The item's SKU.
    sku: &'a str,
    /// The price of one unit when the hold was made; left out if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Price>,
    /// Confirmed units.
    units: u64,
    /// Units times price, in minor units; left out if there was no price.
    #[serde(skip_serializing_if = "Option::is_none")]
    revenue: Option<u64>,
}

/// Confirmed units of one currency.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportCurrency)]
struct CurrencyBody<'a> {
    /// Three letters of ISO 4217.
    currency: &'a str,
    /// Confirmed units.
    units: u64,
    /// Their revenue, in minor units.
    revenue: u64,
}

/// What one channel, tier, pool, location or label brought.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportGroup)]
struct GroupBody<'a> {
    /// The channel, tier, pool, location, or value of the label. Left out in the group of those that have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    /// Reservations by outcome. By pool and location, a reservation counts in each group that it has units of.
    reservations: CountsBody,
    /// Units of the group by outcome.
    units: UnitsBody,
    /// Shares, without `sell_through`.
    rates: RatesBody,
    /// Confirmed units that have a price, by currency.
    revenue_by_currency: Vec<CurrencyBody<'a>>,
}

/// Well-formed reserves that the service refused. A refusal is not an event, so the store does not have it: the process counts
/// refusals in memory.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportRefusals)]
struct RefusalsBody {
    /// When the count began: at the start of the process.
    #[schema(value_type = String)]
    since: Timestamp,
    /// All of them.
    total: u64,
    /// By reason; reasons without refusals are left out.
    by_reason: Vec<RefusalBody>,
}

/// Refusals of one kind.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportRefusal)]
struct RefusalBody {
    /// The code of the problem in the answer.
    reason: &'static str,
    /// How many.
    count: u64,
}

impl<'a> ReportBody<'a> {
    /// `sees_all`: whether the caller may see all sales.
    pub fn new(
        sale: &'a str,
        number: SaleNumber,
        read: &'a Read<SaleReport>,
        refusals: &RefusalCounts,
        sees_all: bool,
    ) -> Self {
        let report = &read.found;
        let minutes = |minutes: &'a [MinuteReport]| minutes.iter().map(MinuteBody::of).collect();
        let groups = report.groups.as_ref();
        Self {
            sale,
            as_of: AsOf::new(read, report.cursor, report.changed_at.as_deref(), sees_all),
            counts_from: report.counts_from.as_deref(),
            reservations: CountsBody::of(&report.reservations),
            units: UnitsBody::of(&report.units),
            confirmations: ConfirmationsBody::of(report),
            waitlist: report.waitlist.as_ref().map(WaitlistBody::of),
            group_deals: report.group_deals.iter().map(GroupDealsBody::of).collect(),
            group_deals_total: report.group_deals_total,
            stock: StockBody::of(&report.stock),
            rates: RatesBody::of(&report.reservations, &report.units, &report.stock),
            sold_out_at: report.sold_out_at.as_deref(),
            seconds_to_sell_out: report.seconds_to_sell_out,
            items: report.items.iter().map(ItemBody::of).collect(),
            items_total: report.items_total,
            items_sold_out: report.items_sold_out,
            items_ever_sold_out: report.items_ever_sold_out,
            minutes: minutes(&report.minutes),
            minutes_total: report.minutes_total,
            peak_minute: report.peak.as_ref().map(MinuteBody::of),
            revenue: report.revenue.iter().map(RevenueBody::of).collect(),
            revenue_entries_total: report.revenue_rows_total,
            revenue_by_currency: by_currency(&report.revenue_total),
            by: groups.map(|groups| groups.by.to_string()),
            groups: groups.map(|groups| groups.groups.iter().map(GroupBody::of).collect()),
            groups_total: groups.map(|groups| groups.total),
            refusals: RefusalsBody::of(number, refusals),
        }
    }
}

impl<'a> AsOf<'a> {
    /// `sees_all`: whether the caller may see all sales.
    pub fn new<T>(read: &Read<T>, cursor: u64, changed_at: Option<&'a str>, sees_all: bool) -> Self {
        Self {
            epoch: sees_all.then_some(cursor),
            changed_at: changed_at.filter(|_| sees_all),
            read_at: read.read_at,
            lag_epochs: sees_all.then_some(read.lag_epochs),
            lag_seconds: (read.lag_seconds * 1000.0).round() / 1000.0,
        }
    }
}

impl CountsBody {
    fn of(&Reserved { granted, held, confirmed, released, expired, cancelled }: &Reserved) -> Self {
        Self { granted, held, confirmed, released, expired, cancelled }
    }
}

impl UnitsBody {
    fn of(&Units { granted, held, confirmed, released, expired, cancelled, returned }: &Units) -> Self {
        Self { granted, held, confirmed, released, expired, cancelled, returned }
    }
}

impl ConfirmationsBody {
    fn of(report: &SaleReport) -> Self {
        let late = report.refused.iter().filter(|(cause, _)| cause.state() == State::Expired);
        let by_cause = report.refused.iter();
        Self {
            late: report.late,
            refused: report.refused.values().sum(),
            refused_late: late.map(|(_, count)| count).sum(),
            refused_by_cause: by_cause
                .map(|(cause, &count)| RefusedConfirmationsBody { cause: cause.as_str(), count })
                .collect(),
        }
    }
}

impl WaitlistBody {
    fn of(report: &WaitlistReport) -> Self {
        let WaitlistReport { entries, waiting, offered, left, expired, .. } = *report;
        let WaitlistReport { passed_over, open_offers, confirmed_offers, seconds_to_offer, .. } = *report;
        let conversion = share(confirmed_offers, offered);
        Self {
            entries,
            waiting,
            offered,
            left,
            expired,
            passed_over,
            open_offers,
            confirmed_offers,
            conversion,
            seconds_to_offer,
        }
    }
}

impl<'a> GroupDealsBody<'a> {
    fn of(report: &'a GroupDealsReport) -> Self {
        let GroupDealsReport { sku, groups, open, complete, failed, members, confirmed_members } = report;
        Self {
            sku,
            groups: *groups,
            open: *open,
            complete: *complete,
            failed: *failed,
            members: *members,
            confirmed_members: *confirmed_members,
            completion_rate: share(*complete, complete + failed),
        }
    }
}

impl StockBody {
    fn of(&Stock { stock, available, held, confirmed }: &Stock) -> Self {
        Self { stock, available, held, confirmed }
    }
}

impl RatesBody {
    fn of(reservations: &Reserved, units: &Units, stock: &Stock) -> Self {
        Self {
            conversion: share(reservations.confirmed, reservations.granted),
            unit_conversion: share(units.confirmed, units.granted),
            expiry_rate: share(reservations.expired, reservations.granted),
            release_rate: share(reservations.released, reservations.granted),
            sell_through: share(stock.confirmed, stock.stock),
        }
    }
}

impl<'a> ItemBody<'a> {
    fn of(item: &'a ItemReport) -> Self {
        Self {
            sku: &item.sku,
            reservations: CountsBody::of(&item.reservations),
            units: UnitsBody::of(&item.units),
            stock: StockBody::of(&item.stock),
            rates: RatesBody::of(&item.reservations, &item.units, &item.stock),
            sold_out_at: item.sold_out_at.as_deref(),
            seconds_to_sell_out: item.seconds_to_sell_out,
        }
    }
}

impl<'a> MinuteBody<'a> {
    fn of(of: &'a MinuteReport) -> Self {
        let MinuteReport { minute, granted, confirmed, released, expired } = of;
        Self { minute, granted: *granted, confirmed: *confirmed, released: *released, expired: *expired }
    }
}

impl<'a> RevenueBody<'a> {
    fn of(RevenueReport { sku, price, units, revenue }: &'a RevenueReport) -> Self {
        let price = price
            .as_ref()
            .and_then(|(amount, currency)| Some(Price { amount: *amount, currency: Currency::parse(currency)? }));
        Self { sku, price, units: *units, revenue: *revenue }
    }
}

impl<'a> GroupBody<'a> {
    fn of(GroupReport { value, reservations, units, revenue }: &'a GroupReport) -> Self {
        Self {
            value: value.as_deref(),
            reservations: CountsBody::of(reservations),
            units: UnitsBody::of(units),
            rates: RatesBody::of(reservations, units, &Stock::default()),
            revenue_by_currency: by_currency(revenue),
        }
    }
}

/// Units and revenue of each currency; `""` is without a price.
fn by_currency(totals: &BTreeMap<String, (u64, u64)>) -> Vec<CurrencyBody<'_>> {
    let of_currency = totals.iter().filter(|(currency, _)| !currency.is_empty());
    of_currency.map(|(currency, &(units, revenue))| CurrencyBody { currency, units, revenue }).collect()
}

impl RefusalsBody {
    fn of(sale: SaleNumber, refusals: &RefusalCounts) -> Self {
        let counts = refusals.of(sale);
        let by_reason = REASONS.into_iter().zip(counts).filter(|(_, count)| *count > 0);
        Self {
            since: refusals.since(),
            total: counts.iter().sum(),
            by_reason: by_reason.map(|(reason, count)| RefusalBody { reason: reason.as_str(), count }).collect(),
        }
    }
}

/// Rounded half up to four digits; None of nothing.
fn share(part: u64, whole: u64) -> Option<f64> {
    let rounded = |whole: u64| (u128::from(part) * 20_000 + u128::from(whole)) / (2 * u128::from(whole));
    (whole > 0).then(|| rounded(whole) as f64 / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_half_up_to_four_digits() {
        for (part, whole, expected) in [(1, 3, 0.3333), (2, 3, 0.6667), (1, 32, 0.0313), (0, 9, 0.0), (9, 9, 1.0)] {
            assert_eq!(share(part, whole), Some(expected), "{part} of {whole}");
        }
        assert_eq!(share(0, 0), None);
        assert_eq!(share(u64::MAX, u64::MAX), Some(1.0));
    }
}
