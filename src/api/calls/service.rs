//! Calls on customers, the audit trail, the feed, and the service itself.

use super::{Access, BARE, Content, Formats, Given, Method, Row, Tag, links, ok, ok_then};
use crate::{api::problems, auth::Role};

pub(super) static ERASE_CUSTOMER: Row = Row {
    name: "erase_customer",
    method: Method::Delete,
    path: "/v1/customers/{customer}",
    access: Access::OfAllSales(Role::Operator),
    of_all_channels: true,
    id: "eraseCustomer",
    tag: Tag::Customers,
    summary: "Erase a customer",
    description: "Removes the customer's id from every reservation, together with references, reasons and \
                  idempotency keys. From then on each reservation shows a customer id of its own that begins with \
                  `erased-`. Holds stay held and stock does not change; the units no longer count towards the \
                  customer's limits. The store follows as for every other change, and the journal within \
                  `privacy.journal_erase_seconds`. Repeating the call is safe, and an unknown customer is not an \
                  error. The call needs a key for all sales.",
    answers: &[ok("Erasure", "The erasure is durable")],
    ..BARE
};

pub(super) static AUDIT: Row = Row {
    name: "audit",
    method: Method::Get,
    path: "/v1/audit",
    access: Access::Any(Role::Operator),
    id: "listAuditRecords",
    tag: Tag::Audit,
    summary: "Read the audit trail",
    description: "Operators' actions, newest first, a page at a time: repeat the call with `before` set to `next` until there is \
                  no `next`. The records come from the store, which lags: `as_of` says how far it was. A key limited to \
                  certain sales sees only their records. Records that the store has deleted are missing.",
    parameters: &["Before", "RecordsLimit", "OfSale"],
    answers: &[ok_then("AuditTrail", "A page of the trail", links::OF_TRAIL)],
    problems: &[&problems::STORE_UNAVAILABLE],
    ..BARE
};

pub(super) static EVENTS: Row = Row {
    name: "events",
    method: Method::Get,
    path: "/v1/events",
    access: Access::Any(Role::Viewer),
    of_all_channels: true,
    formats: Formats::Own,
    id: "followEvents",
    tag: Tag::Events,
    summary: "Follow every durable change, in order",
    description: "Server-sent events, or one JSON object per line. Each event is a CloudEvents 1.0 document, and \
                  its `id` is the cursor to continue from. Cursors are opaque text. They stay valid across \
                  restarts, and for every key with the same sales. When the sales of a key change, or the data is \
                  restored from a backup, readers must start again. The answer continues until the reader \
                  disconnects or is too slow, or the service stops; its last event is `stream.ended`, with the \
                  cursor. Without `after` it has the events from now on.",
    parameters: &["AfterEvent", "LastEventId"],
    answers: &[Given {
        status: 200,
        content: Content::Feed,
        example: None,
        description: "Events as they become durable",
        headers: &["Event-Cursor"],
        links: links::OF_FEED,
    }],
    problems: &[&problems::CURSOR_TOO_OLD],
    ..BARE
};

pub(super) static STATUS: Row = Row {
    name: "status",
    method: Method::Get,
    path: "/v1/status",
    access: Access::Any(Role::Viewer),
    id: "getStatus",
    tag: Tag::Console,
    summary: "See what the service is doing",
    description: "The caller, and figures of the whole service: counts, durations, holds, and how far the store \
                  is. Made for polling about once a second: the service reads the figures that often, and answers \
                  requests in between with the same ones. Prometheus gets more from the metrics.",
    answers: &[ok("Status", "The caller and the figures")],
    ..BARE
};
