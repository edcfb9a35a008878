//! Bounds of members that Rust types do not express, and the limits of the running configuration.
//!
//! Invariant: each row names a member that exists.

use serde_json::{Value, json};

use crate::{
    api::{Limits, calls::Call, refusal_counts::REASONS},
    auth::Role,
    events::CURSOR_BYTES,
    http::json::requests::{ADJUSTMENTS_MAX, LOCATIONS_MAX},
    sale::{
        attributes::LABELS_MAX,
        audit::Action,
        code::Code,
        event::RefusedConfirm,
        ids::{LABEL_BYTES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX},
        outcome::{State, Status},
        settings::{AMOUNT_MAX, LATE_CONFIRM_SECONDS_MAX, NAMES_MAX, PHASES_MAX, POOLS_MAX, WINDOW_SECONDS_MAX},
        warnings,
    },
    store::{RECORDS_MAX, ROWS_MAX, StoreState},
};

/// A sale's id.
pub(super) const SLUG: &str = "^[a-z0-9][a-z0-9._-]{0,63}$";
/// No control characters.
pub(super) const PRINTABLE: &str = r"^[^\u0000-\u001f\u007f-\u009f]+$";
/// A UUIDv7; answers write it in lower case.
pub(super) const UUID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$";
pub(super) const UUID_ASKED: &str =
    "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-7[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$";
/// A time as requests may write it.
const RFC_3339: &str = r"^(19[7-9]\d|[2-9]\d{3})-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$";
/// A time as answers write it.
const MILLISECONDS: &str = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$";

/// Leaves room for other kinds of cursors.
pub(super) const CURSOR_BYTES_MAX: usize = 64;
const _: () = assert!(CURSOR_BYTES <= CURSOR_BYTES_MAX);

/// JSON's numbers are exact up to here.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// Schema keywords for a member, and the same rule as a sentence for its description.
pub(super) struct Bound(Value, String);

impl Bound {
    pub(super) fn add_to(&self, member: &mut Value) {
        let Self(keywords, sentence) = self;
        for (keyword, value) in keywords.as_object().into_iter().flatten() {
            member[keyword] = value.clone();
        }
        // A `u32` may be more than the format `int32` holds.
        if member["format"] == "int32" && member["maximum"].as_u64() > Some(i32::MAX as u64) {
            member["format"] = json!("int64");
        }
        if !sentence.is_empty() {
            let described = member["description"].as_str().unwrap_or_default();
            member["description"] = json!(format!("{described} {sentence}").trim_start());
        }
    }
}

fn integer(least: u64, most: u64) -> Bound {
    Bound(json!({ "minimum": least, "maximum": most }), format!("{least} to {most}."))
}

/// A cursor of the feed: opaque, so only its length is bounded.
pub(super) fn cursor() -> Bound {
    form(json!({ "minLength": 1, "maxLength": CURSOR_BYTES_MAX }))
}

fn text(bytes_max: usize) -> Bound {
    let sentence = format!("1 to {bytes_max} bytes of UTF-8 without control characters.");
    Bound(json!({ "minLength": 1, "maxLength": bytes_max, "pattern": PRINTABLE }), sentence)
}

fn list(most: usize) -> Bound {
    Bound(json!({ "minItems": 1, "maxItems": most }), format!("1 to {most} entries."))
}

fn form(keywords: Value) -> Bound {
    Bound(keywords, String::new())
}

fn name() -> Bound {
    text(NAME_BYTES_MAX)
}

fn free_text() -> Bound {
    text(TEXT_BYTES_MAX)
}

fn key() -> Bound {
    let sentence = format!("1 to {TEXT_BYTES_MAX} visible ASCII characters, bare or in double quotes.");
    Bound(json!({ "minLength": 1, "maxLength": TEXT_BYTES_MAX + 2, "pattern": key_pattern() }), sentence)
}

/// An idempotency key, bare or quoted.
pub(super) fn key_pattern() -> String {
    let bare = format!("[!#-~]{{1,{TEXT_BYTES_MAX}}}");
    format!("^({bare}|\"{bare}\")$")
}

fn slug() -> Bound {
    let sentence =
        format!("1 to {NAME_BYTES_MAX} characters from a-z, 0-9, dot, dash and underscore; a letter or digit first.");
    Bound(json!({ "pattern": SLUG, "minLength": 1, "maxLength": NAME_BYTES_MAX }), sentence)
}

