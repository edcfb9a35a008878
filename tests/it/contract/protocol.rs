//! HTTP itself: methods, paths, media types, sizes, versions, and what a connection goes through.

use serde_json::json;

use crate::served::{Ask, PATIENCE, Service, documents::address, reserve_body};

const RESERVE: &str = "/v1/sales/drop/reservations";

#[test]
fn every_path_names_its_methods() {
    let service = Service::start();
    let mut client = service.client();
    let id = "019a0000-0000-7000-8000-000000000000";
    let paths = [
        ("/v1/sales".to_owned(), "GET, HEAD"),
        ("/v1/sales/drop".to_owned(), "GET, HEAD, PATCH, PUT"),
        ("/v1/sales/drop/pause".to_owned(), "POST"),
        ("/v1/sales/drop/resume".to_owned(), "POST"),
        ("/v1/sales/drop/close".to_owned(), "POST"),
        ("/v1/sales/drop/availability".to_owned(), "GET, HEAD"),
        ("/v1/sales/drop/reservations".to_owned(), "GET, HEAD, POST"),
        ("/v1/audit".to_owned(), "GET, HEAD"),
        ("/v1/sales/drop/items/tv/adjustments".to_owned(), "POST"),
        (format!("/v1/reservations/{id}"), "GET, HEAD"),
        (format!("/v1/reservations/{id}/confirm"), "POST"),
        (format!("/v1/reservations/{id}/release"), "POST"),
        (format!("/v1/reservations/{id}/extend"), "POST"),
        ("/problems/sold-out".to_owned(), "GET, HEAD"),
        ("/openapi.json".to_owned(), "GET, HEAD"),
    ];
    for (path, allow) in &paths {
        let allowed: Vec<&str> = allow.split(", ").collect();
        for method in ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"] {
            let answer = client.send(&Ask::new(method, path));
            if allowed.contains(&method) {
                assert_ne!(answer.status, 405, "{method} {path}");
                assert_eq!(answer.header("allow"), None);
            } else {
                assert_eq!((answer.status, answer.header("allow")), (405, Some(*allow)), "{method} {path}");
            }
        }
    }
}

#[test]
fn paths_that_are_no_call_are_not_found() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1)]);
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v2/sales",
        "/V1/sales",
        "/v1//sales",
        "/v1/sale",
        "/v1/sales/drop/",
        "/v1/sales/drop/items",
        "/v1/sales/drop/items/tv",
        "/v1/sales/drop/items/tv/adjustments/1",
        "/v1/sales/drop/reservations/1",
        "/v1/reservations",
        "/v1/reservations/1/2/3",
        "/problems",
        "/problems/sold-out/",
        "/livez",
        "/readyz",
        "/metrics",
        "/a/b/c/d/e/f/g/h",
        "/../v1/sales",
    ] {
        for method in ["GET", "POST", "BREW"] {
            let answer = client.send(&Ask::new(method, path));
            answer.refused("not_found");
        }
    }
    client.get("/problems/sold%20out").refused("not_found");
    client.get("/v1/sales/%FF").refused("not_found");
    client.send(&Ask::new("OPTIONS", "*")).refused("not_found");
    client.get("http://elsewhere.test/v1/sales/drop").success(200);
    client.get("/v1/sales/drop?anything=else").success(200);
}

#[test]
fn a_head_is_the_head_of_a_get() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1)]);
    let held = client.hold("drop", "ann", [("tv", 1)]);
    for path in [
        "/v1/sales",
        "/v1/sales/drop",
        "/v1/sales/drop/availability",
        &address(&held),
        "/problems/sold-out",
        "/openapi.json",
        "/v1/sales/none",
        "/nothing",
        "/v1/sales?limit=0",
    ] {
        let get = client.get(path);
        // The next answer on the same connection is read right only when this one has no body.
        let head = client.send(&Ask::new("HEAD", path));
        assert!(head.body.is_empty());
        let without_date = |answer: &crate::served::Answer| {
            let mut headers = answer.headers.clone();
            headers.retain(|(name, _)| name != "date");
            headers
        };
        assert_eq!((head.status, without_date(&head)), (get.status, without_date(&get)), "{path}");
        assert_eq!(get.header("content-length"), Some(get.body.len().to_string().as_str()), "{path}");
    }
}

