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
    description: "Still what `If-None-Match` names",
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
        description: "Sales by id, a page at a time: ask again with `after` set to `next` until there is no `next`.",
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
        description: "Settings, status, and where the units of each item are. The `ETag` names the settings alone: it changes \
                      exactly when they do. What is answered here may be put as it is. To poll what is available, use the \
                      cheaper availability call.",
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
                description: "Its settings are still those that `If-None-Match` names. Status and stock may have changed",
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
        description: "Repeating it changes nothing. Items can be added and not removed, the initial stock of an item \
                      cannot change, and a sale that its operator closed stays as it is. Members that GET computes are \
                      ignored, so that its answer can be put. `If-Match` with the `ETag` of a GET refuses to overwrite what \
                      somebody else changed since; `If-None-Match: *` refuses to replace a sale that exists.",
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
        description: "A merge patch (RFC 7396): members that it has replace those of the sale, null removes an optional one, and \
                      what it leaves out stays. Items are merged by their SKUs: each names its `sku` and what changes; an \
                      SKU that is new adds an item. It is applied to the settings as they are at that moment, in one \
                      step; `If-Match` refuses it when they are no longer those that the caller saw. Members that GET \
                      computes are ignored.",
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
        description: "It refuses reserves until it is resumed; confirm, release and extend go on. Repeating it changes \
                      nothing.",
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
        description: "It takes reserves again while its window is open. Repeating it changes nothing.",
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
        description: "It refuses reserves from now on; confirm, release and extend go on. Repeating it changes nothing.",
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
        summary: "Put units into an item's stock, or take available ones out",
        description: "More than is available cannot be taken out. With an idempotency key, repeating it answers as the \
                      first time.",
        parameters: &["IdempotencyKey"],
        body: asks("AdjustRequest"),
        answers: &[Given {
            status: 201,
            schema: "Adjustment",
            example: None,
            description: "The change, and what it led to",
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
        description: "Cheap, and made to be polled.",
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
        summary: "Read how a sale did",
        description: "Reservations and units by what became of them, conversion, sell-through, time to sell-out, units per \
                      minute, revenue, of the sale and of each item. Read from the store, which lags behind: `as_of` says how \
                      far it was. Refusals are counted in memory since the process started. One answer is given again for \
                      some seconds, so it may be polled.",
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
        description: "Takes all lines or none. Checked in this order, and the first failure answers: the request is well \
                      formed; the sale exists; its idempotency key (known: answered as the first time, or \
                      `idempotency_key_reused`); limits of the service; the sale is open; the items exist; stock; the \
                      customer's limit. A refusal is not remembered: the retry is judged afresh.",
        parameters: &["IdempotencyKey"],
        body: asks("ReserveRequest"),
        answers: &[Given {
            status: 201,
            schema: "Reservation",
            example: None,
            description: "The hold, durable. To a repeat of its key: the hold as it was first answered, with \
                          `Idempotent-Replayed: true`, and in `replayed_of` how it stands now",
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
        description: "Each entry is judged as the call for one reservation would judge it, all of it or nothing, \
                      independent of the others: what is wrong with one is told in its place of `results`, with \
                      pointers that begin at the entry. Entries are decided in their order, and are shown as they \
                      become durable while later ones are being decided. Only a body that is no JSON of this shape is \
                      refused as a whole, and then nothing was done. Keys belong to entries: an `Idempotency-Key` of \
                      the batch is refused. When the connection breaks on the way, the entries that were not reached \
                      are left out and the others stay: give each a key, and the whole batch is safe to repeat.",
        parameters: &[],
        body: Some(Asked { schema: "BatchRequest", required: true, limit: BodyLimit::Batch }),
        answers: &[ok_then("BatchResults", "What became of each entry, in their order", links::OF_BATCH)],
        problems: &[&problem::SALE_NOT_FOUND],
    },
    Call {
        route: Route::CustomerReservations,
        method: "get",
        path: "/v1/sales/{sale}/reservations",
        id: "listCustomerReservations",
        tag: RESERVATIONS,
        summary: "See what a customer has in a sale",
        description: "The customer's reservations that memory has, the newest first, and the customer's units against the limit of \
                      each item that has one. A reservation that is over is known for the retention time. A customer who is not \
                      known has none. Of very many, the newest `limits.customer_reservations_max` are shown, and \
                      `reservations_total` says how many there are.",
        parameters: &["OfCustomer"],
        body: None,
        answers: &[ok_then("CustomerReservations", "What the customer has", links::OF_CUSTOMER)],
        problems: &[&problem::SALE_NOT_FOUND],
    },
    Call {
        route: Route::GetReservation,
        method: "get",
        path: "/v1/reservations/{id}",
        id: "getReservation",
        tag: RESERVATIONS,
        summary: "Look at a reservation",
        description: "A reservation that is over is known for the retention time, and found in the store after that.",
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
        description: "Only before `expires_at`. Repeating it with the reference that the reservation shows, or with none, answers \
                      with the same reservation. With another reference it is refused (`already_confirmed`): it would be \
                      another payment for what is sold.",
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
        summary: "Release a hold: its units are back in stock",
        description: "Only before `expires_at`. Repeating it answers with the same reservation, whatever the reason: the first \
                      one is kept.",
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
        description: "The new `expires_at` is so many seconds from now. When the hold lasts that long already, nothing changes: \
                      the answer shows the hold as it is, and the call does not count as an extension.",
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
        description: "Takes the customer's id out of every reservation, and with it references, reasons and idempotency keys: \
                      from now on each is shown with a customer of its own that begins with `erased-`. Holds stay held \
                      and stock stays as it is; nothing counts towards the customer's limits any more. The store follows \
                      as it follows everything else, and the journal within `privacy.journal_erase_seconds`. Repeating it \
                      is safe, and a customer who is not known is no error. Needs a key of all sales.",
        parameters: &[],
        body: None,
        answers: &[ok("Erasure", "Erased, durably")],
        problems: &[],
    },
    Call {
        route: Route::Audit,
        method: "get",
        path: "/v1/audit",
        id: "listAuditRecords",
        tag: AUDIT,
        summary: "Read what operators did",
        description: "The audit trail, the newest record first, a page at a time: ask again with `before` set to `next` until there \
                      is no `next`. Read from the store, which lags behind: `as_of` says how far it was. A key of some sales \
                      sees the records of these sales alone. Records that were deleted from the store are not there.",
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
        description: "Server-sent events, or one JSON object a line: CloudEvents 1.0 whose `id` is the cursor to continue from. \
                      Cursors are opaque texts. They stay valid over restarts, and for every key that reaches the same sales; \
                      when the sales of a key are changed, or its data is put back from a backup, a reader begins anew. \
                      The answer goes on until the reader leaves, is too slow, or the service stops; its last word is \
                      an event `stream.ended` with the cursor. Without `after` it is told what happens from now on.",
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
        description: "Who asks, and figures of the whole service: counts, durations, holds, and where the store stands. Made to \
                      be polled about once a second: figures are read that often, and every request in between is told \
                      the same ones. The metrics tell more, to Prometheus.",
        parameters: &[],
        body: None,
        answers: &[ok("Status", "What it is doing")],
        problems: &[],
    },
    Call {
        route: Route::Console,
        method: "get",
        path: "/console",
        id: "getConsole",
        tag: CONSOLE,
        summary: "Open the console",
        description: "A page for people: sales as they run, and what an operator does to them. The page itself needs no key; the \
                      calls that it makes need the key that its reader gives it.",
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
        description: "What the page is made of.",
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
        description: "Swagger UI, built in: it shows this document and sends requests to this service only.",
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
        description: "What the page is made of.",
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
        description: "A page for a browser that accepts `text/html`, JSON for everybody else.",
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
        description: "The contract of this service, with the limits of its configuration.",
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
