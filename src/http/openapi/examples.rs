//! Examples: one story, a television on sale. A test holds each against the schema it stands for.

use serde_json::{Value, json};

use crate::{
    api::problems::{self, Kind, Problem},
    http::handlers::problems::Page,
};

/// A cursor.
pub(super) const CURSOR: &str = "snh5d4h0m13c82hrce9to998kg";

/// An event on one line.
pub(super) const EVENT: &str = r#"{"specversion":"1.0","id":"snh5d4h0m13c82hrce9to998kg","source":"/v1/sales/doorbuster-tv","type":"sale.paused","subject":"doorbuster-tv","time":"2025-11-27T08:00:00.123Z","datacontenttype":"application/json","cursor":"snh5d4h0m13c82hrce9to998kg","data":{"sale":"doorbuster-tv","by":"operator"}}"#;

/// A reservation's id.
pub(super) const ID: &str = "019ac45e-5a3c-7b1d-9e6f-2c4a8d0b1f37";

/// A waitlist entry's id.
pub(super) const ENTRY: &str = "019ac45f-4a51-7b1d-8c3e-71f09d5a2b64";

/// An example of the schema with this name.
pub(super) fn of(schema: &str) -> Value {
    match schema {
        "ReserveRequest" => json!({
            "customer": "ann", "lines": [{ "sku": "tv-55", "quantity": 1 }], "hold_seconds": 300, "reference": "cart-1",
        }),
        "JoinRequest" => json!({
            "customer": "ben", "lines": [{ "sku": "tv-55", "quantity": 1 }], "reference": "cart-2",
        }),
        "WaitlistEntry" => entry("waiting"),
        "WaitlistEntry, left" => entry("left"),
        "BatchRequest" => json!({ "reservations": [
            { "customer": "ann", "lines": [{ "sku": "tv-55", "quantity": 1 }], "reference": "cart-1" },
            { "customer": "bob", "lines": [{ "sku": "tv-55", "quantity": 1 }], "idempotency_key": "bob-1" },
        ] }),
        "BatchResults" => json!({ "results": [
            { "status": 201, "reservation": reservation("held") },
            { "status": 409, "problem": of_problem(&problems::SOLD_OUT) },
        ] }),
        "ConfirmRequest" => json!({ "reference": "order-1" }),
        "ChangeRequest" => json!({ "lines": [{ "sku": "tv-55", "quantity": 2 }] }),
        "CancelRequest" => json!({ "reason": "the customer sent it back" }),
        "ExtendAllRequest" => json!({ "seconds": 600, "reason": "the payment provider is down" }),
        "ExtendedHolds" => json!({ "holds": 120 }),
        "ReleaseRequest" => json!({ "reason": "the customer changed their mind" }),
        "ExtendRequest" => json!({ "hold_seconds": 300 }),
        "AdjustRequest" => json!({ "delta": 50, "reason": "second delivery", "reference": "delivery-7" }),
        "AdjustmentsRequest" => json!({ "adjustments": [
            { "sku": "tv-55", "delta": 50, "reason": "second delivery" }, { "sku": "sofa", "pool": "members", "delta": -2 },
        ] }),
        "TransferRequest" => json!({ "from": "members", "to": "everybody", "quantity": 20, "reason": "slow members" }),
        "NoMembers" => json!({}),
        "SaleSettings" => settings(),
        "SalePatch" => json!({
            "closes_at": "2025-11-27T22:00:00.000Z", "customer_limit": null,
            "items": [{ "sku": "tv-55", "price": { "amount": 17900 } }],
        }),
        "SaleSettings, patched" => patched(),
        "Sale" => sale(),
        "SalesPage" => json!({ "sales": [sale()], "next": "doorbuster-tv" }),
        "Availability" => {
            json!({ "sale": "doorbuster-tv", "status": "open", "items": [{ "sku": "tv-55", "available": 700 }] })
        }
        "Replenishment" => json!({
            "sale": "doorbuster-tv", "status": "open", "as_of": "2025-11-27T09:00:00.000Z",
            "closes_at": "2025-11-27T20:00:00.000Z",
            "items": [{
                "sku": "tv-55", "stock": 1000, "available": 700, "units_per_minute": 5.0, "measured_seconds": 300,
                "sells_out_at": "2025-11-27T11:20:00.000Z", "turnover": 0.25, "suggested_restock": 2600,
                "low_stock_at": 100, "low_stock": false,
            }],
        }),
        "Adjustment" => json!({
            "delta": 50, "reason": "second delivery", "reference": "delivery-7", "stock": 1050, "available": 750,
        }),
        "Adjustments" => json!({ "results": [
            { "sku": "tv-55", "delta": 50, "reason": "second delivery", "stock": 1050, "available": 750 },
            {
                "sku": "sofa", "pool": "members", "delta": -2, "stock": 98, "available": 60, "pool_stock": 18,
                "pool_available": 10,
            },
        ] }),
        "Transfer" => json!({
            "from": { "pool": "members", "stock": 30, "available": 12 },
            "to": { "pool": "everybody", "stock": 70, "available": 40 },
            "quantity": 20, "reason": "slow members",
        }),
        "DryRun" => json!({
            "would": "hold",
            "lines": [{ "sku": "tv-55", "quantity": 1, "price": { "amount": 19900, "currency": "EUR" } }],
            "expires_at": "2025-11-27T08:05:00.060Z",
        }),
        "PutDryRun" => json!({ "created": true, "warnings": [{
            "pointer": "/hold_seconds", "code": "short_hold", "detail": "holds of 30 s may end before their payments do",
        }] }),
        "Sale, paused" => sale_in("paused"),
        "Sale, closed" => sale_in("closed"),
        "Reservation" => reservation("held"),
        "Reservation, confirmed" => confirmed(),
        "Reservation, changed" => changed(),
        "Reservation, cancelled" => cancelled(),
        "Reservation, released" => reservation("released"),
        "Reservation, extended" => extended(1),
        "Status" => status(),
        "Report" => report(),
        "CustomerReservations" => json!({
            "reservations": [reservation("held")], "limits": [{ "sku": "tv-55", "limit": 2, "already": 1 }],
        }),
        "AuditTrail" => trail(),
        "WebhookList" => json!({ "webhooks": [webhook("parked")] }),
        "Webhook" => webhook("active"),
        "Erasure" => json!({ "reservations": 2 }),
        "ProblemPage" => json!(Page::of(&problems::SOLD_OUT)),
        "Contract" => json!({
            "openapi": "3.1.0", "info": { "title": "Doorbuster", "version": env!("CARGO_PKG_VERSION") }, "paths": {},
        }),
        _ => unreachable!("{schema} is not the body of a call"),
    }
}

