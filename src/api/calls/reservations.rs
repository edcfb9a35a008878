//! Calls on customers' reservations.

use super::{Access, Asked, BARE, BodyLimit, Content, Given, Method, Row, Tag, asks, links, may_ask, ok_then, shows};
use crate::{api::problems, auth::Role};

pub(super) static RESERVE: Row = Row {
    name: "reserve",
    method: Method::Post,
    path: "/v1/sales/{sale}/reservations",
    access: Access::OfSale(Role::Checkout),
    id: "reserve",
    tag: Tag::Reservations,
    summary: "Hold units for a customer",
    description: "Takes all lines or none. The service checks in this order and answers the first failure: the \
                  request is well formed; the sale exists; the idempotency key (a known key gets the first answer \
                  again, or `idempotency_key_reused`); limits of the service; the sale is open; a phase lets the customer in; the items exist; \
                  the group can be joined; stock; the customer's limit; the customer's hold budget. It does not remember refusals: it decides a retry afresh. A reserve of an \
                  item that is sold to groups has one line, ignores `allow_partial`, and opens a group or joins the one named in \
                  `group`. With \
                  `dry_run=true` the call has no effect and looks up no key; it answers 200 with `DryRun` if the \
                  reserve would be granted.",
    parameters: &["IdempotencyKey", "DryRunOf"],
    body: asks("ReserveRequest"),
    answers: &[
        Given {
            status: 201,
            content: Content::Json("Reservation"),
            example: None,
            description: "The durable hold. For a repeated key: the hold as first answered, with \
                          `Idempotent-Replayed: true` and the current state in `replayed_of`",
            headers: &["Location", "Idempotent-Replayed"],
            links: links::OF_HOLD,
        },
        Given {
            status: 200,
            content: Content::Json("DryRun"),
            example: None,
            description: "Only for a dry run: what the reserve would get",
            headers: &[],
            links: &[],
        },
    ],
    problems: &[
        &problems::SALE_NOT_FOUND,
        &problems::ITEM_NOT_FOUND,
        &problems::SOLD_OUT,
        &problems::INSUFFICIENT_STOCK,
        &problems::CUSTOMER_LIMIT_EXCEEDED,
        &problems::TOO_MANY_HOLDS,
        &problems::COOLING_DOWN,
        &problems::SALE_NOT_STARTED,
        &problems::NOT_ELIGIBLE,
        &problems::SALE_ENDED,
        &problems::SALE_PAUSED,
        &problems::ALREADY_IN_GROUP,
        &problems::GROUP_FULL,
        &problems::GROUP_CLOSED,
        &problems::IDEMPOTENCY_KEY_REUSED,
        &problems::BACKLOG_FULL,
        &problems::DISK_LOW,
    ],
    ..BARE
};

pub(super) static RESERVE_BATCH: Row = Row {
    name: "reserve_batch",
    method: Method::Post,
    path: "/v1/sales/{sale}/reservations/batch",
    access: Access::OfSale(Role::Checkout),
    id: "reserveBatch",
    tag: Tag::Reservations,
    summary: "Hold units for many customers",
    description: "Each entry succeeds or fails on its own, as if it were sent alone. The service reports an \
                  entry's errors at its index in `results`, with pointers that begin at the entry. It decides \
                  entries in order, and sends results as they become durable, while it decides later entries. It \
                  refuses a whole batch only if the body is not JSON of this shape; nothing is done then. \
                  Idempotency keys belong to entries: the service refuses an `Idempotency-Key` header. If the \
                  connection breaks, the entries decided so far stay and the rest are not done. Give each entry a \
                  key, and the whole batch is safe to repeat.",
    body: Some(Asked { schema: "BatchRequest", required: true, limit: BodyLimit::Batch }),
    answers: &[ok_then("BatchResults", "The result of each entry, in order", links::OF_BATCH)],
    problems: &[&problems::SALE_NOT_FOUND],
    ..BARE
};