/// A list of names.
fn names(most: usize) -> Bound {
    let items = json!({ "type": "string", "pattern": SLUG, "minLength": 1, "maxLength": NAME_BYTES_MAX });
    Bound(json!({ "minItems": 1, "maxItems": most, "items": items }), format!("1 to {most} names."))
}

/// Names and values.
fn labels() -> Bound {
    let names = json!({ "pattern": SLUG, "minLength": 1, "maxLength": NAME_BYTES_MAX });
    let value = json!({ "type": "string", "minLength": 1, "maxLength": LABEL_BYTES_MAX, "pattern": PRINTABLE });
    let keywords = json!({
        "minProperties": 1, "maxProperties": LABELS_MAX, "propertyNames": names, "additionalProperties": value,
    });
    Bound(keywords, format!("1 to {LABELS_MAX} members, each with a text of 1 to {LABEL_BYTES_MAX} bytes."))
}

/// Costs by region.
fn costs() -> Bound {
    let names = json!({ "pattern": SLUG, "minLength": 1, "maxLength": NAME_BYTES_MAX });
    let cost = json!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": AMOUNT_MAX });
    let keywords = json!({
        "minProperties": 1, "maxProperties": NAMES_MAX, "propertyNames": names, "additionalProperties": cost,
    });
    Bound(keywords, format!("1 to {NAMES_MAX} regions."))
}

fn sale_id() -> Bound {
    form(json!({ "pattern": SLUG, "maxLength": NAME_BYTES_MAX }))
}

fn asked_time() -> Bound {
    let sentence = "An RFC 3339 time with an offset, from 1970 to 9999. Digits beyond milliseconds are dropped.";
    Bound(json!({ "format": "date-time", "pattern": RFC_3339 }), sentence.to_owned())
}

pub(super) fn time() -> Bound {
    form(json!({ "format": "date-time", "pattern": MILLISECONDS }))
}

fn state() -> Bound {
    form(json!({ "enum": State::ALL.map(State::as_str) }))
}

fn status() -> Bound {
    form(json!({ "enum": Status::ALL.map(Status::as_str) }))
}

fn role() -> Bound {
    let roles = [Role::Viewer, Role::Checkout, Role::Operator].map(Role::as_str);
    form(json!({ "enum": roles }))
}

fn customer_limit() -> Bound {
    integer(1, u32::MAX.into())
}

type Row = (&'static str, &'static str, Bound);

/// Adds the bounds to their members.
pub(super) fn add(schemas: &mut Value, limits: &Limits) {
    for (schema, member, bound) in
        requests(limits).into_iter().chain(answers()).chain(report()).chain(figures()).chain(problems_and_events())
    {
        let member = schemas.pointer_mut(&format!("/{schema}/properties/{member}"));
        let member = member.unwrap_or_else(|| panic!("a bound of {schema} stands for a member that exists"));
        bound.add_to(member);
    }
}

