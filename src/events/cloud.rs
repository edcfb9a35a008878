//! Events as the feed sends them: CloudEvents 1.0 in JSON, framed as server-sent events or as lines.
//!
//! An event is encoded from its own data. Names of sales and items never change, so they come from the current catalogue;
//! nothing else is looked up, so an event reads the same at any time.

mod data;

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Format,
    levels::{LevelChange, Reached},
};
use crate::sale::{
    attributes::Attributes,
    catalogue::Catalogue,
    event::{
        Adjusted, AskedUnits, Cancelled, CatalogueEvent, Changed, ConfirmRefused, CustomerEvent, Event, GroupChanged,
        GroupStep, Held, Joined, Portion, PricedPortion, Settled, Transferred, record,
    },
    ids::{EntryId, PoolNumber, ReservationId, SaleNumber},
    outcome::{State, Status, WaitState},
    settings::Price,
    time::Timestamp,
};

pub use data::{
    AdjustmentData, EndingData, EntryData, ErasureData, GroupData, LevelData, LowStockData, PhaseData, ReservationData,
    SharingData, StatusData, TransferData,
};
use data::{AskedData, Data, LineData, ShortData};

/// The types of events. `stream.ended` is none: it is no change.
pub const KINDS: &[&str] = &[
    "reservation.held",
    "reservation.extended",
    "reservation.changed",
    "reservation.cancelled",
    "reservation.confirm_refused",
    "reservation.confirmed",
    "reservation.released",
    "reservation.expired",
    "group.opened",
    "group.completed",
    "group.failed",
    "waitlist.joined",
    "waitlist.offered",
    "waitlist.left",
    "waitlist.expired",
    "waitlist.passed_over",
    "stock.adjusted",
    "stock.transferred",
    "item.pool_shared",
    "item.sold_out",
    "item.back_in_stock",
    "item.low_stock",
    "sale.opened",
    "sale.phase_opened",
    "sale.paused",
    "sale.resumed",
    "sale.closed",
    "sale.put",
    "customer.erased",
];

/// An event with its names, on its way to be written.
pub(super) struct FeedEvent<'a> {
    pub kind: &'static str,
    /// None: it is of no sale, or of all.
    pub sale: Option<&'a str>,
    subject: String,
    time: Timestamp,
    data: Data<'a>,
}

impl<'a> FeedEvent<'a> {
    /// None for changes that are not visible outside: a reservation that leaves memory, and a change of status that the
    /// document event right before it already shows. Also none for audit records: readers of the feed need not know the
    /// operators.
    pub(super) fn of(event: &Event<'a>, catalogue: &'a Catalogue) -> Option<Self> {
        match event {
            Event::Customer(event) => Self::of_customer(event, catalogue),
            Event::Catalogue(event) => Self::of_catalogue(event, catalogue),
        }
    }

    fn of_customer(event: &CustomerEvent<'a>, catalogue: &'a Catalogue) -> Option<Self> {
        let settled = |kind, state, settled| Some(Self::settled(kind, state, settled, catalogue));
        match event {
            CustomerEvent::Held(held) => Some(Self::held(held, catalogue)),
            CustomerEvent::Extended(extended) => {
                let sale = sale_id(catalogue, extended.sale);
                let mut reservation = ReservationData::new(extended.id, sale, State::Held);
                reservation.expires_at = Some(extended.expires_at);
                reservation.extensions = Some(extended.extensions);
                Some(Self::reservation("reservation.extended", extended.at, reservation))
            }
            CustomerEvent::Confirmed(event) => settled("reservation.confirmed", State::Confirmed, event),
            CustomerEvent::Released(event) => settled("reservation.released", State::Released, event),
            CustomerEvent::Expired(event) => settled("reservation.expired", State::Expired, event),
            CustomerEvent::Changed(changed) => Some(Self::changed(changed, catalogue)),
            CustomerEvent::Cancelled(cancelled) => Some(Self::cancelled(cancelled, catalogue)),
            CustomerEvent::ConfirmRefused(refused) => Some(Self::confirm_refused(refused, catalogue)),
            CustomerEvent::GroupChanged(changed) => Self::group(changed, catalogue),
            // The event of the whole group says it for all of its members.
            CustomerEvent::GroupNoted(_) => None,
            CustomerEvent::Joined(joined) => Some(Self::joined(joined, catalogue)),
            CustomerEvent::Offered(offered) => {
                let mut entry = EntryData::new(offered.id, sale_id(catalogue, offered.sale), WaitState::Offered);
                entry.reservation = Some(offered.reservation.to_string());
                Some(Self::entry("waitlist.offered", offered.at, entry))
            }
            CustomerEvent::LeftWaitlist(ended) => {
                let entry = EntryData::new(ended.id, sale_id(catalogue, ended.sale), WaitState::Left);
                Some(Self::entry("waitlist.left", ended.at, entry))
            }
            CustomerEvent::WaitExpired(ended) => {
                let entry = EntryData::new(ended.id, sale_id(catalogue, ended.sale), WaitState::Expired);
                Some(Self::entry("waitlist.expired", ended.at, entry))
            }
            CustomerEvent::PassedOver(passed) => {
                let mut entry = EntryData::new(passed.id, sale_id(catalogue, passed.sale), WaitState::Waiting);
                entry.code = Some(passed.cause.code().as_str());
                Some(Self::entry("waitlist.passed_over", passed.at, entry))
            }
            CustomerEvent::CustomerErased { at, customer } => {
                let (subject, data) = ((*customer).to_owned(), Data::Erasure(ErasureData { customer }));
                Some(Self { kind: "customer.erased", sale: None, subject, time: *at, data })
            }
            CustomerEvent::EntryRetired { .. }
            | CustomerEvent::Retired { .. }
            | CustomerEvent::Carried { .. }
            | CustomerEvent::Sold { .. } => None,
        }
    }

