//! Calls on waitlists.

use super::{Access, BARE, Content, Given, Method, Row, Tag, asks, links, may_ask, ok, shows};
use crate::{api::problems, auth::Role};

pub(super) static JOIN: Row = Row {
    name: "join_waitlist",
    method: Method::Post,
    path: "/v1/sales/{sale}/waitlist",
    access: Access::OfSale(Role::Checkout),
    id: "joinWaitlist",
    tag: Tag::Waitlist,
    summary: "Wait for units that come back",
    description: "Puts the customer at the end of the sale's waitlist. Units that come back are offered in the order of joining, \
                  to each entry whose units are all available: the service makes a hold for it. A customer can have one \
                  waiting entry in a sale. The service checks in this order and answers the first failure: the request is well \
                  formed; the sale exists and has a waitlist; the idempotency key (a known key gets its entry as it is now, or \
                  `idempotency_key_reused`); limits of the service; the sale is open; a phase lets the customer in; the items \
                  exist; an offered hold would end before the sale does; the customer is not waiting already; too few units \
                  are available; the customer's limit; room on the waitlist.",
    parameters: &["IdempotencyKey"],
    body: asks("JoinRequest"),
    answers: &[Given {
        status: 201,
        content: Content::Json("WaitlistEntry"),
        example: None,
        description: "The durable entry. For a repeated key: the entry as it is now, with `Idempotent-Replayed: true`",
        headers: &["Location", "Idempotent-Replayed"],
        links: links::OF_JOINED,
    }],
    problems: &[
        &problems::SALE_NOT_FOUND,
        &problems::ITEM_NOT_FOUND,
        &problems::NO_WAITLIST,
        &problems::STOCK_AVAILABLE,
        &problems::ALREADY_WAITING,
        &problems::WAITLIST_FULL,
        &problems::CUSTOMER_LIMIT_EXCEEDED,
        &problems::SALE_NOT_STARTED,
        &problems::NOT_ELIGIBLE,
        &problems::SALE_ENDED,
        &problems::SALE_PAUSED,
        &problems::IDEMPOTENCY_KEY_REUSED,
        &problems::BACKLOG_FULL,
        &problems::DISK_LOW,
    ],
    ..BARE
};

pub(super) static GET: Row = Row {
    name: "get_waitlist_entry",
    method: Method::Get,
    path: "/v1/waitlist/{entry}",
    access: Access::Any(Role::Viewer),
    id: "getWaitlistEntry",
    tag: Tag::Waitlist,
    summary: "Look at a waitlist entry",
    description: "An entry that was offered a hold names it in `reservation`. An entry that has ended stays in memory for the \
                  retention time. After that, this call answers 404, and only the store has the entry.",
    answers: &[ok("WaitlistEntry", "The entry as it is")],
    problems: &[&problems::ENTRY_NOT_FOUND],
    ..BARE
};

pub(super) static LEAVE: Row = Row {
    name: "leave_waitlist",
    method: Method::Post,
    path: "/v1/waitlist/{entry}/leave",
    access: Access::Any(Role::Checkout),
    id: "leaveWaitlist",
    tag: Tag::Waitlist,
    summary: "Leave the waitlist",
    description: "The customer waits no longer, and everybody behind moves up. Repeating the call gives the same entry. An entry \
                  that was offered a hold is not waiting: release the hold instead.",
    body: may_ask("NoMembers"),
    answers: &[shows("WaitlistEntry", "WaitlistEntry, left", "The entry, left", &[])],
    problems: &[&problems::ENTRY_NOT_FOUND, &problems::NOT_WAITING],
    ..BARE
};