fn requests(limits: &Limits) -> Vec<Row> {
    let quantity_max = u64::from(limits.quantity_max);
    let hold_seconds = || integer(1, limits.sale.hold_seconds_max);
    vec![
        ("ReserveRequest", "customer", name()),
        ("ReserveRequest", "lines", list(limits.sale.lines_max)),
        ("ReserveRequest", "hold_seconds", hold_seconds()),
        ("ReserveRequest", "reference", free_text()),
        ("ReserveRequest", "tier", slug()),
        ("ReserveRequest", "channel", slug()),
        ("ReserveRequest", "region", slug()),
        ("ReserveRequest", "labels", labels()),
        ("ReserveRequest", "locations", names(LOCATIONS_MAX)),
        ("ReserveLine", "sku", name()),
        ("ReserveLine", "quantity", integer(1, quantity_max)),
        ("BatchRequest", "reservations", list(limits.batch_entries_max)),
        ("BatchEntry", "customer", name()),
        ("BatchEntry", "lines", list(limits.sale.lines_max)),
        ("BatchEntry", "hold_seconds", hold_seconds()),
        ("BatchEntry", "reference", free_text()),
        ("BatchEntry", "idempotency_key", key()),
        ("BatchEntry", "tier", slug()),
        ("BatchEntry", "channel", slug()),
        ("BatchEntry", "region", slug()),
        ("BatchEntry", "labels", labels()),
        ("BatchEntry", "locations", names(LOCATIONS_MAX)),
        ("ConfirmRequest", "lines", list(limits.sale.lines_max)),
        ("ConfirmRequest", "reference", free_text()),
        ("ChangeRequest", "lines", list(limits.sale.lines_max)),
        ("CancelRequest", "reason", free_text()),
        ("CancelRequest", "lines", list(limits.sale.lines_max)),
        ("ExtendAllRequest", "seconds", hold_seconds()),
        ("ExtendAllRequest", "reason", free_text()),
        ("ReleaseRequest", "reason", free_text()),
        ("ExtendRequest", "hold_seconds", hold_seconds()),
        ("AdjustRequest", "pool", slug()),
        ("AdjustRequest", "delta", delta(limits)),
        ("AdjustRequest", "reason", free_text()),
        ("AdjustRequest", "reference", free_text()),
        ("AdjustmentsRequest", "adjustments", list(ADJUSTMENTS_MAX)),
        ("AdjustOne", "sku", name()),
        ("AdjustOne", "pool", slug()),
        ("AdjustOne", "delta", delta(limits)),
        ("AdjustOne", "reason", free_text()),
        ("AdjustOne", "reference", free_text()),
        ("TransferRequest", "from", slug()),
        ("TransferRequest", "to", slug()),
        ("TransferRequest", "quantity", integer(1, limits.sale.stock_max)),
        ("TransferRequest", "reason", free_text()),
        ("TransferRequest", "reference", free_text()),
        ("SaleSettings", "id", form(json!({ "pattern": format!("^$|{SLUG}"), "maxLength": NAME_BYTES_MAX }))),
        ("SaleSettings", "name", free_text()),
        ("SaleSettings", "opens_at", asked_time()),
        ("SaleSettings", "closes_at", asked_time()),
        ("SaleSettings", "hold_seconds", integer(1, limits.sale.hold_seconds_max)),
        ("SaleSettings", "max_extensions", integer(0, limits.sale.extensions_max.into())),
        ("SaleSettings", "customer_limit", customer_limit()),
        ("SaleSettings", "late_confirm_seconds", integer(0, LATE_CONFIRM_SECONDS_MAX.into())),
        ("HoldBudget", "open_holds", integer(1, u32::MAX.into())),
        ("HoldBudget", "expired_per_hour", integer(1, u32::MAX.into())),
        ("SaleSettings", "items", list(limits.sale.items_per_sale_max)),
        ("SaleSettings", "phases", list(PHASES_MAX)),
        ("Phase", "name", slug()),
        ("Phase", "opens_at", asked_time()),
        ("Phase", "closes_at", asked_time()),
        ("Phase", "tiers", names(NAMES_MAX)),
        ("Phase", "channels", names(NAMES_MAX)),
        ("Phase", "customer_limit", customer_limit()),
        ("ItemSettings", "pools", list(POOLS_MAX)),
        ("PoolSettings", "id", slug()),
        ("PoolSettings", "initial_stock", integer(0, limits.sale.stock_max)),
        ("PoolSettings", "tiers", names(NAMES_MAX)),
        ("PoolSettings", "channels", names(NAMES_MAX)),
        ("PoolSettings", "shared_at", asked_time()),
        ("PoolSettings", "location", slug()),
        ("PoolSettings", "costs", costs()),
        ("ItemSettings", "sku", name()),
        ("ItemSettings", "initial_stock", integer(0, limits.sale.stock_max)),
        ("ItemSettings", "customer_limit", customer_limit()),
        ("ItemSettings", "limit_counts_since", asked_time()),
        ("Price", "amount", integer(0, AMOUNT_MAX)),
        ("Price", "currency", form(json!({ "pattern": "^[A-Z]{3}$" }))),
        ("Quota", "requests", integer(0, u32::MAX.into())),
        ("Quota", "window_seconds", integer(1, WINDOW_SECONDS_MAX.into())),
    ]
}

fn delta(limits: &Limits) -> Bound {
    let most = limits.sale.stock_max as i64;
    let keywords = json!({ "not": { "const": 0 }, "minimum": -most, "maximum": most });
    Bound(keywords, format!("Not 0. The item's stock may have at most {most} units."))
}