pub(super) static CUSTOMER_RESERVATIONS: Row = Row {
    name: "customer_reservations",
    method: Method::Get,
    path: "/v1/sales/{sale}/reservations",
    access: Access::OfSale(Role::Checkout),
    id: "listCustomerReservations",
    tag: Tag::Reservations,
    summary: "List a customer's reservations in a sale",
    description: "The customer's reservations in memory, newest first, and the customer's units against each item's limit. A \
                  reservation that has ended stays in memory for the retention time. An unknown customer has none. The \
                  answer has at most `limits.customer_reservations_max` reservations; if there are more, \
                  `reservations_total` says how many.",
    parameters: &["OfCustomer"],
    answers: &[ok_then("CustomerReservations", "The customer's reservations and limits", links::OF_CUSTOMER)],
    problems: &[&problems::SALE_NOT_FOUND],
    ..BARE
};

pub(super) static GET_RESERVATION: Row = Row {
    name: "get_reservation",
    method: Method::Get,
    path: "/v1/reservations/{id}",
    access: Access::Any(Role::Viewer),
    id: "getReservation",
    tag: Tag::Reservations,
    summary: "Look at a reservation",
    description: "A reservation that has ended stays in memory for the retention time. After that, this call \
                  answers 404, and only the store has the reservation.",
    answers: &[ok_then("Reservation", "The reservation as it is", links::OF_RESERVATION)],
    problems: &[&problems::RESERVATION_NOT_FOUND],
    ..BARE
};

pub(super) static CONFIRM: Row = Row {
    name: "confirm",
    method: Method::Post,
    path: "/v1/reservations/{id}/confirm",
    access: Access::Any(Role::Checkout),
    id: "confirmReservation",
    tag: Tag::Reservations,
    summary: "Confirm a hold: its units are sold",
    description: "With `lines`, these units are confirmed and the rest goes back into stock in the same step. Works before \
                  `expires_at`, and up to the sale's `late_confirm_seconds` after it if the same units are still available \
                  in the same pools: the answer then has `late: true`. Repeating the call with the same lines and the \
                  reservation's reference, or with no reference, gives the same reservation. The service refuses another \
                  reference or other lines (`already_confirmed`): it would be a second payment for units already sold. \
                  Each refused reference leaves an event, `reservation.confirm_refused`, so that its payment can be returned.",
    body: may_ask("ConfirmRequest"),
    answers: &[shows("Reservation", "Reservation, confirmed", "The reservation, confirmed", links::OF_CONFIRMED)],
    problems: &[
        &problems::RESERVATION_NOT_FOUND,
        &problems::RESERVATION_EXPIRED,
        &problems::GROUP_INCOMPLETE,
        &problems::ALREADY_CONFIRMED,
        &problems::ALREADY_RELEASED,
        &problems::ALREADY_CANCELLED,
        &problems::CUSTOMER_LIMIT_EXCEEDED,
    ],
    ..BARE
};

pub(super) static CHANGE: Row = Row {
    name: "change",
    method: Method::Post,
    path: "/v1/reservations/{id}/change",
    access: Access::Any(Role::Checkout),
    id: "changeReservation",
    tag: Tag::Reservations,
    summary: "Give a hold other lines",
    description: "Replaces the lines in one step, as if the old units were free for it. Units that stay keep their pool and \
                  price, and `expires_at` stays. What the hold gets more of is checked as in a reserve; giving units back needs \
                  no open sale. If the service refuses, nothing changes. Repeating the call gives the same reservation.",
    body: asks("ChangeRequest"),
    answers: &[shows("Reservation", "Reservation, changed", "The reservation with its new lines", links::OF_ENDED)],
    problems: &[
        &problems::RESERVATION_NOT_FOUND,
        &problems::ITEM_NOT_FOUND,
        &problems::SOLD_OUT,
        &problems::INSUFFICIENT_STOCK,
        &problems::CUSTOMER_LIMIT_EXCEEDED,
        &problems::SALE_NOT_STARTED,
        &problems::NOT_ELIGIBLE,
        &problems::SALE_ENDED,
        &problems::SALE_PAUSED,
        &problems::RESERVATION_EXPIRED,
        &problems::GROUP_INCOMPLETE,
        &problems::ALREADY_CONFIRMED,
        &problems::ALREADY_RELEASED,
        &problems::ALREADY_CANCELLED,
        &problems::BACKLOG_FULL,
        &problems::DISK_LOW,
    ],
    ..BARE
};

