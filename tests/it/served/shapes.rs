//! What the documents of the contract look like, to the last member.

use serde_json::{Value, json};

/// The names of an object's members, sorted.
#[track_caller]
pub fn members(value: &Value) -> Vec<&str> {
    let object = value.as_object().unwrap_or_else(|| panic!("{value} is no object"));
    let mut names: Vec<&str> = object.keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// A time in the contract's one form, RFC 3339 in UTC with milliseconds; gives milliseconds since the epoch.
#[track_caller]
pub fn check_time(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no time"));
    let form = "dddd-dd-ddTdd:dd:dd.dddZ";
    let fits = |(byte, wanted): (u8, u8)| if wanted == b'd' { byte.is_ascii_digit() } else { byte == wanted };
    assert!(text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits), "{text:?} is not in the form {form}");
    doorbuster::sale::time::Timestamp::parse(text).unwrap_or_else(|| panic!("{text:?} is no time")).millis()
}

/// A UUIDv7 in the hyphenated lower-case form; gives its time in milliseconds since the epoch.
#[track_caller]
pub fn check_id(value: &Value) -> u64 {
    let id = value.as_str().unwrap_or_else(|| panic!("{value} is no id"));
    let form = "xxxxxxxx-xxxx-7xxx-vxxx-xxxxxxxxxxxx";
    let fits = |(byte, wanted): (u8, u8)| match wanted {
        b'x' => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        b'v' => matches!(byte, b'8' | b'9' | b'a' | b'b'),
        other => byte == other,
    };
    assert!(id.len() == form.len() && id.bytes().zip(form.bytes()).all(fits), "{id:?} is no UUIDv7");
    let digits: String = id.chars().filter(|character| *character != '-').take(12).collect();
    u64::from_str_radix(&digits, 16).expect("digits")
}

/// A reservation: its members by its state, and its times in their order.
#[track_caller]
pub fn check_reservation(reservation: &Value) {
    let state = reservation["state"].as_str().unwrap_or_else(|| panic!("no state in {reservation}"));
    let ended_at = match state {
        "held" => None,
        "confirmed" => Some("confirmed_at"),
        "released" => Some("released_at"),
        "expired" => Some("expired_at"),
        "cancelled" => Some("cancelled_at"),
        _ => panic!("{state:?} is no state of a reservation"),
    };
    let always = ["created_at", "customer", "expires_at", "extensions", "id", "lines", "sale", "state"];
    let mut optional = vec![
        "reference",
        "replayed_of",
        "tier",
        "channel",
        "region",
        "labels",
        "short",
        "returned",
        "cancelled",
        "late",
        "group",
        "waitlist",
    ];
    if state == "cancelled" {
        optional.push("confirmed_at");
    }
    let optional = optional.into_iter().filter(|member| reservation.get(*member).is_some());
    let mut expected: Vec<&str> = always.into_iter().chain(ended_at).chain(optional).collect();
    expected.sort_unstable();
    assert_eq!(members(reservation), expected, "{reservation}");

    let (created_at, expires_at) = (check_time(&reservation["created_at"]), check_time(&reservation["expires_at"]));
    assert_eq!(check_id(&reservation["id"]), created_at, "the id carries the time of creation: {reservation}");
    assert!(created_at < expires_at, "{reservation}");
    match ended_at.map(|member| check_time(&reservation[member])) {
        None => {}
        Some(at) if state == "expired" => assert!(at >= expires_at, "expired early: {reservation}"),
        Some(at) if state == "cancelled" => {
            assert!(check_time(&reservation["confirmed_at"]) <= at, "cancelled before it was confirmed: {reservation}");
        }
        Some(at) if reservation.get("late").is_some() => {
            assert_eq!(reservation["late"], true);
            assert!(state == "confirmed" && at >= expires_at, "late: {reservation}");
        }
        // A group fails at its end, or when it is found.
        Some(at) if reservation["group"]["state"] == "failed" => assert!(state == "released" && at >= created_at),
        Some(at) => assert!((created_at..expires_at).contains(&at), "{state} outside of its time: {reservation}"),
    }
    for member in ["sale", "customer"] {
        assert!(reservation[member].as_str().is_some_and(|text| !text.is_empty()), "{reservation}");
    }
    assert!(reservation["extensions"].is_u64(), "{reservation}");
    if let Some(reference) = reservation.get("reference") {
        assert!(reference.is_string(), "{reservation}");
    }
    if let Some(group) = reservation.get("group") {
        assert_eq!(members(group), ["expires_at", "id", "members", "size", "state"], "{reservation}");
        check_id(&group["id"]);
        let [has, size] = ["members", "size"].map(|member| group[member].as_u64().expect("a number"));
        let is_right = match group["state"].as_str() {
            Some("open") => has < size && group["expires_at"] == reservation["expires_at"] && state == "held",
            Some("complete") => has == size,
            Some("failed") => has < size && state == "released",
            _ => false,
        };
        assert!(is_right, "{reservation}");
        check_time(&group["expires_at"]);
    }
    if let Some(stands) = reservation.get("replayed_of") {
        assert_eq!(state, "held", "a repeat is answered as the first time: {reservation}");
        assert_eq!(members(stands), ["expires_at", "state"], "{reservation}");
        // Only a group that completes makes a hold end earlier.
        let lasts = check_time(&stands["expires_at"]) >= expires_at;
        assert!(lasts || reservation.get("group").is_some(), "{reservation}");
    }
    let lines = reservation["lines"].as_array().filter(|lines| !lines.is_empty()).expect("lines are a list");
    for line in lines {
        assert!(line["sku"].is_string() && line["quantity"].as_u64().is_some_and(|quantity| quantity > 0), "{line}");
        match line.get("price") {
            None => assert_eq!(members_but(line, "from"), ["quantity", "sku"]),
            Some(price) => {
                assert_eq!(members_but(line, "from"), ["price", "quantity", "sku"]);
                check_price(price);
            }
        }
        if let Some(from) = line.get("from").map(|from| from.as_array().expect("a list")) {
            let sum: u64 = from.iter().map(|from| from["quantity"].as_u64().unwrap()).sum();
            assert_eq!(line["quantity"], sum, "each unit comes from a pool: {line}");
        }
    }
}

