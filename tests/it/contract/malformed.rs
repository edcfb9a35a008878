//! Bodies that are not what the contract asks for: each is refused with a pointer to where it is wrong, and does nothing.

use crate::served::{Ask, Client, Service};

const RESERVE: &str = "/v1/sales/drop/reservations";

fn start() -> (Service, Client) {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    (service, client)
}

fn post(client: &mut Client, path: &str, body: impl Into<Vec<u8>>) -> Vec<String> {
    client.send(&Ask::new("POST", path).header("Content-Type", "application/json").bytes(body)).pointers()
}

#[track_caller]
fn assert_untouched(client: &mut Client) {
    assert_eq!(client.units("drop", "tv"), [10, 10, 0, 0]);
}

#[test]
fn what_is_not_json_is_refused() {
    let (_service, mut client) = start();
    for body in [
        &b""[..],
        b" ",
        b"x",
        b"{",
        b"}",
        b"nul",
        b"{\"customer\"}",
        b"{\"customer\":\"ann\",\"lines\":[{\"sku\":\"tv\",\"quantity\":1}]",
        b"{\"customer\":\"ann\",\"lines\":[{\"sku\":\"tv\",\"quantity\":1}]}}",
        b"{\"customer\":\"ann\",\"lines\":[{\"sku\":\"tv\",\"quantity\":1}]} {}",
        b"{\"customer\":\"ann\",\"lines\":[{\"sku\":\"tv\",\"quantity\":1},]}",
        b"{\"customer\":\"ann\",\"lines\":[{\"sku\":\"tv\",\"quantity\":1}],}",
        b"{'customer':'ann','lines':[{'sku':'tv','quantity':1}]}",
        b"{customer:\"ann\",lines:[{sku:\"tv\",quantity:1}]}",
        b"{\"customer\":\"ann\",\"lines\":[{\"sku\":\"tv\",\"quantity\":01}]}",
        b"{\"customer\":\"ann\",\"lines\":[{\"sku\":\"tv\",\"quantity\":+1}]}",
        b"{\"customer\":\"ann\",\"lines\":[{\"sku\":\"tv\",\"quantity\":0x1}]}",
        b"{\"customer\":\"ann\",\"lines\":[{\"sku\":\"tv\",\"quantity\":NaN}]}",
        b"{\"customer\":\"ann\",\"lines\":[{\"sku\":\"tv\",\"quantity\":1}]}//",
        b"\xef\xbb\xbf{\"customer\":\"ann\",\"lines\":[{\"sku\":\"tv\",\"quantity\":1}]}",
        b"\xff\xfe{\0",
        b"\0",
    ] {
        let pointers = post(&mut client, RESERVE, body);
        assert_eq!(pointers.len(), 1, "{:?}", String::from_utf8_lossy(body));
    }
    assert_untouched(&mut client);
    let spaced = " \r\n\t{ \"customer\" : \"ann\" , \"lines\" : [ { \"quantity\" : 1 , \"sku\" : \"t\\u0076\" } ] }\n ";
    client.send(&Ask::new("POST", RESERVE).bytes(spaced)).reservation(201);
}

#[test]
fn text_must_be_unicode_without_control_characters() {
    let (_service, mut client) = start();
    let mut reserve = |customer: &[u8]| {
        let body = [b"{\"customer\":\"", customer, b"\",\"lines\":[{\"sku\":\"tv\",\"quantity\":1}]}"].concat();
        post(&mut client, RESERVE, body)
    };
    let too_long = "é".repeat(33);
    let huge = "x".repeat(60_000);
    for customer in [
        &b""[..],
        b"a\\u0000b",
        b"a\\nb",
        b"\\u007f",
        b"\\u0085",
        b"\\ud800",
        b"\\udc00\\ud800",
        b"a\0b",
        b"a\nb",
        b"\xff",
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\\x",
        too_long.as_bytes(),
        huge.as_bytes(),
    ] {
        let shown = String::from_utf8_lossy(&customer[..customer.len().min(20)]).into_owned();
        assert_eq!(reserve(customer), ["/customer"], "{shown:?}");
    }
    assert_untouched(&mut client);
    let longest = "é".repeat(32);
    assert_eq!(client.hold("drop", &longest, [("tv", 1)])["customer"], longest.as_str());
}

