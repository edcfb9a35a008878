//! The one table of calls. Router, authorization, metric labels, trace names and the OpenAPI document are made from it.
//!
//! Invariant: a call is one row here and one arm where calls are handled; nothing else lists calls.

mod links;
mod pages;
mod reservations;
mod sales;
mod service;
mod waitlist;
mod webhooks;

pub use links::Link;

use super::problems::{self, Problem};
use crate::auth::Role;

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// As metrics and logs name it.
    pub name: &'static str,
    pub method: Method,
    /// With the names of its variable segments in braces.
    pub path: &'static str,
    pub access: Access,
    /// Whether it concerns what came through every channel, so a key tied to certain channels may not make it.
    pub of_all_channels: bool,
    pub formats: Formats,
    pub body: Option<Asked>,
    /// As OpenAPI names it.
    pub id: &'static str,
    pub tag: Tag,
    pub summary: &'static str,
    pub description: &'static str,
    /// Parameters besides those of the path, by their names in the document's components.
    pub parameters: &'static [&'static str],
    pub answers: &'static [Given],
    /// Refusals beyond those that every call of its kind has.
    pub problems: &'static [&'static Problem],
}

impl Row {
    /// Whether the call changes something and takes no query: then one is refused, as it may ask for what the call does not do.
    pub fn refuses_query(&self) -> bool {
        self.method != Method::Get && !self.parameters.iter().any(|parameter| parameter.starts_with("DryRun"))
    }
}

/// What most calls have.
const BARE: Row = Row {
    name: "",
    method: Method::Get,
    path: "",
    access: Access::Public,
    of_all_channels: false,
    formats: Formats::Json,
    body: None,
    id: "",
    tag: Tag::Sales,
    summary: "",
    description: "",
    parameters: &[],
    answers: &[],
    problems: &[],
};

/// In the order in which an Allow header lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Delete,
    /// Every GET is also there as HEAD.
    Get,
    Patch,
    Post,
    Put,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// Who may make the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without a key.
    Public,
    /// A key of at least this role. The call shows and changes only what the key reaches.
    Any(Role),
    /// As `Any`; the first variable of the path is a sale, which the key must reach.
    OfSale(Role),
    /// As `Any`; the call concerns every sale, so a key limited to certain sales may not make it.
    OfAllSales(Role),
}

impl Access {
    /// The least role that may make the call; None if it needs no key.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Public => None,
            Self::Any(role) | Self::OfSale(role) | Self::OfAllSales(role) => Some(role),
        }
    }

    pub fn is_of_sale(self) -> bool {
        matches!(self, Self::OfSale(_))
    }
}

/// The formats of its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Formats {
    /// JSON alone; a request that does not accept it is refused.
    Json,
    /// Others, of which the call finds the one that the request accepts.
    Own,
    /// One, whatever the request accepts.
    Any,
}

/// A request's body.
#[derive(Debug)]
pub struct Asked {
    pub schema: &'static str,
    pub required: bool,
    pub limit: BodyLimit,
}

/// The limit of a body, and the part of the buffers that it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLimit {
    Small,
    Sale,
    Batch,
}

/// A success.
#[derive(Debug)]
pub struct Given {
    pub status: u16,
    pub content: Content,
    /// The example that shows it; None: that of its schema.
    pub example: Option<&'static str>,
    pub description: &'static str,
    pub headers: &'static [&'static str],
    /// Calls that go on from it.
    pub links: &'static [Link],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// JSON of this schema.
    Json(&'static str),
    /// JSON of the first schema, or of the second for a dry run.
    JsonOrDryRun(&'static str, &'static str),
    /// JSON, or a page for people.
    JsonOrPage(&'static str),
    /// Events that go on.
    Feed,
    /// A page for people.
    Page,
    /// A file of a page, of one of these media types.
    Files(&'static [&'static str]),
    Nothing,
}

/// Calls on the same things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    Sales,
    Reservations,
    Waitlist,
    Customers,
    Events,
    Audit,
    Console,
    Contract,
}

impl Tag {
    pub const ALL: [Self; 8] = [
        Self::Sales,
        Self::Reservations,
        Self::Waitlist,
        Self::Customers,
        Self::Events,
        Self::Audit,
        Self::Console,
        Self::Contract,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sales => "sales",
            Self::Reservations => "reservations",
            Self::Waitlist => "waitlist",
            Self::Customers => "customers",
            Self::Events => "events",
            Self::Audit => "audit",
            Self::Console => "console",
            Self::Contract => "contract",
        }
    }

    pub fn description(self) -> &'static str {
        match self {
            Self::Sales => "For operators: sales and their stock",
            Self::Reservations => "For checkout services: hold, change, confirm, release, extend, cancel",
            Self::Waitlist => "For checkout services: wait for units that come back",
            Self::Customers => "Erasing a customer's data",
            Self::Events => "The feed of durable changes, and webhooks",
            Self::Audit => "Operators' changes, for operators and auditors",
            Self::Console => "Pages to watch and run a sale",
            Self::Contract => "This contract, for programs and people",
        }
    }
}

