//! Sales: put, get, list, pause, resume, close, availability, adjustments.

use std::sync::Arc;

use hyper::{
    StatusCode,
    header::{CACHE_CONTROL, ETAG, HeaderMap, HeaderValue},
};

use super::{IDEMPOTENT_REPLAYED, Judged, idempotency_key, json, read_small};
use crate::{
    auth::Caller,
    engine::{Adjustment, Answer, SaleView},
    http::{
        BoxedRequest, BoxedResponse, body, conditions, problem,
        router::{Matched, Route},
        settings_body::{Patch, SettingsBody},
        wire::{self, AdjustBody, AdjustmentBody, AvailabilityBody, NoBody, SaleBody, SalesBody},
        worker::Worker,
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

pub async fn put(worker: &Worker, caller: &Caller, id: &str, request: BoxedRequest) -> Judged {
    let expected = conditions::expected(request.headers()).map_err(|invalid| problem::invalid(&[invalid]))?;
    let limits = worker.limits();
    let bytes = body::read(request, limits.sale_body_bytes_max, limits.body_read_time, true).await?;
    let body: SettingsBody = wire::parse(&bytes, &worker.bounds()).map_err(|wrong| problem::invalid(&wrong))?;
    let mut settings = SaleSettings::from(body);
    if settings.id.is_empty() {
        settings.id = id.to_owned();
    }
    must_be_of_path(&settings.id, id)?;
    let answer = worker.engine().put_sale_if(worker.now(), caller.actor(), &expected, &settings);
    Ok(answer.map(|outcome| show_put(worker, outcome)))
}

/// Merges a patch into the settings as they are. Whoever changes them meanwhile makes it start over, which costs that
/// change's caller nothing and is over once nobody else changes them.
pub async fn patch(worker: &Worker, caller: &Caller, id: &str, request: BoxedRequest) -> Judged {
    let expected = conditions::expected(request.headers()).map_err(|invalid| problem::invalid(&[invalid]))?;
    let limits = worker.limits();
    let bytes = body::read_patch(request, limits.sale_body_bytes_max, limits.body_read_time).await?;
    let bounds = worker.bounds();
    let patch = Patch::parse(&bytes, &bounds).map_err(|wrong| problem::invalid(&wrong))?;
    must_be_of_path(patch.id().unwrap_or(id), id)?;
    loop {
        let Answer { value: present, durable_at } = worker.engine().sale_to_change(id);
        let merged = present.map_err(|refusal| refuse(worker, &refusal)).and_then(|present| {
            let tag = present.tag();
            if !expected.is_met(Some(tag)) {
                return Err(refuse(worker, &Refusal::PreconditionFailed { present: Some(tag) }));
            }
            let merged = patch.merge(&present.settings, &bounds).map_err(|wrong| problem::invalid(&wrong))?;
            Ok((tag, merged))
        });
        let (tag, merged) = match merged {
            Ok(merged) => merged,
            Err(refused) => return Ok(Answer { value: refused, durable_at }),
        };
        let mut answer = worker.engine().put_sale_if(worker.now(), caller.actor(), &Expected::exactly(tag), &merged);
        if let Err(Refusal::PreconditionFailed { .. }) = answer.value {
            tokio::task::yield_now().await;
            continue;
        }
        if let Err(Refusal::Invalid(wrong)) = &mut answer.value {
            patch.lead_back(wrong, &merged);
        }
        return Ok(answer.map(|outcome| show_put(worker, outcome)));
    }
}

fn must_be_of_path(given: &str, id: &str) -> Result<(), BoxedResponse> {
    let wrong = || Invalid::new("/id", format!("must be {id:?}, as in the path, or be left out"));
    if given == id { Ok(()) } else { Err(problem::invalid(&[wrong()])) }
}

fn show_put(worker: &Worker, outcome: Result<(Put, Arc<Sale>), Refusal>) -> BoxedResponse {
    match outcome {
        Ok((Put::Created, sale)) => tagged(json(StatusCode::CREATED, &sale.settings), &sale),
        Ok((Put::Replaced, sale)) => tagged(json(StatusCode::OK, &sale.settings), &sale),
        Err(refusal) => refuse(worker, &refusal),
    }
}

/// With the ETag of the sale's settings.
fn tagged(mut response: BoxedResponse, sale: &Sale) -> BoxedResponse {
    let tag = HeaderValue::try_from(conditions::etag(sale.tag())).expect("digits in quotes");
    response.headers_mut().insert(ETAG, tag);
    response
}

pub fn get(worker: &Worker, id: &str, headers: &HeaderMap) -> Judged {
    let answer = worker.engine().sale(worker.now(), id);
    Ok(answer.map(|outcome| match outcome {
        Ok(view) if conditions::is_known(headers, view.sale.tag()) => {
            let mut response = BoxedResponse::default();
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            tagged(response, &view.sale)
        }
        Ok(view) => tagged(json(StatusCode::OK, &SaleBody::new(&view)), &view.sale),
        Err(refusal) => refuse(worker, &refusal),
    }))
}

pub fn list(worker: &Worker, caller: &Caller, query: Option<&str>) -> Judged {
    let page_max = worker.limits().sales_page_max;
    let page = Page::parse(query.unwrap_or(""), page_max).map_err(|invalid| problem::invalid(&[invalid]))?;
    let answer = worker.engine().sales(worker.now(), &page.after, page.limit, |id| caller.sees(id));
    let answer = answer.map(|(views, more)| {
        let sales: Vec<_> = views.iter().map(SaleBody::new).collect();
        let next = views.last().filter(|_| more).map(|view| view.sale.settings.id.as_str());
        json(StatusCode::OK, &SalesBody { sales, next })
    });
    Ok(answer)
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
    // Shown as it is after the turn: the view is at least as new, and so is the epoch that it waits for.
    Ok(show(worker, engine.sale(now, id)))
}

pub fn availability(worker: &Worker, id: &str) -> Answer<BoxedResponse> {
    worker.engine().availability(worker.now(), id).map(|outcome| match outcome {
        Ok(view) => json(StatusCode::OK, &AvailabilityBody::new(&view)),
        Err(refusal) => refuse(worker, &refusal),
    })
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
        // Nothing was sold out to anybody here: the operator asked back more than is there.
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

fn show(worker: &Worker, answer: Answer<Result<SaleView, Refusal>>) -> Answer<BoxedResponse> {
    answer.map(|outcome| match outcome {
        Ok(view) => json(StatusCode::OK, &SaleBody::new(&view)),
        Err(refusal) => refuse(worker, &refusal),
    })
}

fn refuse(worker: &Worker, refusal: &Refusal) -> BoxedResponse {
    problem::refuse(refusal, worker.engine())
}

/// Which part of a list is wanted.
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
                _ => return Err(Invalid::new("", format!("the query takes after and limit, and not {name:?}"))),
            };
            if known.is_some() {
                return Err(Invalid::new("", format!("the query takes {name} once")));
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
