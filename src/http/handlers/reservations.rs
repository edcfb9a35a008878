//! Reserve, look, extend, change, confirm, release, cancel.

use std::sync::Arc;

use bytes::Bytes;
use hyper::{
    StatusCode,
    header::{HeaderValue, LOCATION},
};

use super::{idempotency_key, json, json_bytes, long_json, read_small, replayed_if, small};
use crate::{
    api::{self, Judged, SaleRef, parse_id, refused::Refused},
    auth::Caller,
    engine::{CancelMade, CatalogueGuard, Made},
    http::{
        body::{self, Arrived, BoxedRequest},
        json::{
            answers::{CustomerBody, DryRunBody, ReservationBody},
            encode, parse,
            requests::{CUSTOMER, CancelBody, ChangeBody, ConfirmBody, ExtendBody, ReleaseBody},
        },
        query,
        response::{self, BoxedResponse},
        worker::{Service, Worker},
    },
    sale::{
        catalogue::Catalogue,
        ids::{SaleNumber, check_name},
        outcome::{Refusal, Reservation},
        settings::Invalid,
    },
};

/// Where reservations are.
const PATH: &[u8] = b"/v1/reservations/";

/// `catalogue`: in which the sale was looked up, if it is still there. Usually the body has arrived with its head, and the guard
/// serves the whole call.
pub(super) async fn reserve(
    worker: &Worker,
    caller: &Caller,
    catalogue: Option<CatalogueGuard>,
    sale: Option<SaleNumber>,
    id: &str,
    request: BoxedRequest,
) -> Judged<BoxedResponse> {
    // The key outlives the request, whose body is consumed.
    let key = idempotency_key(request.headers())?.map(compact_str::CompactString::from);
    let dry_run = query::dry_run(request.uri().query())?;
    let sale = sale.map(|number| SaleRef { number, id });
    let (catalogue, bytes) = match body::arrived(&worker.service.buffers, request, small(worker), true).await? {
        Arrived::Whole(bytes) => (catalogue, bytes),
        Arrived::Part(rest) => {
            drop(catalogue);
            (None, rest.await?)
        }
    };
    let catalogue = catalogue.unwrap_or_else(|| worker.engine().catalogue());
    if dry_run {
        return try_out(worker, caller, id, &bytes);
    }
    decide(worker, caller, catalogue, sale, key.as_deref(), &bytes)
}

/// Says what would come of a reserve.
fn try_out(worker: &Worker, caller: &Caller, sale: &str, bytes: &Bytes) -> Judged<BoxedResponse> {
    let body = parse::parse_reserve(bytes, worker.limits())?;
    let mut checked = body.check(worker.limits(), &worker.api.service.customer_ids)?;
    checked.through(caller)?;
    let answer = worker.api.try_reserve(sale, &checked);
    let catalogue = worker.engine().catalogue();
    Ok(answer.map(|outcome| match outcome {
        Ok(tried) => json(StatusCode::OK, &DryRunBody::new(&tried, &catalogue)),
        Err(refusal) => response::refusal(&refusal, &catalogue),
    }))
}

fn decide(
    worker: &Worker,
    caller: &Caller,
    mut catalogue: CatalogueGuard,
    sale: Option<SaleRef<'_>>,
    key: Option<&str>,
    bytes: &Bytes,
) -> Judged<BoxedResponse> {
    let body = parse::parse_reserve(bytes, worker.limits())?;
    let mut checked = body.check(worker.limits(), &worker.api.service.customer_ids)?;
    checked.through(caller)?;
    worker.api.service.names.admit(checked.extras.as_deref())?;
    let answer = worker.api.reserve(&mut catalogue, sale, &checked, key)?;
    Ok(answer.map(|outcome| match outcome {
        Ok(made) => show_made(&made, &catalogue),
        Err(refusal) => response::refusal(&refusal, &catalogue),
    }))
}

fn show_made(made: &Made, catalogue: &Catalogue) -> BoxedResponse {
    let mut buffer = [0; 36];
    let id = made.reservation.id.encode(&mut buffer);
    // Location and body share one allocation.
    let mut bytes = Vec::with_capacity(PATH.len() + id.len() + encode::RESERVATION_BYTES);
    bytes.extend_from_slice(PATH);
    bytes.extend_from_slice(id.as_bytes());
    encode::reservation(&mut bytes, &ReservationBody::made(made, catalogue), id);
    let mut body = Bytes::from(bytes);
    let location = HeaderValue::from_maybe_shared(body.split_to(PATH.len() + id.len()));
    let mut response = json_bytes(StatusCode::CREATED, body);
    response.headers_mut().insert(LOCATION, location.expect("an id is ASCII"));
    replayed_if(made.replayed_of.is_some(), response)
}

pub(super) fn get(worker: &Worker, caller: &Caller, id: &str) -> Judged<BoxedResponse> {
    let answer = worker.api.look(caller, parse_id(id)?)?;
    Ok(answer.map(|outcome| show(worker, &outcome)))
}

