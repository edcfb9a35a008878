//! Reserve, look, confirm, release, extend.

use bytes::Bytes;
use hyper::{
    StatusCode,
    header::{HeaderValue, LOCATION},
};

use super::{IDEMPOTENT_REPLAYED, Judged, idempotency_key, json_bytes, long_json, read_small, sales::ITEMS_IN_PASSING};
use crate::{
    auth::Caller,
    engine::{Answer, Made},
    http::{
        BoxedRequest, BoxedResponse, encode, problem, query,
        wire::{self, CUSTOMER, CheckedReserve, ConfirmBody, CustomerBody, ExtendBody, ReleaseBody, ReservationBody},
        worker::{Service, Worker},
    },
    sale::{
        catalogue::Sale,
        ids::{ReservationId, SaleNumber, check_name},
        outcome::{Refusal, Reservation},
        settings::Invalid,
        shard::Search,
        time::Timestamp,
    },
};

/// Where reservations are.
const PATH: &[u8] = b"/v1/reservations/";

pub async fn reserve(worker: &Worker, sale: Option<SaleNumber>, request: BoxedRequest) -> Judged {
    // The key outlives the request, whose body is consumed.
    let key = idempotency_key(request.headers())?.map(compact_str::CompactString::from);
    let bytes = read_small(worker, request, true).await?;
    decide(worker, sale, key.as_deref(), &bytes)
}

fn decide(worker: &Worker, sale: Option<SaleNumber>, key: Option<&str>, bytes: &Bytes) -> Judged {
    let body = wire::parse_reserve(bytes, &worker.bounds()).map_err(|wrong| problem::invalid(&wrong))?;
    let checked = body.check(&worker.limits().reserve, &worker.service.customer_ids);
    let checked = checked.map_err(|wrong| problem::invalid(&wrong))?;
    let (catalogue, rates) = (worker.engine().catalogue(), &worker.service.rates);
    let Some(sale) = sale.map(|number| catalogue.sale_numbered(number)) else {
        worker.tally.refused(&Refusal::SaleNotFound);
        return Err(problem::no_such_sale());
    };
    if !rates.idle(&catalogue) {
        rates.admit_customer(sale, &checked.customer).map_err(|limited| worker.rate_limited(&limited))?;
    }
    let answer = ask(worker, worker.now(), sale, &checked, key);
    Ok(answer.map(|outcome| show_made(worker, outcome)))
}

/// Has the engine decide a well-formed reserve, and counts the outcome.
pub fn ask(
    worker: &Worker,
    now: Timestamp,
    sale: &Sale,
    checked: &CheckedReserve<'_>,
    key: Option<&str>,
) -> Answer<Result<Made, Refusal>> {
    let answer = worker.engine().reserve(now, &checked.asked(&sale.settings.id, key), worker.entropy());
    count(worker, sale.number, &answer.value);
    answer
}

/// Counts the outcome of a reserve.
pub fn count(worker: &Worker, sale: SaleNumber, outcome: &Result<Made, Refusal>) {
    match outcome {
        Ok(made) if made.replayed_of.is_some() => worker.service.telemetry.reservations.replayed(),
        Ok(_) => worker.tally.held(),
        Err(refusal) => worker.refused(sale, refusal),
    }
}

