//! Reports on sales.

use hyper::StatusCode;

use super::{Answered, long_json};
use crate::{
    auth::Caller,
    http::{
        json::report::ReportBody,
        query,
        worker::{Service, Worker},
    },
    sale::{ids::SaleNumber, settings::Invalid},
    store::By,
};

const BY: &str = "must be channel, tier, pool, location, or label: and the name of a label, such as label:campaign";

pub(super) async fn get(
    worker: &Worker,
    caller: &Caller,
    id: &str,
    sale: Option<SaleNumber>,
    query: Option<&str>,
) -> Answered {
    let [by] = query::members(query, ["by"])?;
    let by = by.map(|by| By::parse(&by).ok_or_else(|| Invalid::new("/by", BY))).transpose()?;
    let (number, read) = worker.api.service.report(id, sale, by).await?;
    let (id, sees_all) = (id.to_owned(), caller.sees_all());
    let show = move |service: &Service| {
        let body = ReportBody::new(&id, number, &read, &service.api.refusals, sees_all);
        long_json(service, StatusCode::OK, &body)
    };
    Ok(worker.aside(show).await)
}
