//! The contract's table of problems, and the check of every problem document that any test sees.

use serde_json::Value;

use super::{Answer, shapes};

/// Code, status, and the members beyond `type`, `title`, `status`, `code` and `detail`.
pub const TABLE: &[(&str, u16, &[&str])] = &[
    ("invalid_request", 400, &["errors"]),
    ("unauthenticated", 401, &[]),
    ("forbidden", 403, &[]),
    ("not_found", 404, &[]),
    ("sale_not_found", 404, &[]),
    ("item_not_found", 404, &[]),
    ("reservation_not_found", 404, &[]),
    ("webhook_not_found", 404, &[]),
    ("waitlist_entry_not_found", 404, &[]),
    ("method_not_allowed", 405, &[]),
    ("not_acceptable", 406, &[]),
    ("request_timeout", 408, &[]),
    ("sold_out", 409, &["lines"]),
    ("insufficient_stock", 409, &["lines"]),
    ("customer_limit_exceeded", 409, &["already", "limit", "sku"]),
    ("sale_not_started", 409, &["opens_at"]),
    ("not_eligible", 409, &[]),
    ("sale_ended", 409, &[]),
    ("sale_paused", 409, &[]),
    ("reservation_expired", 409, &["reservation"]),
    ("already_confirmed", 409, &["reservation"]),
    ("already_released", 409, &["reservation"]),
    ("already_cancelled", 409, &["reservation"]),
    ("not_confirmed", 409, &["reservation"]),
    ("too_many_holds", 409, &["limit", "open"]),
    ("extension_limit_reached", 409, &["reservation"]),
    ("already_in_group", 409, &["reservation"]),
    ("group_full", 409, &[]),
    ("group_closed", 409, &[]),
    ("group_incomplete", 409, &["reservation"]),
    ("no_waitlist", 409, &[]),
    ("stock_available", 409, &[]),
    ("already_waiting", 409, &["entry"]),
    ("waitlist_full", 409, &["limit"]),
    ("not_waiting", 409, &["state"]),
    ("initial_stock_immutable", 409, &[]),
    ("cursor_too_old", 410, &["oldest"]),
    ("length_required", 411, &[]),
    ("precondition_failed", 412, &[]),
    ("content_too_large", 413, &[]),
    ("uri_too_long", 414, &[]),
    ("unsupported_media_type", 415, &[]),
    ("idempotency_key_reused", 422, &[]),
    ("request_header_fields_too_large", 431, &[]),
    ("rate_limited", 429, &[]),
    ("cooling_down", 429, &["expired", "limit"]),
    ("overloaded", 503, &[]),
    ("backlog_full", 503, &[]),
    ("disk_low", 503, &[]),
    ("store_unavailable", 503, &[]),
    ("draining", 503, &[]),
    ("outcome_unknown", 503, &[]),
];

/// The path that a problem's `type` is.
pub fn path(code: &str) -> String {
    format!("/problems/{}", code.replace('_', "-"))
}

/// Fails unless the answer, which refuses something, is a problem of the contract in every part.
#[track_caller]
pub fn check(answer: &Answer) {
    let told = || format!("{} {:?}", answer.status, String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", told());
    let document = answer.json();
    check_document(&document, answer.status);
    if matches!(answer.status, 429 | 503) {
        let seconds = answer.header("retry-after").and_then(|value| value.parse::<u32>().ok());
        assert!(seconds.is_some_and(|seconds| seconds > 0), "it says when to try again: {answer:?}");
    }
    assert_eq!(answer.header("allow").is_some(), answer.status == 405, "{answer:?}");
    let scheme = answer.header("www-authenticate").and_then(|value| value.split(' ').next());
    assert_eq!(scheme, (answer.status == 401).then_some("Bearer"), "{answer:?}");
}

/// The same for a document that stands in another, beside its status.
#[track_caller]
pub fn check_document(document: &Value, answered: u16) {
    let told = || format!("{answered} {document}");
    let code = document["code"].as_str().unwrap_or_else(|| panic!("no code in {}", told()));
    let known = TABLE.iter().find(|(known, ..)| *known == code);
    let &(_, status, members) = known.unwrap_or_else(|| panic!("{code} is not in the contract: {}", told()));
    assert_eq!(answered, status, "{}", told());
    assert_eq!(document["status"], status, "{}", told());
    assert_eq!(document["type"], path(code), "{}", told());
    for member in ["title", "detail"] {
        assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "no {member} in {}", told());
    }
    let standard = ["code", "detail", "status", "title", "type"];
    // A late confirmation says what it lacks.
    let lines = Some("lines").filter(|_| code == "reservation_expired" && document.get("lines").is_some());
    // An entry that was offered a hold names it.
    let offered = Some("reservation").filter(|_| code == "not_waiting" && document["state"] == "offered");
    let mut expected: Vec<&str> = standard.iter().chain(members).copied().chain(lines).chain(offered).collect();
    expected.sort_unstable();
    assert_eq!(shapes::members(document), expected, "{}", told());
    members.iter().for_each(|member| check_member(code, member, &document[*member]));
}

#[track_caller]
fn check_member(code: &str, member: &str, value: &Value) {
    match member {
        "errors" => {
            let errors = value.as_array().filter(|errors| !errors.is_empty()).expect("errors are a list");
            for error in errors {
                assert_eq!(shapes::members(error), ["detail", "pointer"]);
                let pointer = error["pointer"].as_str().expect("a pointer is text");
                assert!(pointer.is_empty() || pointer.starts_with('/'), "{pointer:?} is no JSON pointer");
                assert!(error["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{error}");
            }
        }
        "lines" => {
            let lines = value.as_array().filter(|lines| !lines.is_empty()).expect("lines are a list");
            for line in lines {
                let mut members = shapes::members(line);
                members.retain(|member| !["next_release_at", "waitlist"].contains(member));
                assert!(line.get("waitlist").is_none_or(|waitlist| *waitlist == true), "{line}");
                assert_eq!(members, ["available", "held", "requested", "sku"]);
                if let Some(at) = line.get("next_release_at") {
                    shapes::check_time(at);
                    assert_ne!(line["held"], 0, "{line}");
                }
                let (available, requested) = (&line["available"], &line["requested"]);
                assert!(available.as_u64().unwrap() < requested.as_u64().unwrap(), "{line} is not short");
            }
            if code == "sold_out" {
                assert!(lines.iter().any(|line| line["available"] == 0), "nothing is sold out in {value}");
            }
        }
        "oldest" => assert!(value.as_str().is_some_and(|cursor| !cursor.is_empty()), "{value}"),
        "sku" => assert!(value.is_string(), "{value}"),
        "limit" | "already" | "open" | "expired" => assert!(value.is_u64(), "{value}"),
        "entry" => {
            shapes::check_id(value);
        }
        "state" => assert!(matches!(value.as_str(), Some("offered" | "expired")), "{value}"),
        "opens_at" => {
            shapes::check_time(value);
        }
        "reservation" => shapes::check_reservation(value),
        _ => unreachable!("every member of the table is checked"),
    }
}
