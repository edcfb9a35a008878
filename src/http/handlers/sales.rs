//! Sales: put, get, list, pause, resume, close, availability, replenishment, adjustments.

use std::{borrow::Cow, sync::Arc, time::Duration};

use hyper::{
    StatusCode,
    header::{CACHE_CONTROL, ETAG, HeaderMap, HeaderValue},
};

use super::{idempotency_key, json, long_json, owed_json, read_small, replayed_if};
use crate::{
    api::{Judged, StatusChange, problems, refused::Refused},
    auth::Caller,
    engine::{AdjustmentOf, Answer, ExtensionOfAll, SaleView, TransferMade},
    http::{
        body::{self, BodyLimit, BoxedRequest},
        buffers::Share,
        conditions,
        json::{
            answers::{
                AdjustedItem, AdjustmentBody, AdjustmentsBody as AdjustmentsResultBody, AvailabilityBody,
                ExtendedHoldsBody, PutDryRunBody, ReplenishmentBody, SaleBody, SalesBody,
                TransferBody as TransferResultBody,
            },
            parse,
            problem::etag,
            requests::{AdjustBody, AdjustmentsBody, ExtendAllBody, NoBody, TransferBody},
            settings::{Patch, SettingsBody},
        },
        query,
        response::{self, BoxedResponse},
        worker::{Service, Worker},
    },
    sale::{
        attributes::Attributes,
        catalogue::{Put, Sale},
        command::{Adjust, AdjustAll, ExtendAll, Extras, Transfer},
        expected::Expected,
        ids::check_slug,
        object::Object,
        outcome::Refusal,
        rule::Rule,
        settings::{CHANNEL, Invalid, REGION, SaleSettings, TIER},
    },
};

pub(super) async fn put(
    worker: &Worker,
    caller: &Arc<Caller>,
    id: &str,
    request: BoxedRequest,
) -> Judged<BoxedResponse> {
    let expected = conditions::expected(request.headers())?;
    let dry_run = query::dry_run(request.uri().query())?;
    let bytes = body::read(&worker.service.buffers, request, document_limit(worker), true).await?;
    let (caller, id) = (caller.clone(), id.to_owned());
    // Whatever its size: documents are applied one after the other, so a small one may wait for a large one.
    worker.aside(move |service| judge_put(service, &caller, &id, &expected, dry_run, &bytes)).await
}

fn document_limit(worker: &Worker) -> BodyLimit {
    let limits = &worker.service.limits;
    BodyLimit { bytes_max: limits.sale_body_bytes_max, time_max: limits.body_read_time, share: Share::Large }
}

fn judge_put(
    service: &Service,
    caller: &Caller,
    id: &str,
    expected: &Expected,
    dry_run: bool,
    bytes: &[u8],
) -> Judged<BoxedResponse> {
    let body: SettingsBody = parse::parse(bytes, &service.api.limits)?;
    let mut settings = SaleSettings::from(body);
    if settings.id.is_empty() {
        id.clone_into(&mut settings.id);
    }
    must_be_of_path(&settings.id, id)?;
    if dry_run {
        return Ok(service.api.try_put(expected, &settings).map(|outcome| match outcome {
            Ok((put, warnings)) => {
                json(StatusCode::OK, &PutDryRunBody { created: put == Put::Created, warnings: &warnings })
            }
            Err(refusal) => refused(service, &refusal),
        }));
    }
    Ok(show_put(service, service.api.put_sale(caller, expected, &settings)))
}

/// Merges a patch into the current settings.
pub(super) async fn patch(
    worker: &Worker,
    caller: &Arc<Caller>,
    id: &str,
    request: BoxedRequest,
) -> Judged<BoxedResponse> {
    let expected = conditions::expected(request.headers())?;
    let bytes = body::read_patch(&worker.service.buffers, request, document_limit(worker)).await?;
    let (caller, id) = (caller.clone(), id.to_owned());
    worker.aside(move |service| judge_patch(service, &caller, &id, &expected, &bytes)).await
}

