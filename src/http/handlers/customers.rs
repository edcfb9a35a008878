//! Customers: erasing them.

use hyper::StatusCode;

use super::json;
use crate::{
    api::Judged,
    auth::Caller,
    http::{
        json::{answers::ErasureBody, requests::CUSTOMER},
        response::BoxedResponse,
        worker::Worker,
    },
    sale::{ids::check_name, settings::Invalid},
};

pub(super) fn erase(worker: &Worker, caller: &Caller, customer: &str) -> Judged<BoxedResponse> {
    check_name(customer).map_err(|_| Invalid::new("/customer", CUSTOMER))?;
    let answer = worker.api.service.erase_customer(caller, customer);
    Ok(answer.map(|reservations| json(StatusCode::OK, &ErasureBody { reservations })))
}