/// A waitlist entry: its members by its state, and its times in their order.
#[track_caller]
pub fn check_entry(entry: &Value) {
    let state = entry["state"].as_str().unwrap_or_else(|| panic!("no state in {entry}"));
    let of_state: &[&str] = match state {
        "waiting" => &["position"],
        "offered" => &["offered_at", "reservation"],
        "left" => &["left_at"],
        "expired" => &["expired_at"],
        _ => panic!("{state:?} is no state of a waitlist entry"),
    };
    let always = ["customer", "expires_at", "id", "joined_at", "lines", "sale", "state"];
    let optional = ["reference", "tier", "channel", "region", "labels", "locations", "passed_over"];
    let optional = optional.into_iter().filter(|member| entry.get(*member).is_some());
    let mut expected: Vec<&str> = always.into_iter().chain(of_state.iter().copied()).chain(optional).collect();
    expected.sort_unstable();
    assert_eq!(members(entry), expected, "{entry}");

    let (joined_at, expires_at) = (check_time(&entry["joined_at"]), check_time(&entry["expires_at"]));
    assert_eq!(check_id(&entry["id"]), joined_at, "the id carries the time of joining: {entry}");
    assert!(joined_at < expires_at, "{entry}");
    match state {
        "waiting" => assert!(entry["position"].as_u64().is_some_and(|position| position > 0), "{entry}"),
        "offered" => {
            check_id(&entry["reservation"]);
            assert!((joined_at..expires_at).contains(&check_time(&entry["offered_at"])), "{entry}");
        }
        "left" => assert!((joined_at..expires_at).contains(&check_time(&entry["left_at"])), "{entry}"),
        _ => assert!(check_time(&entry["expired_at"]) >= joined_at, "{entry}"),
    }
    let lines = entry["lines"].as_array().filter(|lines| !lines.is_empty()).expect("lines are a list");
    for line in lines {
        assert_eq!(members(line), ["quantity", "sku"]);
        assert!(line["quantity"].as_u64().is_some_and(|quantity| quantity > 0), "{line}");
    }
    if let Some(passed_over) = entry.get("passed_over") {
        assert_eq!(members(passed_over), ["at", "code"]);
        assert!(check_time(&passed_over["at"]) >= joined_at, "{entry}");
    }
}

/// The members but for this one.
fn members_but<'a>(document: &'a Value, without: &str) -> Vec<&'a str> {
    members(document).into_iter().filter(|member| *member != without).collect()
}

#[track_caller]
fn check_price(price: &Value) {
    assert_eq!(members(price), ["amount", "currency"]);
    assert!(price["amount"].is_u64() && price["currency"].is_string(), "{price}");
}

/// A sale as GET shows it: every member there and no other, and stock conserved in every item.
#[track_caller]
pub fn check_sale(sale: &Value) {
    let always = ["closes_at", "hold_seconds", "id", "items", "name", "opens_at", "status"];
    let optional = ["max_extensions", "customer_limit", "late_confirm_seconds", "hold_budget", "waitlist", "waiting"]
        .into_iter()
        .filter(|member| sale.get(*member).is_some());
    let mut expected: Vec<&str> = always.into_iter().chain(optional).collect();
    expected.sort_unstable();
    assert_eq!(members(sale), expected, "{sale}");
    check_time(&sale["opens_at"]);
    check_time(&sale["closes_at"]);
    let statuses = ["scheduled", "open", "paused", "closed"];
    assert!(statuses.iter().any(|status| sale["status"] == *status), "{sale}");
    for item in sale["items"].as_array().expect("items are a list") {
        let always = ["available", "confirmed", "held", "initial_stock", "sku", "stock"];
        let optional = ["price", "customer_limit", "low_stock_at", "group", "open_groups"];
        let optional = optional.into_iter().filter(|member| item.get(*member).is_some());
        let mut expected: Vec<&str> = always.into_iter().chain(optional).collect();
        expected.sort_unstable();
        assert_eq!(members(item), expected, "{item}");
        let units = |member: &str| item[member].as_u64().unwrap_or_else(|| panic!("{member} of {item} is no count"));
        assert_eq!(units("stock"), units("available") + units("held") + units("confirmed"), "{item}");
    }
}

/// A reservation of the SQL store as the API would show it, lines by SKU.
pub fn as_document(row: &doorbuster::store::StoredReservation) -> Value {
    let lines: Vec<Value> = row
        .lines
        .iter()
        .map(|line| {
            let mut document = json!({ "sku": line.sku, "quantity": line.quantity });
            if let Some((amount, currency)) = &line.price {
                document["price"] = json!({ "amount": amount, "currency": currency });
            }
            document
        })
        .collect();
    let mut document = json!({
        "id": row.id, "sale": row.sale, "customer": row.customer, "state": row.state.as_str(), "lines": lines,
        "created_at": row.created_at, "expires_at": row.expires_at, "extensions": row.extensions,
    });
    let optional = [
        ("reference", &row.reference),
        ("confirmed_at", &row.confirmed_at),
        ("released_at", &row.released_at),
        ("expired_at", &row.expired_at),
        ("waitlist", &row.waitlist_entry),
    ];
    for (member, value) in optional {
        if let Some(value) = value {
            document[member] = json!(value);
        }
    }
    document
}