fn judge_patch(
    service: &Service,
    caller: &Caller,
    id: &str,
    expected: &Expected,
    bytes: &[u8],
) -> Judged<BoxedResponse> {
    let limits = &service.api.limits;
    let patch = Patch::parse(bytes, limits)?;
    must_be_of_path(patch.id().unwrap_or(id), id)?;
    let merge = |present: &SaleSettings| patch.merge(present, limits);
    let point_back = |wrong: &mut Vec<Invalid>, merged: &SaleSettings| patch.point_back(wrong, merged);
    Ok(show_put(service, service.api.patch_sale(caller, id, expected, merge, point_back)))
}

fn must_be_of_path(given: &str, id: &str) -> Result<(), Invalid> {
    let wrong = || Invalid::new("/id", format!("must be {id:?}, as in the path, or be left out"));
    if given == id { Ok(()) } else { Err(wrong()) }
}

fn show_put(service: &Service, answer: Answer<Result<(Put, Arc<Sale>), Refusal>>) -> Answer<BoxedResponse> {
    answer.map(|outcome| match outcome {
        Ok((Put::Created, sale)) => tagged(owed_json(service, StatusCode::CREATED, &*sale.settings), &sale),
        Ok((Put::Replaced, sale)) => tagged(owed_json(service, StatusCode::OK, &*sale.settings), &sale),
        Err(refusal) => refused(service, &refusal),
    })
}

/// With the ETag of the sale's settings.
fn tagged(mut response: BoxedResponse, sale: &Sale) -> BoxedResponse {
    let tag = HeaderValue::try_from(etag(sale.tag())).expect("digits in quotes");
    response.headers_mut().insert(ETAG, tag);
    response
}

pub(super) async fn get(worker: &Worker, id: &str, headers: &HeaderMap) -> Judged<BoxedResponse> {
    let known = conditions::known(headers)?;
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

pub(super) async fn list(worker: &Worker, caller: &Arc<Caller>, query: Option<&str>) -> Judged<BoxedResponse> {
    let page = Page::parse(query.unwrap_or(""), worker.limits().sales_page_max)?;
    if !worker.api.service.all_are_large() {
        return Ok(show_page(&worker.service, caller, &page));
    }
    let caller = caller.clone();
    Ok(worker.aside(move |service| show_page(service, &caller, &page)).await)
}

fn show_page(service: &Service, caller: &Caller, page: &Page) -> Answer<BoxedResponse> {
    service.api.sales(caller, &page.after, page.limit).map(|(views, more)| {
        let sales: Vec<_> = views.iter().map(SaleBody::new).collect();
        let next = views.last().filter(|_| more).map(|view| view.sale.settings.id.as_str());
        long_json(service, StatusCode::OK, &SalesBody { sales, next })
    })
}

pub(super) async fn change_status(
    worker: &Worker,
    caller: &Caller,
    change: StatusChange,
    id: &str,
    request: BoxedRequest,
) -> Judged<BoxedResponse> {
    let bytes = read_small(worker, request, false).await?;
    let NoBody {} = parse::parse_optional(&bytes, worker.limits())?;
    let changed = worker.api.service.change_status(caller, change, id);
    if let Err(refusal) = &changed.value {
        let response = refused(&worker.service, refusal);
        return Ok(changed.map(|_| response));
    }
    worker.notify_journal();
    // Shown as it is after the change: the view is at least as new, and so is the epoch that it waits for.
    Ok(show(worker, id, |service, view| owed_json(service, StatusCode::OK, &SaleBody::new(view))).await)
}

pub(super) async fn availability(worker: &Worker, id: &str, query: Option<&str>) -> Judged<BoxedResponse> {
    let id_of_task = id.to_owned();
    let asked = parse_asked(query)?;
    let show = move |service: &Service| {
        service.api.availability(&id_of_task, asked.as_ref()).map(|outcome| match outcome {
            Ok(view) => long_json(service, StatusCode::OK, &AvailabilityBody::new(&view)),
            Err(refusal) => refused(service, &refusal),
        })
    };
    Ok(if worker.api.service.is_large(id) { worker.aside(show).await } else { show(&worker.service) })
}

pub(super) async fn replenishment(worker: &Worker, id: &str) -> Judged<BoxedResponse> {
    let id_of_task = id.to_owned();
    let show = move |service: &Service| {
        service.api.replenishment(&id_of_task).map(|outcome| match outcome {
            Ok(replenishment) => long_json(service, StatusCode::OK, &ReplenishmentBody::new(&replenishment)),
            Err(refusal) => refused(service, &refusal),
        })
    };
    Ok(if worker.api.service.is_large(id) { worker.aside(show).await } else { show(&worker.service) })
}

/// Whose availability is asked for; None: of all pools.
fn parse_asked(query: Option<&str>) -> Result<Option<Extras<'static>>, Invalid> {
    let [tier, channel, region] = query::members(query, ["tier", "channel", "region"])?;
    for (pointer, rule, text) in [("/tier", TIER, &tier), ("/channel", CHANNEL, &channel), ("/region", REGION, &region)]
    {
        if text.as_deref().is_some_and(|text| check_slug(text).is_err()) {
            return Err(Invalid::new(pointer, rule));
        }
    }
    let own = |text: Option<String>| text.map(Cow::Owned);
    let attributes =
        Attributes { tier: own(tier), channel: own(channel), region: own(region), ..Attributes::default() };
    Ok(Some(Extras { attributes, ..Extras::default() }).filter(|extras| !extras.attributes.is_empty()))
}

