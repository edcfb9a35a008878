//! The calls: what each one takes, answers and may refuse.

use super::{
    AUDIT, CONSOLE, CONTRACT, CUSTOMERS, EVENTS, RESERVATIONS, SALES,
    links::{self, Link},
};
use crate::http::{
    auth,
    problem::{self, Problem},
    router::Route,
};

pub struct Call {
    pub route: Route,
    /// As OpenAPI writes it. Every `get` is also there as `head`.
    pub method: &'static str,
    pub path: &'static str,
    pub id: &'static str,
    pub tag: &'static str,
    pub summary: &'static str,
    pub description: &'static str,
    /// Parameters besides those of the path, by their names in the document's components.
    pub parameters: &'static [&'static str],
    pub body: Option<Asked>,
    pub answers: &'static [Given],
    /// Refusals beyond those that every call of its kind has.
    pub problems: &'static [&'static Problem],
}

/// A request's body.
pub struct Asked {
    pub schema: &'static str,
    pub required: bool,
    pub limit: BodyLimit,
}

pub enum BodyLimit {
    Small,
    Sale,
    Batch,
}

/// A success.
pub struct Given {
    pub status: u16,
    pub schema: &'static str,
    /// The example that shows it; None: that of its schema.
    pub example: Option<&'static str>,
    pub description: &'static str,
    pub headers: &'static [&'static str],
    /// Calls that go on from it.
    pub links: &'static [Link],
}

/// The schema of an answer that is no document: events that go on.
pub const FEED: &str = "Events";
/// And of those that are a page for people, a file of the console or of the documentation, and nothing at all.
pub const PAGE: &str = "Page";
pub const CONSOLE_FILE: &str = "ConsoleFile";
pub const DOCS_FILE: &str = "DocsFile";
pub const NOTHING: &str = "";

const fn asks(schema: &'static str) -> Option<Asked> {
    Some(Asked { schema, required: true, limit: BodyLimit::Small })
}

const fn may_ask(schema: &'static str) -> Option<Asked> {
    Some(Asked { schema, required: false, limit: BodyLimit::Small })
}

const fn ok(schema: &'static str, description: &'static str) -> Given {
    ok_then(schema, description, &[])
}

const fn ok_then(schema: &'static str, description: &'static str, links: &'static [Link]) -> Given {
    Given { status: 200, schema, example: None, description, headers: &[], links }
}

/// As `ok_then`, where the answer has members that an example of its schema does not show.
const fn shows(
    schema: &'static str,
    example: &'static str,
    description: &'static str,
    links: &'static [Link],
) -> Given {
    Given { status: 200, schema, example: Some(example), description, headers: &[], links }
}

const CONSOLE_HEADERS: &[&str] = &["ETag", "Cache-Control", "Content-Security-Policy"];

const fn built_in(schema: &'static str, description: &'static str) -> Given {
    Given { status: 200, schema, example: None, description, headers: CONSOLE_HEADERS, links: &[] }
}

const NOT_MODIFIED: Given = Given {
    status: 304,
    schema: NOTHING,
    example: None,
    description: "The file is still the one that `If-None-Match` names",
    headers: CONSOLE_HEADERS,
    links: &[],
};