/// What memory has of one customer in the sale.
pub(super) async fn of_customer(
    worker: &Worker,
    caller: &Arc<Caller>,
    sale: Option<SaleNumber>,
    query: Option<&str>,
) -> Judged<BoxedResponse> {
    let customer = parse_customer(query)?;
    let (sale, mut search) = worker.api.service.search(sale, customer)?;
    while !worker.in_portions(|| worker.engine().search(&mut search)).await {}
    let many_items = api::is_large(worker.engine().catalogue().sale_numbered(sale).items.len());
    let caller = caller.clone();
    let show = move |service: &Service| {
        service.api.of_customer(&caller, &search).map(|found| {
            let catalogue = service.api.engine.catalogue();
            let body = CustomerBody::new(&found, catalogue.sale_numbered(sale), &catalogue);
            long_json(service, StatusCode::OK, &body)
        })
    };
    Ok(if many_items { worker.aside(show).await } else { show(&worker.service) })
}

fn parse_customer(query: Option<&str>) -> Result<String, Invalid> {
    let [customer] = query::members(query, ["customer"])?;
    let customer = customer.ok_or_else(|| Invalid::new("/customer", format!("is required and {CUSTOMER}")))?;
    check_name(&customer).map_err(|_| Invalid::new("/customer", CUSTOMER))?;
    Ok(customer)
}

pub(super) async fn confirm(
    worker: &Worker,
    caller: &Caller,
    id: &str,
    request: BoxedRequest,
) -> Judged<BoxedResponse> {
    let id = parse_id(id)?;
    let bytes = read_small(worker, request, false).await?;
    let body: ConfirmBody<'_> = parse::parse_optional(&bytes, worker.limits())?;
    let answer = worker.api.confirm(caller, id, &body.check(worker.limits())?)?;
    Ok(answer.map(|outcome| show(worker, &outcome)))
}

pub(super) async fn release(
    worker: &Worker,
    caller: &Caller,
    id: &str,
    request: BoxedRequest,
) -> Judged<BoxedResponse> {
    let id = parse_id(id)?;
    let bytes = read_small(worker, request, false).await?;
    let body: ReleaseBody<'_> = parse::parse_optional(&bytes, worker.limits())?;
    body.check()?;
    let answer = worker.api.release(caller, id, body.reason.as_deref())?;
    Ok(answer.map(|outcome| show(worker, &outcome)))
}

pub(super) async fn change(worker: &Worker, caller: &Caller, id: &str, request: BoxedRequest) -> Judged<BoxedResponse> {
    let id = parse_id(id)?;
    let bytes = read_small(worker, request, true).await?;
    let body: ChangeBody<'_> = parse::parse(&bytes, worker.limits())?;
    let answer = worker.api.change(caller, id, &body.check(worker.limits())?)?;
    Ok(answer.map(|outcome| show(worker, &outcome)))
}

pub(super) async fn cancel(worker: &Worker, caller: &Caller, id: &str, request: BoxedRequest) -> Judged<BoxedResponse> {
    let key = idempotency_key(request.headers())?.map(str::to_owned);
    let id = parse_id(id)?;
    let bytes = read_small(worker, request, false).await?;
    let body: CancelBody<'_> = parse::parse_optional(&bytes, worker.limits())?;
    let asked = body.check(worker.limits(), key.is_some())?;
    let answer = worker.api.cancel(caller, id, &asked, key.as_deref())?;
    Ok(answer.map(|outcome| match outcome {
        Ok(CancelMade { reservation, replayed }) => replayed_if(replayed, show(worker, &Ok(reservation))),
        Err(Refusal::ReservationNotFound) => response::refused(&Refused::no_such_reservation_to_cancel()),
        Err(refusal) => show(worker, &Err(refusal)),
    }))
}

pub(super) async fn extend(worker: &Worker, caller: &Caller, id: &str, request: BoxedRequest) -> Judged<BoxedResponse> {
    let id = parse_id(id)?;
    let bytes = read_small(worker, request, true).await?;
    let body: ExtendBody = parse::parse(&bytes, worker.limits())?;
    let hold_seconds = body.check(worker.limits())?;
    let answer = worker.api.extend(caller, id, hold_seconds)?;
    Ok(answer.map(|outcome| show(worker, &outcome)))
}

fn show(worker: &Worker, outcome: &Result<Reservation, Refusal>) -> BoxedResponse {
    let catalogue = worker.engine().catalogue();
    match outcome {
        Ok(reservation) => {
            let mut bytes = Vec::with_capacity(encode::RESERVATION_BYTES);
            let body = ReservationBody::new(reservation, &catalogue);
            encode::reservation(&mut bytes, &body, reservation.id.encode(&mut [0; 36]));
            json_bytes(StatusCode::OK, bytes)
        }
        Err(refusal) => response::refusal(refusal, &catalogue),
    }
}
