//! Problems (RFC 9457): the one table of what the service refuses, with the status of each and what it means to a person.
//!
//! Invariant: `PROBLEMS` has every problem that the service answers, with its status and the page behind its `type`.

use crate::sale::code::Code;

/// One row of the contract's table of problems.
#[derive(Debug)]
pub struct Problem {
    pub code: &'static str,
    /// The path of the page that explains it: the problem's `type`.
    pub path: &'static str,
    pub status: u16,
    pub title: &'static str,
    /// What it means, for people.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// What its document has beyond the standard members.
    pub members: Kind,
}

/// The members beyond the standard ones that a problem's document has: the variants of `Members`, without their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    None,
    Errors,
    Lines,
    Limit,
    OpensAt,
    OpenHolds,
    ExpiredHolds,
    Oldest,
    Reservation,
    /// The id of the customer's entry.
    Entry,
    /// How many may wait.
    EntriesMax,
    /// The state of an entry, and what it was offered.
    EntryState,
    /// The reservation, and for a late confirmation the lines that lack units.
    ExpiredReservation,
}

/// Where the pages of problems are.
const PAGES: &str = "/problems/";

/// The bytes of a problem's path.
const fn path_of<const LENGTH: usize>(code: &str) -> [u8; LENGTH] {
    let (mut path, mut at) = ([b'-'; LENGTH], 0);
    while at < LENGTH {
        let byte = if at < PAGES.len() { PAGES.as_bytes()[at] } else { code.as_bytes()[at - PAGES.len()] };
        if byte != b'_' {
            path[at] = byte;
        }
        at += 1;
    }
    path
}

macro_rules! problems {
    ($($name:ident = $status:literal $code:literal $title:literal, $meaning:literal, $remedy:literal
        $(, with $members:ident)?;)*) => {
        $(pub static $name: Problem = Problem {
            code: $code,
            path: {
                const PATH: [u8; PAGES.len() + $code.len()] = path_of($code);
                match std::str::from_utf8(&PATH) {
                    Ok(path) => path,
                    Err(_) => panic!("a code is ASCII"),
                }
            },
            status: $status,
            title: $title,
            meaning: $meaning,
            remedy: $remedy,
            members: problems!(@members $($members)?),
        };)*
        pub static PROBLEMS: &[&Problem] = &[$(&$name),*];
    };
    (@members) => { Kind::None };
    (@members $members:ident) => { Kind::$members };
}

