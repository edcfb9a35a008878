//! Documents of problems (RFC 9457).

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    answers::{ReservationBody, write_id, write_optional_id},
    encode,
};
use crate::{
    api::{
        problems::{Kind, Problem},
        refused::{Facts, NO_SUCH_ENTRY, NO_SUCH_RESERVATION, NO_SUCH_SALE, Refused, detail_of},
    },
    sale::{
        catalogue::Catalogue,
        expected::Tag,
        ids::{EntryId, ReservationId},
        outcome::{Refusal, Reservation, Shortage, State, WaitState, WaitlistEntry},
        settings::Invalid,
        time::Timestamp,
    },
};

/// A request that was refused before the rules were asked.
pub fn of_refused(refused: &Refused) -> Vec<u8> {
    let members = match &refused.facts {
        Facts::Errors(errors) => Members::Errors(Errors { errors }),
        Facts::Oldest(oldest) => Members::Oldest(Oldest { oldest }),
        Facts::None | Facts::Limited(_) | Facts::Allowed(_) | Facts::TakesPatches => Members::None {},
    };
    let mut document = Vec::with_capacity(DOCUMENT_BYTES);
    write(&mut document, refused.problem, &refused.detail, members);
    document
}

/// Room for most documents.
pub const DOCUMENT_BYTES: usize = 448;

/// Appends the document of a refusal by the rules, as this problem. The catalogue names everything that a reservation refers to.
pub fn write_refusal(out: &mut Vec<u8>, problem: &'static Problem, refusal: &Refusal, catalogue: &Catalogue) {
    if let Refusal::Short(lines) = refusal
        && encode::shortage(out, problem, lines)
    {
        return;
    }
    spell(out, problem, refusal, catalogue);
}

/// As `write_refusal`, through serde.
pub(super) fn spell(out: &mut Vec<u8>, problem: &'static Problem, refusal: &Refusal, catalogue: &Catalogue) {
    write(out, problem, &detail(refusal), members(refusal, catalogue));
}

fn write(out: &mut Vec<u8>, problem: &'static Problem, detail: &str, members: Members<'_>) {
    let &Problem { code, status, title, .. } = problem;
    debug_assert_eq!(members.kind(), problem.members, "{code} has the members that its row in the table says");
    let document = Document { kind: problem.path, title, status, code, detail, members };
    serde_json::to_writer(out, &document).expect("problems are plain JSON");
}

