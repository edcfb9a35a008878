//! The document against the router, the table of problems, the OpenAPI schema, and itself.

use std::collections::{BTreeMap, BTreeSet};

use hyper::Method;
use serde_json::{Value, json};

use super::{paths::path_parameters, problems::name};
use crate::{
    api::{
        calls::Call,
        problems::{self, PROBLEMS},
    },
    auth::{KeySettings, Role, mint},
    config::Config,
    http::{response, router},
    service,
};

fn document() -> Value {
    serde_json::to_value(service::contract(&Config::default())).expect("the document is plain JSON")
}

/// Every operation with its path and method.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let methods = item.as_object().expect("calls").iter().filter(|(name, _)| *name != "parameters");
        operations.extend(methods.map(|(method, operation)| (path.clone(), method.clone(), operation.clone())));
    }
    operations
}

/// The path with an example for each of its parameters.
fn example_path(document: &Value, path: &str) -> String {
    path_parameters(path).fold(path.to_owned(), |written, name| {
        let example = document["components"]["parameters"][name]["example"].as_str().expect("an example");
        written.replace(&format!("{{{name}}}"), example)
    })
}

fn validator(document: &Value, schema: &Value) -> jsonschema::Validator {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema")
}

#[track_caller]
fn assert_valid(document: &Value, schema: &Value, value: &Value) {
    let wrong: Vec<_> = validator(document, schema)
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{value} is not what {schema} says: {wrong:#?}");
}

#[test]
fn it_is_an_openapi_document() {
    let openapi: Value = serde_json::from_str(include_str!("../../../tests/openapi/openapi-3.1.schema.json")).unwrap();
    let document = document();
    let validator = jsonschema::validator_for(&openapi).unwrap();
    let wrong: Vec<_> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{name} is no JSON schema");
    }
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        assert!(ids.insert(operation["operationId"].to_string()), "the id of {method} {path} is used twice");
    }
    all_references(&document, &mut |reference| {
        let pointer = reference.strip_prefix('#').expect("references stay in the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    });
}

fn all_references(value: &Value, each: &mut impl FnMut(&str)) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                each(reference);
            }
            members.values().for_each(|member| all_references(member, each));
        }
        Value::Array(values) => values.iter().for_each(|value| all_references(value, each)),
        _ => {}
    }
}

/// The router finds each call of the table at its path.
#[test]
fn it_has_every_call() {
    let document = document();
    assert_eq!(operations(&document).into_iter().filter(|(_, method, _)| method != "head").count(), Call::ALL.len());
    for call in Call::ALL {
        let row = call.row();
        let method: Method = row.method.as_str().parse().unwrap();
        let matched = router::route(&method, &example_path(&document, row.path));
        assert_eq!(matched.map(|matched| matched.call).ok(), Some(*call), "{method} {}", row.path);
    }
}

/// The router names the methods of a path when it is asked with another.
#[test]
fn it_has_every_method_of_a_path() {
    let document = document();
    let mut methods: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, method, _) in operations(&document) {
        methods.entry(path).or_default().push(method.to_uppercase());
    }
    for (path, methods) in methods {
        let brew = Method::from_bytes(b"BREW").unwrap();
        let refused = router::route(&brew, &example_path(&document, &path)).unwrap_err();
        assert_eq!(response::refused(&refused.refused).headers()["allow"], methods.join(", "), "{path}");
    }
}

#[test]
fn it_has_every_problem_with_an_example() {
    let document = document();
    let mut answered = BTreeSet::new();
    for (.., operation) in operations(&document) {
        all_references(&operation, &mut |reference| {
            answered.insert(reference.rsplit('/').next().unwrap().to_owned());
        });
    }
    for problem in PROBLEMS {
        let name = name(problem);
        let example = &document["components"]["examples"][problem.code]["value"];
        assert_valid(&document, &json!({ "$ref": format!("#/components/schemas/{name}") }), example);
        assert_valid(&document, &json!({ "$ref": "#/components/schemas/Problem" }), example);
        assert_eq!((&example["code"], &example["status"]), (&json!(problem.code), &json!(problem.status)));
        // Whoever keeps to the document's methods never meets the other one.
        let expected = problem.code != problems::METHOD_NOT_ALLOWED.code;
        assert_eq!(answered.contains(&name), expected, "{name}");
    }
}