    fn of_catalogue(event: &CatalogueEvent<'a>, catalogue: &'a Catalogue) -> Option<Self> {
        let status = |kind, number, time, by| {
            let sale = sale_id(catalogue, number);
            let data = Data::Status(StatusData { sale, by });
            Some(Self { kind, sale: Some(sale), subject: sale.to_owned(), time, data })
        };
        match event {
            CatalogueEvent::SaleDefined(defined) => {
                let sale = sale_id(catalogue, defined.sale);
                let (settings, _) = record::decode(defined.record).ok()?;
                let data = Data::Settings(serde_json::to_value(settings).expect("settings are plain data"));
                Some(Self { kind: "sale.put", sale: Some(sale), subject: sale.to_owned(), time: defined.at, data })
            }
            CatalogueEvent::SalePaused { sale, at } => status("sale.paused", *sale, *at, "operator"),
            CatalogueEvent::SaleResumed { sale, at } => status("sale.resumed", *sale, *at, "operator"),
            CatalogueEvent::SaleClosed { sale, at } => status("sale.closed", *sale, *at, "operator"),
            CatalogueEvent::StatusReached { sale, at, status: reached } => match reached {
                Status::Open => status("sale.opened", *sale, *at, "clock"),
                Status::Paused => status("sale.paused", *sale, *at, "clock"),
                Status::Closed => status("sale.closed", *sale, *at, "clock"),
                Status::Scheduled => None,
            },
            CatalogueEvent::PhaseOpened { sale, at, phase, opens_at } => {
                let sale = sale_id(catalogue, *sale);
                let data = Data::Phase(PhaseData { sale, phase, opens_at: *opens_at });
                Some(Self { kind: "sale.phase_opened", sale: Some(sale), subject: sale.to_owned(), time: *at, data })
            }
            CatalogueEvent::PoolShared { item, pool, at, shared_at, .. } => {
                let ((sale, sku), pool) = (catalogue.names(*item), catalogue.item_numbered(*item).pool_id(*pool));
                let data = Data::Sharing(SharingData { sale, sku, pool, shared_at: *shared_at });
                Some(Self { kind: "item.pool_shared", sale: Some(sale), subject: sku.to_owned(), time: *at, data })
            }
            CatalogueEvent::Adjusted(adjusted) => Some(Self::adjusted(adjusted, catalogue)),
            CatalogueEvent::Transferred(transferred) => Some(Self::transferred(transferred, catalogue)),
            CatalogueEvent::Stocked { .. } | CatalogueEvent::WrittenBy { .. } => None,
            // Each extended hold has its own event.
            CatalogueEvent::HoldsExtending(_) | CatalogueEvent::HoldsExtended(_) => None,
            // Only the auditor needs the operator; the event before shows the change.
            CatalogueEvent::Audited(_) | CatalogueEvent::KeysNoted { .. } | CatalogueEvent::AuditReached(_) => None,
            // Each moved hold has its own event.
            CatalogueEvent::ClockSet(_) => None,
        }
    }

