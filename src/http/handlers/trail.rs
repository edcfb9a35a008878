//! The audit trail.

use std::sync::Arc;

use hyper::StatusCode;

use super::{Answered, long_json};
use crate::{
    auth::Caller,
    events::ViewCursors,
    http::{
        json::trail::{TrailBody, read_cursor},
        query,
        worker::{Service, Worker},
    },
    sale::{ids::SaleId, rule::Rule, settings::Invalid},
    store::{RECORDS_MAX, TrailAsk},
};

/// Records of a page when the caller does not say.
pub(crate) const RECORDS: usize = 50;

pub(crate) async fn get(worker: &Worker, caller: &Arc<Caller>, query: Option<&str>) -> Answered {
    let service = &worker.api.service;
    let cursors = service.events.trail_cursors_of(caller.patterns());
    let ask = parse(query, caller, &cursors)?;
    let read = service.trail(ask).await?;
    let sees_all = caller.sees_all();
    let show = move |service: &Service| long_json(service, StatusCode::OK, &TrailBody::new(&read, &cursors, sees_all));
    Ok(worker.aside(show).await)
}

/// Records of a sale that the caller may not know of are not there, as if the sale did not exist.
fn parse(query: Option<&str>, caller: &Arc<Caller>, cursors: &ViewCursors) -> Result<TrailAsk, Invalid> {
    let [before, limit, sale] = query::members(query, ["before", "limit", "sale"])?;
    let no_cursor = "must be the next of a page, as a key that reaches the same sales was given it";
    let read = |text: String| read_cursor(cursors, &text).ok_or_else(|| Invalid::new("/before", no_cursor));
    let before = before.map(read).transpose()?;
    let limit = match limit {
        None => RECORDS,
        Some(text) => {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
            let limit = text.parse().ok().filter(|limit| is_plain && (1..=RECORDS_MAX).contains(limit));
            limit.ok_or_else(|| Invalid::new("/limit", Rule::whole(1, RECORDS_MAX as u64)))?
        }
    };
    let wrong_sale = "must match [a-z0-9][a-z0-9._-]{0,63}, such as \"doorbuster-tv\"";
    if sale.as_deref().is_some_and(|sale| SaleId::parse(sale).is_err()) {
        return Err(Invalid::new("/sale", wrong_sale));
    }
    let caller = caller.clone();
    let wanted = move |sale: Option<&str>| sale.map_or_else(|| caller.sees_all(), |sale| caller.sees(sale));
    Ok(TrailAsk { before, sale, wanted: Box::new(wanted), limit })
}
