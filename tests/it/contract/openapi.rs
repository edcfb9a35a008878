//! The OpenAPI document as it is served and printed, and the check of answers against it, which must notice things.

use std::{panic, process::Command};

use doorbuster::{config::Config, service};
use serde_json::{Value, json};

use crate::served::{
    Answer, Ask, Service, described::Described, documents::address, process::without_environment, shapes,
};

#[test]
fn a_service_serves_the_document_of_its_configuration() {
    let service = Service::start_with(|config| {
        config.limits.lines_max = 3;
        config.limits.quantity_max = 77;
    });
    let mut client = service.client();
    let served = client.get("/openapi.json");
    let document = served.success(200);
    assert_eq!(served.text(), service::contract(&service.config).to_string());
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(shapes::members(&document), ["components", "info", "openapi", "paths", "servers", "tags"]);
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["ReserveRequest"]["properties"]["lines"]["maxItems"], 3);
    assert_eq!(schemas["ReserveLine"]["properties"]["quantity"]["maximum"], 77);
    client.send(&Ask::new("GET", "/openapi.json").header("Accept", "text/html")).refused("not_acceptable");
}

/// Runs `doorbuster openapi` and gives what it prints.
fn print(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorbuster"));
    without_environment(&mut command);
    let output = command.arg("openapi").args(arguments).output().expect("the binary runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).expect("the document is UTF-8")
}

#[test]
fn the_command_prints_the_same_document() {
    let text = print(&[]);
    assert!(text.starts_with("{\n  \"openapi\": \"3.1.0\",\n") && text.ends_with("}\n"));
    let printed: Value = serde_json::from_str(&text).unwrap();
    let served: Value = serde_json::from_str(&service::contract(&Config::default()).to_string()).unwrap();
    assert_eq!(printed, served);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("doorbuster.toml");
    std::fs::write(&file, "limits.lines_max = 4\n").unwrap();
    let printed: Value = serde_json::from_str(&print(&["--config", file.to_str().unwrap()])).unwrap();
    assert_eq!(printed["components"]["schemas"]["ReserveRequest"]["properties"]["lines"]["maxItems"], 4);
}

/// Whether the check takes the answer when the document is changed so.
fn passes(document: &Value, change: impl FnOnce(&mut Value), ask: &Ask, answer: &Answer) -> bool {
    let mut document = document.clone();
    change(&mut document);
    let described = Described::new(document);
    panic::catch_unwind(panic::AssertUnwindSafe(|| described.check(ask, answer))).is_ok()
}

#[test]
fn a_document_that_does_not_fit_the_answers_is_noticed() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 5)]);
    let document = client.get("/openapi.json").success(200);
    let held = client.hold("drop", "ann", [("tv", 1)]);
    let look = Ask::new("GET", &address(&held));
    let seen = client.send(&look);
    let passes = |change: &dyn Fn(&mut Value), ask: &Ask, answer: &Answer| passes(&document, change, ask, answer);
    assert!(passes(&|_| {}, &look, &seen));

    let change_members = |change: &dyn Fn(&mut Value)| {
        let change = |document: &mut Value| change(&mut document["components"]["schemas"]["Reservation"]);
        passes(&change, &look, &seen)
    };
    let drop_member = |schema: &mut Value, member: &str| {
        schema["properties"].as_object_mut().unwrap().remove(member).expect("a member");
    };
    assert!(!change_members(&|schema| drop_member(schema, "customer")), "a member is missing");
    assert!(!change_members(&|schema| schema["properties"]["extensions"]["type"] = json!("string")), "another type");
    assert!(!change_members(&|schema| schema["properties"]["state"]["enum"] = json!(["gone"])), "another value");
    assert!(!change_members(&|schema| schema["required"].as_array_mut().unwrap().push(json!("vip"))), "one too many");

    let path = "/v1/reservations/{id}";
    let no_status = |document: &mut Value| {
        document["paths"][path]["get"]["responses"].as_object_mut().unwrap().remove("200").expect("a status");
    };
    assert!(!passes(&no_status, &look, &seen), "a status is missing");

    let reserve =
        Ask::new("POST", "/v1/sales/drop/reservations").json(&crate::served::reserve_body("bob", [("tv", 1)]));
    let made = client.send(&reserve);
    assert!(passes(&|_| {}, &reserve, &made));
    let stricter = |document: &mut Value| {
        document["components"]["schemas"]["ReserveRequest"]["properties"]["customer"]["maxLength"] = json!(2);
    };
    assert!(!passes(&stricter, &reserve, &made), "a request was taken that the document refuses");
    let no_location = |document: &mut Value| {
        let answer = &mut document["paths"]["/v1/sales/{sale}/reservations"]["post"]["responses"]["201"];
        answer["headers"].as_object_mut().unwrap().remove("Location").expect("a header");
    };
    assert!(!passes(&no_location, &reserve, &made), "a header is missing");

    let none = Ask::new("GET", "/v1/sales/none");
    let refused = client.send(&none);
    let no_detail = |document: &mut Value| {
        drop_member(&mut document["components"]["schemas"]["SaleNotFoundProblem"], "detail");
    };
    assert!(!passes(&no_detail, &none, &refused), "a member of a problem is missing");
    let nowhere = Ask::new("GET", "/nowhere");
    let refused = client.send(&nowhere);
    let no_code = |document: &mut Value| drop_member(&mut document["components"]["schemas"]["NotFoundProblem"], "code");
    assert!(!passes(&no_code, &nowhere, &refused), "a member of a problem that is no call's is missing");
}
