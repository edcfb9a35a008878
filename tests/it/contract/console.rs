//! Pages for people (the console, the API's documentation) with their files, and the figures that the console shows.

use doorbuster::auth::Role;
use serde_json::{Value, json};

use super::keys::{Keys, put, reserve};
use crate::served::{Answer, Ask, Service, shapes};

/// The paths that a page and its modules name, from the page on.
fn files_of(client: &mut crate::served::Client, page: &str) -> Vec<String> {
    let folder = format!("{}/", page.trim_start_matches('/'));
    let (mut found, mut looked) = (vec![page.to_owned()], 0);
    while let Some(path) = found.get(looked).cloned() {
        looked += 1;
        let text = client.get(&path).text().to_owned();
        let quoted = text.split('"').filter_map(|word| {
            let of_page = word.strip_prefix(&folder).filter(|_| path == page);
            of_page.or_else(|| word.strip_prefix("./").filter(|name| page == "/console" && name.ends_with(".js")))
        });
        for name in quoted.map(|name| format!("{page}/{name}")) {
            if !found.contains(&name) {
                found.push(name);
            }
        }
    }
    found
}

fn check_headers(path: &str, answer: &Answer) {
    // Swagger UI sets styles on elements.
    let styles = if path.starts_with("/docs") { "'self' 'unsafe-inline'" } else { "'self'" };
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src {styles}; connect-src 'self'; img-src 'self' data:; \
         base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
    );
    let media = match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    };
    for (name, value) in [
        ("content-type", media),
        ("cache-control", "no-cache"),
        ("content-security-policy", &*policy),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{path}");
    }
}

#[test]
fn the_console_is_served_to_everybody_with_headers_that_shut_it_in() {
    check_page("/console", "file", 10);
    let service = Service::start();
    let mut client = service.client();
    for none in ["/console/", "/console/none.js", "/console/page.html", "/console/page.js/x", "/console/..%2fpage.js"] {
        client.get(none).refused("not_found");
    }
}

#[test]
fn the_documentation_is_served_to_everybody_with_headers_that_shut_it_in() {
    check_page("/docs", "docs_file", 3);
    let service = Service::start();
    service.client().get("/docs/page.html").refused("not_found");
}

/// `parameter`: by its name the document lists the page's files.
fn check_page(page: &str, parameter: &str, least: usize) {
    let service = Keys::all_roles().serve();
    let mut client = service.client();
    let files = files_of(&mut client, page);
    assert!(files.len() > least, "{files:?}");
    for path in &files {
        let answer = client.get(path);
        assert_eq!(answer.status, 200, "{path}");
        check_headers(path, &answer);
        assert!(!answer.body.is_empty());
        let tag = answer.header("etag").expect("a tag").to_owned();
        let head = client.send(&Ask::new("HEAD", path));
        assert_eq!((head.status, head.header("etag")), (200, Some(&*tag)));
        assert_eq!(head.header("content-length"), Some(&*answer.body.len().to_string()));
        for (tags, known) in [
            (tag.clone(), true),
            (format!("W/{tag}"), true),
            (format!("\"other\", {tag}"), true),
            ("*".to_owned(), true),
            ("\"other\"".to_owned(), false),
            (tag.trim_matches('"').to_owned(), false),
        ] {
            let again = client.send(&Ask::new("GET", path).header("If-None-Match", &tags));
            assert_eq!((again.status, again.body.is_empty()), if known { (304, true) } else { (200, false) }, "{tags}");
            check_headers(path, &again);
            assert_eq!(again.header("etag"), Some(&*tag));
        }
        // Whatever a browser says that it accepts.
        assert_eq!(client.send(&Ask::new("GET", path).header("Accept", "image/avif")).status, 200);
        client.send(&Ask::new("POST", path)).refused("method_not_allowed");
    }
    // The document names the same files.
    let document = client.get("/openapi.json").success(200);
    let named = document["components"]["parameters"][parameter]["schema"]["enum"].as_array().unwrap();
    let mut named: Vec<_> = named.iter().map(|name| format!("{page}/{}", name.as_str().unwrap())).collect();
    let mut found: Vec<_> = files.into_iter().filter(|path| path != page).collect();
    named.sort();
    found.sort();
    assert_eq!(named, found, "every file is used, and every file that is used is there");
}

