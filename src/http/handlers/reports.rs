//! Reports on sales.

use std::time::Duration;

use hyper::StatusCode;

use super::{Answered, long_json};
use crate::{
    auth::Caller,
    http::{
        BoxedResponse, problem,
        report::ReportBody,
        worker::{Service, Worker},
    },
    reports::Refused,
};

/// How long to wait until the store has a new sale, and how often to check.
const STORE_WAIT: Duration = Duration::from_secs(2);
const STORE_LOOK: Duration = Duration::from_millis(50);

pub async fn get(worker: &Worker, caller: &Caller, id: &str, query: Option<&str>) -> Answered {
    if query.is_some_and(|query| !query.is_empty()) {
        let invalid = crate::sale::settings::Invalid::new("", "this call takes no query parameters");
        return Err(problem::invalid(&[invalid]));
    }
    let number = match worker.engine().catalogue().sale(id) {
        Ok(sale) => sale.number,
        Err(_) => return Err(problem::no_such_sale()),
    };
    for _ in 0..STORE_WAIT.as_millis() / STORE_LOOK.as_millis() {
        match worker.service.reports.of(id).await {
            Ok(Some(read)) => {
                let (id, sees_all) = (id.to_owned(), caller.sees_all());
                let show = move |service: &Service| {
                    let body = ReportBody::new(&id, number, &read, &service.refusals, sees_all);
                    long_json(service, StatusCode::OK, &body)
                };
                return Ok(worker.aside(show).await);
            }
            Ok(None) => tokio::time::sleep(STORE_LOOK).await,
            Err(refused) => return Err(refuse(&refused)),
        }
    }
    Err(problem::STORE_UNAVAILABLE.respond("the store does not have the sale yet: it is behind the journal"))
}

pub fn refuse(refused: &Refused) -> BoxedResponse {
    match refused {
        Refused::Full => problem::OVERLOADED.respond("limits.reports_max is reached"),
        Refused::TooSlow => problem::OVERLOADED.respond("reading the store took longer than limits.report_seconds"),
        Refused::Unreadable => problem::STORE_UNAVAILABLE.respond("the store cannot be read; the log says why"),
        Refused::Stopping => problem::DRAINING.respond("the service is shutting down"),
    }
}