problems! {
    INVALID_REQUEST = 400 "invalid_request" "The request is malformed",
        "The body, a header or a path segment is not what the contract asks for.",
        "Read `errors`: each entry points at a member and says what to change. Do not retry unchanged.",
        with Errors;
    UNAUTHENTICATED = 401 "unauthenticated" "An API key is required",
        "The service requires an API key, and the request carries none that it knows.",
        "Send `Authorization: Bearer` with your key. If the key worked before, an operator has revoked it: ask for a \
         new one.";
    FORBIDDEN = 403 "forbidden" "The key does not allow this call",
        "The service knows the key, but the key's role or its list of sales does not allow this call.",
        "Use a key that allows it; the detail says what this one lacks.";
    NOT_FOUND = 404 "not_found" "There is nothing at this path",
        "The API has no such path.",
        "Check the path against `/openapi.json`.";
    SALE_NOT_FOUND = 404 "sale_not_found" "The sale does not exist",
        "No sale has this id.",
        "Check the id, or create the sale with PUT.";
    ITEM_NOT_FOUND = 404 "item_not_found" "The sale has no such item",
        "The sale exists, but none of its items has this SKU.",
        "Check the SKU, or add the item to the sale with PUT.";
    RESERVATION_NOT_FOUND = 404 "reservation_not_found" "The reservation does not exist",
        "No reservation has this id, or the reservation ended longer ago than the retention time and left memory.",
        "Check the id. What happened to old reservations is in the store.";
    WEBHOOK_NOT_FOUND = 404 "webhook_not_found" "The webhook does not exist",
        "The configuration has no webhook of this name, or the key does not reach all of its sales.",
        "Check the name against `GET /v1/webhooks`.";
    ENTRY_NOT_FOUND = 404 "waitlist_entry_not_found" "The waitlist entry does not exist",
        "No waitlist entry has this id, or the entry ended longer ago than the retention time and left memory.",
        "Check the id. What happened to old entries is in the store.";
    METHOD_NOT_ALLOWED = 405 "method_not_allowed" "The method is not allowed here",
        "The path exists, but not with this method.",
        "Use one of the methods in the Allow header.";
    NOT_ACCEPTABLE = 406 "not_acceptable" "The request accepts no format of this call",
        "The Accept header excludes every format that this call answers in.",
        "Accept a format that the detail names, or send no Accept header.";
    REQUEST_TIMEOUT = 408 "request_timeout" "The body did not arrive in time",
        "The body was still incomplete when its time limit ran out. Nothing was done.",
        "Send the whole request at once; it is safe to retry.";
    CURSOR_TOO_OLD = 410 "cursor_too_old" "The cursor is too old",
        "The journal no longer has the events after the cursor. The service removes a segment once a snapshot and the \
         store have its changes.",
        "Read the current state (sales, availability, the store), then continue with `after` set to `oldest`. To \
         prevent this, read the feed more often than the service removes segments.", with Oldest;
    PRECONDITION_FAILED = 412 "precondition_failed" "The sale does not match the precondition",
        "`If-Match` does not name the sale's current settings, or `If-None-Match` excludes them. Somebody else may \
         have changed the sale. Nothing was done.",
        "GET the sale with its `ETag`, apply your change to its current settings, and send it again with that ETag.";
    LENGTH_REQUIRED = 411 "length_required" "Content-Length is required",
        "This call takes a body, and the request does not say how long it is.",
        "Send Content-Length, or use chunked transfer encoding.";
    CONTENT_TOO_LARGE = 413 "content_too_large" "The body is too large",
        "The body exceeds the limit for this call. Nothing was done.",
        "Send a smaller body; the detail names the limit.";
    URI_TOO_LONG = 414 "uri_too_long" "The path is too long",
        "The request target exceeds the limit.",
        "No valid path is that long; check how your client builds it.";
    UNSUPPORTED_MEDIA_TYPE = 415 "unsupported_media_type" "The body is not JSON",
        "The Content-Type header names a format that this call does not take.",
        "Send JSON with `Content-Type: application/json`.";
    HEADERS_TOO_LARGE = 431 "request_header_fields_too_large" "The headers are too large",
        "The request's headers together exceed the limit.",
        "Send fewer or shorter headers.";
    SOLD_OUT = 409 "sold_out" "Sold out",
        "At some instant between the request and this answer, an item of the request had no available units. Units \
         may come back when holds expire or are released.",
        "Tell the customer. If the line has `waitlist`, the customer can wait for units that come back; else poll availability \
         rather than retrying the reserve.",
        with Lines;
    INSUFFICIENT_STOCK = 409 "insufficient_stock" "Not enough stock",
        "At some instant between the request and this answer, an item had fewer available units than its line asks \
         for.",
        "Ask for at most `available` units.",
        with Lines;
    CUSTOMER_LIMIT_EXCEEDED = 409 "customer_limit_exceeded" "The customer's limit is reached",
        "This reservation would take the customer's held and confirmed units of the item past its limit.",
        "Ask for at most `limit - already` units. Releasing a hold frees its units for the customer's limit.",
        with Limit;
    TOO_MANY_HOLDS = 409 "too_many_holds" "The customer has too many holds",
        "The sale limits the holds that a customer may have at once, and the customer has that many.",
        "Confirm or release one of the customer's holds first.",
        with OpenHolds;
    SALE_NOT_STARTED = 409 "sale_not_started" "The sale has not started",
        "The sale is not open yet, or the phase that lets this customer in has not begun.",
        "Try again at `opens_at`.",
        with OpensAt;
    NOT_ELIGIBLE = 409 "not_eligible" "The customer is not eligible",
        "The sale has phases, and none that runs now or comes later lets this tier and channel in.",
        "Check `tier` and `channel` of the request against the sale's `phases`. Do not retry unchanged.";
    SALE_ENDED = 409 "sale_ended" "The sale has ended",
        "The sale's window is over, or an operator closed the sale. Confirm and release still work.",
        "Do not retry: this sale takes no more reservations.";
    SALE_PAUSED = 409 "sale_paused" "The sale is paused",
        "An operator paused the sale. Confirm and release still work.",
        "Try again after an operator resumes the sale.";
    RESERVATION_EXPIRED = 409 "reservation_expired" "The hold has expired",
        "The hold expired before the service decided this request, and its units are back in stock. A late confirmation \
         came after the sale's `late_confirm_seconds`, or `lines` names the items that are no longer available. A refused \
         confirmation leaves an event, `reservation.confirm_refused`.",
        "Reserve again. If a payment arrived for the expired hold, refund it or make a new reservation for the \
         customer.",
        with ExpiredReservation;
    NOT_CONFIRMED = 409 "not_confirmed" "The reservation is not confirmed",
        "Only a confirmed reservation can be cancelled, and this one is a hold.",
        "Release the hold instead.",
        with Reservation;
    ALREADY_CONFIRMED = 409 "already_confirmed" "The reservation is confirmed",
        "A confirmed reservation cannot be released, extended, changed, or confirmed again with another reference or \
         other lines.",
        "Compare `reservation.reference` with yours. If they differ, the reservation was sold for another order: \
         refund the second payment, or make a new reservation for it. To give units back, cancel them.",
        with Reservation;
    ALREADY_RELEASED = 409 "already_released" "The reservation is released",
        "A released reservation cannot be confirmed, extended, changed or cancelled. Its units are back in stock.",
        "Reserve again.",
        with Reservation;
    ALREADY_CANCELLED = 409 "already_cancelled" "The reservation is cancelled",
        "A cancelled reservation cannot be confirmed, extended, changed or released. It has no units left.",
        "If a payment arrived for it, refund it. Reserve again for a new order.",
        with Reservation;
    EXTENSION_LIMIT_REACHED = 409 "extension_limit_reached" "The hold has no extensions left",
        "The number of extensions per hold is limited, and this hold has used them all.",
        "Confirm before `expires_at`, or let the hold expire.",
        with Reservation;
    ALREADY_IN_GROUP = 409 "already_in_group" "The customer is in the group already",
        "A customer can be a member of a group once, and `reservation` is the membership.",
        "Use that reservation. To join again, release it first.",
        with Reservation;
    GROUP_FULL = 409 "group_full" "The group is complete",
        "The group has all of its members.",
        "Reserve without `group` to open another group.";
    GROUP_CLOSED = 409 "group_closed" "The group is not open",
        "The group's time was over before it was complete, all of its members left, or there is no such group.",
        "Reserve without `group` to open another group.";
    GROUP_INCOMPLETE = 409 "group_incomplete" "The group is not complete",
        "A member of a group can be confirmed, extended or changed only once the group has all of its members.",
        "Wait for the event `group.completed`, or look at the reservation until `group.state` is `complete`. If the group fails, \
         the reservation is released.",
        with Reservation;
    NO_WAITLIST = 409 "no_waitlist" "The sale has no waitlist",
        "The sale exists, but its document has no `waitlist`.",
        "Tell the customer that the item is sold out. An operator can add a waitlist to the sale at any time.";
    STOCK_AVAILABLE = 409 "stock_available" "The units are available",
        "At some instant between the request and this answer, all units that the request asks for could have been held. A \
         customer may wait only if there are too few.",
        "Reserve instead.";
    ALREADY_WAITING = 409 "already_waiting" "The customer is waiting already",
        "A customer can have one waiting entry in a sale, and this customer has one. Its place has not changed.",
        "Show the customer the entry that `entry` names. To wait for something else, leave that entry first.",
        with Entry;
    WAITLIST_FULL = 409 "waitlist_full" "The waitlist is full",
        "As many customers are waiting as the sale's `waitlist.entries_max` allows.",
        "Tell the customer. Places become free when customers are offered units, leave, or have waited for too long.",
        with EntriesMax;
    NOT_WAITING = 409 "not_waiting" "The entry is not waiting",
        "The entry was offered a hold, or its time is over, so the customer cannot leave the waitlist.",
        "If `state` is `offered`, release the reservation that `reservation` names. If it is `expired`, there is nothing to do.",
        with EntryState;
    INITIAL_STOCK_IMMUTABLE = 409 "initial_stock_immutable" "The initial stock of an item cannot change",
        "The initial stock of an item, and of each of its pools, is fixed once it exists. A pool that is added later begins \
         with none.",
        "Send the old `initial_stock`, and change the stock with an adjustment or a transfer.";
    IDEMPOTENCY_KEY_REUSED = 422 "idempotency_key_reused" "The idempotency key belongs to another request",
        "A different request used this key before, in the same scope. Nothing was done.",
        "Use a new key for a new request, and the same key only to repeat the same request.";
    RATE_LIMITED = 429 "rate_limited" "Too many requests",
        "The key, the customer in this sale, or the sale has used up its quota; `RateLimit-Policy` names which. \
         Nothing was done.",
        "Try again after Retry-After: the quota then admits the next request.";
    COOLING_DOWN = 429 "cooling_down" "The customer lets holds expire",
        "The sale limits the holds that a customer may let expire within an hour, and the customer has let that many expire.",
        "Try again after Retry-After: fewer of them are then that recent.",
        with ExpiredHolds;
    OVERLOADED = 503 "overloaded" "The service is at a limit",
        "The service has reached one of its limits. Nothing was done.",
        "Try again after Retry-After.";
    BACKLOG_FULL = 503 "backlog_full" "The store is too far behind",
        "The database is so far behind that the service takes no new reservations. Confirm and release still work.",
        "Try again after Retry-After.";
    DISK_LOW = 503 "disk_low" "The disk is nearly full",
        "The journal's disk has less free space than the reserve for confirms and releases, which still work. Nothing \
         was done.",
        "Try again after Retry-After. Reserving works again once an operator has freed space.";
    STORE_UNAVAILABLE = 503 "store_unavailable" "The store cannot answer",
        "The service cannot reach or read its database, or the database does not have the sale yet. Reserving still \
         works.",
        "Try again after Retry-After. If the problem stays, look at `store` in /readyz.";
    DRAINING = 503 "draining" "The service is shutting down",
        "This process is stopping and takes no more requests. Nothing was done.",
        "Try again after Retry-After.";
    OUTCOME_UNKNOWN = 503 "outcome_unknown" "The outcome is unknown",
        "The disk failed before the change was durable. After the restart, the change may or may not be there.",
        "Repeat the request with the same idempotency key: if the change is there, you get the same answer.";
}