fn show_made(worker: &Worker, outcome: Result<Made, Refusal>) -> BoxedResponse {
    match outcome {
        Err(refusal) => problem::refuse(&refusal, worker.engine()),
        Ok(made) => {
            let catalogue = worker.engine().catalogue();
            let mut buffer = [0; 36];
            let id = made.reservation.id.encode(&mut buffer);
            // Location and body share one allocation.
            let mut bytes = Vec::with_capacity(PATH.len() + id.len() + encode::RESERVATION_BYTES);
            bytes.extend_from_slice(PATH);
            bytes.extend_from_slice(id.as_bytes());
            encode::reservation(&mut bytes, &ReservationBody::made(&made, &catalogue), id);
            let mut body = Bytes::from(bytes);
            let location = HeaderValue::from_maybe_shared(body.split_to(PATH.len() + id.len()));
            let mut response = json_bytes(StatusCode::CREATED, body);
            response.headers_mut().insert(LOCATION, location.expect("an id is ASCII"));
            if made.replayed_of.is_some() {
                response.headers_mut().insert(&IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
            }
            response
        }
    }
}

pub fn get(worker: &Worker, caller: &Caller, id: &str) -> Judged {
    let id = parse_id(id)?;
    must_see(worker, caller, id)?;
    let answer = worker.engine().look(worker.now(), id);
    Ok(answer.map(|outcome| show(worker, outcome)))
}

/// What memory has of one customer in the sale.
pub async fn of_customer(worker: &Worker, sale: Option<SaleNumber>, query: Option<&str>) -> Judged {
    let customer = parse_customer(query).map_err(|invalid| problem::invalid(&[invalid]))?;
    let Some(sale) = sale else { return Err(problem::no_such_sale()) };
    let customer = worker.service.customer_ids.known_as(customer);
    let mut search = Search::new(&customer, sale, worker.limits().customer_reservations_max);
    while !worker.in_turn(|| worker.engine().search(&mut search)).await {}
    let many_items = worker.engine().catalogue().sale_numbered(sale).items.len() > ITEMS_IN_PASSING;
    let show = move |service: &Service| {
        let answer = service.engine.of_customer(service.clock.now(), &search);
        answer.map(|found| {
            let catalogue = service.engine.catalogue();
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

pub async fn confirm(worker: &Worker, caller: &Caller, id: &str, request: BoxedRequest) -> Judged {
    let id = parse_id(id)?;
    let bytes = read_small(worker, request, false).await?;
    let body: ConfirmBody<'_> =
        wire::parse_optional(&bytes, &worker.bounds()).map_err(|wrong| problem::invalid(&wrong))?;
    body.check().map_err(|wrong| problem::invalid(&wrong))?;
    must_see(worker, caller, id)?;
    let answer = worker.engine().confirm(worker.now(), id, body.reference.as_deref());
    worker.service.telemetry.reservations.confirm(&answer.value);
    Ok(answer.map(|outcome| show(worker, outcome)))
}

pub async fn release(worker: &Worker, caller: &Caller, id: &str, request: BoxedRequest) -> Judged {
    let id = parse_id(id)?;
    let bytes = read_small(worker, request, false).await?;
    let body: ReleaseBody<'_> =
        wire::parse_optional(&bytes, &worker.bounds()).map_err(|wrong| problem::invalid(&wrong))?;
    body.check().map_err(|wrong| problem::invalid(&wrong))?;
    must_see(worker, caller, id)?;
    let answer = worker.engine().release(worker.now(), id, body.reason.as_deref());
    worker.service.telemetry.reservations.release(&answer.value);
    Ok(answer.map(|outcome| show(worker, outcome)))
}

pub async fn extend(worker: &Worker, caller: &Caller, id: &str, request: BoxedRequest) -> Judged {
    let id = parse_id(id)?;
    let bytes = read_small(worker, request, true).await?;
    let body: ExtendBody = wire::parse(&bytes, &worker.bounds()).map_err(|wrong| problem::invalid(&wrong))?;
    let hold_seconds_max = worker.limits().reserve.hold_seconds_max;
    let hold_seconds = body.check(hold_seconds_max).map_err(|wrong| problem::invalid(&wrong))?;
    must_see(worker, caller, id)?;
    let answer = worker.engine().extend(worker.now(), id, hold_seconds);
    worker.service.telemetry.reservations.extend(&answer.value);
    Ok(answer.map(|outcome| show(worker, outcome.map(|extension| extension.reservation))))
}

fn show(worker: &Worker, outcome: Result<Reservation, Refusal>) -> BoxedResponse {
    match outcome {
        Ok(reservation) => {
            let catalogue = worker.engine().catalogue();
            let mut bytes = Vec::with_capacity(encode::RESERVATION_BYTES);
            let id = reservation.id;
            encode::reservation(&mut bytes, &ReservationBody::new(&reservation, &catalogue), id.encode(&mut [0; 36]));
            json_bytes(StatusCode::OK, bytes)
        }
        Err(refusal) => problem::refuse(&refusal, worker.engine()),
    }
}

/// A reservation of a sale that the caller may not see does not exist for it.
fn must_see(worker: &Worker, caller: &Caller, id: ReservationId) -> Result<(), BoxedResponse> {
    let sees = || worker.engine().sale_of(id).is_none_or(|sale| caller.sees(&sale.settings.id));
    if caller.sees_all() || sees() { Ok(()) } else { Err(problem::no_such_reservation()) }
}

/// Not a reservation id: no reservation has it.
fn parse_id(text: &str) -> Result<ReservationId, BoxedResponse> {
    let unknown = || problem::RESERVATION_NOT_FOUND.respond("this is not a reservation id");
    ReservationId::parse(text).ok_or_else(unknown)
}
