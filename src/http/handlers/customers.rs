//! Customers: erasing them.

use hyper::StatusCode;

use super::{Judged, json};
use crate::{
    auth::Caller,
    http::{
        problem,
        wire::{CUSTOMER, ErasureBody},
        worker::Worker,
    },
    sale::{ids::check_name, settings::Invalid},
};

/// Erases the customer's identity. An unknown customer gets the same answer as one who is no longer in memory.
pub fn erase(worker: &Worker, caller: &Caller, customer: &str) -> Judged {
    check_name(customer).map_err(|_| problem::invalid(&[Invalid::new("/customer", CUSTOMER)]))?;
    let customer = worker.service.customer_ids.known_as(customer);
    let answer = worker.engine().erase_customer(worker.now(), caller.actor(), &customer);
    Ok(answer.map(|reservations| json(StatusCode::OK, &ErasureBody { reservations })))
}
