//! Why a request is refused before it becomes a command. What the rules of a sale refuse is a `Refusal`.

use std::{borrow::Cow, time::Duration};

use super::problems::{self, Problem};
use crate::sale::settings::{Invalid, Quota};

/// Why a request is refused.
#[derive(Debug)]
pub struct Refused {
    pub problem: &'static Problem,
    /// What happened this time, for people.
    pub detail: Cow<'static, str>,
    pub facts: Facts,
}

/// What programs learn beside the problem's code.
#[derive(Debug)]
pub enum Facts {
    None,
    /// Everything that is wrong with the request.
    Errors(Vec<Invalid>),
    /// The quota that is used up.
    Limited(Limited),
    /// The oldest resumable cursor.
    Oldest(String),
    /// The methods of the path, as an Allow header lists them.
    Allowed(&'static str),
    /// The call takes merge patches.
    TakesPatches,
}

/// A request beyond a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// The quota's kind: `key`, `customer` or `sale`.
    pub policy: &'static str,
    pub quota: Quota,
    /// Time until the next request is admitted.
    pub wait: Duration,
}

impl Problem {
    pub fn because(&'static self, detail: impl Into<Cow<'static, str>>) -> Refused {
        Refused { problem: self, detail: detail.into(), facts: Facts::None }
    }
}

impl Refused {
    pub fn invalid(errors: Vec<Invalid>) -> Self {
        let detail = detail_of(&errors);
        Self { facts: Facts::Errors(errors), ..problems::INVALID_REQUEST.because(detail) }
    }

    pub fn limited(limited: Limited) -> Self {
        let Limited { policy, quota: Quota { requests, window_seconds }, .. } = limited;
        let detail = format!("the quota of the {policy} is {requests} requests in {window_seconds} s");
        Self { facts: Facts::Limited(limited), ..problems::RATE_LIMITED.because(detail) }
    }

    /// `oldest`: the oldest resumable cursor.
    pub fn cursor_too_old(oldest: String) -> Self {
        let detail =
            format!("the journal no longer has the events after this cursor; the oldest resumable cursor is {oldest}");
        Self { facts: Facts::Oldest(oldest), ..problems::CURSOR_TOO_OLD.because(detail) }
    }

    pub fn method_not_allowed(allowed: &'static str) -> Self {
        let detail = format!("this path allows {allowed}");
        Self { facts: Facts::Allowed(allowed), ..problems::METHOD_NOT_ALLOWED.because(detail) }
    }

    /// The answer to a change whose write failed.
    pub fn outcome_unknown() -> Self {
        problems::OUTCOME_UNKNOWN.because("the disk failed before this change was durable")
    }

    /// Also for a sale that the caller may not see.
    pub fn no_such_sale() -> Self {
        problems::SALE_NOT_FOUND.because(NO_SUCH_SALE)
    }

    /// Also for a reservation that the caller may not see.
    pub fn no_such_reservation() -> Self {
        problems::RESERVATION_NOT_FOUND.because(NO_SUCH_RESERVATION)
    }

    /// Also for an entry that the caller may not see.
    pub fn no_such_entry() -> Self {
        problems::ENTRY_NOT_FOUND.because(NO_SUCH_ENTRY)
    }

    /// As `no_such_reservation`, with what to do if it was there.
    pub fn no_such_reservation_to_cancel() -> Self {
        problems::RESERVATION_NOT_FOUND.because(
            "no reservation in memory has this id; one that ended leaves memory after engine.retention_seconds: put its units \
             back into the sale with an adjustment",
        )
    }
}

impl From<Invalid> for Refused {
    fn from(error: Invalid) -> Self {
        Self::invalid(vec![error])
    }
}

impl From<Vec<Invalid>> for Refused {
    fn from(errors: Vec<Invalid>) -> Self {
        Self::invalid(errors)
    }
}

pub const NO_SUCH_SALE: &str = "no sale has this id";
pub const NO_SUCH_RESERVATION: &str = "no reservation has this id";
pub const NO_SUCH_ENTRY: &str = "no waitlist entry has this id";

/// What is wrong, in one line.
pub fn detail_of(errors: &[Invalid]) -> String {
    match errors {
        [only] if only.pointer.is_empty() => only.detail.clone(),
        [only] => format!("{}: {}", only.pointer, only.detail),
        _ => format!("{} members are wrong; see errors", errors.len()),
    }
}
