//! Reports on sales.

use hyper::StatusCode;

use super::{Answered, long_json};
use crate::{
    auth::Caller,
    http::{
        json::report::ReportBody,
        worker::{Service, Worker},
    },
    sale::{ids::SaleNumber, settings::Invalid},
};

pub(super) async fn get(
    worker: &Worker,
    caller: &Caller,
    id: &str,
    sale: Option<SaleNumber>,
    query: Option<&str>,
) -> Answered {
    if query.is_some_and(|query| !query.is_empty()) {
        return Err(Invalid::new("", "this call takes no query parameters").into());
    }
    let (number, read) = worker.api.service.report(id, sale).await?;
    let (id, sees_all) = (id.to_owned(), caller.sees_all());
    let show = move |service: &Service| {
        let body = ReportBody::new(&id, number, &read, &service.api.refusals, sees_all);
        long_json(service, StatusCode::OK, &body)
    };
    Ok(worker.aside(show).await)
}