#[test]
fn its_examples_are_what_its_schemas_say() {
    let document = document();
    let mut seen = 0;
    for (path, method, operation) in operations(&document) {
        let success = operation["responses"].as_object().unwrap().iter().filter(|(status, _)| status.starts_with('2'));
        let bodies = success.map(|(_, response)| response).chain(operation.get("requestBody"));
        let content = |body: &Value| body["content"].as_object().cloned().unwrap_or_default();
        for (media, body) in bodies.flat_map(content).filter(|(media, _)| media != "text/html") {
            assert!(body.get("example").is_some(), "an example of {media} is missing from {method} {path}");
            assert_valid(&document, &body["schema"], &body["example"]);
            seen += 1;
        }
    }
    assert!(seen > Call::ALL.len());
    for kind in ["parameters", "headers"] {
        for (name, described) in document["components"][kind].as_object().unwrap() {
            if let Some(example) = described.get("example") {
                assert_valid(&document, &described["schema"], example);
            } else {
                assert!(described["schema"].get("const").is_some(), "{kind} {name} has no example");
            }
        }
    }
}

/// An answer's example shows what its call did.
#[test]
fn its_examples_show_what_their_calls_did() {
    let document = document();
    let by_id = |id: &str| operations(&document).into_iter().find(|(.., operation)| operation["operationId"] == id);
    let example = |id: &str, status: &str| {
        let (.., operation) = by_id(id).unwrap_or_else(|| panic!("no call {id}"));
        let answer = &operation["responses"][status]["content"]["application/json"]["example"];
        (operation["requestBody"]["content"]["application/json"]["example"].clone(), answer.clone())
    };
    let ends = ["confirmed_at", "released_at", "expired_at", "cancelled_at"];
    for (id, status, state) in [
        ("reserve", "201", "held"),
        ("getReservation", "200", "held"),
        ("confirmReservation", "200", "confirmed"),
        ("releaseReservation", "200", "released"),
        ("extendReservation", "200", "held"),
        ("changeReservation", "200", "held"),
        ("cancelReservation", "200", "cancelled"),
    ] {
        let (_, answer) = example(id, status);
        assert_is_in(state, &answer, &ends);
        assert_eq!(answer["extensions"], u32::from(id == "extendReservation"), "{id}");
    }
    for (code, state) in [
        ("reservation_expired", "expired"),
        ("already_confirmed", "confirmed"),
        ("already_released", "released"),
        ("already_cancelled", "cancelled"),
        ("not_confirmed", "held"),
        ("already_in_group", "held"),
        ("group_incomplete", "held"),
        ("extension_limit_reached", "held"),
    ] {
        let reservation = &document["components"]["examples"][code]["value"]["reservation"];
        assert_is_in(state, reservation, &ends);
        let most = &example("putSale", "200").1["max_extensions"];
        assert_eq!(&reservation["extensions"] == most, code == "extension_limit_reached", "{code}");
    }
    for (id, status) in [("pauseSale", "paused"), ("resumeSale", "open"), ("closeSale", "closed"), ("getSale", "open")]
    {
        assert_eq!(example(id, "200").1["status"], status, "{id}");
    }
    let (asked, confirmed) = example("confirmReservation", "200");
    assert_eq!(confirmed["reference"], asked["reference"]);
    let (asked, changed) = example("changeReservation", "200");
    assert_eq!(changed["lines"][0]["quantity"], asked["lines"][0]["quantity"]);
    let (asked, adjusted) = example("adjustStock", "201");
    for member in ["delta", "reason", "reference"] {
        assert_eq!(adjusted[member], asked[member], "{member}");
    }
    for status in ["200", "201"] {
        let (asked, put) = example("putSale", status);
        assert_eq!(put, asked);
    }
    let (patch, patched) = example("patchSale", "200");
    let whole = example("putSale", "200").1;
    assert_eq!(patched["closes_at"], patch["closes_at"]);
    assert_eq!(
        patched["items"][0]["price"],
        json!({ "amount": patch["items"][0]["price"]["amount"], "currency": "EUR" })
    );
    assert!(whole.get("customer_limit").is_some() && patched.get("customer_limit").is_none(), "null removes it");
    let (_, sale) = example("getSale", "200");
    let item = &sale["items"][0];
    let units = |member: &str| item[member].as_u64().unwrap();
    assert_eq!(units("stock"), units("available") + units("held") + units("confirmed"));
}

#[track_caller]
fn assert_is_in(state: &str, reservation: &Value, ends: &[&str]) {
    assert_eq!(reservation["state"], state, "{reservation}");
    for end in ends {
        let was = *end == format!("{state}_at") || (state == "cancelled" && *end == "confirmed_at");
        assert_eq!(reservation.get(end).is_some(), was, "{end} of {reservation}");
    }
    let ended = reservation[format!("{state}_at")].as_str().or(reservation["expires_at"].as_str());
    let in_time = state == "cancelled" || ended <= reservation["expires_at"].as_str();
    assert!(reservation["created_at"].as_str() < ended && in_time, "{reservation}");
}