macro_rules! calls {
    ($($call:ident = $row:path,)*) => {
        /// A call of the API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Call {
            $($call,)*
        }

        impl Call {
            pub const ALL: &[Self] = &[$(Self::$call,)*];

            /// What metrics and logs call it and a request that is no call, by [`Call::index`].
            pub const NAMES: &[&'static str] = &["unknown", $($row.name,)*];
        }

        static ROWS: [&Row; Call::ALL.len()] = [$(&$row,)*];
    };
}

calls! {
    ListSales = sales::LIST_SALES,
    PutSale = sales::PUT_SALE,
    PatchSale = sales::PATCH_SALE,
    GetSale = sales::GET_SALE,
    PauseSale = sales::PAUSE_SALE,
    ResumeSale = sales::RESUME_SALE,
    CloseSale = sales::CLOSE_SALE,
    Availability = sales::AVAILABILITY,
    Replenishment = sales::REPLENISHMENT,
    Report = sales::REPORT,
    Adjust = sales::ADJUST,
    AdjustAll = sales::ADJUST_ALL,
    Transfer = sales::TRANSFER,
    ExtendAll = sales::EXTEND_ALL,
    Reserve = reservations::RESERVE,
    ReserveBatch = reservations::RESERVE_BATCH,
    CustomerReservations = reservations::CUSTOMER_RESERVATIONS,
    GetReservation = reservations::GET_RESERVATION,
    Confirm = reservations::CONFIRM,
    Release = reservations::RELEASE,
    Extend = reservations::EXTEND,
    Change = reservations::CHANGE,
    Cancel = reservations::CANCEL,
    JoinWaitlist = waitlist::JOIN,
    GetWaitlistEntry = waitlist::GET,
    LeaveWaitlist = waitlist::LEAVE,
    EraseCustomer = service::ERASE_CUSTOMER,
    Audit = service::AUDIT,
    Events = service::EVENTS,
    ListWebhooks = webhooks::LIST_WEBHOOKS,
    ResumeWebhook = webhooks::RESUME_WEBHOOK,
    Status = service::STATUS,
    Console = pages::CONSOLE,
    ConsoleFile = pages::CONSOLE_FILE,
    Docs = pages::DOCS,
    DocsFile = pages::DOCS_FILE,
    Problem = pages::PROBLEM,
    OpenApi = pages::OPEN_API,
}

impl Call {
    pub fn row(self) -> &'static Row {
        ROWS[self as usize]
    }

    /// The place in [`Call::NAMES`]; None is a request that is no call.
    pub fn index(call: Option<Self>) -> usize {
        call.map_or(0, |call| call as usize + 1)
    }

    /// Refusals of the call: its own, and those that all calls like it have.
    pub fn problems(self) -> Vec<&'static Problem> {
        let Row { access, formats, path, body, problems, .. } = self.row();
        let mut all = vec![
            &problems::INVALID_REQUEST,
            &problems::URI_TOO_LONG,
            &problems::HEADERS_TOO_LARGE,
            &problems::OVERLOADED,
            &problems::DRAINING,
            &problems::OUTCOME_UNKNOWN,
        ];
        if access.role().is_some() {
            all.extend([&problems::UNAUTHENTICATED, &problems::FORBIDDEN, &problems::RATE_LIMITED]);
        }
        if *formats != Formats::Any {
            all.push(&problems::NOT_ACCEPTABLE);
        }
        // A segment of the path may be broken: half an escape, or no UTF-8.
        if path.contains('{') {
            all.push(&problems::NOT_FOUND);
        }
        if let Some(asked) = body {
            all.extend([&problems::REQUEST_TIMEOUT, &problems::CONTENT_TOO_LARGE, &problems::UNSUPPORTED_MEDIA_TYPE]);
            if asked.required {
                all.push(&problems::LENGTH_REQUIRED);
            }
        }
        all.extend(*problems);
        all
    }

    /// Refusals of one entry of a batch: those of the call for one reservation, where they are not the whole batch's.
    pub fn problems_of_entry() -> Vec<&'static Problem> {
        let own = Self::Reserve.row().problems.iter().copied();
        let own = own.filter(|problem| problem.code != problems::SALE_NOT_FOUND.code);
        let general = [
            &problems::INVALID_REQUEST,
            &problems::CONTENT_TOO_LARGE,
            &problems::RATE_LIMITED,
            &problems::OVERLOADED,
            &problems::DRAINING,
            &problems::OUTCOME_UNKNOWN,
        ];
        own.chain(general).collect()
    }
}

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
    Given { status: 200, content: Content::Json(schema), example: None, description, headers: &[], links }
}

/// As `ok_then`, where the answer has members that an example of its schema does not show.
const fn shows(
    schema: &'static str,
    example: &'static str,
    description: &'static str,
    links: &'static [Link],
) -> Given {
    Given { example: Some(example), ..ok_then(schema, description, links) }
}

const HEADERS_OF_FILES: &[&str] = &["ETag", "Cache-Control", "Content-Security-Policy"];

/// A file that is built in.
const fn built_in(content: Content, description: &'static str) -> Given {
    Given { status: 200, content, example: None, description, headers: HEADERS_OF_FILES, links: &[] }
}

const NOT_MODIFIED: Given = Given {
    status: 304,
    content: Content::Nothing,
    example: None,
    description: "The file is still the one that `If-None-Match` names",
    headers: HEADERS_OF_FILES,
    links: &[],
};