pub(super) async fn adjust(
    worker: &Worker,
    caller: &Caller,
    (sale, sku): (&str, &str),
    request: BoxedRequest,
) -> Judged<BoxedResponse> {
    let key = idempotency_key(request.headers())?.map(str::to_owned);
    let bytes = read_small(worker, request, true).await?;
    let body: AdjustBody<'_> = parse::parse(&bytes, worker.limits())?;
    body.check(worker.limits())?;
    let asked = Adjust {
        sale,
        sku,
        pool: body.pool.as_deref(),
        delta: body.delta,
        reason: body.reason.as_deref(),
        reference: body.reference.as_deref(),
        key: key.as_deref(),
    };
    Ok(worker.api.service.adjust(caller, &asked).map(|outcome| match outcome {
        Ok(adjustment) => {
            let catalogue = worker.engine().catalogue();
            let item = catalogue.item_of(adjustment.made.pool);
            let body = AdjustmentBody::new(&adjustment.made, catalogue.item_numbered(item));
            replayed_if(adjustment.replayed, json(StatusCode::CREATED, &body))
        }
        Err(refusal) => refused_change(&worker.service, &refusal),
    }))
}

pub(super) async fn adjust_all(
    worker: &Worker,
    caller: &Arc<Caller>,
    sale: &str,
    request: BoxedRequest,
) -> Judged<BoxedResponse> {
    let key = idempotency_key(request.headers())?.map(str::to_owned);
    let bytes = body::read(&worker.service.buffers, request, document_limit(worker), true).await?;
    let (caller, sale) = (caller.clone(), sale.to_owned());
    worker.aside(move |service| judge_adjustments(service, &caller, &sale, key.as_deref(), &bytes)).await
}

fn judge_adjustments(
    service: &Service,
    caller: &Caller,
    sale: &str,
    key: Option<&str>,
    bytes: &[u8],
) -> Judged<BoxedResponse> {
    let body: AdjustmentsBody<'_> = parse::parse(bytes, &service.api.limits)?;
    body.check(&service.api.limits)?;
    let changes = body.adjustments.iter().map(|Object(change)| Adjust {
        sale,
        sku: &change.sku,
        pool: change.pool.as_deref(),
        delta: change.delta,
        reason: change.reason.as_deref(),
        reference: change.reference.as_deref(),
        key: None,
    });
    let asked = AdjustAll { sale, changes: changes.collect(), key };
    Ok(service.api.adjust_all(caller, &asked).map(|outcome| match outcome {
        Ok(made) => {
            // Recorded here, because nobody waits if the caller has disconnected.
            service.api.signal.notify();
            let catalogue = service.api.engine.catalogue();
            let results = made.iter().map(|AdjustmentOf { item, adjustment }| {
                let item = catalogue.item_numbered(*item);
                AdjustedItem { sku: &item.settings.sku, adjustment: AdjustmentBody::new(&adjustment.made, item) }
            });
            let body = AdjustmentsResultBody { results: results.collect() };
            let replayed = made.first().is_some_and(|first| first.adjustment.replayed);
            replayed_if(replayed, owed_json(service, StatusCode::CREATED, &body))
        }
        Err(refusal) => refused_change(service, &refusal),
    }))
}