/// Links lead to calls, give them what they need, and take it from where the schemas have it.
#[test]
fn its_links_can_be_followed() {
    let document = document();
    let operations = operations(&document);
    let mut seen = 0;
    for (path, method, operation) in &operations {
        for (status, response) in operation["responses"].as_object().unwrap() {
            for (name, link) in response["links"].as_object().into_iter().flatten() {
                let place = format!("{name} of {status} of {method} {path}");
                let target = operations.iter().find(|(.., target)| target["operationId"] == link["operationId"]);
                let (target_path, _, target) = target.unwrap_or_else(|| panic!("{place} leads nowhere"));
                let given = link["parameters"].as_object().unwrap();
                for needed in path_parameters(target_path) {
                    assert!(given.contains_key(needed), "{place} does not say {needed}");
                }
                let by_reference = target["parameters"].as_array().into_iter().flatten();
                let by_reference = by_reference.map(|known| {
                    document.pointer(&known["$ref"].as_str().unwrap()[1..]).unwrap()["name"].as_str().unwrap()
                });
                let known: BTreeSet<_> = by_reference.chain(path_parameters(target_path)).collect();
                for (parameter, expression) in given {
                    assert!(known.contains(parameter.as_str()), "{place}: there is no {parameter}");
                    assert_leads_somewhere(&document, (path, response), expression, &place);
                }
                for expression in expressions(&link["requestBody"]) {
                    assert_leads_somewhere(&document, (path, response), &expression, &place);
                }
                let needs_body = target["requestBody"]["required"] == true;
                assert_eq!(link.get("requestBody").is_some(), needs_body, "the body of {place}");
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "{seen} links");
}

/// Everything in the value that is an expression.
fn expressions(value: &Value) -> Vec<Value> {
    match value {
        Value::String(text) if text.starts_with('$') => vec![value.clone()],
        Value::Object(members) => members.values().flat_map(expressions).collect(),
        Value::Array(values) => values.iter().flat_map(expressions).collect(),
        _ => Vec::new(),
    }
}

#[track_caller]
fn assert_leads_somewhere(document: &Value, (path, response): (&str, &Value), expression: &Value, place: &str) {
    let expression = expression.as_str().expect("an expression is text");
    if let Some(pointer) = expression.strip_prefix("$response.body#/") {
        let start = &response["content"]["application/json"]["schema"];
        let end = pointer.split('/').fold(start.clone(), |schema, member| {
            let schema = resolved(document, &schema);
            if member == "0" { schema["items"].clone() } else { member_of(document, &schema, member) }
        });
        assert!(resolved(document, &end)["type"] == "string", "{place}: {expression} is {end}");
    } else if let Some(name) = expression.strip_prefix("$response.header.") {
        assert!(response["headers"].get(name).is_some(), "{place}: there is no {name}");
    } else {
        let name = expression.strip_prefix("$request.path.").unwrap_or_else(|| panic!("{place}: {expression}"));
        assert!(path_parameters(path).any(|known| known == name), "{place}: there is no {name}");
    }
}

fn resolved(document: &Value, schema: &Value) -> Value {
    let pointer = schema["$ref"].as_str().map(|reference| &reference[1..]);
    pointer.map_or_else(|| schema.clone(), |pointer| document.pointer(pointer).expect("it leads somewhere").clone())
}

/// Where the schema is one of several, of any that has the member.
fn member_of(document: &Value, schema: &Value, member: &str) -> Value {
    let choices = schema["oneOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
    let mut found = choices.iter().filter_map(|choice| resolved(document, choice)["properties"].get(member).cloned());
    found.next().unwrap_or_default()
}

/// Who calls a service with keys needs one, and may use one where none is asked for.
#[test]
fn it_says_whether_a_key_is_needed() {
    let mut config = Config::default();
    let of = |config: &Config, path: &str| {
        serde_json::to_value(service::contract(config)).unwrap()["paths"][path]["get"]["security"].clone()
    };
    assert_eq!(of(&config, "/v1/sales"), json!([{ "key": [] }, {}]));
    let key = KeySettings {
        role: Role::Viewer,
        sales: Vec::new(),
        channels: Vec::new(),
        hash: mint(1, [2; 3], [3; 32]).hash,
    };
    config.auth.keys.insert("someone".to_owned(), key);
    assert_eq!(of(&config, "/v1/sales"), json!([{ "key": [] }]));
    assert_eq!(of(&config, "/openapi.json"), json!([]));
}

/// Every member says what it is, every number and text has its bounds, and requests take nothing unknown.
#[test]
fn its_schemas_are_complete() {
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].as_str().is_some_and(|text| !text.is_empty()), "{name} has no description");
        for (member, described) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{name}.{member}: {described}");
            let is_reference = described.get("$ref").is_some();
            assert!(is_reference || described["description"].is_string(), "no description in {place}");
            let is = |kind: &str| {
                let kinds = &described["type"];
                kinds == kind || kinds.as_array().is_some_and(|kinds| kinds.iter().any(|known| known == kind))
            };
            let has = |keyword: &str| described.get(keyword).is_some();
            if is("integer") {
                assert!(has("format") && (has("minimum") || has("not") || has("const")), "no bounds in {place}");
            }
            let free = ["title", "detail", "type", "code", "meaning", "remedy", "pointer", "subject"]
                .contains(&member.as_str());
            if is("string") && !free {
                let bounds = ["maxLength", "format", "enum", "pattern", "const"];
                assert!(bounds.into_iter().any(has), "no bounds in {place}");
            }
        }
    }
    let objects = schemas_of_requests(&document).into_iter().filter(|name| {
        // The others are words.
        document["components"]["schemas"][name].get("enum").is_none()
    });
    for name in objects {
        assert_eq!(document["components"]["schemas"][&name]["additionalProperties"], json!(false), "{name}");
    }
}