pub static CALLS: &[Call] = &[
    Call {
        route: Route::ListSales,
        method: "get",
        path: "/v1/sales",
        id: "listSales",
        tag: SALES,
        summary: "List sales",
        description: "Lists sales by id, one page at a time. For the next page, ask again with `after` set to `next`; \
                      the last page has no `next`.",
        parameters: &["After", "Limit"],
        body: None,
        answers: &[ok_then("SalesPage", "A page of sales", links::OF_SALES)],
        problems: &[],
    },
    Call {
        route: Route::GetSale,
        method: "get",
        path: "/v1/sales/{sale}",
        id: "getSale",
        tag: SALES,
        summary: "Look at a sale",
        description: "The sale's settings, its status, and each item's units by state. The `ETag` names only the \
                      settings: it changes exactly when they do. PUT takes this answer as it is. To poll \
                      availability, use the cheaper availability call.",
        parameters: &["IfNoneMatch"],
        body: None,
        answers: &[
            Given {
                status: 200,
                schema: "Sale",
                example: None,
                description: "The sale as it is",
                headers: &["ETag"],
                links: links::OF_SALE,
            },
            Given {
                status: 304,
                schema: NOTHING,
                example: None,
                description: "The settings are still those that `If-None-Match` names. Status and stock may have \
                              changed",
                headers: &["ETag"],
                links: &[],
            },
        ],
        problems: &[&problem::SALE_NOT_FOUND],
    },
    Call {
        route: Route::PutSale,
        method: "put",
        path: "/v1/sales/{sale}",
        id: "putSale",
        tag: SALES,
        summary: "Create a sale or replace its settings",
        description: "Repeating the call changes nothing. Items can be added but not removed, the initial stock of an \
                      item cannot change, and a sale that an operator closed cannot change. The service ignores \
                      members that GET computes, so PUT takes the answer of a GET as it is. `If-Match` with the \
                      `ETag` of a GET protects changes that somebody else made since then; `If-None-Match: *` creates \
                      a sale and never replaces one.",
        parameters: &["IfMatch", "IfNoneMatch"],
        body: Some(Asked { schema: "SaleSettings", required: true, limit: BodyLimit::Sale }),
        answers: &[
            Given {
                status: 200,
                schema: "SaleSettings",
                example: None,
                description: "Replaced; the settings as they are now",
                headers: &["ETag"],
                links: links::OF_SETTINGS,
            },
            Given {
                status: 201,
                schema: "SaleSettings",
                example: None,
                description: "Created; the settings as they are now",
                headers: &["ETag"],
                links: links::OF_SETTINGS,
            },
        ],
        problems: &[
            &problem::SALE_NOT_FOUND,
            &problem::SALE_ENDED,
            &problem::INITIAL_STOCK_IMMUTABLE,
            &problem::PRECONDITION_FAILED,
        ],
    },
    Call {
        route: Route::PatchSale,
        method: "patch",
        path: "/v1/sales/{sale}",
        id: "patchSale",
        tag: SALES,
        summary: "Change some settings of a sale",
        description: "A merge patch (RFC 7396): its members replace those of the sale, null removes an optional \
                      member, and members that it leaves out stay. The service merges items by SKU: each entry has \
                      its `sku` and the members that change; a new SKU adds an item. It applies the patch to the \
                      current settings in one step. With `If-Match` it refuses the patch when the settings are no \
                      longer those that the caller saw. It ignores members that GET computes.",
        parameters: &["IfMatch", "IfNoneMatch"],
        body: Some(Asked { schema: "SalePatch", required: true, limit: BodyLimit::Sale }),
        answers: &[Given {
            status: 200,
            schema: "SaleSettings",
            example: Some("SaleSettings, patched"),
            description: "Changed; the settings as they are now",
            headers: &["ETag"],
            links: links::OF_SETTINGS,
        }],
        problems: &[
            &problem::SALE_NOT_FOUND,
            &problem::SALE_ENDED,
            &problem::INITIAL_STOCK_IMMUTABLE,
            &problem::PRECONDITION_FAILED,
        ],
    },
    Call {
        route: Route::PauseSale,
        method: "post",
        path: "/v1/sales/{sale}/pause",
        id: "pauseSale",
        tag: SALES,
        summary: "Pause a sale",
        description: "The sale refuses reserves until an operator resumes it; confirm, release and extend still work. \
                      Repeating the call changes nothing.",
        parameters: &[],
        body: may_ask("NoMembers"),
        answers: &[shows("Sale", "Sale, paused", "The sale, paused", links::OF_PAUSED)],
        problems: &[&problem::SALE_NOT_FOUND, &problem::SALE_ENDED],
    },
    Call {
        route: Route::ResumeSale,
        method: "post",
        path: "/v1/sales/{sale}/resume",
        id: "resumeSale",
        tag: SALES,
        summary: "Resume a paused sale",
        description: "The sale takes reserves again while its window is open. Repeating the call changes nothing.",
        parameters: &[],
        body: may_ask("NoMembers"),
        answers: &[ok_then("Sale", "The sale, resumed", links::OF_RESUMED)],
        problems: &[&problem::SALE_NOT_FOUND, &problem::SALE_ENDED],
    },
    Call {
        route: Route::CloseSale,
        method: "post",
        path: "/v1/sales/{sale}/close",
        id: "closeSale",
        tag: SALES,
        summary: "Close a sale for good",
        description: "The sale refuses reserves from now on; confirm, release and extend still work. Repeating the \
                      call changes nothing.",
        parameters: &[],
        body: may_ask("NoMembers"),
        answers: &[shows("Sale", "Sale, closed", "The sale, closed", links::OF_CLOSED)],
        problems: &[&problem::SALE_NOT_FOUND],
    },
    Call {
        route: Route::Adjust,
        method: "post",
        path: "/v1/sales/{sale}/items/{sku}/adjustments",
        id: "adjustStock",
        tag: SALES,
        summary: "Add units to an item's stock, or remove available ones",
        description: "Only available units can be removed. With an idempotency key, repeating the call gives the \
                      first answer again.",
        parameters: &["IdempotencyKey"],
        body: asks("AdjustRequest"),
        answers: &[Given {
            status: 201,
            schema: "Adjustment",
            example: None,
            description: "The change and its result",
            headers: &["Idempotent-Replayed"],
            links: links::OF_ADJUSTMENT,
        }],
        problems: &[
            &problem::SALE_NOT_FOUND,
            &problem::ITEM_NOT_FOUND,
            &problem::INSUFFICIENT_STOCK,
            &problem::IDEMPOTENCY_KEY_REUSED,
        ],
    },
    Call {
        route: Route::Availability,
        method: "get",
        path: "/v1/sales/{sale}/availability",
        id: "getAvailability",
        tag: SALES,
        summary: "See what can be reserved",
        description: "A cheap call, made for polling.",
        parameters: &[],
        body: None,
        answers: &[ok_then("Availability", "What is available now", links::OF_AVAILABILITY)],
        problems: &[&problem::SALE_NOT_FOUND],
    },
    Call {
        route: Route::Report,
        method: "get",
        path: "/v1/sales/{sale}/report",
        id: "getReport",
        tag: SALES,
        summary: "Get the report of a sale",
        description: "Reservations and units by outcome, conversion, sell-through, time to sell-out, units per minute \
                      and revenue, for the sale and for each item. The service reads the report from the store, which \
                      may lag: `as_of` says how far the store was. It counts refusals in memory, from the start of \
                      the process. It gives the same answer again for some seconds, so the call can be polled.",
        parameters: &[],
        body: None,
        answers: &[ok_then("Report", "The report", links::OF_REPORT)],
        problems: &[&problem::SALE_NOT_FOUND, &problem::STORE_UNAVAILABLE],
    },
    Call {
        route: Route::Reserve,
        method: "post",
        path: "/v1/sales/{sale}/reservations",
        id: "reserve",
        tag: RESERVATIONS,
        summary: "Hold units for a customer",
        description: "Takes all lines or none. The service checks in this order and answers the first failure: the \
                      request is well formed; the sale exists; the idempotency key (a known key gets the first answer \
                      again, or `idempotency_key_reused`); limits of the service; the sale is open; the items exist; \
                      stock; the customer's limit. It does not remember refusals: it decides a retry afresh.",
        parameters: &["IdempotencyKey"],
        body: asks("ReserveRequest"),
        answers: &[Given {
            status: 201,
            schema: "Reservation",
            example: None,
            description: "The durable hold. For a repeated key: the hold as first answered, with \
                          `Idempotent-Replayed: true` and the current state in `replayed_of`",
            headers: &["Location", "Idempotent-Replayed"],
            links: links::OF_HOLD,
        }],
        problems: &[
            &problem::SALE_NOT_FOUND,
            &problem::ITEM_NOT_FOUND,
            &problem::SOLD_OUT,
            &problem::INSUFFICIENT_STOCK,
            &problem::CUSTOMER_LIMIT_EXCEEDED,
            &problem::SALE_NOT_STARTED,
            &problem::SALE_ENDED,
            &problem::SALE_PAUSED,
            &problem::IDEMPOTENCY_KEY_REUSED,
            &problem::BACKLOG_FULL,
            &problem::DISK_LOW,
        ],
    },
    Call {
        route: Route::ReserveBatch,
        method: "post",
        path: "/v1/sales/{sale}/reservations/batch",
        id: "reserveBatch",
        tag: RESERVATIONS,
        summary: "Hold units for many customers",
        description: "Each entry succeeds or fails on its own, as if it were sent alone. The service reports an \
                      entry's errors at its index in `results`, with pointers that begin at the entry. It decides \
                      entries in order, and sends results as they become durable, while it decides later entries. It \
                      refuses a whole batch only if the body is not JSON of this shape; nothing is done then. \
                      Idempotency keys belong to entries: the service refuses an `Idempotency-Key` header. If the \
                      connection breaks, the entries decided so far stay and the rest are not done. Give each entry a \
                      key, and the whole batch is safe to repeat.",
        parameters: &[],
        body: Some(Asked { schema: "BatchRequest", required: true, limit: BodyLimit::Batch }),
        answers: &[ok_then("BatchResults", "The result of each entry, in order", links::OF_BATCH)],
        problems: &[&problem::SALE_NOT_FOUND],
    },
    Call {
        route: Route::CustomerReservations,
        method: "get",
        path: "/v1/sales/{sale}/reservations",
        id: "listCustomerReservations",
        tag: RESERVATIONS,
        summary: "List a customer's reservations in a sale",
        description: "The customer's reservations in memory, newest first, and the customer's units against each item's limit. A \
                      reservation that has ended stays in memory for the retention time. An unknown customer has none. The \
                      answer has at most `limits.customer_reservations_max` reservations; if there are more, \
                      `reservations_total` says how many.",
        parameters: &["OfCustomer"],
        body: None,
        answers: &[ok_then("CustomerReservations", "The customer's reservations and limits", links::OF_CUSTOMER)],
        problems: &[&problem::SALE_NOT_FOUND],
    },
    Call {
        route: Route::GetReservation,
        method: "get",
        path: "/v1/reservations/{id}",
        id: "getReservation",
        tag: RESERVATIONS,
        summary: "Look at a reservation",
        description: "A reservation that has ended stays in memory for the retention time. After that, this call \
                      answers 404, and only the store has the reservation.",
        parameters: &[],
        body: None,
        answers: &[ok_then("Reservation", "The reservation as it is", links::OF_RESERVATION)],
        problems: &[&problem::RESERVATION_NOT_FOUND],
    },
    Call {
        route: Route::Confirm,
        method: "post",
        path: "/v1/reservations/{id}/confirm",
        id: "confirmReservation",
        tag: RESERVATIONS,
        summary: "Confirm a hold: its units are sold",
        description: "Works only before `expires_at`. Repeating the call with the reservation's reference, or with \
                      none, gives the same reservation. The service refuses another reference (`already_confirmed`): \
                      it would be a second payment for units already sold.",
        parameters: &[],
        body: may_ask("ConfirmRequest"),
        answers: &[shows("Reservation", "Reservation, confirmed", "The reservation, confirmed", links::OF_ENDED)],
        problems: &[
            &problem::RESERVATION_NOT_FOUND,
            &problem::RESERVATION_EXPIRED,
            &problem::ALREADY_CONFIRMED,
            &problem::ALREADY_RELEASED,
        ],
    },
    Call {
        route: Route::Release,
        method: "post",
        path: "/v1/reservations/{id}/release",
        id: "releaseReservation",
        tag: RESERVATIONS,
        summary: "Release a hold: its units go back into stock",
        description: "Works only before `expires_at`. Repeating the call gives the same reservation and keeps the \
                      first reason.",
        parameters: &[],
        body: may_ask("ReleaseRequest"),
        answers: &[shows("Reservation", "Reservation, released", "The reservation, released", links::OF_ENDED)],
        problems: &[&problem::RESERVATION_NOT_FOUND, &problem::RESERVATION_EXPIRED, &problem::ALREADY_CONFIRMED],
    },
    Call {
        route: Route::Extend,
        method: "post",
        path: "/v1/reservations/{id}/extend",
        id: "extendReservation",
        tag: RESERVATIONS,
        summary: "Make a hold last longer",
        description: "The new `expires_at` is `hold_seconds` from now. If the hold already lasts that long, nothing \
                      changes: the answer shows the hold as it is, and the call does not count as an extension.",
        parameters: &[],
        body: asks("ExtendRequest"),
        answers: &[shows("Reservation", "Reservation, extended", "The reservation with its new end", links::OF_HOLD)],
        problems: &[
            &problem::RESERVATION_NOT_FOUND,
            &problem::RESERVATION_EXPIRED,
            &problem::ALREADY_CONFIRMED,
            &problem::ALREADY_RELEASED,
            &problem::EXTENSION_LIMIT_REACHED,
        ],
    },
    Call {
        route: Route::EraseCustomer,
        method: "delete",
        path: "/v1/customers/{customer}",
        id: "eraseCustomer",
        tag: CUSTOMERS,
        summary: "Erase a customer",
        description: "Removes the customer's id from every reservation, together with references, reasons and \
                      idempotency keys. From then on each reservation shows a customer id of its own that begins with \
                      `erased-`. Holds stay held and stock does not change; the units no longer count towards the \
                      customer's limits. The store follows as for every other change, and the journal within \
                      `privacy.journal_erase_seconds`. Repeating the call is safe, and an unknown customer is not an \
                      error. The call needs a key for all sales.",
        parameters: &[],
        body: None,
        answers: &[ok("Erasure", "The erasure is durable")],
        problems: &[],
    },
    Call {
        route: Route::Audit,
        method: "get",
        path: "/v1/audit",
        id: "listAuditRecords",
        tag: AUDIT,
        summary: "Read the audit trail",
        description: "Operators' actions, newest first, a page at a time: repeat the call with `before` set to `next` until there is \
                      no `next`. The records come from the store, which lags: `as_of` says how far it was. A key limited to \
                      certain sales sees only their records. Records that the store has deleted are missing.",
        parameters: &["Before", "RecordsLimit", "OfSale"],
        body: None,
        answers: &[ok_then("AuditTrail", "A page of the trail", links::OF_TRAIL)],
        problems: &[&problem::STORE_UNAVAILABLE],
    },
    Call {
        route: Route::Events,
        method: "get",
        path: "/v1/events",
        id: "followEvents",
        tag: EVENTS,
        summary: "Follow every durable change, in order",
        description: "Server-sent events, or one JSON object per line. Each event is a CloudEvents 1.0 document, and \
                      its `id` is the cursor to continue from. Cursors are opaque text. They stay valid across \
                      restarts, and for every key with the same sales. When the sales of a key change, or the data is \
                      restored from a backup, readers must start again. The answer continues until the reader \
                      disconnects or is too slow, or the service stops; its last event is `stream.ended`, with the \
                      cursor. Without `after` it has the events from now on.",
        parameters: &["AfterEvent", "LastEventId"],
        body: None,
        answers: &[Given {
            status: 200,
            schema: FEED,
            example: None,
            description: "Events as they become durable",
            headers: &["Event-Cursor"],
            links: links::OF_FEED,
        }],
        problems: &[&problem::CURSOR_TOO_OLD],
    },
    Call {
        route: Route::Status,
        method: "get",
        path: "/v1/status",
        id: "getStatus",
        tag: CONSOLE,
        summary: "See what the service is doing",
        description: "The caller, and figures of the whole service: counts, durations, holds, and how far the store \
                      is. Made for polling about once a second: the service reads the figures that often, and answers \
                      requests in between with the same ones. Prometheus gets more from the metrics.",
        parameters: &[],
        body: None,
        answers: &[ok("Status", "The caller and the figures")],
        problems: &[],
    },
    Call {
        route: Route::Console,
        method: "get",
        path: "/console",
        id: "getConsole",
        tag: CONSOLE,
        summary: "Open the console",
        description: "A page that shows sales as they run and lets operators change them. The page itself needs no \
                      key; its calls use the key that its reader enters.",
        parameters: &[],
        body: None,
        answers: &[built_in(PAGE, "The page"), NOT_MODIFIED],
        problems: &[],
    },
    Call {
        route: Route::ConsoleFile,
        method: "get",
        path: "/console/{file}",
        id: "getConsoleFile",
        tag: CONSOLE,
        summary: "Get a file of the console",
        description: "A file that the page loads.",
        parameters: &[],
        body: None,
        answers: &[built_in(CONSOLE_FILE, "The file"), NOT_MODIFIED],
        problems: &[],
    },
    Call {
        route: Route::Docs,
        method: "get",
        path: "/docs",
        id: "getDocs",
        tag: CONTRACT,
        summary: "Read this document in a browser",
        description: "Swagger UI, built in: it shows this document and sends requests only to this service.",
        parameters: &[],
        body: None,
        answers: &[built_in(PAGE, "The page"), NOT_MODIFIED],
        problems: &[],
    },
    Call {
        route: Route::DocsFile,
        method: "get",
        path: "/docs/{docs_file}",
        id: "getDocsFile",
        tag: CONTRACT,
        summary: "Get a file of that page",
        description: "A file that the page loads.",
        parameters: &[],
        body: None,
        answers: &[built_in(DOCS_FILE, "The file"), NOT_MODIFIED],
        problems: &[],
    },
    Call {
        route: Route::Problem,
        method: "get",
        path: "/problems/{slug}",
        id: "getProblem",
        tag: CONTRACT,
        summary: "Read what a problem means and what to do",
        description: "HTML for a client that accepts `text/html`, JSON for all others.",
        parameters: &[],
        body: None,
        answers: &[ok("ProblemPage", "What it means and what to do")],
        problems: &[],
    },
    Call {
        route: Route::OpenApi,
        method: "get",
        path: "/openapi.json",
        id: "getContract",
        tag: CONTRACT,
        summary: "Read this document",
        description: "The OpenAPI document of this service, with the limits of its configuration.",
        parameters: &[],
        body: None,
        answers: &[ok("Contract", "This document")],
        problems: &[],
    },
];

