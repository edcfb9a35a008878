//! Shapes against serde, and the words of errors.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::{
    api::Limits,
    config::Config,
    http::json::{
        entries::EntryBody,
        parse,
        requests::{AdjustBody, CancelBody, ChangeBody, ConfirmBody, ExtendAllBody, ExtendBody, NoBody, ReserveBody},
        settings::SettingsBody,
    },
    privacy::CustomerIds,
    sale::settings::SaleSettings,
    service,
};

const RESERVE: &str = r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1}],"hold_seconds":60,"reference":"a"}"#;
const SALE: &str = r#"{"id":"drop","name":"Drop","opens_at":"2026-11-27T08:00:00Z","closes_at":"2026-11-27T09:00:00Z",
    "hold_seconds":300,"max_extensions":1,"customer_limit":2,"rate_limits":{"sale":{"requests":1,"window_seconds":1}},
    "items":[{"sku":"tv","initial_stock":5,"price":{"amount":1,"currency":"EUR"},"customer_limit":1,"stock":5}]}"#;

fn limits() -> Limits {
    service::api_limits(&Config::default())
}

fn errors<T: Described>(text: &str) -> Vec<(String, String)> {
    let errors = errors_of_text(&T::shape(&limits()), text.as_bytes());
    errors.into_iter().map(|error| (error.pointer, error.detail)).collect()
}

