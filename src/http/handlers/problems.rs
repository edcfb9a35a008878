//! The pages that problems' types lead to.

use hyper::{
    Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Serialize;

use super::{Answered, json as respond};
use crate::http::{
    Body,
    problem::{self, PROBLEMS, Problem},
};

/// A page for a browser, JSON for everybody else.
pub fn get(slug: &str, headers: &HeaderMap) -> Answered {
    let known = PROBLEMS.iter().find(|problem| problem.slug() == slug);
    let problem = known.ok_or_else(|| problem::NOT_FOUND.respond("no problem of this service has this name"))?;
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    Ok(if accept.contains("text/html") { page(problem) } else { document(problem) })
}

fn document(problem: &Problem) -> Response<Body> {
    let Problem { code, status, title, meaning, remedy } = problem;
    #[derive(Serialize)]
    struct Document<'a> {
        #[serde(rename = "type")]
        kind: String,
        title: &'a str,
        status: u16,
        code: &'a str,
        meaning: &'a str,
        remedy: &'a str,
    }
    let document = Document { kind: problem.path(), title, status: *status, code, meaning, remedy };
    respond(StatusCode::OK, &document)
}

fn page(problem: &Problem) -> Response<Body> {
    let Problem { code, status, title, meaning, remedy } = problem;
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{title}</title><style>body{{font:16px/1.5 system-ui;max-width:40em;margin:3em auto;padding:0 1em}}</style>\
         <h1>{title}</h1><p><code>{status} {code}</code></p><h2>What it means</h2><p>{meaning}</p>\
         <h2>What to do</h2><p>{remedy}</p>"
    );
    let mut response = Response::new(Body::from(html.into_bytes()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}