/// Configured limits do not bound answers: these may show values from an earlier configuration.
fn answers() -> Vec<Row> {
    let units = || form(json!({ "minimum": 0, "maximum": EXACT_MAX }));
    let some_units = || form(json!({ "minimum": 1, "maximum": u32::MAX }));
    let at_least_one = || form(json!({ "minItems": 1 }));
    vec![
        ("CursorTooOldProblem", "oldest", cursor()),
        ("Reservation", "id", form(json!({ "format": "uuid", "pattern": UUID }))),
        ("Reservation", "sale", sale_id()),
        ("Reservation", "customer", name()),
        ("Reservation", "state", state()),
        ("Reservation", "lines", at_least_one()),
        ("Reservation", "reference", free_text()),
        ("Reservation", "created_at", time()),
        ("Reservation", "expires_at", time()),
        ("Reservation", "confirmed_at", time()),
        ("Reservation", "released_at", time()),
        ("Reservation", "expired_at", time()),
        ("Reservation", "cancelled_at", time()),
        ("Reservation", "returned", at_least_one()),
        ("Reservation", "cancelled", at_least_one()),
        ("Units", "sku", name()),
        ("Units", "quantity", some_units()),
        ("ExtendedHolds", "holds", units()),
        ("Sale", "late_confirm_seconds", some_units()),
        ("Reservation", "extensions", form(json!({ "minimum": 0, "maximum": u16::MAX }))),
        ("Reservation", "tier", slug()),
        ("Reservation", "channel", slug()),
        ("Reservation", "region", slug()),
        ("Reservation", "labels", form(json!({ "minProperties": 1 }))),
        ("Reservation", "short", at_least_one()),
        ("ShortOfRequest", "sku", name()),
        ("ShortOfRequest", "requested", some_units()),
        ("ShortOfRequest", "granted", form(json!({ "minimum": 0, "maximum": u32::MAX }))),
        ("ReservedLine", "from", at_least_one()),
        ("FromPool", "pool", slug()),
        ("FromPool", "quantity", some_units()),
        ("FromPool", "location", slug()),
        ("DryRun", "would", form(json!({ "const": "hold" }))),
        ("DryRun", "lines", at_least_one()),
        ("DryRun", "short", at_least_one()),
        ("DryRun", "expires_at", time()),
        ("Warning", "code", form(json!({ "enum": warnings::CODES }))),
        ("Sale", "phases", at_least_one()),
        ("Item", "pools", at_least_one()),
        ("Pool", "id", slug()),
        ("Pool", "initial_stock", units()),
        ("Pool", "tiers", at_least_one()),
        ("Pool", "channels", at_least_one()),
        ("Pool", "shared_at", time()),
        ("Pool", "location", slug()),
        ("Pool", "stock", units()),
        ("Pool", "available", units()),
        ("Pool", "held", units()),
        ("Pool", "confirmed", units()),
        ("Adjustment", "pool", slug()),
        ("Adjustment", "pool_stock", units()),
        ("Adjustment", "pool_available", units()),
        ("Adjustments", "results", at_least_one()),
        ("Transfer", "quantity", form(json!({ "minimum": 1, "maximum": EXACT_MAX }))),
        ("Transfer", "reason", free_text()),
        ("Transfer", "reference", free_text()),
        ("PoolAfter", "pool", slug()),
        ("PoolAfter", "stock", units()),
        ("PoolAfter", "available", units()),
        ("ReplayedOf", "state", state()),
        ("ReplayedOf", "expires_at", time()),
        ("ReservedLine", "sku", name()),
        ("ReservedLine", "quantity", some_units()),
        ("BatchGranted", "status", form(json!({ "const": 201 }))),
        ("BatchGranted", "replayed", form(json!({ "const": true }))),
        ("BatchRefused", "status", form(json!({ "minimum": 400, "maximum": 599 }))),
        ("BatchResults", "results", at_least_one()),
        ("Sale", "id", sale_id()),
        ("Sale", "name", free_text()),
        ("Sale", "opens_at", time()),
        ("Sale", "closes_at", time()),
        ("Sale", "hold_seconds", form(json!({ "minimum": 1, "maximum": EXACT_MAX }))),
        ("Sale", "max_extensions", form(json!({ "minimum": 0, "maximum": u32::MAX }))),
        ("Sale", "customer_limit", some_units()),
        ("Sale", "status", status()),
        ("Sale", "items", at_least_one()),
        ("Item", "sku", name()),
        ("Item", "initial_stock", units()),
        ("Item", "customer_limit", some_units()),
        ("Item", "limit_counts_since", time()),
        ("Item", "stock", units()),
        ("Item", "available", units()),
        ("Item", "held", units()),
        ("Item", "confirmed", units()),
        ("SalesPage", "next", sale_id()),
        ("Availability", "sale", sale_id()),
        ("Availability", "status", status()),
        ("Availability", "items", at_least_one()),
        ("AvailableItem", "sku", name()),
        ("AvailableItem", "available", units()),
        ("Adjustment", "delta", form(json!({ "not": { "const": 0 } }))),
        ("Adjustment", "reason", free_text()),
        ("Adjustment", "reference", free_text()),
        ("Adjustment", "stock", units()),
        ("Adjustment", "available", units()),
        ("Erasure", "reservations", units()),
        ("CustomerReservations", "reservations_total", units()),
        ("CustomerLimit", "sku", name()),
        ("CustomerLimit", "limit", some_units()),
        ("CustomerLimit", "already", units()),
        ("AuditTrail", "records", form(json!({ "maxItems": RECORDS_MAX }))),
        ("AuditTrail", "next", cursor()),
        ("AuditRecord", "sequence", form(json!({ "minimum": 1, "maximum": EXACT_MAX }))),
        ("AuditRecord", "at", time()),
        ("AuditRecord", "actor", form(json!({ "pattern": "^(key:[a-z0-9_-]{1,64}|anybody|process)$" }))),
        ("AuditRecord", "action", form(json!({ "enum": Action::ALL.map(Action::as_str) }))),
        ("AuditRecord", "sale", sale_id()),
        ("AuditRecord", "sku", name()),
        ("AuditRecord", "hash", form(json!({ "pattern": "^[0-9a-f]{64}$" }))),
    ]
}

