//! The status call: the caller, and figures of the service.

use hyper::StatusCode;

use super::{Answered, json};
use crate::{
    auth::Caller,
    http::{
        json::status::{CallerBody, StatusBody},
        worker::Worker,
    },
};

pub(super) async fn get(worker: &Worker, caller: &Caller) -> Answered {
    let figures = worker.api.service.status(caller).await?;
    let caller = CallerBody { key: caller.key(), role: caller.role.as_str(), all_sales: caller.sees_all() };
    Ok(json(StatusCode::OK, &StatusBody { caller, service: figures.as_deref() }))
}
