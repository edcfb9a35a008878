//! The status call: the caller, and figures of the service.

use hyper::StatusCode;

use super::{Answered, json};
use crate::{
    auth::Caller,
    http::{
        problem,
        status::{CallerBody, StatusBody},
        worker::Worker,
    },
};

pub async fn get(worker: &Worker, caller: &Caller) -> Answered {
    let asking = CallerBody { key: caller.key(), role: caller.role.as_str(), all_sales: caller.sees_all() };
    if !caller.sees_all() {
        return Ok(json(StatusCode::OK, &StatusBody { caller: asking, service: None }));
    }
    let figures = worker.service.board.figures().await;
    let figures = figures.ok_or_else(|| problem::OVERLOADED.respond("the figures are not available right now"))?;
    Ok(json(StatusCode::OK, &StatusBody { caller: asking, service: Some(&figures) }))
}