#[test]
fn json_is_spoken_and_taken() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1000)]);
    for accept in [
        "*/*",
        "application/json",
        "application/*",
        "application/problem+json",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        "text/html, application/json;q=0.1",
        "text/html,*/*;q=0.8",
        "application/json;q=1.0",
    ] {
        client.send(&Ask::new("GET", "/v1/sales/drop").header("Accept", accept)).success(200);
    }
    for accept in ["text/html", "text/*", "application/xml", "application/json;q=0", "*/*;q=0.0", "json"] {
        let answer = client.send(&Ask::new("GET", "/v1/sales/drop").header("Accept", accept));
        assert_eq!(answer.refused("not_acceptable")["status"], 406, "{accept:?}");
    }
    let two = Ask::new("GET", "/v1/sales/drop").header("Accept", "text/html").header("Accept", "application/json");
    client.send(&two).success(200);

    let body = reserve_body("ann", [("tv", 1)]).to_string();
    let with_type = |media: &str| Ask::new("POST", RESERVE).header("Content-Type", media).bytes(body.clone());
    for media in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=\"UTF-8\""] {
        client.send(&with_type(media)).reservation(201);
    }
    client.send(&Ask::new("POST", RESERVE).bytes(body.clone())).reservation(201);
    for media in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "application/xml", "json"] {
        let answer = client.send(&with_type(media));
        assert_eq!(answer.refused("unsupported_media_type")["status"], 415, "{media:?}");
    }
    let held = client.hold("drop", "ann", [("tv", 1)]);
    let confirm = Ask::new("POST", &format!("{}/confirm", address(&held))).header("Content-Type", "text/plain");
    client.send(&confirm.bytes("{}")).refused("unsupported_media_type");
    assert_eq!(client.look(&held), held);
}

#[test]
fn a_body_that_must_come_must_tell_its_length() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let held = client.hold("drop", "ann", [("tv", 1)]);
    for ask in [
        Ask::new("POST", RESERVE),
        Ask::new("PUT", "/v1/sales/new"),
        Ask::new("POST", "/v1/sales/drop/items/tv/adjustments"),
        Ask::new("POST", &format!("{}/extend", address(&held))),
    ] {
        client.send(&ask).refused("length_required");
    }
    // Where all members are optional there need not be a body, nor a length.
    client.post_nothing("/v1/sales/drop/pause").success(200);
    client.post_nothing("/v1/sales/drop/resume").success(200);
    client.send(&Ask::new("POST", &format!("{}/release", address(&held))).bytes("")).reservation(200);
}

#[test]
fn a_body_may_come_in_chunks() {
    let service = Service::start();
    service.client().put_open_sale("drop", [("tv", 10)]);
    let body = reserve_body("ann", [("tv", 1)]).to_string();
    let mut chunked = format!("POST {RESERVE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for piece in body.as_bytes().chunks(7) {
        chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let mut connection = service.connect();
    connection.send(&chunked).unwrap();
    connection.answer().reservation(201);
    // In pieces that arrive one by one.
    for piece in chunked.chunks(40) {
        connection.send(piece).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    connection.answer().reservation(201);
}

#[test]
fn what_is_too_large_is_refused() {
    let service = Service::start_with(|config| {
        config.limits.body_bytes_max = 1024;
        config.limits.sale_body_bytes_max = 4096;
    });
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let padded = |bytes: usize| {
        let body = reserve_body("ann", [("tv", 1)]).to_string();
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    client.send(&Ask::new("POST", RESERVE).bytes(padded(1024))).reservation(201);
    client.send(&Ask::new("POST", RESERVE).bytes(padded(1025))).refused("content_too_large");
    client.send(&Ask::new("PUT", "/v1/sales/new").bytes(padded(4096))).refused("invalid_request");
    client.send(&Ask::new("PUT", "/v1/sales/new").bytes(padded(4097))).refused("content_too_large");

    // By its announcement alone: nothing of the body is waited for.
    for length in ["1025", "9223372036854775807", "18446744073709551613"] {
        let mut connection = service.connect();
        connection
            .send(format!("POST {RESERVE} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").as_bytes())
            .unwrap();
        connection.answer().refused("content_too_large");
    }
    // In chunks there is no announcement; the limit is met on the way.
    let mut connection = service.connect();
    let head = format!("POST {RESERVE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    connection.send(head.as_bytes()).unwrap();
    for _ in 0..9 {
        connection.send(format!("80\r\n{}\r\n", " ".repeat(128)).as_bytes()).unwrap();
    }
    connection.answer().refused("content_too_large");
    assert_eq!(client.units("drop", "tv"), [10, 9, 1, 0]);

    let path = |bytes: usize| format!("/v1/sales/{}", "x".repeat(bytes - "/v1/sales/".len()));
    client.get(&path(2048)).refused("sale_not_found");
    client.get(&path(2049)).refused("uri_too_long");
    client.get(&format!("/v1/sales?after={}", "x".repeat(2048))).refused("uri_too_long");
    client.get(&path(60_000)).refused("uri_too_long");

    client.send(&Ask::new("GET", "/v1/sales/drop").header("X-Large", &"x".repeat(16_000))).success(200);
    let ask = Ask::new("GET", "/v1/sales/drop").header("X-Large", &"x".repeat(17_000));
    client.send(&ask).refused("request_header_fields_too_large");
    let mut many = Ask::new("GET", "/v1/sales/drop");
    for number in 0..90 {
        many = many.header(&format!("X-{number}"), &"x".repeat(200));
    }
    client.send(&many).refused("request_header_fields_too_large");
}

#[test]
fn many_small_headers_are_taken_or_refused_in_the_contracts_form() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let mut many = Ask::new("GET", "/v1/sales/drop");
    for number in 0..150 {
        many = many.header(&format!("X-{number}"), "x");
    }
    let answer = client.send(&many);
    assert!(answer.status == 200 || answer.status == 431, "{answer:?}");
}

#[test]
fn requests_in_a_row_are_answered_in_their_order() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 100)]);
    let mut connection = service.connect();
    let mut bytes = Vec::new();
    for number in 0..20 {
        let body = reserve_body(&format!("customer-{number}"), [("tv", 1)]);
        bytes.extend(Ask::new("POST", RESERVE).json(&body).encode());
        bytes.extend(Ask::new("GET", &format!("/v1/sales/none-{number}")).encode());
        bytes.extend(Ask::new("POST", RESERVE).bytes(format!("x{number}")).encode());
        bytes.extend(Ask::new("GET", &format!("/v1/sales?limit=1&after={number}")).encode());
    }
    connection.send(&bytes).unwrap();
    for number in 0..20 {
        assert_eq!(connection.answer().reservation(201)["customer"], format!("customer-{number}"));
        connection.answer().refused("sale_not_found");
        connection.answer().refused("invalid_request");
        assert_eq!(connection.answer().success(200)["sales"][0]["id"], "drop");
    }
    assert_eq!(client.units("drop", "tv"), [100, 80, 20, 0]);
}

