//! Sales: put, get, list, pause, resume, close, availability, adjustments.

use std::sync::Arc;

use hyper::{
    StatusCode,
    header::{CACHE_CONTROL, ETAG, HeaderMap, HeaderValue},
};

use super::{IDEMPOTENT_REPLAYED, Judged, idempotency_key, json, long_json, owed_json, read_small};
use crate::{
    auth::Caller,
    engine::{Adjustment, Answer, SaleView},
    http::{
        BoxedRequest, BoxedResponse,
        body::{self, Limit},
        buffers::Share,
        conditions, problem,
        router::{Matched, Route},
        settings_body::{Patch, SettingsBody},
        wire::{self, AdjustBody, AdjustmentBody, AvailabilityBody, NoBody, SaleBody, SalesBody},
        worker::{Service, Worker},
    },
    sale::{
        catalogue::{Put, Sale},
        command::Adjust,
        expected::Expected,
        outcome::Refusal,
        rule::Rule,
        settings::{Invalid, SaleSettings},
    },
};

/// Sales with more items are encoded on another thread: their JSON takes milliseconds.
pub const ITEMS_IN_PASSING: usize = 256;

pub async fn put(worker: &Worker, caller: &Arc<Caller>, id: &str, request: BoxedRequest) -> Judged {
    let expected = conditions::expected(request.headers()).map_err(|invalid| problem::invalid(&[invalid]))?;
    let bytes = body::read(&worker.service.buffers, request, document_limit(worker), true).await?;
    let (caller, id) = (caller.clone(), id.to_owned());
    // Whatever its size: documents are applied one after the other, so a small one may wait for a large one.
    worker.aside(move |service| judge_put(service, &caller, &id, &expected, &bytes)).await
}

fn document_limit(worker: &Worker) -> Limit {
    let limits = worker.limits();
    Limit { bytes_max: limits.sale_body_bytes_max, time_max: limits.body_read_time, share: Share::Large }
}

fn judge_put(service: &Service, caller: &Caller, id: &str, expected: &Expected, bytes: &[u8]) -> Judged {
    let body: SettingsBody = wire::parse(bytes, &service.bounds()).map_err(|wrong| problem::invalid(&wrong))?;
    let mut settings = SaleSettings::from(body);
    if settings.id.is_empty() {
        id.clone_into(&mut settings.id);
    }
    must_be_of_path(&settings.id, id)?;
    let answer = service.engine.put_sale_if(service.clock.now(), caller.actor(), expected, &settings);
    Ok(show_put(service, answer))
}

/// Merges a patch into the current settings.
pub async fn patch(worker: &Worker, caller: &Arc<Caller>, id: &str, request: BoxedRequest) -> Judged {
    let expected = conditions::expected(request.headers()).map_err(|invalid| problem::invalid(&[invalid]))?;
    let bytes = body::read_patch(&worker.service.buffers, request, document_limit(worker)).await?;
    let (caller, id) = (caller.clone(), id.to_owned());
    worker.aside(move |service| judge_patch(service, &caller, &id, &expected, &bytes)).await
}

/// Starts over if another caller changes the settings meanwhile. That costs the other caller nothing, and ends when nobody else
/// changes them.
fn judge_patch(service: &Service, caller: &Caller, id: &str, expected: &Expected, bytes: &[u8]) -> Judged {
    let bounds = service.bounds();
    let patch = Patch::parse(bytes, &bounds).map_err(|wrong| problem::invalid(&wrong))?;
    must_be_of_path(patch.id().unwrap_or(id), id)?;
    let refuse = |refusal: &Refusal| problem::refuse(refusal, &service.engine);
    loop {
        let Answer { value: present, durable_at } = service.engine.sale_to_change(id);
        let merged = present.map_err(|refusal| refuse(&refusal)).and_then(|present| {
            let tag = present.tag();
            if !expected.is_met(Some(tag)) {
                return Err(refuse(&Refusal::PreconditionFailed { present: Some(tag) }));
            }
            let merged = patch.merge(&present.settings, &bounds).map_err(|wrong| problem::invalid(&wrong))?;
            Ok((tag, merged))
        });
        let (tag, merged) = match merged {
            Ok(merged) => merged,
            Err(refused) => return Ok(Answer { value: refused, durable_at }),
        };
        let now = service.clock.now();
        let mut answer = service.engine.put_sale_if(now, caller.actor(), &Expected::exactly(tag), &merged);
        match &mut answer.value {
            Err(Refusal::PreconditionFailed { .. }) => continue,
            Err(Refusal::Invalid(wrong)) => patch.lead_back(wrong, &merged),
            _ => {}
        }
        return Ok(show_put(service, answer));
    }
}