/// Extends all holds of a sale. The service does it in steps, and this call waits for the last.
pub(super) async fn extend_all(
    worker: &Worker,
    caller: &Caller,
    sale: &str,
    request: BoxedRequest,
) -> Judged<BoxedResponse> {
    let key = idempotency_key(request.headers())?.map(str::to_owned);
    let bytes = read_small(worker, request, true).await?;
    let body: ExtendAllBody<'_> = parse::parse(&bytes, worker.limits())?;
    let seconds = body.check(worker.limits())?;
    let asked = ExtendAll { sale, seconds, reason: body.reason.as_deref(), key: key.as_deref() };
    let mut answer = worker.api.service.extend_all(caller, &asked);
    // Recorded here, because nobody waits if the caller has disconnected.
    worker.api.service.signal.notify();
    while let Ok(ExtensionOfAll::Running(extending)) = answer.value {
        tokio::time::sleep(EXTENSION_LOOK).await;
        let looked = worker.engine().extension_of_all(extending);
        let state = looked.value.ok_or_else(Refused::outcome_unknown)?;
        answer = looked.map(|_| Ok(state));
    }
    Ok(answer.map(|outcome| match outcome {
        Ok(ExtensionOfAll::Done { holds, replayed }) => {
            replayed_if(replayed, json(StatusCode::OK, &ExtendedHoldsBody { holds }))
        }
        Ok(ExtensionOfAll::Running(_)) => unreachable!("it was waited for"),
        Err(refusal) => refused_change(&worker.service, &refusal),
    }))
}

/// How often a call looks whether an extension of all holds is done.
const EXTENSION_LOOK: Duration = Duration::from_millis(5);

pub(super) async fn transfer(
    worker: &Worker,
    caller: &Caller,
    (sale, sku): (&str, &str),
    request: BoxedRequest,
) -> Judged<BoxedResponse> {
    let key = idempotency_key(request.headers())?.map(str::to_owned);
    let bytes = read_small(worker, request, true).await?;
    let body: TransferBody<'_> = parse::parse(&bytes, worker.limits())?;
    body.check(worker.limits())?;
    let asked = Transfer {
        sale,
        sku,
        from: &body.from,
        to: &body.to,
        units: body.quantity,
        reason: body.reason.as_deref(),
        reference: body.reference.as_deref(),
        key: key.as_deref(),
    };
    Ok(worker.api.service.transfer(caller, &asked).map(|outcome| match outcome {
        Ok(TransferMade { item, made, replayed }) => {
            let catalogue = worker.engine().catalogue();
            let body = TransferResultBody::new(&made, catalogue.item_numbered(item));
            replayed_if(replayed, json(StatusCode::CREATED, &body))
        }
        Err(refusal) => refused_change(&worker.service, &refusal),
    }))
}

/// The refusal of a change of stock. It is no sell-out: the operator asked to take more than is available.
fn refused_change(service: &Service, refusal: &Refusal) -> BoxedResponse {
    match refusal {
        Refusal::Short(_) => {
            response::refusal_as(&problems::INSUFFICIENT_STOCK, refusal, &service.api.engine.catalogue())
        }
        refusal => refused(service, refusal),
    }
}

/// The sale as it is now, shown by `show_view`.
async fn show(
    worker: &Worker,
    id: &str,
    show_view: impl FnOnce(&Service, &SaleView) -> BoxedResponse + Send + 'static,
) -> Answer<BoxedResponse> {
    let id_of_task = id.to_owned();
    let show = move |service: &Service| {
        service.api.sale(&id_of_task).map(|outcome| match outcome {
            Ok(view) => show_view(service, &view),
            Err(refusal) => refused(service, &refusal),
        })
    };
    if worker.api.service.is_large(id) { worker.aside(show).await } else { show(&worker.service) }
}

fn refused(service: &Service, refusal: &Refusal) -> BoxedResponse {
    response::refusal(refusal, &service.api.engine.catalogue())
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
