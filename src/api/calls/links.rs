//! Links: the calls that follow from an answer, for programs that walk the document, such as tests.

/// A call that follows from an answer, with runtime expressions for the values that it takes from there.
#[derive(Debug)]
pub struct Link {
    pub operation: &'static str,
    pub parameters: &'static [(&'static str, &'static str)],
    /// JSON, with expressions in it. Members that it leaves out are the caller's.
    pub body: Option<&'static str>,
}

const fn link(operation: &'static str, parameters: &'static [(&'static str, &'static str)]) -> Link {
    Link { operation, parameters, body: None }
}

const SALE: &[(&str, &str)] = &[("sale", "$response.body#/id")];
const ITEM: &[(&str, &str)] = &[("sale", "$response.body#/id"), ("sku", "$response.body#/items/0/sku")];
const RESERVATION: &[(&str, &str)] = &[("id", "$response.body#/id")];
const ENTRY: &[(&str, &str)] = &[("entry", "$response.body#/id")];
const OF_ENTRY: &[(&str, &str)] = &[("id", "$response.body#/results/0/reservation/id")];

/// A unit of the first item.
const ONE: &str = r#"{"customer":"ann","lines":[{"sku":"$response.body#/items/0/sku","quantity":1}]}"#;
/// More units of the first item than there are, so that the customer can wait for them.
const MORE_THAN_THERE_IS: &str =
    r#"{"customer":"ben","lines":[{"sku":"$response.body#/items/0/sku","quantity":10000}]}"#;
const BATCH_OF_ONE: &str =
    r#"{"reservations":[{"customer":"ann","lines":[{"sku":"$response.body#/items/0/sku","quantity":1}]}]}"#;

const LONGER: &str = r#"{"hold_seconds":300}"#;

const RESERVE: Link = Link { operation: "reserve", parameters: SALE, body: Some(ONE) };

const ERASE: Link = link("eraseCustomer", &[("customer", "$response.body#/customer")]);
const OF_ITS_CUSTOMER: Link =
    link("listCustomerReservations", &[("sale", "$response.body#/sale"), ("customer", "$response.body#/customer")]);
const CONFIRM: Link = link("confirmReservation", RESERVATION);
const RELEASE: Link = link("releaseReservation", RESERVATION);
const EXTEND: Link = Link { operation: "extendReservation", parameters: RESERVATION, body: Some(LONGER) };

const CHANGE: Link = Link {
    operation: "changeReservation",
    parameters: RESERVATION,
    body: Some(r#"{"lines":[{"sku":"$response.body#/lines/0/sku","quantity":2}]}"#),
};
const CANCEL: Link = link("cancelReservation", RESERVATION);

pub(super) const OF_SALES: &[Link] = &[
    link("getSale", &[("sale", "$response.body#/sales/0/id")]),
    link("listSales", &[("after", "$response.body#/next")]),
];

/// What can be done to a sale that was put.
pub(super) const OF_SETTINGS: &[Link] = &[
    link("getSale", SALE),
    link("getAvailability", SALE),
    link("getReplenishment", SALE),
    link("getReport", SALE),
    Link { operation: "patchSale", parameters: SALE, body: Some(r#"{"hold_seconds":300}"#) },
    link("pauseSale", SALE),
    link("resumeSale", SALE),
    link("closeSale", SALE),
    Link { operation: "adjustStock", parameters: ITEM, body: Some(r#"{"pool":"default","delta":10}"#) },
    Link {
        operation: "adjustStockOfMany",
        parameters: SALE,
        body: Some(r#"{"adjustments":[{"sku":"$response.body#/items/0/sku","pool":"default","delta":10}]}"#),
    },
    Link {
        operation: "transferStock",
        parameters: ITEM,
        body: Some(r#"{"from":"default","to":"members","quantity":1}"#),
    },
    Link { operation: "extendHolds", parameters: SALE, body: Some(r#"{"seconds":60}"#) },
    RESERVE,
    Link { operation: "joinWaitlist", parameters: SALE, body: Some(MORE_THAN_THERE_IS) },
    Link { operation: "reserveBatch", parameters: SALE, body: Some(BATCH_OF_ONE) },
];

pub(super) const OF_SALE: &[Link] = &[link("getAvailability", SALE), RESERVE];
pub(super) const OF_PAUSED: &[Link] = &[link("getSale", SALE), link("resumeSale", SALE), link("closeSale", SALE)];
pub(super) const OF_RESUMED: &[Link] = &[link("pauseSale", SALE), RESERVE];
pub(super) const OF_CLOSED: &[Link] = &[link("getSale", SALE)];

pub(super) const OF_AVAILABILITY: &[Link] =
    &[Link { operation: "reserve", parameters: &[("sale", "$response.body#/sale")], body: Some(ONE) }];

pub(super) const OF_REPLENISHMENT: &[Link] = &[link("getSale", &[("sale", "$response.body#/sale")])];

pub(super) const OF_REPORT: &[Link] = &[link("getSale", &[("sale", "$response.body#/sale")])];

pub(super) const OF_ADJUSTMENT: &[Link] = &[link("getAvailability", &[("sale", "$request.path.sale")])];

/// What can be done with a hold.
pub(super) const OF_RESERVATION: &[Link] = &[CONFIRM, RELEASE, EXTEND];
pub(super) const OF_HOLD: &[Link] =
    &[link("getReservation", RESERVATION), CONFIRM, CHANGE, RELEASE, EXTEND, OF_ITS_CUSTOMER, ERASE];
pub(super) const OF_ENDED: &[Link] = &[link("getReservation", RESERVATION)];
pub(super) const OF_CONFIRMED: &[Link] = &[link("getReservation", RESERVATION), CANCEL];

pub(super) const OF_CUSTOMER: &[Link] = &[link("getReservation", &[("id", "$response.body#/reservations/0/id")])];

/// What can be done with a waitlist entry.
pub(super) const OF_JOINED: &[Link] = &[link("getWaitlistEntry", ENTRY), link("leaveWaitlist", ENTRY)];

pub(super) const OF_TRAIL: &[Link] = &[link("listAuditRecords", &[("before", "$response.body#/next")])];

pub(super) const OF_BATCH: &[Link] = &[
    link("getReservation", OF_ENTRY),
    link("confirmReservation", OF_ENTRY),
    link("releaseReservation", OF_ENTRY),
    Link { operation: "extendReservation", parameters: OF_ENTRY, body: Some(LONGER) },
];

/// The next call of a reader without a cursor.
pub(super) const OF_FEED: &[Link] = &[link("followEvents", &[("after", "$response.header.Event-Cursor")])];

/// Resuming one that is not parked changes nothing.
pub(super) const OF_WEBHOOKS: &[Link] = &[link("resumeWebhook", &[("webhook", "$response.body#/webhooks/0/name")])];