#[test]
fn quantities_are_whole_numbers_from_one_on() {
    let (_service, mut client) = start();
    for quantity in [
        "0",
        "-1",
        "-0",
        "1.5",
        "1.0",
        "1e0",
        "1e400",
        "-1e400",
        "1000001",
        "4294967295",
        "4294967296",
        "4294967297",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551617",
        "340282366920938463463374607431768211457",
        "\"1\"",
        "true",
        "null",
        "[1]",
        "{}",
    ] {
        let body = format!(
            r#"{{"customer":"ann","lines":[{{"sku":"tv","quantity":1}},{{"sku":"tv","quantity":{quantity}}}]}}"#
        );
        assert_eq!(post(&mut client, RESERVE, body), ["/lines/1/quantity"], "{quantity}");
    }
    let digits = "9".repeat(60_000);
    let body = format!(r#"{{"customer":"ann","lines":[{{"sku":"tv","quantity":{digits}}}]}}"#);
    assert_eq!(post(&mut client, RESERVE, body), ["/lines/0/quantity"]);
    // A sum beyond what one line may ask is as wrong as one such line.
    let body = r#"{"customer":"ann","lines":[{"sku":"tv","quantity":600000},{"sku":"tv","quantity":600000}]}"#;
    assert_eq!(post(&mut client, RESERVE, body), ["/lines/1/quantity"]);
    assert_untouched(&mut client);
}

#[test]
fn members_are_of_their_type_and_no_others_are_there() {
    let (_service, mut client) = start();
    let good = r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1}]"#;
    for (body, pointer) in [
        (r#"null"#.to_owned(), ""),
        (r#""ann""#.to_owned(), ""),
        (r#"7"#.to_owned(), ""),
        (r#"[]"#.to_owned(), ""),
        (r#"{"customer":"ann"}"#.to_owned(), "/lines"),
        (r#"{"lines":[{"sku":"tv","quantity":1}]}"#.to_owned(), "/customer"),
        (r#"{"customer":7,"lines":[{"sku":"tv","quantity":1}]}"#.to_owned(), "/customer"),
        (r#"{"customer":null,"lines":[{"sku":"tv","quantity":1}]}"#.to_owned(), "/customer"),
        (r#"{"customer":["ann"],"lines":[{"sku":"tv","quantity":1}]}"#.to_owned(), "/customer"),
        (r#"{"customer":"ann","lines":null}"#.to_owned(), "/lines"),
        (r#"{"customer":"ann","lines":{"sku":"tv","quantity":1}}"#.to_owned(), "/lines"),
        (r#"{"customer":"ann","lines":"tv"}"#.to_owned(), "/lines"),
        (r#"{"customer":"ann","lines":[]}"#.to_owned(), "/lines"),
        (r#"{"customer":"ann","lines":["tv"]}"#.to_owned(), "/lines/0"),
        (r#"{"customer":"ann","lines":[null]}"#.to_owned(), "/lines/0"),
        (r#"{"customer":"ann","lines":[{"sku":"tv"}]}"#.to_owned(), "/lines/0/quantity"),
        (r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1},{"quantity":1}]}"#.to_owned(), "/lines/1/sku"),
        (r#"{"customer":"ann","lines":[{"sku":7,"quantity":1}]}"#.to_owned(), "/lines/0/sku"),
        (r#"{"customer":"ann","lines":[{"sku":"","quantity":1}]}"#.to_owned(), "/lines/0/sku"),
        (format!(r#"{good},"hold_seconds":"60"}}"#), "/hold_seconds"),
        (format!(r#"{good},"hold_seconds":0}}"#), "/hold_seconds"),
        (format!(r#"{good},"hold_seconds":-1}}"#), "/hold_seconds"),
        (format!(r#"{good},"hold_seconds":86401}}"#), "/hold_seconds"),
        (format!(r#"{good},"hold_seconds":4294967297}}"#), "/hold_seconds"),
        (format!(r#"{good},"hold_seconds":1e400}}"#), "/hold_seconds"),
        (format!(r#"{good},"reference":7}}"#), "/reference"),
        (format!(r#"{good},"reference":""}}"#), "/reference"),
        (format!(r#"{good},"reference":"{}"}}"#, "x".repeat(256)), "/reference"),
        (format!(r#"{good},"vip":true}}"#), "/vip"),
        (format!(r#"{good},"":1}}"#), "/"),
        (format!(r#"{good},"a/b~c":1}}"#), "/a~1b~0c"),
        (format!(r#"{good},"Customer":"ann"}}"#), "/Customer"),
        (r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1,"price":1}]}"#.to_owned(), "/lines/0/price"),
        (
            r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1},{"sku":"tv","quantity":1,"x":{}}]}"#.to_owned(),
            "/lines/1/x",
        ),
    ] {
        assert_eq!(post(&mut client, RESERVE, body.clone()), [pointer], "{body}");
    }
    assert_eq!(post(&mut client, RESERVE, "{}"), ["/customer", "/lines"], "all that is missing is told");
    assert_untouched(&mut client);
}

#[test]
fn a_member_stands_once() {
    let (_service, mut client) = start();
    for (body, pointers) in [
        (r#"{"customer":"ann","customer":"bob","lines":[{"sku":"tv","quantity":1}]}"#, ["", "/customer"]),
        (r#"{"customer":"ann","lines":[],"lines":[{"sku":"tv","quantity":1}]}"#, ["", "/lines"]),
        (r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1,"quantity":2}]}"#, ["/lines/0", "/lines/0/quantity"]),
        (
            r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1}],"reference":"a","reference":"b"}"#,
            ["", "/reference"],
        ),
    ] {
        // The object that has it twice, or the member itself: either leads there.
        let told = post(&mut client, RESERVE, body);
        assert!(!told.is_empty() && told.iter().all(|told| pointers.contains(&&**told)), "{told:?} for {body}");
    }
    assert_untouched(&mut client);
}

#[test]
fn a_list_does_not_stand_for_an_object() {
    let (_service, mut client) = start();
    for (body, pointer) in [
        (r#"["ann",[{"sku":"tv","quantity":1}],null,null]"#, ""),
        (r#"["ann",[{"sku":"tv","quantity":1}]]"#, ""),
        (r#"{"customer":"ann","lines":[["tv",1]]}"#, "/lines/0"),
    ] {
        let answer = client.send(&Ask::new("POST", RESERVE).bytes(body));
        assert_eq!(answer.status, 400, "{body} is answered {}", answer.text());
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
    assert_untouched(&mut client);
    for path in ["/v1/sales/drop/pause", "/v1/sales/drop/items/tv/adjustments"] {
        let body = if path.ends_with("pause") { "[]" } else { "[1,null,null]" };
        let answer = client.send(&Ask::new("POST", path).bytes(body));
        assert_eq!(answer.status, 400, "{path} with {body} is answered {}", answer.text());
    }
    let held = client.hold("drop", "ann", [("tv", 1)]);
    for (verb, body) in [("extend", "[60]"), ("confirm", "[null]"), ("release", "[\"reason\"]")] {
        let path = format!("{}/{verb}", crate::served::documents::address(&held));
        let answer = client.send(&Ask::new("POST", &path).bytes(body));
        assert_eq!(answer.status, 400, "{verb} with {body} is answered {}", answer.text());
    }
    assert_eq!(client.look(&held), held);
    let sale = r#"["listed","Name","2020-01-01T00:00:00Z","2199-01-01T00:00:00Z",60,null,null,[["tv",1,null,null]]]"#;
    assert_eq!(client.send(&Ask::new("PUT", "/v1/sales/listed").bytes(sale)).status, 400);
}

#[test]
fn an_optional_member_may_be_null() {
    let (_service, mut client) = start();
    let body = r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1}],"hold_seconds":null,"reference":null}"#;
    let held = client.send(&Ask::new("POST", RESERVE).bytes(body)).reservation(201);
    assert_eq!(held.get("reference"), None);
}

#[test]
fn deep_nesting_is_refused_like_any_other_wrong_value() {
    let (_service, mut client) = start();
    let deep = "[".repeat(30_000);
    let objects = r#"{"a":"#.repeat(10_000);
    for (body, pointer) in [
        (format!(r#"{{"customer":{deep}"#), Some("/customer")),
        (format!(r#"{{"customer":{objects}"#), Some("/customer")),
        (format!(r#"{{"vip":{deep}"#), Some("/vip")),
        (format!(r#"{{"customer":"ann","lines":{deep}"#), None),
        (deep, None),
        (objects, Some("/a")),
    ] {
        let pointers = post(&mut client, RESERVE, body);
        assert_eq!(pointers.len(), 1);
        assert!(pointer.is_none_or(|pointer| pointers[0] == pointer), "{pointers:?}, and {pointer:?} was expected");
    }
    // Where larger bodies are taken, a hundred thousand of them.
    let deep = "[".repeat(100_000);
    for body in [deep.clone(), format!("{{\"items\":{deep}"), format!("{{\"name\":{deep}"), format!("{{\"x\":{deep}")] {
        client.send(&Ask::new("PUT", "/v1/sales/deep").bytes(body)).refused("invalid_request");
    }
    assert_untouched(&mut client);
}

#[test]
fn the_other_calls_are_as_strict() {
    let (_service, mut client) = start();
    let held = client.hold("drop", "ann", [("tv", 1)]);
    let address = crate::served::documents::address(&held);
    for (call, body, pointer) in [
        ("confirm", r#"{"reference":7}"#, "/reference"),
        ("confirm", r#"{"reference":""}"#, "/reference"),
        ("confirm", r#"{"reason":"x"}"#, "/reason"),
        ("confirm", r#"{"reference":"a\u0000"}"#, "/reference"),
        ("confirm", r#"true"#, ""),
        ("confirm", r#" "#, ""),
        ("release", r#"{"reason":7}"#, "/reason"),
        ("release", r#"{"reference":"x"}"#, "/reference"),
        ("release", r#"{"reason":"a","reason":"b"}"#, "/reason"),
        ("release", r#"{"#, ""),
        ("extend", r#"{}"#, "/hold_seconds"),
        ("extend", r#"{"hold_seconds":null}"#, "/hold_seconds"),
        ("extend", r#"{"hold_seconds":0}"#, "/hold_seconds"),
        ("extend", r#"{"hold_seconds":86401}"#, "/hold_seconds"),
        ("extend", r#"{"hold_seconds":18446744073709551616}"#, "/hold_seconds"),
        ("extend", r#"{"hold_seconds":60,"until":1}"#, "/until"),
    ] {
        let pointers = post(&mut client, &format!("{address}/{call}"), body);
        assert_eq!(pointers, [pointer], "{call} {body}");
    }
    let too_long = format!(r#"{{"reference":"{}"}}"#, "x".repeat(256));
    assert_eq!(post(&mut client, &format!("{address}/confirm"), too_long), ["/reference"]);
    assert_eq!(client.look(&held), held);
    let empty = client.send(&Ask::new("POST", &format!("{address}/extend")).bytes(""));
    assert_eq!(empty.pointers(), [""], "extend needs a body");
    for call in ["pause", "resume", "close"] {
        assert_eq!(post(&mut client, &format!("/v1/sales/drop/{call}"), r#"{"why":1}"#), ["/why"]);
    }
    assert_eq!(client.sale("drop")["status"], "open");
}