fn detail(refusal: &Refusal) -> Cow<'static, str> {
    match refusal {
        Refusal::Invalid(errors) => detail_of(errors).into(),
        Refusal::SaleNotFound => NO_SUCH_SALE.into(),
        Refusal::ItemNotFound { sku } => format!("the sale has no item {sku:?}").into(),
        Refusal::PreconditionFailed { present: None } => "there is no such sale".into(),
        Refusal::PreconditionFailed { present: Some(tag) } => {
            format!("the sale's ETag is {}, and the request expects another", etag(*tag)).into()
        }
        Refusal::ReservationNotFound => NO_SUCH_RESERVATION.into(),
        Refusal::Short(lines) => short(lines).into(),
        Refusal::CustomerLimitExceeded { sku, limit, already } => {
            format!("the limit for {sku:?} is {limit} per customer, and the customer has {already}").into()
        }
        Refusal::SaleNotStarted { opens_at } => format!("the sale opens for this customer at {opens_at}").into(),
        Refusal::NotEligible => "no phase of the sale, now or later, has this tier and channel".into(),
        Refusal::SaleEnded => "the sale is closed".into(),
        Refusal::OffersEnded => "the sale closes so soon that a hold which is offered now would outlast it".into(),
        Refusal::SalePaused => "the sale is paused".into(),
        Refusal::ReservationExpired(reservation) => ended("expired", reservation).into(),
        Refusal::AlreadyConfirmed(reservation) => ended("was confirmed", reservation).into(),
        Refusal::AlreadyReleased(reservation) => ended("was released", reservation).into(),
        Refusal::AlreadyCancelled(reservation) => ended("was cancelled", reservation).into(),
        Refusal::NotConfirmed(_) => "the reservation is a hold; release it instead".into(),
        Refusal::ExpiredAndShort { reservation, short: lines } => {
            format!("{}, and its units are gone: {}", ended("expired", reservation), short(lines)).into()
        }
        Refusal::TooManyHolds { limit, open } => {
            let holds = if *open == 1 { "hold" } else { "holds" };
            format!("the customer has {open} {holds} in this sale, which allows {limit} at once").into()
        }
        Refusal::CoolingDown { limit, expired, retry_after_seconds } => format!(
            "{expired} of the customer's holds in this sale expired within the hour, and the sale allows {limit}; try again \
             in {retry_after_seconds} s"
        )
        .into(),
        Refusal::ExtensionLimitReached(reservation) => match reservation.extensions {
            0 => "the sale allows no extensions".into(),
            1 => "the hold has already been extended once; the sale allows no more".into(),
            times => format!("the hold has already been extended {times} times; the sale allows no more").into(),
        },
        Refusal::InitialStockImmutable { sku, pool: Some(pool), initial_stock } => format!(
            "the initial_stock of the pool {pool:?} of {sku:?} is {initial_stock} and cannot change; use an adjustment or \
             a transfer to change its stock"
        )
        .into(),
        Refusal::InitialStockImmutable { sku, pool: None, initial_stock } => format!(
            "the initial_stock of {sku:?} is {initial_stock} and cannot change; use an adjustment to change its stock"
        )
        .into(),
        Refusal::AlreadyInGroup(_) => "the customer is a member of this group already".into(),
        Refusal::GroupFull => "the group has all of its members".into(),
        Refusal::GroupClosed => "no such group is open: it failed, or there never was one".into(),
        Refusal::GroupIncomplete(reservation) => match &reservation.group {
            Some(group) => {
                format!("the group has {} of {} members; it is open until {}", group.members, group.size, group.expires_at)
            }
            None => "the group is not complete".to_owned(),
        }
        .into(),
        Refusal::EntryNotFound => NO_SUCH_ENTRY.into(),
        Refusal::NoWaitlist => "the sale has no waitlist".into(),
        Refusal::StockAvailable => "all these units can be held now; reserve them".into(),
        Refusal::AlreadyWaiting(entry) => format!("the customer has been waiting since {}", entry.id.created_at()).into(),
        Refusal::WaitlistFull { limit } => format!("{limit} customers are waiting, as many as the sale allows").into(),
        Refusal::NotWaiting(entry) => not_waiting(entry).into(),
        Refusal::IdempotencyKeyReused => "a different request used this Idempotency-Key before".into(),
        Refusal::Full(limit) => format!("{limit} is reached").into(),
        Refusal::BacklogFull => "journal.max_backlog_bytes is reached".into(),
        Refusal::DiskLow => "the journal's disk has less free space than journal.disk_reserve_bytes".into(),
    }
}

fn short(lines: &[Shortage]) -> String {
    let line = |line: &Shortage| format!("{:?}: {} requested, {} available", line.sku, line.requested, line.available);
    lines.iter().map(line).collect::<Vec<_>>().join("; ")
}

fn not_waiting(entry: &WaitlistEntry) -> String {
    let at = entry.ended_at.map(|at| format!(" at {at}")).unwrap_or_default();
    match entry.state {
        WaitState::Offered => format!("the entry was offered a hold{at}; release that hold instead"),
        WaitState::Expired => format!("the entry expired{at}"),
        WaitState::Left => format!("the customer left{at}"),
        WaitState::Waiting => "the customer is waiting".to_owned(),
    }
}

fn ended(how: &str, reservation: &Reservation) -> String {
    let at = reservation.ended_at.map(|at| format!(" at {at}")).unwrap_or_default();
    let confirmed = matches!(reservation.state, State::Confirmed | State::Cancelled);
    let reference = match &reservation.reference {
        _ if !confirmed => String::new(),
        None => ", without a reference".to_owned(),
        Some(reference) => format!(", with the reference {reference:?}"),
    };
    format!("the reservation {how}{at}{reference}")
}