/// Schemas of request bodies, and those that they refer to.
fn schemas_of_requests(document: &Value) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let mut new: Vec<Value> =
        operations(document).into_iter().map(|(.., operation)| operation["requestBody"].clone()).collect();
    while let Some(value) = new.pop() {
        all_references(&value, &mut |reference| {
            let name = reference.rsplit('/').next().expect("a reference has a name").to_owned();
            new.push(document["components"]["schemas"][&name].clone());
            known.insert(name);
        });
    }
    known
}

#[test]
fn limits_are_those_of_the_configuration() {
    let mut config = Config::default();
    config.limits.lines_max = 7;
    config.limits.quantity_max = 70;
    config.limits.hold_seconds_max = 700;
    config.limits.items_per_sale_max = 77;
    config.limits.stock_max = 7000;
    config.limits.extensions_max = 17;
    config.limits.sales_page_max = 27;
    config.limits.body_bytes_max = 7777;
    config.limits.sale_body_bytes_max = 77_777;
    config.limits.batch_entries_max = 777;
    config.limits.batch_body_bytes_max = 777_777;
    let document = serde_json::to_value(service::contract(&config)).unwrap();
    let schema = |name: &str, member: &str, keyword: &str| {
        let described = &document["components"]["schemas"][name]["properties"][member];
        let bound = described[keyword].as_u64();
        let text = described["description"].as_str().unwrap_or_default();
        assert!(bound.is_some_and(|bound| text.contains(&bound.to_string())), "{name}.{member} says {text:?}");
        bound
    };
    assert_eq!(schema("ReserveRequest", "lines", "maxItems"), Some(7));
    assert_eq!(schema("BatchRequest", "reservations", "maxItems"), Some(777));
    assert_eq!(schema("BatchEntry", "lines", "maxItems"), Some(7));
    assert_eq!(schema("BatchEntry", "hold_seconds", "maximum"), Some(700));
    assert_eq!(schema("ReserveLine", "quantity", "maximum"), Some(70));
    assert_eq!(schema("ReserveRequest", "hold_seconds", "maximum"), Some(700));
    assert_eq!(schema("ExtendRequest", "hold_seconds", "maximum"), Some(700));
    assert_eq!(schema("SaleSettings", "hold_seconds", "maximum"), Some(700));
    assert_eq!(schema("SaleSettings", "items", "maxItems"), Some(77));
    assert_eq!(schema("SaleSettings", "max_extensions", "maximum"), Some(17));
    assert_eq!(schema("ItemSettings", "initial_stock", "maximum"), Some(7000));
    assert_eq!(document["components"]["parameters"]["Limit"]["schema"]["maximum"], 27);
    let body = |path: &str, method: &str| document["paths"][path][method]["requestBody"]["description"].to_string();
    assert!(body("/v1/sales/{sale}/reservations", "post").contains("7777 bytes"));
    assert!(body("/v1/sales/{sale}/reservations/batch", "post").contains("777777 bytes"));
    assert!(body("/v1/sales/{sale}", "put").contains("77777 bytes"));
}

/// An entry of a batch is a reserve and its key.
#[test]
fn entries_are_reserves() {
    let document = document();
    let mut entry = document["components"]["schemas"]["BatchEntry"].clone();
    entry["properties"].as_object_mut().unwrap().remove("idempotency_key").expect("its key");
    entry["description"] = document["components"]["schemas"]["ReserveRequest"]["description"].clone();
    assert_eq!(entry, document["components"]["schemas"]["ReserveRequest"]);
}