#[test]
fn an_answer_does_not_wait_for_what_follows_its_request() {
    let service = Service::start();
    service.client().put_open_sale("drop", [("tv", 10)]);
    let request = Ask::new("POST", RESERVE).json(&reserve_body("ann", [("tv", 1)])).encode();
    let (first_half, second_half) = request.split_at(30);
    let mut connection = service.connect();
    connection.send(&[&request[..], first_half].concat()).unwrap();
    connection.answer().reservation(201);
    connection.send(second_half).unwrap();
    connection.answer().reservation(201);
    // Some clients end a body with an empty line that does not belong to it.
    connection.send(&[&request[..], b"\r\n"].concat()).unwrap();
    connection.answer().reservation(201);
    // What follows may not even be a request.
    connection.send(&[&request[..], b"\0\0\r\n\r\n"].concat()).unwrap();
    connection.answer().reservation(201);
    assert_eq!(service.client().units("drop", "tv"), [10, 6, 4, 0]);
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let service = Service::start();
    service.client().put_open_sale("drop", [("tv", 10)]);
    let body = reserve_body("ann", [("tv", 1)]).to_string();
    let head = |length: usize| {
        format!("POST {RESERVE} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
    };
    let mut connection = service.connect();
    for _ in 0..2 {
        connection.send(head(body.len()).as_bytes()).unwrap();
        assert_eq!(connection.unchecked_answer(false).unwrap().status, 100);
        connection.send(body.as_bytes()).unwrap();
        connection.answer().reservation(201);
    }
    connection.send(head(100_000).as_bytes()).unwrap();
    connection.answer().refused("content_too_large");
}

#[test]
fn a_connection_lasts_as_long_as_both_sides_say() {
    let service = Service::start();
    service.client().put_open_sale("drop", [("tv", 10)]);

    let mut connection = service.connect();
    for _ in 0..3 {
        connection.send(&Ask::new("GET", "/v1/sales/drop").encode()).unwrap();
        let answer = connection.answer();
        answer.success(200);
        assert_eq!((answer.version.as_str(), answer.header("connection")), ("HTTP/1.1", None));
    }
    connection.send(&Ask::new("GET", "/v1/sales/drop").header("Connection", "close").encode()).unwrap();
    let answer = connection.answer();
    answer.success(200);
    assert_eq!(answer.header("connection"), Some("close"));
    connection.closed_within(PATIENCE);

    let mut connection = service.connect();
    connection.send(b"GET /v1/sales/drop HTTP/1.0\r\n\r\n").unwrap();
    connection.answer().success(200);
    connection.closed_within(PATIENCE);

    let mut connection = service.connect();
    connection.send(b"GET /v1/sales/none HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
    connection.answer().refused("sale_not_found");
    let body = json!({ "customer": "ann", "lines": [{ "sku": "tv", "quantity": 1 }] }).to_string();
    let head = format!("POST {RESERVE} HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len());
    connection.send(format!("{head}{body}").as_bytes()).unwrap();
    connection.answer().reservation(201);
    connection.closed_within(PATIENCE);
}
