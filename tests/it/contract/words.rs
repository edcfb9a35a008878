//! What callers are told of a wrong body, member by member: where it is wrong and what would be right, in words for people.

use serde_json::{Value, json};

use crate::served::{
    Answer, Ask, Client, Service,
    documents::{address, items},
    open_sale,
};

/// Names of types, and words that belong to parsers.
const FORBIDDEN: [&str; 21] = [
    "u64",
    "i64",
    "u32",
    "i32",
    "u16",
    "f64",
    "usize",
    "bool",
    "struct",
    "enum",
    "invalid type",
    "invalid value",
    "expected",
    "EOF",
    "at line",
    "column",
    "integer",
    "floating",
    "string",
    "sequence",
    "variant",
];

/// Values that no member takes in the place of its own, by what the member holds.
const NO_TEXT: [&str; 8] = ["null", "true", "7", "-1.5", "1e400", "[]", "{}", "[\"a\"]"];
const NO_NUMBER: [&str; 12] = [
    "null",
    "\"7\"",
    "true",
    "1.5",
    "-1.0",
    "1e400",
    "-1e400",
    "99999999999999999999",
    "-99999999999999999999",
    "[7]",
    "{}",
    "\"\"",
];

/// In the place of a pointer, where text that is no JSON leads to wherever it stops being JSON.
const ANYWHERE: &str = "anywhere";

/// A body, how to ask with it, and its members by pointer: what each holds.
struct Body<'a> {
    ask: &'a dyn Fn(Vec<u8>) -> Ask,
    document: Value,
    members: Vec<(&'a str, Holds)>,
    /// Members that are neither left out nor null.
    required: Vec<&'a str>,
}

#[derive(Clone, Copy)]
enum Holds {
    /// Text of so many bytes.
    Text(usize),
    /// One of the kind, with others that are not.
    Form(&'static [&'static str]),
    /// A whole number, from and to.
    Number(i64, u64),
    Object,
    List,
}

const TIMES: &[&str] =
    &["\"\"", "\"tomorrow\"", "\"2026-11-27\"", "\"2026-11-27T08:00:00\"", "\"2026-13-27T08:00:00Z\""];

#[track_caller]
fn check(answer: &Answer, pointer: &str, what: &str) {
    assert_eq!(answer.status, 400, "{what}: {}", answer.text());
    check_document(&answer.json(), pointer, what);
}

#[track_caller]
fn check_document(document: &Value, pointer: &str, what: &str) {
    assert_eq!(document["code"], "invalid_request", "{what}: {document}");
    let errors = document["errors"].as_array().unwrap();
    assert!(
        pointer == ANYWHERE || errors.iter().any(|error| error["pointer"] == pointer),
        "{pointer} is not among {errors:?} for {what}"
    );
    for error in errors {
        let detail = error["detail"].as_str().unwrap();
        let word = FORBIDDEN.iter().find(|word| detail.contains(**word));
        assert!(word.is_none(), "{word:?} in {detail:?} for {what}");
        let rule = [
            "must ",
            "is required and must ",
            "is not a known member; ",
            "the body is not valid JSON: ",
            "the body is empty",
        ];
        let rule = rule.iter().any(|rule| detail.starts_with(rule)) || detail.contains("remove one");
        assert!(rule, "{detail:?} does not say what would be right, for {what}");
    }
}

fn numbers_beyond(least: i64, most: u64) -> Vec<String> {
    vec![(i128::from(least) - 1).to_string(), (i128::from(most) + 1).to_string()]
}

/// The document with the text in the place of the value at the pointer, or without that member.
fn changed(document: &Value, pointer: &str, text: Option<&str>) -> String {
    let mut document = document.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap();
    const MARK: &str = "the value that is put in its place";
    match (parent, text) {
        (Value::Object(members), Some(_)) => drop(members.insert(name.to_owned(), json!(MARK))),
        (Value::Object(members), None) => drop(members.remove(name)),
        (Value::Array(values), _) => values[name.parse::<usize>().unwrap()] = json!(MARK),
        _ => panic!("{pointer} leads nowhere"),
    }
    document.to_string().replace(&format!("\"{MARK}\""), text.unwrap_or_default())
}