fn must_be_of_path(given: &str, id: &str) -> Result<(), BoxedResponse> {
    let wrong = || Invalid::new("/id", format!("must be {id:?}, as in the path, or be left out"));
    if given == id { Ok(()) } else { Err(problem::invalid(&[wrong()])) }
}

fn show_put(service: &Service, answer: Answer<Result<(Put, Arc<Sale>), Refusal>>) -> Answer<BoxedResponse> {
    if answer.value.is_ok() {
        // Recorded here, because nobody waits if the caller has disconnected.
        service.signal.notify();
    }
    answer.map(|outcome| match outcome {
        Ok((Put::Created, sale)) => tagged(owed_json(service, StatusCode::CREATED, &*sale.settings), &sale),
        Ok((Put::Replaced, sale)) => tagged(owed_json(service, StatusCode::OK, &*sale.settings), &sale),
        Err(refusal) => problem::refuse(&refusal, &service.engine),
    })
}

/// With the ETag of the sale's settings.
fn tagged(mut response: BoxedResponse, sale: &Sale) -> BoxedResponse {
    let tag = HeaderValue::try_from(conditions::etag(sale.tag())).expect("digits in quotes");
    response.headers_mut().insert(ETAG, tag);
    response
}

pub async fn get(worker: &Worker, id: &str, headers: &HeaderMap) -> Judged {
    let known = conditions::known(headers).map_err(|invalid| problem::invalid(&[invalid]))?;
    let show_view = move |service: &Service, view: &SaleView| {
        let response = if known.has(Some(view.sale.tag())) {
            let mut response = BoxedResponse::default();
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        } else {
            long_json(service, StatusCode::OK, &SaleBody::new(view))
        };
        tagged(response, &view.sale)
    };
    Ok(show(worker, id, show_view).await)
}

pub async fn list(worker: &Worker, caller: &Arc<Caller>, query: Option<&str>) -> Judged {
    let page_max = worker.limits().sales_page_max;
    let page = Page::parse(query.unwrap_or(""), page_max).map_err(|invalid| problem::invalid(&[invalid]))?;
    if worker.engine().catalogue().items() <= ITEMS_IN_PASSING {
        return Ok(show_page(&worker.service, caller, &page));
    }
    let caller = caller.clone();
    Ok(worker.aside(move |service| show_page(service, &caller, &page)).await)
}

fn show_page(service: &Service, caller: &Caller, page: &Page) -> Answer<BoxedResponse> {
    let answer = service.engine.sales(service.clock.now(), &page.after, page.limit, |id| caller.sees(id));
    answer.map(|(views, more)| {
        let sales: Vec<_> = views.iter().map(SaleBody::new).collect();
        let next = views.last().filter(|_| more).map(|view| view.sale.settings.id.as_str());
        long_json(service, StatusCode::OK, &SalesBody { sales, next })
    })
}

pub async fn turn(worker: &Worker, caller: &Caller, route: Route, id: &str, request: BoxedRequest) -> Judged {
    let bytes = read_small(worker, request, false).await?;
    let NoBody {} = wire::parse_optional(&bytes, &worker.bounds()).map_err(|wrong| problem::invalid(&wrong))?;
    let (engine, now, by) = (worker.engine(), worker.now(), caller.actor());
    let turned = match route {
        Route::PauseSale => engine.pause(now, by, id),
        Route::ResumeSale => engine.resume(now, by, id),
        _ => engine.close(now, by, id),
    };
    if let Err(refusal) = &turned.value {
        let refused = refuse(worker, refusal);
        return Ok(turned.map(|_| refused));
    }
    worker.tell_journal();
    // Shown as it is after the change: the view is at least as new, and so is the epoch that it waits for.
    Ok(show(worker, id, |service, view| owed_json(service, StatusCode::OK, &SaleBody::new(view))).await)
}

