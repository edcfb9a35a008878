//! One of each event, with every optional field once present and once absent.

use super::{
    record::{self, Numbers},
    *,
};
use crate::{
    audit::{Action, Actor, Record},
    settings::{Currency, SaleSettings},
    timeline::Uptime,
};

const AT: Timestamp = Timestamp::from_millis(1_795_852_800_123);
const SALE: SaleNumber = SaleNumber(3);
const ITEM: ItemNumber = ItemNumber(70_000);
const POOL: PoolNumber = PoolNumber(80_000);

const RECORD: &[u8] = br#"{"id":"drop","name":"Drop","opens_at":0,"closes_at":1,"hold_seconds":60,"items":[]}"#;

fn id() -> ReservationId {
    ReservationId::new(AT, Bucket::of("ann"), 0x0123_4567_89ab_cdef)
}

fn group() -> GroupId {
    GroupId::new(AT, Bucket::of("bob"), 0x0fed_cba9_8765_4321)
}

fn changed_group(step: GroupStep) -> GroupChanged {
    let (id, expires_at, members) = (group(), AT.plus_seconds(600), [id()].into());
    GroupChanged { id, sale: SALE, item: ITEM, at: AT, step, size: 3, expires_at, members }
}

fn noted(state: GroupState) -> GroupNoted {
    let (deadline, expires_at) = (AT.plus_seconds(600), AT.plus_seconds(900));
    GroupNoted { id: id(), sale: SALE, at: AT, state, members: 3, deadline, expires_at }
}

fn entry() -> EntryId {
    EntryId::new(AT, Bucket::of("ann"), 0x0fed_cba9_8765_4321)
}