fn walk(body: &Body<'_>, check: &mut dyn FnMut(Ask, &str, &str)) {
    let mut try_text = |text: String, pointer: &str| check((body.ask)(text.clone().into_bytes()), pointer, &text);
    for &(pointer, holds) in &body.members {
        let wrong: Vec<String> = match holds {
            Holds::Text(most) => {
                let own = ["\"\"".to_owned(), "\"a\\u0000b\"".to_owned(), format!("\"{}\"", "x".repeat(most + 1))];
                NO_TEXT.iter().map(|text| (*text).to_owned()).chain(own).collect()
            }
            Holds::Form(wrong) => NO_TEXT.iter().chain(wrong).map(|text| (*text).to_owned()).collect(),
            Holds::Number(least, most) => {
                NO_NUMBER.iter().map(|text| (*text).to_owned()).chain(numbers_beyond(least, most)).collect()
            }
            Holds::Object => ["true", "7", "\"x\"", "[]"].map(str::to_owned).into(),
            Holds::List => ["true", "7", "\"x\"", "[]", "{}", "null"].map(str::to_owned).into(),
        };
        let optional = !body.required.contains(&pointer);
        for text in wrong.iter().filter(|text| !(optional && *text == "null")) {
            try_text(changed(&body.document, pointer, Some(text)), pointer);
        }
        if !optional {
            try_text(changed(&body.document, pointer, None), pointer);
        }
        if let Holds::Object = holds {
            try_text(changed(&body.document, &format!("{pointer}/vip"), Some("1")), &format!("{pointer}/vip"));
        }
    }
    try_text(changed(&body.document, "/vip", Some("{}")), "/vip");
    for text in ["null", "[]", "7", "\"x\""] {
        try_text(text.to_owned(), "");
    }
    let whole = body.document.to_string();
    let cut = whole[..whole.len() - 1].to_owned();
    for text in [cut, format!("{whole}x"), whole.replacen('{', "{,", 1), whole.replacen(':', "=", 1)] {
        try_text(text, ANYWHERE);
    }
}

#[test]
fn every_member_of_every_body_says_what_would_be_right() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 100)]);
    let held = client.hold("drop", "ann", [("tv", 1)]);
    let of_hold = |verb: &str| format!("{}/{verb}", address(&held));
    let [confirm, release, extend] = ["confirm", "release", "extend"].map(of_hold);
    let post =
        |path: &str, body: Vec<u8>| Ask::new("POST", path).header("Content-Type", "application/json").bytes(body);
    let mut asked = 0;
    let mut ask = |client: &mut Client, body: Body<'_>| {
        walk(&body, &mut |ask, pointer, text| {
            asked += 1;
            check(&client.send(&ask), pointer, text);
        });
    };
    let reserve = json!({
        "customer": "bob", "lines": [{ "sku": "tv", "quantity": 1 }], "hold_seconds": 60, "reference": "cart-1",
    });
    let of_reserve = || {
        vec![
            ("/customer", Holds::Text(64)),
            ("/lines", Holds::List),
            ("/lines/0/sku", Holds::Text(64)),
            ("/lines/0/quantity", Holds::Number(1, 1_000_000)),
            ("/hold_seconds", Holds::Number(1, 86_400)),
            ("/reference", Holds::Text(255)),
        ]
    };
    let of_reserve_required = || vec!["/customer", "/lines", "/lines/0/sku", "/lines/0/quantity"];
    ask(
        &mut client,
        Body {
            ask: &|body| post("/v1/sales/drop/reservations", body),
            document: reserve.clone(),
            members: of_reserve(),
            required: of_reserve_required(),
        },
    );
    ask(
        &mut client,
        Body {
            ask: &|body| post(&confirm, body),
            document: json!({ "reference": "order-1" }),
            members: vec![("/reference", Holds::Text(255))],
            required: vec![],
        },
    );
    ask(
        &mut client,
        Body {
            ask: &|body| post(&release, body),
            document: json!({ "reason": "gone" }),
            members: vec![("/reason", Holds::Text(255))],
            required: vec![],
        },
    );
    ask(
        &mut client,
        Body {
            ask: &|body| post(&extend, body),
            document: json!({ "hold_seconds": 60 }),
            members: vec![("/hold_seconds", Holds::Number(1, 86_400))],
            required: vec!["/hold_seconds"],
        },
    );
    ask(
        &mut client,
        Body {
            ask: &|body| post("/v1/sales/drop/items/tv/adjustments", body),
            document: json!({ "delta": 5, "reason": "found", "reference": "po-7" }),
            members: vec![
                // More than is available is another refusal.
                ("/delta", Holds::Number(i64::MIN, 1_000_000_000_000)),
                ("/reason", Holds::Text(255)),
                ("/reference", Holds::Text(255)),
            ],
            required: vec!["/delta"],
        },
    );
    let quota = json!({ "requests": 1, "window_seconds": 1 });
    let mut sale = open_sale(items([("tv", 100)]));
    sale["id"] = json!("drop");
    sale["max_extensions"] = json!(1);
    sale["customer_limit"] = json!(2);
    sale["rate_limits"] = json!({ "sale": quota, "customer": quota, "key": quota });
    sale["items"][0]["price"] = json!({ "amount": 1, "currency": "EUR" });
    sale["items"][0]["customer_limit"] = json!(1);
    let members = vec![
        ("/id", Holds::Form(&["\"Drop\"", "\"-a\"", "\"other\""])),
        ("/name", Holds::Text(255)),
        ("/opens_at", Holds::Form(TIMES)),
        ("/closes_at", Holds::Form(TIMES)),
        ("/hold_seconds", Holds::Number(1, 86_400)),
        ("/max_extensions", Holds::Number(0, 100)),
        ("/customer_limit", Holds::Number(1, u32::MAX as u64)),
        ("/rate_limits", Holds::Object),
        ("/rate_limits/sale", Holds::Object),
        ("/rate_limits/customer", Holds::Object),
        ("/rate_limits/key", Holds::Object),
        ("/rate_limits/key/requests", Holds::Number(0, u32::MAX as u64)),
        ("/rate_limits/key/window_seconds", Holds::Number(1, 86_400)),
        ("/items", Holds::List),
        ("/items/0/sku", Holds::Text(64)),
        ("/items/0/initial_stock", Holds::Number(0, 1_000_000_000_000)),
        ("/items/0/price", Holds::Object),
        ("/items/0/price/amount", Holds::Number(0, (1 << 53) - 1)),
        ("/items/0/price/currency", Holds::Form(&["\"\"", "\"eur\"", "\"EURO\"", "\"E1R\""])),
        ("/items/0/customer_limit", Holds::Number(1, u32::MAX as u64)),
    ];
    let required = vec![
        "/name",
        "/opens_at",
        "/closes_at",
        "/hold_seconds",
        "/items",
        "/items/0/sku",
        "/items/0/initial_stock",
        "/items/0/price/amount",
        "/items/0/price/currency",
        "/rate_limits/key/requests",
        "/rate_limits/key/window_seconds",
    ];
    ask(
        &mut client,
        Body {
            ask: &|body| Ask::new("PUT", "/v1/sales/drop").header("Content-Type", "application/json").bytes(body),
            document: sale.clone(),
            members: members.iter().copied().filter(|(pointer, _)| *pointer != "/id").collect(),
            required: required.clone(),
        },
    );
    // Of a patch, only an item's SKU is required; null removes what is optional, and nothing else.
    let media = "application/merge-patch+json";
    walk(
        &Body {
            ask: &|body| Ask::new("PATCH", "/v1/sales/drop").header("Content-Type", media).bytes(body),
            document: sale,
            members: members.into_iter().filter(|(pointer, _)| *pointer != "/id").collect(),
            required: vec!["/items/0/sku"],
        },
        &mut |ask, pointer, text| check(&client.send(&ask), pointer, text),
    );
    // The entries of a batch are told of in their own places, with pointers that begin at the entry.
    let mut entry = reserve;
    entry["idempotency_key"] = json!("k-1");
    let mut of_entry = of_reserve();
    of_entry.push(("/idempotency_key", Holds::Form(&["\"\"", "\"a b\"", "\"ä\""])));
    walk(
        &Body {
            ask: &|entry| {
                let body = [b"{\"reservations\":[", &*entry, b"]}"].concat();
                post("/v1/sales/drop/reservations/batch", body)
            },
            document: entry,
            members: of_entry,
            required: of_reserve_required(),
        },
        &mut |ask, pointer, text| {
            // JSON that no reader here can read: whether the batch that was taken is as the document says cannot be told.
            if text.contains("1e400") {
                return;
            }
            let answer = client.send(&ask);
            if answer.status == 400 {
                // No JSON at all: the batch as a whole is refused.
                let pointer = answer.pointers().pop().unwrap();
                assert!(pointer.is_empty() || pointer == "/reservations/0", "{pointer} for {text}");
                return check(&answer, &pointer, text);
            }
            let results = answer.success(200);
            assert_eq!(results["results"][0]["status"], 400, "{text}: {results}");
            check_document(&results["results"][0]["problem"], pointer, text);
        },
    );
    assert!(asked > 250, "{asked}");
    assert_eq!(client.units("drop", "tv"), [100, 99, 1, 0], "and nothing was done");
}

