//! Bounds of members that Rust types do not express, and the limits of the running configuration.
//!
//! Invariant: each row names a member that exists.

mod rows;

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
        event::{NoRoom, RefusedConfirm},
        ids::{LABEL_BYTES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX},
        outcome::{GroupState, State, Status, WaitState},
        settings::{
            AMOUNT_MAX, GROUP_SIZE_MAX, GROUP_SIZE_MIN, LATE_CONFIRM_SECONDS_MAX, NAMES_MAX, PHASES_MAX, POOLS_MAX,
            WAITLIST_ENTRIES_MAX, WAITLIST_SECONDS_MAX, WINDOW_SECONDS_MAX,
        },
        warnings,
    },
    store::{RECORDS_MAX, ROWS_MAX, StoreState},
    webhooks::State as WebhookState,
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

fn wait_state() -> Bound {
    form(json!({ "enum": WaitState::ALL.map(WaitState::as_str) }))
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
    for (schema, member, bound) in rows::all(limits) {
        let member = schemas.pointer_mut(&format!("/{schema}/properties/{member}"));
        let member = member.unwrap_or_else(|| panic!("a bound of {schema} stands for a member that exists"));
        bound.add_to(member);
    }
}