pub fn customer_events() -> Vec<CustomerEvent<'static>> {
    let price = Some(Price { amount: 19_900, currency: Currency::parse("EUR").unwrap() });
    let portions = [
        PricedPortion { item: ITEM, pool: POOL, units: 2, price },
        PricedPortion { item: ItemNumber(1), pool: PoolNumber(1), units: 1, price: None },
    ];
    let attributes = Attributes {
        tier: Some("gold".into()),
        channel: Some("livestream".into()),
        region: Some("eu".into()),
        locations: vec!["berlin".into(), "lyon".into()],
        labels: vec![("experiment".into(), "B".into()), ("host".into(), "ann".into())],
    };
    let held = Held {
        id: id(),
        sale: SALE,
        customer: "ann",
        hold_seconds: 300,
        portions: portions.into_iter().collect(),
        reference: Some("cart-7"),
        key: Some(("key-1", u64::MAX)),
        attributes: Some(Box::new(attributes)),
        short: [AskedUnits { item: ITEM, units: 3 }, AskedUnits { item: ItemNumber(2), units: 1 }].into(),
        group: Some(Box::new(JoinedGroup { id: group(), size: 3, members: 2, expires_at: AT.plus_seconds(600) })),
        entry: Some(entry()),
    };
    let joined = Joined {
        id: entry(),
        sale: SALE,
        customer: "ann",
        place: 12,
        expires_at: AT.plus_seconds(3600),
        lines: [AskedUnits { item: ITEM, units: 2 }, AskedUnits { item: ItemNumber(1), units: 1 }]
            .into_iter()
            .collect(),
        reference: Some("cart-7"),
        key: Some(("key-3", 5)),
        attributes: held.attributes.clone(),
    };
    let ended = WaitEnded { id: entry(), sale: SALE, at: AT.plus_seconds(5) };
    let bare = Held {
        portions: PricedPortions::new(),
        reference: None,
        key: None,
        attributes: None,
        short: Box::default(),
        group: None,
        entry: None,
        ..held.clone()
    };
    let portions: Portions = [Portion { item: ITEM, pool: POOL, units: 2 }].into_iter().collect();
    let settled = Settled {
        id: id(),
        sale: SALE,
        at: AT,
        text: Some("order-9"),
        portions: portions.clone(),
        returned: Portions::new(),
        late: false,
    };
    let partly = Settled { returned: portions.clone(), late: true, ..settled.clone() };
    let extended =
        Extended { id: id(), sale: SALE, at: AT, expires_at: AT.plus_seconds(60), extensions: 2, with_all: None };
    let changed = Changed { id: id(), sale: SALE, at: AT, returned: portions.clone(), taken: held.portions.clone() };
    let (reason, key) = (Some("returned"), Some(("key-2", 3)));
    let cancelled = Cancelled { id: id(), sale: SALE, at: AT, reason, portions, restock: true, is_all: true, key };
    let refused =
        ConfirmRefused { id: id(), sale: SALE, at: AT, reference: Some("order-9"), cause: RefusedConfirm::Stock };
    vec![
        CustomerEvent::Held(held),
        CustomerEvent::Held(bare),
        CustomerEvent::Extended(extended),
        CustomerEvent::Extended(Extended { with_all: Some(Progress { run: 4, holds: 300 }), ..extended }),
        CustomerEvent::Confirmed(settled.clone()),
        CustomerEvent::Confirmed(partly),
        CustomerEvent::Released(Settled { text: None, at: AT.shifted(-90_000), ..settled.clone() }),
        CustomerEvent::Expired(Settled { text: None, at: AT.plus_seconds(300), ..settled }),
        CustomerEvent::Changed(changed),
        CustomerEvent::Cancelled(cancelled.clone()),
        CustomerEvent::Cancelled(Cancelled { reason: None, restock: false, is_all: false, key: None, ..cancelled }),
        CustomerEvent::ConfirmRefused(refused),
        CustomerEvent::ConfirmRefused(ConfirmRefused { reference: None, cause: RefusedConfirm::TooLate, ..refused }),
        CustomerEvent::GroupChanged(changed_group(GroupStep::Opened)),
        CustomerEvent::GroupChanged(changed_group(GroupStep::Completed)),
        CustomerEvent::GroupChanged(GroupChanged { members: Box::default(), ..changed_group(GroupStep::Failed) }),
        CustomerEvent::GroupChanged(changed_group(GroupStep::Moved)),
        CustomerEvent::GroupNoted(noted(GroupState::Open)),
        CustomerEvent::GroupNoted(noted(GroupState::Complete)),
        CustomerEvent::GroupNoted(noted(GroupState::Failed)),
        CustomerEvent::Joined(joined.clone()),
        CustomerEvent::Joined(Joined { reference: None, key: None, attributes: None, ..joined }),
        CustomerEvent::Offered(Offered { id: entry(), sale: SALE, at: AT.plus_seconds(60), reservation: id() }),
        CustomerEvent::LeftWaitlist(ended),
        CustomerEvent::WaitExpired(WaitEnded { at: AT.plus_seconds(3600), ..ended }),
        CustomerEvent::PassedOver(PassedOver { id: entry(), sale: SALE, at: AT, cause: NoRoom::OpenHolds }),
        CustomerEvent::EntryRetired { id: entry() },
        CustomerEvent::Retired { id: id(), counted: true },
        CustomerEvent::Carried { customer: "ann", item: ITEM, units: 4 },
        CustomerEvent::Sold { bucket: Bucket::of("ann"), item: ITEM, pool: POOL, units: 9 },
        CustomerEvent::CustomerErased { at: AT, customer: "ann" },
    ]
}