fn figures() -> Vec<Row> {
    let units = || form(json!({ "minimum": 0, "maximum": EXACT_MAX }));
    let at_least_one = || form(json!({ "minItems": 1 }));
    vec![
        ("StatusCaller", "key", form(json!({ "pattern": "^[a-z0-9_-]{1,64}$" }))),
        ("StatusCaller", "role", role()),
        ("StatusService", "at", time()),
        ("StatusService", "started_at", time()),
        ("StatusService", "version", form(json!({ "pattern": r"^\d+\.\d+\.\d+" }))),
        ("StatusService", "connections", units()),
        ("StatusService", "rate_limited", units()),
        ("StatusService", "duration_bounds", at_least_one()),
        ("StatusOutcomes", "held", units()),
        ("StatusOutcomes", "replayed", units()),
        ("StatusOutcomes", "confirmed", units()),
        ("StatusOutcomes", "released", units()),
        ("StatusOutcomes", "extended", units()),
        ("StatusOutcomes", "expired", units()),
        (
            "StatusRefusals",
            "reason",
            form(json!({ "enum": Code::of_reservations().map(Code::as_str).collect::<Vec<_>>() })),
        ),
        ("StatusRefusals", "count", units()),
        ("StatusDurations", "call", form(json!({ "enum": Call::NAMES }))),
        ("StatusDurations", "count", units()),
        ("StatusDurations", "seconds_sum", form(json!({ "minimum": 0 }))),
        ("StatusDurations", "within", at_least_one()),
        ("StatusHolds", "live", units()),
        ("StatusHolds", "expiring_next_minute", units()),
        ("StatusStore", "kind", form(json!({ "enum": ["sqlite", "postgres"] }))),
        ("StatusStore", "state", form(json!({ "enum": StoreState::ALL.map(StoreState::as_str) }))),
        ("StatusStore", "lag_seconds", form(json!({ "minimum": 0 }))),
        ("StatusStore", "backlog_bytes", units()),
        ("StatusService", "clock_jumps", units()),
    ]
}