fn pointers<T: Described>(text: &str) -> Vec<String> {
    errors::<T>(text).into_iter().map(|(pointer, _)| pointer).collect()
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let body =
        r#"{"customer":7,"lines":[{"sku":"tv","quantity":"1"},{"sku":"","quantity":0},{}],"hold_seconds":1.5,"vip":1}"#;
    let expected = [
        "/customer",
        "/lines/0/quantity",
        "/lines/1/sku",
        "/lines/1/quantity",
        "/lines/2/sku",
        "/lines/2/quantity",
        "/hold_seconds",
        "/vip",
    ];
    assert_eq!(pointers::<ReserveBody<'_>>(body), expected);
    let found = errors::<SettingsBody>(&SALE.replace(":5,", ":\"five\","));
    let rule = "must be a whole number from 0 to 1000000000000, such as 5000";
    assert_eq!(found, [("/items/0/initial_stock".to_owned(), rule.to_owned())]);
    let many = format!("{{{}\"end\":1}}", (0..500).map(|n| format!("\"m{n}\":1,")).collect::<String>());
    assert_eq!(pointers::<ReserveBody<'_>>(&many).len(), ERRORS_MAX);
}

#[test]
fn where_text_stops_being_json_is_told_in_words() {
    for (text, pointer, words) in [
        ("", "", "the body is empty"),
        ("  ", "", "the body is empty"),
        ("{", "", "ends too early"),
        (r#"{"customer":"ann"#, "/customer", "a closing \" is missing"),
        (r#"{"customer":ann}"#, "/customer", "at \"a\""),
        (r#"{"customer":'ann'}"#, "/customer", "at \"'\""),
        (r#"{"customer" "ann"}"#, "/customer", "a : must separate"),
        (r#"{"customer":"ann" "lines":[]}"#, "", "a comma or } is missing"),
        (r#"{"lines":[{} {}]}"#, "", "a comma or ] is missing"),
        (r#"{"lines":[{},]}"#, "", "a comma must be followed"),
        (r#"{"hold_seconds":01}"#, "", "a number must be written"),
        (r#"{customer:1}"#, "", "double quotes"),
        (r#"{"customer":"a\x"}"#, "/customer", "a backslash in quoted text"),
        ("{\"customer\":\"a\u{1}\"}", "/customer", "control character"),
        (r#"{"customer":"\ud800"}"#, "/customer", "not a Unicode character"),
        (r#"{} {}"#, "", "there is text after its end, at \"{\""),
        ("\u{feff}{}", "", "byte order mark"),
    ] {
        let found = errors::<ReserveBody<'_>>(text);
        assert!(matches!(&found[..], [(_, detail)] if detail.contains(words)), "{words:?} for {text}: {found:?}");
        assert!(pointer.is_empty() || found[0].0 == pointer, "{pointer} for {text}: {found:?}");
    }
    let not_text = errors_of_text(&ReserveBody::shape(&limits()), b"{\"customer\":\"\xff\"}");
    assert!(not_text[0].detail.contains("not UTF-8"), "{not_text:?}");
}

/// Names of types and the words of parsers.
const FORBIDDEN: [&str; 14] = [
    "u64",
    "i64",
    "u32",
    "f64",
    "struct",
    "invalid type",
    "expected",
    "EOF",
    "line ",
    "column",
    "integer",
    "string",
    "boolean",
    "sequence",
];

/// What serde refuses the shape refuses; what both take, the shape finds nothing wrong with.
fn agree<'a, T: Deserialize<'a> + Described>(text: &'a str, check: impl FnOnce(T) -> bool) {
    let parsed = parse::parse::<T>(text.as_bytes(), &limits());
    let errors = errors_of_text(&T::shape(&limits()), text.as_bytes());
    for error in &errors {
        assert!(FORBIDDEN.iter().all(|word| !error.detail.contains(word)), "{error:?} for {text}");
    }
    match parsed {
        Err(refused) => assert!(refused == errors && !errors.is_empty(), "{text}"),
        Ok(body) => assert!(errors.is_empty() || !check(body), "{errors:?} for {text}"),
    }
}

const VALUES: [&str; 16] = [
    "null",
    "true",
    "0",
    "1",
    "-1",
    "-0",
    "1.5",
    "1e400",
    "18446744073709551616",
    "\"\"",
    "\"x\"",
    "[]",
    "{}",
    "[{}]",
    "\"2026-11-27T08:00:00Z\"",
    "4294967296",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Bodies with a value in the place of another, a member taken out, twice, or under another name.
    #[test]
    fn shapes_refuse_what_serde_refuses(
        body in 0..9,
        change in 0..5,
        place in any::<prop::sample::Index>(),
        value in prop::sample::select(VALUES.to_vec()),
    ) {
        let text = match body {
            0 | 1 => RESERVE,
            2 => SALE,
            3 => r#"{"delta":5,"reason":"a","reference":"b"}"#,
            4 => r#"{"hold_seconds":60}"#,
            5 => r#"{"reason":"x","restock":false,"lines":[{"sku":"tv","quantity":1}]}"#,
            6 => r#"{"lines":[{"sku":"tv","quantity":1}]}"#,
            7 => r#"{"seconds":60,"reason":"x"}"#,
            _ => r#"{"lines":[{"sku":"tv","quantity":1}],"reference":"a"}"#,
        };
        let colons: Vec<usize> = text.match_indices("\":").map(|(at, _)| at).collect();
        let at = colons[place.index(colons.len())];
        let name = text[..at].rfind('"').unwrap();
        let end = at + 2 + text[at + 2..].find([',', '}']).unwrap();
        let changed = match change {
            0 | 1 => format!("{}{value}{}", &text[..at + 2], &text[end..]),
            2 => format!("{}\"other{}", &text[..name], &text[at..]),
            3 => format!("{}\"{}\":{value},{}", &text[..name], &text[name + 1..at], &text[name..]),
            _ => format!("{}{}", &text[..name], text[end..].trim_start_matches(',')),
        };
        match body {
            0 => agree(&changed, |body: ReserveBody<'_>| {
                body.check(&limits(), &CustomerIds::Plain).is_ok()
            }),
            1 => agree(&changed, |_: EntryBody<'_>| false),
            2 => agree(&changed, |body: SettingsBody| {
                SaleSettings::from(body).check(&Config::default().limits.for_sales()).is_empty()
            }),
            3 => agree(&changed, |body: AdjustBody<'_>| {
                body.check(&limits()).is_ok()
            }),
            4 => agree(&changed, |body: ExtendBody| body.check(&limits()).is_ok()),
            5 => agree(&changed, |body: CancelBody<'_>| body.check(&limits(), true).is_ok()),
            6 => agree(&changed, |body: ChangeBody<'_>| body.check(&limits()).is_ok()),
            7 => agree(&changed, |body: ExtendAllBody<'_>| body.check(&limits()).is_ok()),
            _ => {
                agree(&changed, |body: ConfirmBody<'_>| body.check(&limits()).is_ok());
                agree(&changed, |_: NoBody| true);
            }
        }
    }
}