/// A document of this problem.
pub(super) fn of_problem(problem: &Problem) -> Value {
    let (detail, own) = match problem.members {
        Kind::None => (problem.title, json!({})),
        Kind::Errors => (
            "/lines/0/quantity: must be a whole number from 1 to 1000000, such as 1",
            json!({ "errors": [{ "pointer": "/lines/0/quantity", "detail": "must be a whole number from 1 to 1000000, such as 1" }] }),
        ),
        Kind::Lines if problem.code == problems::SOLD_OUT.code => (
            "\"tv-55\": 1 requested, 0 available",
            json!({ "lines": [{ "sku": "tv-55", "requested": 1, "available": 0, "held": 120, "next_release_at": "2025-11-27T08:05:00.060Z" }] }),
        ),
        Kind::Lines => (
            "\"tv-55\": 3 requested, 2 available",
            json!({ "lines": [{ "sku": "tv-55", "requested": 3, "available": 2, "held": 0 }] }),
        ),
        Kind::Limit => (
            "the limit for \"tv-55\" is 2 per customer, and the customer has 2",
            json!({ "sku": "tv-55", "limit": 2, "already": 2 }),
        ),
        Kind::OpenHolds => {
            ("the customer has 3 holds in this sale, which allows 3 at once", json!({ "limit": 3, "open": 3 }))
        }
        Kind::ExpiredHolds => (
            "5 of the customer's holds in this sale expired within the hour, and the sale allows 5; try again in 900 s",
            json!({ "limit": 5, "expired": 5 }),
        ),
        Kind::OpensAt => (
            "the sale opens for this customer at 2025-11-27T08:00:00.000Z",
            json!({ "opens_at": "2025-11-27T08:00:00.000Z" }),
        ),
        Kind::Oldest => (
            "the journal no longer has the events after this cursor; the oldest resumable cursor is 41.3",
            json!({ "oldest": "41.3" }),
        ),
        Kind::Entry => ("the customer has been waiting since 2025-11-27T08:01:02.737Z", json!({ "entry": ENTRY })),
        Kind::EntriesMax => ("5000 customers are waiting, as many as the sale allows", json!({ "limit": 5000 })),
        Kind::EntryState => (
            "the entry was offered a hold at 2025-11-27T08:05:00.061Z; release that hold instead",
            json!({ "state": "offered", "reservation": ID }),
        ),
        Kind::Reservation | Kind::ExpiredReservation => {
            (problem.title, json!({ "reservation": reservation_of(problem) }))
        }
    };
    let mut document = json!({
        "type": problem.path, "title": problem.title, "status": problem.status, "code": problem.code, "detail": detail,
    });
    for (member, value) in own.as_object().into_iter().flatten() {
        document[member] = value.clone();
    }
    document
}

