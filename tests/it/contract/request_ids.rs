//! Request ids: taken over, made where something failed, and the same in the log.

use std::io::{Read, Write};

use serde_json::Value;

use crate::served::{Ask, Service, open_sale, process::Process, wait_until};

const ID: &str = "x-request-id";

#[test]
fn an_id_comes_back_and_none_is_made_where_nothing_failed() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let longest = "~".repeat(128);
    for id in ["a", "01a2-b3/c:4!", &longest] {
        for path in ["/v1/sales/drop", "/v1/sales/none", "/none", "/problems/sold-out", "/openapi.json"] {
            assert_eq!(client.send(&Ask::new("GET", path).header("X-Request-Id", id)).header(ID), Some(id), "{path}");
        }
    }
    for id in ["", "a b", "\u{fc}", &format!("{longest}x")] {
        assert_eq!(client.send(&Ask::new("GET", "/v1/sales/drop").header("X-Request-Id", id)).header(ID), None, "{id}");
    }
    assert_eq!(client.get("/v1/sales/drop").header(ID), None);
    assert_eq!(client.get("/v1/sales/none").header(ID), None, "a refusal of the caller's own is no failure");
}

/// The log's lines about requests, as JSON.
fn lines(process: &Process) -> Vec<Value> {
    let log = process.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.map(|mut line| line["fields"].take()).filter(|fields| fields.get("request_id").is_some()).collect()
}

#[test]
fn a_failure_has_an_id_which_the_log_has_too_and_lines_are_bounded() {
    let data = tempfile::tempdir().unwrap();
    let settings = [
        ("log.format", "json".to_owned()),
        ("log.request_lines_per_second_max", "3".to_owned()),
        ("limits.sales_max", "1".to_owned()),
    ];
    let process = Process::start(&data.path().join("data"), &settings);
    let mut client = process.client();
    let sale = open_sale(crate::served::documents::items([("tv", 10)]));
    client.put("/v1/sales/drop", &sale).success(201);
    let put = || Ask::new("PUT", "/v1/sales/recognisable-sale").json(&sale);
    let made = client.send(&put());
    made.refused("overloaded");
    let made = made.header(ID).unwrap().to_owned();
    let own = client.send(&put().header("X-Request-Id", "mine-1"));
    own.refused("overloaded");
    assert_eq!(own.header(ID), Some("mine-1"));
    wait_until("both are in the log", || lines(&process).len() == 2);
    let told = lines(&process);
    for (line, id) in told.iter().zip([&*made, "mine-1"]) {
        assert_eq!((&line["request_id"], &line["code"]), (&id.into(), &"overloaded".into()), "{line}");
        assert_eq!(
            (&line["status"], &line["route"], &line["method"]),
            (&503.into(), &"put_sale".into(), &"PUT".into())
        );
        assert_eq!((&line["left_out"], &line["message"]), (&0.into(), &"a request failed".into()));
    }
    assert!(!process.log().contains("recognisable"), "no path is in it");
    let ids: Vec<_> = (0..60).map(|_| client.send(&put()).header(ID).unwrap().to_owned()).collect();
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 60, "each has one of its own");
    assert!(lines(&process).len() < 40, "{} lines", lines(&process).len());
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let last = client.send(&put()).header(ID).unwrap().to_owned();
    wait_until("it is in the log", || lines(&process).iter().any(|line| line["request_id"] == *last));
    let told = lines(&process);
    let left_out: u64 = told.iter().map(|line| line["left_out"].as_u64().unwrap()).sum();
    assert_eq!(told.len() as u64 + left_out, 63, "every failure is told or counted");
    assert_eq!(client.get("/v1/sales/drop").status, 200);
    assert_eq!(lines(&process).len(), told.len(), "what succeeds in time is not told");
}

#[test]
fn a_connection_past_the_limit_has_an_id_and_a_body_as_long_as_it_says() {
    let service = Service::start_with(|config| config.limits.connections_max = 1);
    let mut client = service.client();
    client.get("/v1/sales").success(200);
    let mut stream = std::net::TcpStream::connect(service.address()).unwrap();
    let _ = stream.write_all(b"");
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nx-request-id: ") && head.contains(&format!("content-length: {}", body.len())), "{text}");
}

#[test]
fn what_takes_long_is_told() {
    let data = tempfile::tempdir().unwrap();
    let settings = [("log.format", "json".to_owned()), ("log.slow_request_ms", "300".to_owned())];
    let process = Process::start(&data.path().join("data"), &settings);
    let sale = open_sale(crate::served::documents::items([("tv", 10)]));
    let bytes = Ask::new("PUT", "/v1/sales/drop").json(&sale).encode();
    let mut connection = crate::served::Connection::open(process.api).unwrap();
    let (head, rest) = bytes.split_at(bytes.len() - 5);
    connection.send(head).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(400));
    connection.send(rest).unwrap();
    let answer = connection.answer();
    assert_eq!(answer.status, 201);
    let id = answer.header(ID).expect("what is told has an id").to_owned();
    wait_until("it is in the log", || !lines(&process).is_empty());
    let line = &lines(&process)[0];
    assert_eq!((&line["request_id"], &line["message"]), (&id.into(), &"a request took long".into()), "{line}");
    assert!(line["duration_ms"].as_u64().unwrap() >= 300, "{line}");
}