/// The service's part of the status, with what it counts of one call and one reason.
fn figures(document: &Value) -> &Value {
    assert_eq!(shapes::members(document), ["caller", "service"]);
    &document["service"]
}

fn refused(figures: &Value, reason: &str) -> u64 {
    let all = figures["refusals"].as_array().expect("a list");
    all.iter().find(|refused| refused["reason"] == reason).expect("every reason")["count"].as_u64().unwrap()
}

#[test]
fn the_status_counts_what_was_done() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 2)]);
    let before = client.get("/v1/status").success(200);
    assert_eq!(before["caller"], json!({ "role": "operator", "all_sales": true }));
    for customer in ["ann", "bob"] {
        client.hold("drop", customer, [("tv", 1)]);
    }
    for customer in ["cid", "dan", "eve"] {
        client.reserve("drop", customer, [("tv", 1)]).refused("sold_out");
    }
    // Read once a second.
    let deadline = std::time::Instant::now() + crate::served::PATIENCE;
    let after = loop {
        let after = client.get("/v1/status").success(200);
        if figures(&after)["reservations"]["held"] == 2 && refused(figures(&after), "sold_out") == 3 {
            break after;
        }
        assert!(std::time::Instant::now() < deadline, "{after:#}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    let (before, after) = (figures(&before), figures(&after));
    assert_eq!((&before["reservations"]["held"], refused(before, "sold_out")), (&json!(0), 0));
    assert!(shapes::check_time(&before["at"]) < shapes::check_time(&after["at"]));
    assert!(shapes::check_time(&after["started_at"]) <= shapes::check_time(&before["at"]));
    assert_eq!(before["started_at"], after["started_at"]);
    let bounds = after["duration_bounds"].as_array().unwrap();
    let reserve =
        after["durations"].as_array().unwrap().iter().find(|each| each["call"] == "reserve").expect("reserve");
    assert_eq!(reserve["count"], 5);
    let within: Vec<u64> = reserve["within"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).collect();
    assert_eq!(within.len(), bounds.len());
    assert!(within.is_sorted() && within.last() == Some(&5), "{within:?}");
    assert!(reserve["seconds_sum"].as_f64().is_some_and(|seconds| seconds > 0.0));
    assert!(after["connections"].as_u64().is_some_and(|open| open >= 1), "{after:#}");
    assert_eq!(after["store"]["kind"], "sqlite");
    let well = ["disk_low", "clock_jumps", "clock_ahead_seconds"].map(|member| &after[member]);
    assert_eq!(well, [&json!(false), &json!(0), &json!(0.0)]);
}

#[test]
fn the_status_says_who_asks_and_tells_of_all_sales_only_to_keys_of_all() {
    let keys = Keys::all_roles().add("summer", Role::Operator, &["summer-*"]);
    let service = keys.serve();
    let mut client = service.client();
    client.get("/v1/status").refused("unauthenticated");
    keys.send(&mut client, "operator", put("drop")).success(201);
    keys.send(&mut client, "checkout", reserve("drop")).success(201);
    for role in ["viewer", "checkout", "operator"] {
        let told = keys.send(&mut client, role, Ask::new("GET", "/v1/status")).success(200);
        assert_eq!(told["caller"], json!({ "key": role, "role": role, "all_sales": true }));
        assert!(figures(&told)["holds"]["live"].is_u64());
    }
    let told = keys.send(&mut client, "summer", Ask::new("GET", "/v1/status")).success(200);
    assert_eq!(told, json!({ "caller": { "key": "summer", "role": "operator", "all_sales": false } }));
    client.send(&Ask::new("POST", "/v1/status")).refused("method_not_allowed");
}