/// The reservation that the problem shows.
fn reservation_of(problem: &Problem) -> Value {
    match problem.code {
        "reservation_expired" => reservation("expired"),
        "already_confirmed" => confirmed(),
        "already_released" => reservation("released"),
        "already_cancelled" => cancelled(),
        "not_confirmed" => reservation("held"),
        "already_in_group" | "group_incomplete" => in_group(),
        _ => extended(EXTENSIONS_MAX),
    }
}

/// How often the sale lets a hold be extended.
const EXTENSIONS_MAX: u32 = 2;

/// For the order that the example of a confirm names.
fn confirmed() -> Value {
    let mut confirmed = reservation("confirmed");
    confirmed["reference"] = of("ConfirmRequest")["reference"].clone();
    confirmed
}

/// With the lines that the example of a change names.
fn changed() -> Value {
    let mut changed = reservation("held");
    changed["lines"][0]["quantity"] = json!(2);
    changed
}

/// Cancelled ten minutes after its confirmation.
fn cancelled() -> Value {
    let mut cancelled = confirmed();
    cancelled["state"] = json!("cancelled");
    cancelled["cancelled_at"] = json!("2025-11-27T08:12:30.000Z");
    cancelled
}

/// A member of a group that is open.
fn in_group() -> Value {
    let mut member = reservation("held");
    member["expires_at"] = json!("2025-11-27T09:00:00.060Z");
    member["group"] = json!({
        "id": "019ac44a-f5fc-72c8-8b30-6e35aa4a2d1c", "size": 3, "members": 2, "state": "open",
        "expires_at": "2025-11-27T09:00:00.060Z",
    });
    member
}

/// Extended so often, the last time two and a half minutes after it was made.
fn extended(times: u32) -> Value {
    let mut extended = reservation("held");
    extended["expires_at"] = json!("2025-11-27T08:07:30.000Z");
    extended["extensions"] = json!(times);
    extended
}

fn reservation(state: &str) -> Value {
    let mut reservation = json!({
        "id": ID,
        "sale": "doorbuster-tv",
        "customer": "ann",
        "state": state,
        "lines": [{ "sku": "tv-55", "quantity": 1, "price": { "amount": 19900, "currency": "EUR" } }],
        "reference": "cart-1",
        "created_at": "2025-11-27T08:00:00.060Z",
        "expires_at": "2025-11-27T08:05:00.060Z",
        "extensions": 0,
    });
    match state {
        "held" => {}
        "expired" => reservation["expired_at"] = json!("2025-11-27T08:05:00.060Z"),
        ended => reservation[format!("{ended}_at")] = json!("2025-11-27T08:02:30.000Z"),
    }
    reservation
}