fn members<'a>(refusal: &'a Refusal, catalogue: &'a Catalogue) -> Members<'a> {
    match refusal {
        Refusal::Invalid(errors) => Members::Errors(Errors { errors }),
        Refusal::Short(lines) => Members::Lines(Lines { lines: lines.iter().map(Line::from).collect() }),
        Refusal::CustomerLimitExceeded { sku, limit, already } => {
            Members::Limit(Limit { sku, limit: *limit, already: *already })
        }
        Refusal::SaleNotStarted { opens_at } => Members::OpensAt(OpensAt { opens_at: *opens_at }),
        Refusal::ReservationExpired(reservation) => Members::Expired(OfExpired::new(reservation, &[], catalogue)),
        Refusal::ExpiredAndShort { reservation, short } => {
            Members::Expired(OfExpired::new(reservation, short, catalogue))
        }
        &Refusal::TooManyHolds { limit, open } => Members::OpenHolds(OpenHolds { limit, open }),
        &Refusal::CoolingDown { limit, expired, .. } => Members::ExpiredHolds(ExpiredHolds { limit, expired }),
        Refusal::AlreadyWaiting(entry) => Members::Entry(OfEntry { entry: entry.id }),
        &Refusal::WaitlistFull { limit } => Members::EntriesMax(EntriesMax { limit }),
        Refusal::NotWaiting(entry) => {
            Members::EntryState(EntryState { state: entry.state.as_str(), reservation: entry.reservation })
        }
        Refusal::NotConfirmed(reservation)
        | Refusal::AlreadyConfirmed(reservation)
        | Refusal::AlreadyReleased(reservation)
        | Refusal::AlreadyCancelled(reservation)
        | Refusal::AlreadyInGroup(reservation)
        | Refusal::GroupIncomplete(reservation)
        | Refusal::ExtensionLimitReached(reservation) => {
            Members::Reservation(Of { reservation: ReservationBody::new(reservation, catalogue) })
        }
        Refusal::SaleNotFound
        | Refusal::ItemNotFound { .. }
        | Refusal::PreconditionFailed { .. }
        | Refusal::ReservationNotFound
        | Refusal::NotEligible
        | Refusal::SaleEnded
        | Refusal::OffersEnded
        | Refusal::SalePaused
        | Refusal::EntryNotFound
        | Refusal::NoWaitlist
        | Refusal::StockAvailable
        | Refusal::InitialStockImmutable { .. }
        | Refusal::GroupFull
        | Refusal::GroupClosed
        | Refusal::IdempotencyKeyReused
        | Refusal::Full(_)
        | Refusal::BacklogFull
        | Refusal::DiskLow => Members::None {},
    }
}

/// The ETag as headers have it.
pub fn etag(tag: Tag) -> String {
    format!("\"{:016x}\"", tag.0)
}

/// A refusal (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document<'a> {
    /// The path of the page that explains it.
    #[serde(rename = "type")]
    kind: &'a str,
    /// What happened, in a few fixed words.
    title: &'a str,
    /// The status of the answer.
    status: u16,
    /// The code by which programs tell problems apart.
    code: &'a str,
    /// What happened this time, for people.
    detail: &'a str,
    #[serde(flatten)]
    #[schema(ignore)]
    members: Members<'a>,
}