/// Refusals of one entry of a batch: those of the call for one reservation, where they are not the whole batch's.
pub fn problems_of_entry() -> Vec<&'static Problem> {
    let single = CALLS.iter().find(|call| call.route == Route::Reserve).expect("the call for one is there");
    let own = single.problems.iter().copied().filter(|problem| problem.code != problem::SALE_NOT_FOUND.code);
    let general = [
        &problem::INVALID_REQUEST,
        &problem::CONTENT_TOO_LARGE,
        &problem::RATE_LIMITED,
        &problem::OVERLOADED,
        &problem::DRAINING,
        &problem::OUTCOME_UNKNOWN,
    ];
    own.chain(general).collect()
}

/// Refusals of the call: its own, and those that all calls like it have.
pub fn problems_of(call: &Call) -> Vec<&'static Problem> {
    let mut all = vec![
        &problem::INVALID_REQUEST,
        &problem::URI_TOO_LONG,
        &problem::HEADERS_TOO_LARGE,
        &problem::OVERLOADED,
        &problem::DRAINING,
        &problem::OUTCOME_UNKNOWN,
    ];
    if auth::needed(call.route).is_some() {
        all.extend([&problem::UNAUTHENTICATED, &problem::FORBIDDEN, &problem::RATE_LIMITED]);
    }
    let is_page = matches!(call.route, Route::Console | Route::ConsoleFile | Route::Docs | Route::DocsFile);
    if call.route != Route::Problem && !is_page {
        all.push(&problem::NOT_ACCEPTABLE);
    }
    // A segment of the path may be broken: half an escape, or no UTF-8.
    if call.path.contains('{') {
        all.push(&problem::NOT_FOUND);
    }
    if let Some(asked) = &call.body {
        all.extend([&problem::REQUEST_TIMEOUT, &problem::CONTENT_TOO_LARGE, &problem::UNSUPPORTED_MEDIA_TYPE]);
        if asked.required {
            all.push(&problem::LENGTH_REQUIRED);
        }
    }
    all.extend(call.problems);
    all
}