    /// The result of a batch for an item.
    pub(super) fn of_level(change: LevelChange, catalogue: &'a Catalogue) -> Self {
        let LevelChange { item, to, available, at } = change;
        let (sale, sku) = catalogue.names(item);
        let level = |kind| (kind, Data::Level(LevelData { sale, sku, available }));
        let (kind, data) = match to {
            Reached::SoldOut => level("item.sold_out"),
            Reached::BackInStock => level("item.back_in_stock"),
            Reached::LowStock { low_stock_at } => {
                ("item.low_stock", Data::LowStock(LowStockData { sale, sku, available, low_stock_at }))
            }
        };
        Self { kind, sale: Some(sale), subject: sku.to_owned(), time: at, data }
    }

    fn reservation(kind: &'static str, time: Timestamp, data: ReservationData<'a>) -> Self {
        Self { kind, sale: Some(data.sale), subject: data.id.clone(), time, data: Data::Reservation(data) }
    }

    fn held(held: &Held<'a>, catalogue: &'a Catalogue) -> Self {
        let sale = sale_id(catalogue, held.sale);
        let (created_at, mut reservation) = (held.id.created_at(), ReservationData::new(held.id, sale, State::Held));
        reservation.customer = Some(held.customer);
        reservation.lines = LineData::of(&held.portions, catalogue);
        let got = |item| held.portions.iter().filter(|portion| portion.item == item).map(|portion| portion.units).sum();
        let short = held.short.iter().map(|asked| ShortData {
            sku: catalogue.sku(asked.item),
            requested: asked.units,
            granted: got(asked.item),
        });
        reservation.short = short.collect();
        if let Some(attributes) = &held.attributes {
            let Attributes { tier, channel, region, locations: _, labels } = Attributes::clone(attributes);
            (reservation.tier, reservation.channel, reservation.region) = (tier, channel, region);
            reservation.labels = labels.into_iter().collect();
        }
        reservation.reference = held.reference;
        reservation.group = held.group.as_ref().map(|group| group.id.to_string());
        reservation.expires_at = Some(held.expires_at());
        reservation.extensions = Some(0);
        reservation.waitlist = held.entry.map(|entry| entry.to_string());
        Self::reservation("reservation.held", created_at, reservation)
    }

    fn settled(kind: &'static str, state: State, settled: &Settled<'a>, catalogue: &'a Catalogue) -> Self {
        let mut reservation = ReservationData::new(settled.id, sale_id(catalogue, settled.sale), state);
        reservation.lines = LineData::unpriced(&settled.portions, catalogue);
        reservation.returned = LineData::unpriced(&settled.returned, catalogue);
        reservation.late = settled.late.then_some(true);
        let at = match state {
            State::Held | State::Confirmed | State::Cancelled => {
                reservation.reference = settled.text;
                &mut reservation.confirmed_at
            }
            State::Released => {
                reservation.reason = settled.text;
                &mut reservation.released_at
            }
            State::Expired => &mut reservation.expired_at,
        };
        *at = Some(settled.at);
        Self::reservation(kind, settled.at, reservation)
    }

    fn changed(changed: &Changed, catalogue: &'a Catalogue) -> Self {
        let mut reservation = ReservationData::new(changed.id, sale_id(catalogue, changed.sale), State::Held);
        reservation.lines = LineData::of(&changed.taken, catalogue);
        reservation.returned = LineData::unpriced(&changed.returned, catalogue);
        Self::reservation("reservation.changed", changed.at, reservation)
    }

    fn cancelled(cancelled: &Cancelled<'a>, catalogue: &'a Catalogue) -> Self {
        let state = if cancelled.is_all { State::Cancelled } else { State::Confirmed };
        let mut reservation = ReservationData::new(cancelled.id, sale_id(catalogue, cancelled.sale), state);
        reservation.lines = LineData::unpriced(&cancelled.portions, catalogue);
        reservation.reason = cancelled.reason;
        reservation.restock = Some(cancelled.restock);
        reservation.cancelled_at = Some(cancelled.at);
        Self::reservation("reservation.cancelled", cancelled.at, reservation)
    }

    fn confirm_refused(refused: &ConfirmRefused<'a>, catalogue: &'a Catalogue) -> Self {
        let sale = sale_id(catalogue, refused.sale);
        let mut reservation = ReservationData::new(refused.id, sale, refused.cause.state());
        reservation.reference = refused.reference;
        reservation.cause = Some(refused.cause.as_str());
        Self::reservation("reservation.confirm_refused", refused.at, reservation)
    }