/// Members beyond the standard ones, as the contract names them for each problem.
#[derive(Serialize)]
#[serde(untagged)]
enum Members<'a> {
    None {},
    Errors(Errors<'a>),
    Lines(Lines<'a>),
    Limit(Limit<'a>),
    OpensAt(OpensAt),
    Oldest(Oldest<'a>),
    OpenHolds(OpenHolds),
    ExpiredHolds(ExpiredHolds),
    Reservation(Of<'a>),
    Entry(OfEntry),
    EntriesMax(EntriesMax),
    EntryState(EntryState),
    Expired(OfExpired<'a>),
}

impl Members<'_> {
    fn kind(&self) -> Kind {
        match self {
            Self::None {} => Kind::None,
            Self::Errors(_) => Kind::Errors,
            Self::Lines(_) => Kind::Lines,
            Self::Limit(_) => Kind::Limit,
            Self::OpensAt(_) => Kind::OpensAt,
            Self::Oldest(_) => Kind::Oldest,
            Self::OpenHolds(_) => Kind::OpenHolds,
            Self::ExpiredHolds(_) => Kind::ExpiredHolds,
            Self::Reservation(_) => Kind::Reservation,
            Self::Entry(_) => Kind::Entry,
            Self::EntriesMax(_) => Kind::EntriesMax,
            Self::EntryState(_) => Kind::EntryState,
            Self::Expired(_) => Kind::ExpiredReservation,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct Errors<'a> {
    /// Everything that is wrong with the request.
    errors: &'a [Invalid],
}

#[derive(Serialize, ToSchema)]
pub struct Lines<'a> {
    /// The lines that ask for more than is available.
    lines: Vec<Line<'a>>,
}

#[derive(Serialize, ToSchema)]
pub struct Oldest<'a> {
    /// The oldest resumable cursor.
    oldest: &'a str,
}

/// A line that asks for more than is available.
#[derive(Serialize, ToSchema)]
#[schema(as = ShortLine)]
pub struct Line<'a> {
    /// The item's SKU.
    sku: &'a str,
    /// Units that the request asks for.
    requested: u64,
    /// Units that such a line could have had at that instant.
    available: u64,
    /// Units in holds that such a line could draw from if they come back. May be 100 ms old.
    held: u64,
    /// The earliest end of such a hold. May be 100 ms old.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next_release_at: Option<Timestamp>,
    /// True if the sale has a waitlist.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    waitlist: bool,
}

impl<'a> From<&'a Shortage> for Line<'a> {
    fn from(shortage: &'a Shortage) -> Self {
        let &Shortage { ref sku, requested, available, held, next_release_at, waitlist } = shortage;
        Self { sku, requested, available, held, next_release_at, waitlist }
    }
}

#[derive(Serialize, ToSchema)]
pub struct Limit<'a> {
    /// The item whose limit is reached.
    sku: &'a str,
    /// Units of it that one customer may hold or have confirmed.
    limit: u32,
    /// Units of it that the customer holds or has confirmed.
    already: u64,
}

#[derive(Serialize, ToSchema)]
pub struct OpensAt {
    /// When the sale opens.
    #[schema(value_type = String)]
    opens_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
pub struct OpenHolds {
    /// Holds that a customer may have in the sale at once.
    limit: u32,
    /// Holds that the customer has.
    open: u32,
}

#[derive(Serialize, ToSchema)]
pub struct ExpiredHolds {
    /// Holds that a customer may let expire within an hour.
    limit: u32,
    /// Holds of the customer that expired within the last hour.
    expired: u32,
}

#[derive(Serialize, ToSchema)]
pub struct OfExpired<'a> {
    /// The reservation as it is.
    reservation: ReservationBody<'a>,
    /// The lines whose units are no longer available; only for a late confirmation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    lines: Vec<Line<'a>>,
}

impl<'a> OfExpired<'a> {
    fn new(reservation: &'a Reservation, short: &'a [Shortage], catalogue: &'a Catalogue) -> Self {
        let lines = short.iter().map(Line::from).collect();
        Self { reservation: ReservationBody::new(reservation, catalogue), lines }
    }
}

#[derive(Serialize, ToSchema)]
pub struct OfEntry {
    /// The id of the customer's waiting entry.
    #[serde(serialize_with = "write_id")]
    #[schema(value_type = String)]
    entry: EntryId,
}

#[derive(Serialize, ToSchema)]
pub struct EntriesMax {
    /// Customers that may wait in the sale at once.
    limit: u32,
}

#[derive(Serialize, ToSchema)]
pub struct EntryState {
    /// The entry's state.
    state: &'static str,
    /// The reservation that it was offered; only in state `offered`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_optional_id")]
    #[schema(value_type = Option<String>)]
    reservation: Option<ReservationId>,
}

#[derive(Serialize, ToSchema)]
pub struct Of<'a> {
    /// The reservation as it is.
    reservation: ReservationBody<'a>,
}