fn problems_and_events() -> Vec<Row> {
    let units = || form(json!({ "minimum": 0, "maximum": EXACT_MAX }));
    let some_units = || form(json!({ "minimum": 1, "maximum": u32::MAX }));
    let at_least_one = || form(json!({ "minItems": 1 }));
    vec![
        ("Problem", "status", form(json!({ "minimum": 400, "maximum": 599 }))),
        ("ProblemPage", "status", form(json!({ "minimum": 400, "maximum": 599 }))),
        ("InvalidRequestProblem", "errors", at_least_one()),
        ("SoldOutProblem", "lines", at_least_one()),
        ("InsufficientStockProblem", "lines", at_least_one()),
        ("ShortLine", "sku", name()),
        ("ShortLine", "requested", form(json!({ "minimum": 1 }))),
        ("ShortLine", "available", units()),
        ("ShortLine", "held", units()),
        ("ShortLine", "next_release_at", time()),
        ("ReservationExpiredProblem", "lines", at_least_one()),
        ("TooManyHoldsProblem", "limit", some_units()),
        ("TooManyHoldsProblem", "open", some_units()),
        ("CoolingDownProblem", "limit", some_units()),
        ("CoolingDownProblem", "expired", some_units()),
        ("CustomerLimitExceededProblem", "sku", name()),
        ("CustomerLimitExceededProblem", "limit", some_units()),
        ("CustomerLimitExceededProblem", "already", units()),
        ("SaleNotStartedProblem", "opens_at", time()),
        ("ReservationData", "id", form(json!({ "format": "uuid", "pattern": UUID }))),
        ("ReservationData", "sale", sale_id()),
        ("ReservationData", "customer", name()),
        ("ReservationData", "state", state()),
        ("ReservationData", "lines", at_least_one()),
        ("ReservationData", "reference", free_text()),
        ("ReservationData", "reason", free_text()),
        ("ReservationData", "created_at", time()),
        ("ReservationData", "expires_at", time()),
        ("ReservationData", "confirmed_at", time()),
        ("ReservationData", "released_at", time()),
        ("ReservationData", "expired_at", time()),
        ("ReservationData", "cancelled_at", time()),
        ("ReservationData", "returned", at_least_one()),
        ("ReservationData", "late", form(json!({ "const": true }))),
        ("ReservationData", "cause", form(json!({ "enum": RefusedConfirm::ALL.map(RefusedConfirm::as_str) }))),
        ("ReservationData", "extensions", form(json!({ "minimum": 0, "maximum": u16::MAX }))),
        ("ReservationData", "tier", slug()),
        ("ReservationData", "channel", slug()),
        ("ReservationData", "region", slug()),
        ("ReservationData", "labels", form(json!({ "minProperties": 1 }))),
        ("ReservationData", "short", at_least_one()),
        ("ShortData", "sku", name()),
        ("ShortData", "requested", some_units()),
        ("ShortData", "granted", form(json!({ "minimum": 0, "maximum": u32::MAX }))),
        ("LineData", "from", at_least_one()),
        ("PoolData", "pool", slug()),
        ("PoolData", "quantity", some_units()),
        ("TransferData", "sale", sale_id()),
        ("TransferData", "sku", name()),
        ("TransferData", "from", slug()),
        ("TransferData", "to", slug()),
        ("TransferData", "quantity", form(json!({ "minimum": 1, "maximum": EXACT_MAX }))),
        ("TransferData", "reason", free_text()),
        ("TransferData", "reference", free_text()),
        ("PhaseData", "sale", sale_id()),
        ("PhaseData", "phase", slug()),
        ("PhaseData", "opens_at", time()),
        ("SharingData", "sale", sale_id()),
        ("SharingData", "sku", name()),
        ("SharingData", "pool", slug()),
        ("SharingData", "shared_at", time()),
        ("AdjustmentData", "pool", slug()),
        ("LineData", "sku", name()),
        ("LineData", "quantity", some_units()),
        ("AdjustmentData", "sale", sale_id()),
        ("AdjustmentData", "sku", name()),
        ("AdjustmentData", "delta", form(json!({ "not": { "const": 0 } }))),
        ("AdjustmentData", "reason", free_text()),
        ("AdjustmentData", "reference", free_text()),
        ("AdjustmentData", "stock", units()),
        ("AdjustmentData", "available", units()),
        ("ErasureData", "customer", name()),
        ("LevelData", "sale", sale_id()),
        ("LevelData", "sku", name()),
        ("LevelData", "available", units()),
        ("StatusData", "sale", sale_id()),
        ("StatusData", "by", form(json!({ "enum": ["clock", "operator"] }))),
        ("EndingData", "reason", form(json!({ "enum": ["slow", "cursor_too_old", "draining", "failed"] }))),
        ("EndingData", "cursor", cursor()),
    ]
}