    fn group(changed: &GroupChanged, catalogue: &'a Catalogue) -> Option<Self> {
        let kind = match changed.step {
            GroupStep::Opened => "group.opened",
            GroupStep::Completed => "group.completed",
            GroupStep::Failed => "group.failed",
            // The clock was set: each moved hold has its own event.
            GroupStep::Moved => return None,
        };
        let (sale, sku) = catalogue.names(changed.item);
        let subject = changed.id.to_string();
        let data = Data::Group(GroupData {
            id: subject.clone(),
            sale,
            sku,
            size: changed.size,
            members: changed.members.len() as u8,
            state: changed.step.state().as_str(),
            reservations: changed.members.iter().map(ToString::to_string).collect(),
            opened_at: changed.id.created_at(),
            expires_at: changed.expires_at,
        });
        Some(Self { kind, sale: Some(sale), subject, time: changed.at, data })
    }

    fn entry(kind: &'static str, time: Timestamp, data: EntryData<'a>) -> Self {
        Self { kind, sale: Some(data.sale), subject: data.id.clone(), time, data: Data::Entry(data) }
    }

    fn joined(joined: &Joined<'a>, catalogue: &'a Catalogue) -> Self {
        let mut entry = EntryData::new(joined.id, sale_id(catalogue, joined.sale), WaitState::Waiting);
        entry.customer = Some(joined.customer);
        let line = |&AskedUnits { item, units }: &_| AskedData { sku: catalogue.sku(item), quantity: units };
        entry.lines = joined.lines.iter().map(line).collect();
        if let Some(attributes) = &joined.attributes {
            let Attributes { tier, channel, region, locations, labels } = Attributes::clone(attributes);
            (entry.tier, entry.channel, entry.region, entry.locations) = (tier, channel, region, locations);
            entry.labels = labels.into_iter().collect();
        }
        entry.reference = joined.reference;
        entry.expires_at = Some(joined.expires_at);
        Self::entry("waitlist.joined", joined.id.created_at(), entry)
    }

    fn adjusted(adjusted: &Adjusted<'a>, catalogue: &'a Catalogue) -> Self {
        let Adjusted { item, pool, at, delta, reason, reference, stock, available, of_pool, .. } = *adjusted;
        let (sale, sku) = catalogue.names(item);
        let pool = of_pool.map(|_| catalogue.item_numbered(item).pool_id(pool));
        let data = Data::Adjustment(AdjustmentData { sale, sku, pool, delta, reason, reference, stock, available });
        Self { kind: "stock.adjusted", sale: Some(sale), subject: sku.to_owned(), time: at, data }
    }

    fn transferred(transferred: &Transferred<'a>, catalogue: &'a Catalogue) -> Self {
        let Transferred { item, from, to, at, units: quantity, reason, reference, .. } = *transferred;
        let (sale, sku) = catalogue.names(item);
        let id = |pool: PoolNumber| catalogue.item_numbered(item).pool_id(pool);
        let data = Data::Transfer(TransferData { sale, sku, from: id(from), to: id(to), quantity, reason, reference });
        Self { kind: "stock.transferred", sale: Some(sale), subject: sku.to_owned(), time: at, data }
    }

    /// The thing that the event is about, so that two events on the same thing keep their order.
    pub(super) fn subject(&self) -> (&str, Timestamp) {
        (&self.subject, self.time)
    }

    /// Appends the event as `format` frames it. `id`: its cursor.
    pub(super) fn write(&self, id: &str, format: Format, out: &mut Vec<u8>) {
        let source = self.sale.map_or_else(|| "/v1/customers".to_owned(), |sale| format!("/v1/sales/{sale}"));
        let Self { kind, subject, time, data, .. } = self;
        if format == Format::Stream {
            out.extend_from_slice(format!("id: {id}\nevent: {kind}\ndata: ").as_bytes());
        }
        let (cursor, subject, time) = (Some(id), Some(subject.as_str()), Some(*time));
        Envelope { source: &source, kind, id, subject, time, cursor, data, ..ENVELOPE }.write(format, out);
    }
}

fn sale_id(catalogue: &Catalogue, sale: SaleNumber) -> &str {
    &catalogue.sale_numbered(sale).settings.id
}

/// Appends the last event of a stream: the reason, and the cursor to continue from. Not a durable event, so it has no cursor of
/// its own.
pub(super) fn write_ending(reason: &'static str, cursor: String, format: Format, out: &mut Vec<u8>) {
    const KIND: &str = "stream.ended";
    if format == Format::Stream {
        out.extend_from_slice(format!("event: {KIND}\ndata: ").as_bytes());
    }
    let id = format!("{reason}-after-{cursor}");
    let data = &Data::Ending(EndingData { reason, cursor });
    Envelope { source: "/v1/events", kind: KIND, id: &id, data, ..ENVELOPE }.write(format, out);
}

