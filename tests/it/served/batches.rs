//! Batches of reservations, and what came of each entry.

use std::fmt::Display;

use serde_json::Value;

use super::{Answer, Ask, Client, Service, problems, shapes};

/// A batch of these entries, given as JSON text so that they may be malformed.
pub fn batch<T: Display>(sale: &str, entries: impl IntoIterator<Item = T>) -> Ask {
    let entries: Vec<String> = entries.into_iter().map(|entry| entry.to_string()).collect();
    let body = format!("{{\"reservations\":[{}]}}", entries.join(","));
    Ask::new("POST", &format!("/v1/sales/{sale}/reservations/batch")).bytes(body)
}

/// The results of a batch that was taken, each checked on its own.
#[track_caller]
pub fn results(answer: &Answer) -> Vec<Value> {
    let Value::Object(mut document) = answer.success(200) else { panic!("no object: {}", answer.text()) };
    let Some(Value::Array(results)) = document.remove("results") else { panic!("no results: {}", answer.text()) };
    assert!(document.is_empty(), "more than results: {document:?}");
    results.iter().for_each(check_result);
    results
}

#[track_caller]
pub fn check_result(result: &Value) {
    if result["status"] != 201 {
        assert_eq!(shapes::members(result), ["problem", "status"], "{result}");
        let status = result["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        return problems::check_document(&result["problem"], status.unwrap_or_else(|| panic!("no status: {result}")));
    }
    shapes::check_reservation(&result["reservation"]);
    match result.get("replayed") {
        None => assert_eq!(shapes::members(result), ["reservation", "status"], "{result}"),
        Some(replayed) => assert!(*replayed == true && shapes::members(result).len() == 3, "{result}"),
    }
}

/// `held`, `replayed`, or the code of the problem.
#[track_caller]
pub fn outcome(result: &Value) -> &str {
    match (&result["problem"]["code"], result.get("replayed")) {
        (Value::String(code), None) => code,
        (Value::Null, None) => "held",
        (Value::Null, Some(_)) => "replayed",
        _ => panic!("both granted and refused: {result}"),
    }
}

pub fn outcomes(results: &[Value]) -> Vec<&str> {
    results.iter().map(outcome).collect()
}

/// The pointers of an `invalid_request`.
#[track_caller]
pub fn pointers(result: &Value) -> Vec<&str> {
    assert_eq!(outcome(result), "invalid_request", "{result}");
    let errors = result["problem"]["errors"].as_array().expect("errors are a list");
    errors.iter().map(|error| error["pointer"].as_str().expect("a pointer is text")).collect()
}

/// Sends what this test's own reader of JSON does not take, and the service does.
#[track_caller]
pub fn send_unread(service: &Service, ask: &Ask) -> Answer {
    let mut connection = service.connect();
    connection.send(&ask.encode()).expect("the connection is open");
    connection.answer()
}

impl Client {
    /// Sends a batch, which must be taken, and gives its results, one for each entry.
    #[track_caller]
    pub fn batch<T: Display>(&mut self, sale: &str, entries: &[T]) -> Vec<Value> {
        let answer = self.send(&batch(sale, entries));
        let results = results(&answer);
        assert_eq!(results.len(), entries.len(), "a result for each entry");
        results
    }
}