/// The report of a sale.
fn report() -> Vec<Row> {
    let units = || form(json!({ "minimum": 0, "maximum": EXACT_MAX }));
    let seconds = || form(json!({ "minimum": 0 }));
    let share = || form(json!({ "minimum": 0, "maximum": 1 }));
    let money = || form(json!({ "minimum": 0, "maximum": i64::MAX }));
    let entries = || form(json!({ "maxItems": ROWS_MAX }));
    vec![
        ("Report", "sale", sale_id()),
        ("Report", "by", form(json!({ "pattern": "^(channel|tier|pool|location|label:[a-z0-9][a-z0-9._-]{0,63})$" }))),
        ("Report", "counts_from", time()),
        ("Report", "sold_out_at", time()),
        ("Report", "seconds_to_sell_out", seconds()),
        ("Report", "items", entries()),
        ("Report", "minutes", entries()),
        ("Report", "revenue", entries()),
        ("Report", "items_total", units()),
        ("Report", "items_sold_out", units()),
        ("Report", "items_ever_sold_out", units()),
        ("Report", "minutes_total", units()),
        ("Report", "revenue_entries_total", units()),
        ("Report", "by", form(json!({ "example": "channel" }))),
        ("Report", "groups", entries()),
        ("Report", "groups_total", units()),
        ("ReportGroup", "value", name()),
        ("ReportGroup", "revenue_by_currency", form(json!({ "maxItems": 26 * 26 * 26 }))),
        ("Report", "revenue_by_currency", form(json!({ "maxItems": 26 * 26 * 26 }))),
        ("ReportAsOf", "epoch", units()),
        ("ReportAsOf", "lag_epochs", units()),
        ("ReportAsOf", "changed_at", time()),
        ("ReportAsOf", "read_at", time()),
        ("ReportAsOf", "lag_seconds", seconds()),
        ("ReportCounts", "granted", units()),
        ("ReportCounts", "held", units()),
        ("ReportCounts", "confirmed", units()),
        ("ReportCounts", "released", units()),
        ("ReportCounts", "expired", units()),
        ("ReportCounts", "cancelled", units()),
        ("ReportUnits", "granted", units()),
        ("ReportUnits", "held", units()),
        ("ReportUnits", "confirmed", units()),
        ("ReportUnits", "released", units()),
        ("ReportUnits", "expired", units()),
        ("ReportUnits", "cancelled", units()),
        ("ReportUnits", "returned", units()),
        ("ReportConfirmations", "late", units()),
        ("ReportConfirmations", "refused", units()),
        ("ReportConfirmations", "refused_late", units()),
        ("ReportConfirmations", "refused_by_cause", form(json!({ "maxItems": RefusedConfirm::ALL.len() }))),
        (
            "ReportRefusedConfirmations",
            "cause",
            form(json!({ "enum": RefusedConfirm::ALL.map(RefusedConfirm::as_str) })),
        ),
        ("ReportRefusedConfirmations", "count", form(json!({ "minimum": 1, "maximum": EXACT_MAX }))),
        ("ReportStock", "stock", units()),
        ("ReportStock", "available", units()),
        ("ReportStock", "held", units()),
        ("ReportStock", "confirmed", units()),
        ("ReportRates", "conversion", share()),
        ("ReportRates", "unit_conversion", share()),
        ("ReportRates", "expiry_rate", share()),
        ("ReportRates", "release_rate", share()),
        ("ReportRates", "sell_through", share()),
        ("ReportItem", "sku", name()),
        ("ReportItem", "sold_out_at", time()),
        ("ReportItem", "seconds_to_sell_out", seconds()),
        ("ReportMinute", "minute", time()),
        ("ReportMinute", "granted", units()),
        ("ReportMinute", "confirmed", units()),
        ("ReportMinute", "released", units()),
        ("ReportMinute", "expired", units()),
        ("ReportRevenue", "sku", name()),
        ("ReportRevenue", "units", units()),
        ("ReportRevenue", "revenue", money()),
        ("ReportCurrency", "currency", form(json!({ "pattern": "^[A-Z]{3}$" }))),
        ("ReportCurrency", "units", units()),
        ("ReportCurrency", "revenue", money()),
        ("ReportRefusals", "since", time()),
        ("ReportRefusals", "total", units()),
        ("ReportRefusals", "by_reason", form(json!({ "maxItems": REASONS.len() }))),
        ("ReportRefusal", "reason", form(json!({ "enum": REASONS.map(Code::as_str) }))),
        ("ReportRefusal", "count", form(json!({ "minimum": 1, "maximum": EXACT_MAX }))),
    ]
}
