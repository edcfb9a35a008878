//! Problems: a schema, an example and a response for each row of the table.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::PartialSchema;

use super::{examples, reference};
use crate::{
    api::problems::{COOLING_DOWN, Kind, PROBLEMS, Problem},
    http::json::problem::{
        Document, EntriesMax, EntryState, Errors, ExpiredHolds, Limit, Lines, Of, OfEntry, OfExpired, Oldest,
        OpenHolds, OpensAt,
    },
};

/// What the schema and the response of the problem are called, such as `SoldOutProblem`.
pub(super) fn name(problem: &Problem) -> String {
    let words = problem.code.split('_').map(|word| format!("{}{}", word[..1].to_ascii_uppercase(), &word[1..]));
    words.chain(["Problem".to_owned()]).collect()
}

/// The schema of the problem: the standard members with their fixed values, and its own.
pub(super) fn schema(problem: &Problem) -> Value {
    let mut schema = json!(Document::schema());
    schema["description"] = json!(format!("{} {}", problem.meaning, problem.remedy));
    let fixed = [
        ("type", json!(problem.path)),
        ("title", json!(problem.title)),
        ("status", json!(problem.status)),
        ("code", json!(problem.code)),
    ];
    for (member, value) in fixed {
        schema["properties"][member]["const"] = value;
    }
    if let Some(own) = own_members(problem.members) {
        for (member, value) in own["properties"].as_object().into_iter().flatten() {
            schema["properties"][member] = value.clone();
        }
        let own = own["required"].as_array().into_iter().flatten().cloned();
        schema["required"].as_array_mut().expect("standard members are required").extend(own);
    }
    schema
}

fn own_members(kind: Kind) -> Option<Value> {
    match kind {
        Kind::None => None,
        Kind::Errors => Some(json!(Errors::schema())),
        Kind::Lines => Some(json!(Lines::schema())),
        Kind::Limit => Some(json!(Limit::schema())),
        Kind::OpensAt => Some(json!(OpensAt::schema())),
        Kind::Oldest => Some(json!(Oldest::schema())),
        Kind::OpenHolds => Some(json!(OpenHolds::schema())),
        Kind::ExpiredHolds => Some(json!(ExpiredHolds::schema())),
        Kind::Reservation => Some(json!(Of::schema())),
        Kind::Entry => Some(json!(OfEntry::schema())),
        Kind::EntriesMax => Some(json!(EntriesMax::schema())),
        Kind::EntryState => Some(json!(EntryState::schema())),
        Kind::ExpiredReservation => Some(json!(OfExpired::schema())),
    }
}

/// A document of each problem, by its code.
pub(super) fn examples() -> Value {
    let example = |problem: &&Problem| {
        (problem.code.to_owned(), json!({ "summary": problem.title, "value": examples::of_problem(problem) }))
    };
    Value::Object(PROBLEMS.iter().map(example).collect())
}

/// A response of each problem, by its name.
pub(super) fn responses() -> Value {
    Value::Object(PROBLEMS.iter().map(|problem| (name(problem), response(&[problem]))).collect())
}

/// The response of the problem with this name.
pub(super) fn response_named(wanted: &str) -> Value {
    let problem = PROBLEMS.iter().find(|problem| name(problem) == wanted);
    response(&[problem.expect("responses are referred to by names of problems")])
}

/// Responses by status; where several problems share one, it is one of them.
pub(super) fn by_status(problems: &[&'static Problem]) -> Map<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<&Problem>> = BTreeMap::new();
    for problem in problems {
        by_status.entry(problem.status).or_default().push(problem);
    }
    let written = by_status.into_iter().map(|(status, problems)| {
        let response = match problems[..] {
            [only] => reference("responses", &name(only)),
            _ => response(&problems),
        };
        (status.to_string(), response)
    });
    written.collect()
}

fn response(problems: &[&Problem]) -> Value {
    let schemas: Vec<_> = problems.iter().map(|problem| reference("schemas", &name(problem))).collect();
    let schema = match &schemas[..] {
        [only] => only.clone(),
        several => json!({ "oneOf": several }),
    };
    let examples: Map<_, _> =
        problems.iter().map(|problem| (problem.code.to_owned(), reference("examples", problem.code))).collect();
    let titles: Vec<_> = problems.iter().map(|problem| format!("`{}`: {}", problem.code, problem.title)).collect();
    let mut response = json!({
        "description": titles.join("; "),
        "content": { "application/problem+json": { "schema": schema, "examples": examples } },
    });
    let headers: &[&str] = match problems[0].status {
        401 => &["WWW-Authenticate"],
        405 => &["Allow"],
        415 => &["Accept-Patch"],
        429 if problems.iter().all(|problem| problem.code == COOLING_DOWN.code) => &["Retry-After"],
        429 => &["Retry-After", "RateLimit", "RateLimit-Policy"],
        503 => &["Retry-After"],
        _ => &[],
    };
    let of_quota = problems.iter().all(|problem| problem.code != COOLING_DOWN.code);
    for header in headers {
        // A hold budget is no quota of requests.
        let component = match *header {
            "RateLimit" if !of_quota => "RateLimit-Of-Quota",
            "RateLimit-Policy" if !of_quota => "RateLimit-Policy-Of-Quota",
            header => header,
        };
        response["headers"][*header] = reference("headers", component);
    }
    let id = if problems[0].status >= 500 { "X-Request-Id-Of-Failure" } else { "X-Request-Id" };
    response["headers"]["X-Request-Id"] = reference("headers", id);
    response
}
