//! The pages behind the `type` of each problem.

use hyper::{
    StatusCode,
    header::{ACCEPT, HeaderMap},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Answered, json as respond};
use crate::{
    api::problems::{NOT_FOUND, PROBLEMS, Problem},
    http::response::{self, BoxedResponse},
};

/// HTML for a browser, JSON for all others. `name`: the last part of the problem's `type`, or its code.
pub(crate) fn get(name: &str, headers: &HeaderMap) -> Answered {
    let known = PROBLEMS.iter().find(|problem| problem.code == name || problem.slug() == name);
    let unknown = || NOT_FOUND.because("no problem has this name; use a problem's code, such as sold_out");
    let problem = known.ok_or_else(unknown)?;
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let page = if accept.contains("text/html") { page(problem) } else { respond(StatusCode::OK, &Page::of(problem)) };
    Ok(response::revalidated(page))
}

/// What a problem means, and what to do about it.
#[derive(Serialize, ToSchema)]
#[schema(as = ProblemPage)]
pub(crate) struct Page<'a> {
    /// This page's path: the problem's `type`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The problem's title.
    title: &'a str,
    /// The HTTP status of the problem.
    status: u16,
    /// The code by which programs tell problems apart.
    code: &'a str,
    /// What it means, for people.
    meaning: &'a str,
    /// What to do about it.
    remedy: &'a str,
}

impl<'a> Page<'a> {
    pub(crate) fn of(problem: &Problem) -> Page<'a> {
        let Problem { code, status, title, meaning, remedy, .. } = problem;
        Page { kind: problem.path, title, status: *status, code, meaning, remedy }
    }
}

fn page(problem: &Problem) -> BoxedResponse {
    let Problem { code, status, title, meaning, remedy, .. } = problem;
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{title}</title><style>body{{font:16px/1.5 system-ui;max-width:40em;margin:3em auto;padding:0 1em}}</style>\
         <h1>{title}</h1><p><code>{status} {code}</code></p><h2>What it means</h2><p>{meaning}</p>\
         <h2>What to do</h2><p>{remedy}</p>"
    );
    response::respond(StatusCode::OK, "text/html; charset=utf-8", html.into_bytes())
}