pub(super) static CANCEL: Row = Row {
    name: "cancel",
    method: Method::Post,
    path: "/v1/reservations/{id}/cancel",
    access: Access::Any(Role::Checkout),
    id: "cancelReservation",
    tag: Tag::Reservations,
    summary: "Cancel a confirmed reservation, or a part of it",
    description: "The units go back into stock, or leave the sale with `restock: false`. They count towards no limit from then on. \
                  Without `lines` everything is cancelled, and repeating the call gives the same reservation. With `lines` the \
                  reservation stays `confirmed` with fewer units until none are left; an `Idempotency-Key` is then required, and \
                  a repeat with the same key changes nothing. A reservation that has left memory (404) cannot be cancelled: put \
                  its units back with an adjustment.",
    parameters: &["IdempotencyKey"],
    body: may_ask("CancelRequest"),
    answers: &[Given {
        headers: &["Idempotent-Replayed"],
        ..shows("Reservation", "Reservation, cancelled", "The reservation without the units", &[])
    }],
    problems: &[
        &problems::RESERVATION_NOT_FOUND,
        &problems::NOT_CONFIRMED,
        &problems::RESERVATION_EXPIRED,
        &problems::ALREADY_RELEASED,
        &problems::ALREADY_CANCELLED,
        &problems::IDEMPOTENCY_KEY_REUSED,
    ],
    ..BARE
};

pub(super) static RELEASE: Row = Row {
    name: "release",
    method: Method::Post,
    path: "/v1/reservations/{id}/release",
    access: Access::Any(Role::Checkout),
    id: "releaseReservation",
    tag: Tag::Reservations,
    summary: "Release a hold: its units go back into stock",
    description: "Works only before `expires_at`. Repeating the call gives the same reservation and keeps the \
                  first reason. A member of an open group leaves it.",
    body: may_ask("ReleaseRequest"),
    answers: &[shows("Reservation", "Reservation, released", "The reservation, released", links::OF_ENDED)],
    problems: &[
        &problems::RESERVATION_NOT_FOUND,
        &problems::RESERVATION_EXPIRED,
        &problems::ALREADY_CONFIRMED,
        &problems::ALREADY_CANCELLED,
    ],
    ..BARE
};

pub(super) static EXTEND: Row = Row {
    name: "extend",
    method: Method::Post,
    path: "/v1/reservations/{id}/extend",
    access: Access::Any(Role::Checkout),
    id: "extendReservation",
    tag: Tag::Reservations,
    summary: "Make a hold last longer",
    description: "The new `expires_at` is `hold_seconds` from now. If the hold already lasts that long, nothing \
                  changes: the answer shows the hold as it is, and the call does not count as an extension.",
    body: asks("ExtendRequest"),
    answers: &[shows("Reservation", "Reservation, extended", "The reservation with its new end", links::OF_ENDED)],
    problems: &[
        &problems::RESERVATION_NOT_FOUND,
        &problems::RESERVATION_EXPIRED,
        &problems::GROUP_INCOMPLETE,
        &problems::ALREADY_CONFIRMED,
        &problems::ALREADY_RELEASED,
        &problems::ALREADY_CANCELLED,
        &problems::EXTENSION_LIMIT_REACHED,
    ],
    ..BARE
};