#[test]
fn headers_and_queries_say_what_would_be_right() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 100)]);
    let reserve = Ask::new("POST", "/v1/sales/drop/reservations")
        .json(&json!({ "customer": "bob", "lines": [{ "sku": "tv", "quantity": 1 }] }));
    for (ask, words) in [
        (reserve.clone().key("a b"), "Idempotency-Key must be 1 to 255 visible"),
        (Ask::new("GET", "/v1/sales?limit=x"), "limit must be a whole number from 1 to 100"),
        (Ask::new("GET", "/v1/sales?page=2"), "after and limit"),
        (Ask::new("GET", "/v1/events?after=x"), "must be 0 for the beginning, or a cursor that this service gave"),
        (Ask::new("GET", "/v1/sales/drop/report?a=b"), "the query takes by"),
        (
            Ask::new("PUT", "/v1/sales/drop").json(&open_sale(items([("tv", 100)]))).header("If-Match", "x"),
            "If-Match must be",
        ),
        (Ask::new("DELETE", "/v1/customers/%00"), "must be text of 1 to 64 bytes"),
    ] {
        let refused = client.send(&ask).refused("invalid_request");
        let detail = refused["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{words:?} for {} {}: {detail}", ask.method, ask.path);
        assert!(FORBIDDEN.iter().all(|word| !detail.contains(word)), "{detail}");
    }
}