/// Of a customer who came when everything was held.
fn entry(state: &str) -> Value {
    let mut entry = json!({
        "id": ENTRY,
        "sale": "doorbuster-tv",
        "customer": "ben",
        "lines": [{ "sku": "tv-55", "quantity": 1 }],
        "state": state,
        "reference": "cart-2",
        "joined_at": "2025-11-27T08:01:02.737Z",
        "expires_at": "2025-11-27T09:01:02.737Z",
    });
    match state {
        "waiting" => entry["position"] = json!(17),
        ended => entry[format!("{ended}_at")] = json!("2025-11-27T08:03:00.000Z"),
    }
    entry
}

fn settings() -> Value {
    json!({
        "id": "doorbuster-tv",
        "name": "Television doorbuster",
        "opens_at": "2025-11-27T08:00:00.000Z",
        "closes_at": "2025-11-27T20:00:00.000Z",
        "hold_seconds": 300,
        "max_extensions": EXTENSIONS_MAX,
        "customer_limit": 2,
        "items": [{ "sku": "tv-55", "initial_stock": 1000, "price": { "amount": 19900, "currency": "EUR" } }],
    })
}

/// What the example of a patch makes of it.
fn patched() -> Value {
    let mut settings = settings();
    settings["closes_at"] = json!("2025-11-27T22:00:00.000Z");
    settings["items"][0]["price"]["amount"] = json!(17_900);
    settings.as_object_mut().expect("settings are an object").remove("customer_limit");
    settings
}

fn sale() -> Value {
    let mut sale = settings();
    sale["status"] = json!("open");
    let units = [("stock", 1000), ("available", 700), ("held", 120), ("confirmed", 180)];
    units.into_iter().for_each(|(member, count)| sale["items"][0][member] = json!(count));
    sale
}

fn sale_in(status: &str) -> Value {
    let mut sale = sale();
    sale["status"] = json!(status);
    sale
}

fn status() -> Value {
    json!({
        "caller": { "key": "shop-floor", "role": "viewer", "all_sales": true },
        "service": {
            "at": "2025-11-27T08:00:01.000Z",
            "started_at": "2025-11-27T06:00:00.000Z",
            "version": env!("CARGO_PKG_VERSION"),
            "connections": 64,
            "rate_limited": 0,
            "reservations": {
                "held": 320, "replayed": 2, "confirmed": 180, "released": 15, "extended": 4, "expired": 5,
            },
            "refusals": [{ "reason": "sold_out", "count": 41 }],
            "duration_bounds": [0.001, 0.01, 0.1],
            "durations": [{ "call": "reserve", "count": 363, "seconds_sum": 0.29, "within": [340, 363, 363] }],
            "holds": { "live": 120, "expiring_next_minute": 12 },
            "store": {
                "kind": "sqlite", "state": "following", "lag_seconds": 0.01, "backlog_bytes": 5120, "backlog_full": false,
            },
            "disk_low": false,
            "clock_jumps": 0,
            "clock_ahead_seconds": 0.0,
        },
    })
}

/// One that did not answer for a day, or one to which all arrives.
fn webhook(state: &str) -> Value {
    let mut webhook = json!({
        "name": "orders",
        "url": "https://orders.example/hooks",
        "events": ["reservation.*"],
        "sales": [],
        "state": state,
        "waiting": 0,
        "has_unread": false,
        "lag_seconds": 0.0,
        "last_delivered_at": "2025-11-27T08:00:00.123Z",
    });
    if state == "parked" {
        webhook["waiting"] = json!(120);
        webhook["has_unread"] = json!(true);
        webhook["lag_seconds"] = json!(86_460.5);
        webhook["failing_since"] = json!("2025-11-27T08:01:00.000Z");
        webhook["parked_at"] = json!("2025-11-28T08:01:02.000Z");
        webhook["last_failure"] = json!({ "at": "2025-11-28T08:01:02.000Z", "detail": "answered 503" });
    }
    webhook
}