pub fn catalogue_events() -> Vec<CatalogueEvent<'static>> {
    let adjusted = Adjusted {
        item: ITEM,
        pool: POOL,
        at: AT,
        delta: -5,
        reason: Some("damaged"),
        reference: Some("wh-1"),
        key: Some(("k", 7)),
        of_sale: Some(SALE),
        of_reservation: Some(id()),
        stock: 95,
        available: 90,
        of_pool: Some(PoolLevels { stock: 40, available: 30 }),
    };
    let transferred = Transferred {
        item: ITEM,
        from: POOL,
        to: PoolNumber(7),
        at: AT,
        units: 5,
        reason: Some("rebalance"),
        reference: Some("wh-2"),
        key: Some(("k", 8)),
        after: [PoolLevels { stock: 35, available: 25 }, PoolLevels { stock: 5, available: 5 }],
    };
    let (run, seconds, key) = (4, 600, Some(("k", 9)));
    let extending = HoldsExtending { sale: SALE, at: AT, run, seconds, key, done: Some((17, 300)) };
    let extended = HoldsExtended { sale: SALE, at: AT, run, holds: 500, key };
    let record = Record {
        sequence: 1,
        at: AT,
        actor: Actor::Key("eu"),
        action: Action::StockAdjust,
        sale: Some("drop"),
        sku: Some("tv"),
        detail: r#"{"delta":-5}"#,
    };
    let bare_record = Record { actor: Actor::Process, action: Action::KeysChange, sale: None, sku: None, ..record };
    let opened = vec![OpenedPool { item: ITEM, pool: POOL, units: 100 }];
    let low_stock = vec![
        LowStockChange { item: ITEM, from: None, to: Some(0) },
        LowStockChange { item: ItemNumber(1), from: Some(500), to: None },
    ];
    let uptime = Some(Uptime { boot: [9; 16], millis: 1234 });
    vec![
        CatalogueEvent::SaleDefined(SaleDefined {
            sale: SALE,
            at: AT,
            opened: opened.clone(),
            low_stock: Vec::new(),
            record: RECORD,
        }),
        CatalogueEvent::SaleDefined(SaleDefined { sale: SALE, at: AT, opened, low_stock, record: RECORD }),
        CatalogueEvent::SalePaused { sale: SALE, at: AT },
        CatalogueEvent::SaleResumed { sale: SALE, at: AT },
        CatalogueEvent::SaleClosed { sale: SALE, at: AT },
        CatalogueEvent::StatusReached { sale: SALE, at: AT, status: Status::Open },
        CatalogueEvent::Adjusted(adjusted.clone()),
        CatalogueEvent::Adjusted(Adjusted {
            reason: None,
            reference: None,
            key: None,
            of_sale: None,
            of_reservation: None,
            of_pool: None,
            ..adjusted
        }),
        CatalogueEvent::PhaseOpened { sale: SALE, at: AT, phase: "early", opens_at: AT.shifted(-1) },
        CatalogueEvent::PoolShared { sale: SALE, item: ITEM, pool: POOL, at: AT, shared_at: AT.shifted(-1) },
        CatalogueEvent::Transferred(transferred.clone()),
        CatalogueEvent::Transferred(Transferred { reason: None, reference: None, key: None, ..transferred }),
        CatalogueEvent::HoldsExtending(extending),
        CatalogueEvent::HoldsExtending(HoldsExtending { key: None, done: None, ..extending }),
        CatalogueEvent::HoldsExtended(extended),
        CatalogueEvent::HoldsExtended(HoldsExtended { key: None, ..extended }),
        CatalogueEvent::Stocked { item: ITEM, pool: POOL, stock: 100 },
        CatalogueEvent::Audited(Audited { record, hash: blake3::hash(b"1") }),
        CatalogueEvent::Audited(Audited { record: bare_record, hash: blake3::hash(b"2") }),
        CatalogueEvent::KeysNoted { keys: vec![("eu", [7; 16]), ("us", [8; 16])] },
        CatalogueEvent::AuditReached(Head { sequence: 41, hash: blake3::hash(b"41") }),
        CatalogueEvent::ClockSet(ClockSet { at: AT, by: -3_600_000, uptime }),
        CatalogueEvent::ClockSet(ClockSet { at: AT, by: 0, uptime: None }),
        CatalogueEvent::WrittenBy { version: "0.1.0" },
    ]
}

pub fn events() -> Vec<Event<'static>> {
    let customers = customer_events().into_iter().map(Event::Customer);
    customers.chain(catalogue_events().into_iter().map(Event::Catalogue)).collect()
}

/// The record of a document whose items have these numbers, each with one pool of the same number.
pub fn record_of(settings: &SaleSettings, items: &[ItemNumber]) -> Vec<u8> {
    let numbers = |&item: &ItemNumber| Numbers { item, pools: [PoolNumber(item.0)].into_iter().collect() };
    record::encode(settings, &items.iter().map(numbers).collect::<Vec<_>>())
}

/// A sale with this record is put for the first time.
pub fn defined(sale: SaleNumber, at: Timestamp, record: &[u8]) -> CatalogueEvent<'_> {
    let (settings, numbers) = record::decode(record).expect("a record of this version");
    let opened = numbers.iter().zip(&settings.items).flat_map(|(numbers, item)| {
        let pools = numbers.pools.iter().zip(item.pools_or_default());
        pools.map(|(&pool, (_, units))| OpenedPool { item: numbers.item, pool, units })
    });
    let low_stock = numbers.iter().zip(&settings.items).filter(|(_, item)| item.low_stock_at.is_some());
    let low_stock = low_stock.map(|(numbers, item)| LowStockChange {
        item: numbers.item,
        from: item.low_stock_at,
        to: item.low_stock_at,
    });
    let (opened, low_stock) = (opened.collect(), low_stock.collect());
    CatalogueEvent::SaleDefined(SaleDefined { sale, at, opened, low_stock, record })
}