/// A durable change, or the end of a stream, as a CloudEvents 1.0 document.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub struct Envelope<'a> {
    /// The version of CloudEvents.
    specversion: &'static str,
    /// The cursor, so a text that nobody can read; or for the end of a stream a text of its own.
    id: &'a str,
    /// The path of the sale, or for the end of a stream of the feed.
    source: &'a str,
    /// What happened.
    #[serde(rename = "type")]
    kind: &'static str,
    /// What it happened to: the id of a reservation or a waitlist entry, a SKU or a sale's id. The end of a stream has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    /// When it happened. The end of a stream has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    time: Option<Timestamp>,
    /// The media type of `data`.
    datacontenttype: &'static str,
    /// Names this event for ever, to every key that reaches the same sales: `after` continues behind it. Opaque: it says
    /// nothing about order or number. The end of a stream has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
    #[schema(ignore)]
    data: &'a Data<'a>,
}

const ENVELOPE: Envelope<'static> = Envelope {
    specversion: "1.0",
    id: "",
    source: "",
    kind: "",
    subject: None,
    time: None,
    datacontenttype: "application/json",
    cursor: None,
    data: &Data::Settings(Value::Null),
};

impl Envelope<'_> {
    /// JSON has no line break of its own, so one line holds it in either format.
    fn write(&self, format: Format, out: &mut Vec<u8>) {
        serde_json::to_writer(&mut *out, self).expect("events are plain JSON");
        out.extend_from_slice(if format == Format::Stream { b"\n\n" } else { b"\n" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::{
        event::{record::Numbers, samples},
        ids::ItemNumber,
        settings::SaleSettings,
    };

    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::default();
        for number in 0..4 {
            let settings = format!(
                r#"{{"id":"sale-{number}","name":"S","opens_at":"2026-11-28T00:00:00Z",
                    "closes_at":"2027-01-01T00:00:00Z","hold_seconds":60,
                    "items":[{{"sku":"a \"b\"\n","initial_stock":100,
                    "pools":[{{"id":"a","initial_stock":60}},{{"id":"b","initial_stock":40}}]}}]}}"#
            );
            // The last one has the numbers of the samples.
            let item = ItemNumber(if number == 3 { 70_000 } else { number });
            let mut settings: SaleSettings = serde_json::from_str(&settings).unwrap();
            let pools: Vec<u32> = if number == 3 { vec![80_000, 7] } else { vec![number] };
            settings.items[0].pools.truncate(if number == 3 { 2 } else { 0 });
            let numbers = Numbers { item, pools: pools.into_iter().map(PoolNumber).collect() };
            let record = record::encode(&settings, &[numbers]);
            catalogue.apply(&samples::defined(SaleNumber(number), Timestamp::default(), &record));
        }
        catalogue
    }

    fn told(event: &Event<'_>, format: Format) -> Option<String> {
        let catalogue = catalogue();
        let mut out = Vec::new();
        FeedEvent::of(event, &catalogue)?.write("c7", format, &mut out);
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_event_is_one_line_and_the_same_in_both_formats() {
        let mut kinds = Vec::new();
        for event in samples::events() {
            let Some(line) = told(&event, Format::Lines) else { continue };
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            let cloud: Value = serde_json::from_str(&line).unwrap();
            let kind = cloud["type"].as_str().unwrap();
            assert_eq!((&cloud["id"], &cloud["cursor"]), (&Value::from("c7"), &Value::from("c7")));
            let source = if kind == "customer.erased" { "/v1/customers" } else { "/v1/sales/sale-3" };
            assert_eq!(cloud["source"], source);
            let stream = told(&event, Format::Stream).unwrap();
            assert_eq!(stream, format!("id: c7\nevent: {kind}\ndata: {line}\n"));
            assert!(KINDS.contains(&kind), "{kind} is not among the types");
            kinds.push(kind.to_owned());
        }
        let expected = [
            "reservation.held",
            "reservation.held",
            "reservation.extended",
            "reservation.extended",
            "reservation.confirmed",
            "reservation.confirmed",
            "reservation.released",
            "reservation.expired",
            "reservation.changed",
            "reservation.cancelled",
            "reservation.cancelled",
            "reservation.confirm_refused",
            "reservation.confirm_refused",
            "group.opened",
            "group.completed",
            "group.failed",
            "waitlist.joined",
            "waitlist.joined",
            "waitlist.offered",
            "waitlist.left",
            "waitlist.expired",
            "waitlist.passed_over",
            "customer.erased",
            "sale.put",
            "sale.put",
            "sale.paused",
            "sale.resumed",
            "sale.closed",
            "sale.opened",
            "stock.adjusted",
            "stock.adjusted",
            "sale.phase_opened",
            "item.pool_shared",
            "stock.transferred",
            "stock.transferred",
        ];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn a_hold_is_told_whole() {
        let line = told(&samples::events()[0], Format::Lines).unwrap();
        let held = "{\"specversion\":\"1.0\",\"id\":\"c7\",\"source\":\"/v1/sales/sale-3\",\
            \"type\":\"reservation.held\",\"subject\":\"01a2212b-107b-72c8-8048-d159e26af37b\",\
            \"time\":\"2026-11-28T08:00:00.123Z\",\"datacontenttype\":\"application/json\",\"cursor\":\"c7\",\
            \"data\":{\"id\":\"01a2212b-107b-72c8-8048-d159e26af37b\",\"sale\":\"sale-3\",\"customer\":\"ann\",\
            \"state\":\"held\",\"lines\":[{\"sku\":\"a \\\"b\\\"\\n\",\"quantity\":2,\"price\":{\"amount\":19900,\
            \"currency\":\"EUR\"},\"from\":[{\"pool\":\"a\",\"quantity\":2,\"price\":{\"amount\":19900,\
            \"currency\":\"EUR\"}}]},{\"sku\":\"a \\\"b\\\"\\n\",\"quantity\":1}],\"short\":[{\"sku\":\
            \"a \\\"b\\\"\\n\",\"requested\":3,\"granted\":2},{\"sku\":\"a \\\"b\\\"\\n\",\"requested\":1,\
            \"granted\":0}],\"tier\":\"gold\",\"channel\":\"livestream\",\"region\":\"eu\",\
            \"labels\":{\"experiment\":\"B\",\"host\":\"ann\"},\"group\":\"01a2212b-107b-78e5-83fb-72ea61d950c8\",\"reference\":\"cart-7\",\
            \"created_at\":\"2026-11-28T08:00:00.123Z\",\"expires_at\":\"2026-11-28T08:10:00.123Z\",\
            \"extensions\":0,\"waitlist\":\"01a2212b-107b-72c8-83fb-72ea61d950c8\"}}\n";
        assert_eq!(line, held);
    }

    #[test]
    fn a_waitlist_entry_is_told_whole_when_its_customer_joins() {
        let data = |kind: &str| {
            let lines = samples::events().iter().filter_map(|event| told(event, Format::Lines)).collect::<Vec<_>>();
            let line = lines.iter().find(|line| line.contains(kind)).unwrap();
            let cloud: Value = serde_json::from_str(line).unwrap();
            assert_eq!(cloud["subject"], cloud["data"]["id"]);
            cloud["data"].clone()
        };
        let id = "01a2212b-107b-72c8-83fb-72ea61d950c8";
        let joined = serde_json::json!({
            "id": id, "sale": "sale-3", "customer": "ann", "state": "waiting",
            "lines": [{ "sku": "a \"b\"\n", "quantity": 2 }, { "sku": "a \"b\"\n", "quantity": 1 }],
            "tier": "gold", "channel": "livestream", "region": "eu", "labels": { "experiment": "B", "host": "ann" },
            "locations": ["berlin", "lyon"], "reference": "cart-7",
            "joined_at": "2026-11-28T08:00:00.123Z", "expires_at": "2026-11-28T09:00:00.123Z",
        });
        assert_eq!(data("waitlist.joined"), joined);
        let offered = serde_json::json!({
            "id": id, "sale": "sale-3", "state": "offered", "joined_at": "2026-11-28T08:00:00.123Z",
            "reservation": "01a2212b-107b-72c8-8048-d159e26af37b",
        });
        assert_eq!(data("waitlist.offered"), offered);
        let passed_over = serde_json::json!({
            "id": id, "sale": "sale-3", "state": "waiting", "joined_at": "2026-11-28T08:00:00.123Z",
            "code": "too_many_holds",
        });
        assert_eq!(data("waitlist.passed_over"), passed_over);
        assert_eq!(
            (&data("waitlist.left")["state"], &data("waitlist.expired")["state"]),
            (&"left".into(), &"expired".into())
        );
    }
}