impl Problem {
    /// The code with dashes.
    pub fn slug(&self) -> &'static str {
        &self.path[PAGES.len()..]
    }
}

/// The problem that a refusal with this code is answered with.
pub fn of(code: Code) -> &'static Problem {
    match code {
        Code::InvalidRequest => &INVALID_REQUEST,
        Code::SaleNotFound => &SALE_NOT_FOUND,
        Code::ItemNotFound => &ITEM_NOT_FOUND,
        Code::ReservationNotFound => &RESERVATION_NOT_FOUND,
        Code::SoldOut => &SOLD_OUT,
        Code::InsufficientStock => &INSUFFICIENT_STOCK,
        Code::CustomerLimitExceeded => &CUSTOMER_LIMIT_EXCEEDED,
        Code::SaleNotStarted => &SALE_NOT_STARTED,
        Code::NotEligible => &NOT_ELIGIBLE,
        Code::SaleEnded => &SALE_ENDED,
        Code::SalePaused => &SALE_PAUSED,
        Code::ReservationExpired => &RESERVATION_EXPIRED,
        Code::AlreadyConfirmed => &ALREADY_CONFIRMED,
        Code::AlreadyReleased => &ALREADY_RELEASED,
        Code::AlreadyCancelled => &ALREADY_CANCELLED,
        Code::NotConfirmed => &NOT_CONFIRMED,
        Code::TooManyHolds => &TOO_MANY_HOLDS,
        Code::CoolingDown => &COOLING_DOWN,
        Code::ExtensionLimitReached => &EXTENSION_LIMIT_REACHED,
        Code::AlreadyInGroup => &ALREADY_IN_GROUP,
        Code::GroupFull => &GROUP_FULL,
        Code::GroupClosed => &GROUP_CLOSED,
        Code::GroupIncomplete => &GROUP_INCOMPLETE,
        Code::EntryNotFound => &ENTRY_NOT_FOUND,
        Code::NoWaitlist => &NO_WAITLIST,
        Code::StockAvailable => &STOCK_AVAILABLE,
        Code::AlreadyWaiting => &ALREADY_WAITING,
        Code::WaitlistFull => &WAITLIST_FULL,
        Code::NotWaiting => &NOT_WAITING,
        Code::IdempotencyKeyReused => &IDEMPOTENCY_KEY_REUSED,
        Code::Overloaded => &OVERLOADED,
        Code::BacklogFull => &BACKLOG_FULL,
        Code::DiskLow => &DISK_LOW,
        Code::PreconditionFailed => &PRECONDITION_FAILED,
        Code::InitialStockImmutable => &INITIAL_STOCK_IMMUTABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_a_code_of_its_own_and_an_error_status() {
        let mut codes: Vec<_> = PROBLEMS.iter().map(|problem| problem.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), PROBLEMS.len());
        assert!(PROBLEMS.iter().all(|problem| (400..600).contains(&problem.status)));
        assert_eq!(SOLD_OUT.path, "/problems/sold-out");
    }

    #[test]
    fn a_refusal_is_answered_with_the_problem_of_its_code() {
        for code in Code::ALL {
            assert_eq!(of(*code).code, code.as_str());
        }
    }
}
