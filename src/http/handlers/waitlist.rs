//! Join a waitlist, look at an entry, leave.

use hyper::{
    StatusCode,
    header::{HeaderValue, LOCATION},
};

use super::{idempotency_key, json, read_small, replayed_if};
use crate::{
    api::{Judged, SaleRef, parse_entry_id},
    auth::Caller,
    engine::EntryView,
    http::{
        body::BoxedRequest,
        json::{
            answers::WaitlistEntryBody,
            parse,
            requests::{JoinBody, NoBody},
        },
        response::{self, BoxedResponse},
        worker::Worker,
    },
    sale::{ids::SaleNumber, outcome::Refusal},
};

pub(super) async fn join(
    worker: &Worker,
    caller: &Caller,
    sale: Option<SaleNumber>,
    id: &str,
    request: BoxedRequest,
) -> Judged<BoxedResponse> {
    let key = idempotency_key(request.headers())?.map(str::to_owned);
    let bytes = read_small(worker, request, true).await?;
    let body: JoinBody<'_> = parse::parse(&bytes, worker.limits())?;
    let mut checked = body.check(worker.limits(), &worker.api.service.customer_ids)?;
    checked.through(caller)?;
    worker.api.service.names.admit(checked.extras.as_deref())?;
    let sale = sale.map(|number| SaleRef { number, id });
    let answer = worker.api.join_waitlist(sale, &checked, key.as_deref())?;
    Ok(answer.map(|outcome| {
        let mut response = show(worker, StatusCode::CREATED, &outcome);
        let Ok(EntryView { entry, replayed, .. }) = outcome else { return response };
        let location = HeaderValue::try_from(format!("/v1/waitlist/{}", entry.id)).expect("an id is ASCII");
        response.headers_mut().insert(LOCATION, location);
        replayed_if(replayed, response)
    }))
}

pub(super) fn get(worker: &Worker, caller: &Caller, id: &str) -> Judged<BoxedResponse> {
    let answer = worker.api.look_at_entry(caller, parse_entry_id(id)?)?;
    Ok(answer.map(|outcome| show(worker, StatusCode::OK, &outcome)))
}

pub(super) async fn leave(worker: &Worker, caller: &Caller, id: &str, request: BoxedRequest) -> Judged<BoxedResponse> {
    let id = parse_entry_id(id)?;
    let bytes = read_small(worker, request, false).await?;
    let _: NoBody = parse::parse_optional(&bytes, worker.limits())?;
    let answer = worker.api.leave_waitlist(caller, id)?;
    Ok(answer.map(|outcome| show(worker, StatusCode::OK, &outcome)))
}

fn show(worker: &Worker, status: StatusCode, outcome: &Result<EntryView, Refusal>) -> BoxedResponse {
    let catalogue = worker.engine().catalogue();
    match outcome {
        Ok(view) => json(status, &WaitlistEntryBody::new(view, &catalogue)),
        Err(refusal) => response::refusal(refusal, &catalogue),
    }
}