pub async fn availability(worker: &Worker, id: &str) -> Answer<BoxedResponse> {
    let id_of_task = id.to_owned();
    let show = move |service: &Service| {
        service.engine.availability(service.clock.now(), &id_of_task).map(|outcome| match outcome {
            Ok(view) => long_json(service, StatusCode::OK, &AvailabilityBody::new(&view)),
            Err(refusal) => problem::refuse(&refusal, &service.engine),
        })
    };
    if has_many_items(worker, id) { worker.aside(show).await } else { show(&worker.service) }
}

fn has_many_items(worker: &Worker, id: &str) -> bool {
    worker.engine().catalogue().sale(id).is_ok_and(|sale| sale.items.len() > ITEMS_IN_PASSING)
}

pub async fn adjust(worker: &Worker, caller: &Caller, matched: &Matched, request: BoxedRequest) -> Judged {
    let key = idempotency_key(request.headers())?.map(str::to_owned);
    let bytes = read_small(worker, request, true).await?;
    let body: AdjustBody<'_> = wire::parse(&bytes, &worker.bounds()).map_err(|wrong| problem::invalid(&wrong))?;
    body.check(&worker.engine().settings().limits).map_err(|wrong| problem::invalid(&wrong))?;
    let asked = Adjust {
        sale: &matched.subject,
        sku: &matched.sku,
        delta: body.delta,
        reason: body.reason.as_deref(),
        reference: body.reference.as_deref(),
        key: key.as_deref(),
    };
    let answer = worker.engine().adjust(worker.now(), caller.actor(), &asked);
    let answer = answer.map(|outcome| match outcome {
        Ok(adjustment) => show_adjustment(&adjustment),
        // Not a sell-out: the operator asked to remove more than is available.
        Err(Refusal::Short(lines)) => problem::short_as(&problem::INSUFFICIENT_STOCK, &lines),
        Err(refusal) => refuse(worker, &refusal),
    });
    Ok(answer)
}

fn show_adjustment(adjustment: &Adjustment) -> BoxedResponse {
    let mut response = json(StatusCode::CREATED, &AdjustmentBody::new(&adjustment.made));
    if adjustment.replayed {
        response.headers_mut().insert(&IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The sale as it is now, shown by `show_view`.
async fn show(
    worker: &Worker,
    id: &str,
    show_view: impl FnOnce(&Service, &SaleView) -> BoxedResponse + Send + 'static,
) -> Answer<BoxedResponse> {
    let id_of_task = id.to_owned();
    let show = move |service: &Service| {
        service.engine.sale(service.clock.now(), &id_of_task).map(|outcome| match outcome {
            Ok(view) => show_view(service, &view),
            Err(refusal) => problem::refuse(&refusal, &service.engine),
        })
    };
    if has_many_items(worker, id) { worker.aside(show).await } else { show(&worker.service) }
}

fn refuse(worker: &Worker, refusal: &Refusal) -> BoxedResponse {
    problem::refuse(refusal, worker.engine())
}

/// The requested page of a list.
struct Page {
    after: String,
    limit: usize,
}

impl Page {
    fn parse(query: &str, limit_max: usize) -> Result<Self, Invalid> {
        let (mut after, mut limit) = (None, None);
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
            let known = match name {
                "after" => after.replace(value),
                "limit" => limit.replace(value),
                _ => {
                    return Err(Invalid::new(
                        "",
                        format!("the query parameters are after and limit; {name:?} is neither"),
                    ));
                }
            };
            if known.is_some() {
                return Err(Invalid::new("", format!("send the query parameter {name} only once")));
            }
        }
        let limit = match limit {
            None => limit_max,
            Some(text) => {
                let limit = text.parse().ok().filter(|limit| (1..=limit_max).contains(limit) && !text.starts_with('+'));
                limit.ok_or_else(|| Invalid::new("", format!("limit {}", Rule::whole(1, limit_max as u64))))?
            }
        };
        Ok(Self { after: after.unwrap_or_default(), limit })
    }
}