/// The adjustment of the other examples, in the trail.
fn trail() -> Value {
    let adjustment = json!({
        "sequence": 7, "at": "2025-11-27T08:05:30.000Z", "actor": "key:stock", "action": "stock.adjust",
        "sale": "doorbuster-tv", "sku": "tv-55", "detail": of("Adjustment"),
        "hash": "5e0a3b1c9d7f42688b1e6a0c4d2f9357a1b3c5d7e9f0123456789abcdef01234",
    });
    let as_of = json!({
        "epoch": 41, "changed_at": "2025-11-27T08:11:30.000Z", "read_at": "2025-11-27T08:12:00.000Z",
        "lag_epochs": 0, "lag_seconds": 0.0,
    });
    json!({ "as_of": as_of, "records": [adjustment], "next": CURSOR })
}

/// The example by hand of `docs/kpi.md`.
fn report() -> Value {
    let reservations = json!({ "granted": 8, "held": 1, "confirmed": 4, "released": 1, "expired": 1, "cancelled": 1 });
    let units = json!({
        "granted": 10, "held": 1, "confirmed": 5, "released": 1, "expired": 1, "cancelled": 1, "returned": 1,
    });
    let stock = json!({ "stock": 8, "available": 2, "held": 1, "confirmed": 5 });
    let rates = json!({
        "conversion": 0.5, "unit_conversion": 0.5, "expiry_rate": 0.125, "release_rate": 0.125, "sell_through": 0.625,
    });
    let minutes = json!([
        { "minute": "2025-11-27T08:00:00.000Z", "granted": 8, "confirmed": 5, "released": 1, "expired": 0 },
        { "minute": "2025-11-27T08:05:00.000Z", "granted": 2, "confirmed": 1, "released": 0, "expired": 1 },
    ]);
    let (sold_out_at, seconds) = ("2025-11-27T08:00:12.500Z", 12.5);
    let price = json!({ "amount": 19900, "currency": "EUR" });
    json!({
        "sale": "doorbuster-tv",
        "as_of": {
            "epoch": 41, "changed_at": "2025-11-27T08:11:30.000Z", "read_at": "2025-11-27T08:12:00.000Z",
            "lag_epochs": 0, "lag_seconds": 0.0,
        },
        "reservations": reservations,
        "units": units,
        "confirmations": {
            "late": 0, "refused": 1, "refused_late": 1, "refused_by_cause": [{ "cause": "too_late", "count": 1 }],
        },
        "waitlist": {
            "entries": 10, "waiting": 5, "offered": 4, "left": 1, "expired": 0, "passed_over": 1, "open_offers": 0,
            "confirmed_offers": 3, "conversion": 0.75, "seconds_to_offer": 42.5,
        },
        "group_deals": [{
            "sku": "grill", "groups": 9, "open": 1, "complete": 6, "failed": 2, "members": 29, "confirmed_members": 17,
            "completion_rate": 0.75,
        }],
        "group_deals_total": 1,
        "stock": stock,
        "rates": rates,
        "sold_out_at": sold_out_at,
        "seconds_to_sell_out": seconds,
        "items": [{
            "sku": "tv-55", "reservations": reservations, "units": units, "stock": stock, "rates": rates,
            "sold_out_at": sold_out_at, "seconds_to_sell_out": seconds,
        }],
        "items_total": 1,
        "items_sold_out": 0,
        "items_ever_sold_out": 1,
        "minutes": minutes,
        "minutes_total": 2,
        "peak_minute": minutes[0],
        "revenue": [{ "sku": "tv-55", "price": price, "units": 5, "revenue": 99_500 }],
        "revenue_entries_total": 1,
        "revenue_by_currency": [{ "currency": "EUR", "units": 5, "revenue": 99_500 }],
        "refusals": {
            "since": "2025-11-27T07:00:00.000Z", "total": 3, "by_reason": [{ "reason": "sold_out", "count": 3 }],
        },
    })
}
