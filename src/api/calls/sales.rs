//! Calls on sales and their stock.

use super::{Access, Asked, BARE, BodyLimit, Content, Given, Method, Row, Tag, asks, links, may_ask, ok_then, shows};
use crate::{api::problems, auth::Role};

pub(super) static LIST_SALES: Row = Row {
    name: "list_sales",
    method: Method::Get,
    path: "/v1/sales",
    access: Access::Any(Role::Viewer),
    id: "listSales",
    tag: Tag::Sales,
    summary: "List sales",
    description: "Lists sales by id, one page at a time. For the next page, ask again with `after` set to `next`; \
                  the last page has no `next`.",
    parameters: &["After", "Limit"],
    answers: &[ok_then("SalesPage", "A page of sales", links::OF_SALES)],
    ..BARE
};

pub(super) static GET_SALE: Row = Row {
    name: "get_sale",
    method: Method::Get,
    path: "/v1/sales/{sale}",
    access: Access::OfSale(Role::Viewer),
    id: "getSale",
    tag: Tag::Sales,
    summary: "Look at a sale",
    description: "The sale's settings, its status, and each item's units by state. The `ETag` names only the \
                  settings: it changes exactly when they do. PUT takes this answer as it is. To poll \
                  availability, use the cheaper availability call.",
    parameters: &["IfNoneMatch"],
    answers: &[
        Given {
            status: 200,
            content: Content::Json("Sale"),
            example: None,
            description: "The sale as it is",
            headers: &["ETag"],
            links: links::OF_SALE,
        },
        Given {
            status: 304,
            content: Content::Nothing,
            example: None,
            description: "The settings are still those that `If-None-Match` names. Status and stock may have \
                          changed",
            headers: &["ETag"],
            links: &[],
        },
    ],
    problems: &[&problems::SALE_NOT_FOUND],
    ..BARE
};

pub(super) static PUT_SALE: Row = Row {
    name: "put_sale",
    method: Method::Put,
    path: "/v1/sales/{sale}",
    access: Access::OfSale(Role::Operator),
    id: "putSale",
    tag: Tag::Sales,
    summary: "Create a sale or replace its settings",
    description: "Repeating the call changes nothing. Items can be added but not removed, the initial stock of an \
                  item cannot change, and a sale that an operator closed cannot change. The service ignores \
                  members that GET computes, so PUT takes the answer of a GET as it is. `If-Match` with the \
                  `ETag` of a GET protects changes that somebody else made since then; `If-None-Match: *` creates \
                  a sale and never replaces one. With `dry_run=true` the call changes nothing, and answers with \
                  `PutDryRun`: what would come of it, and warnings about what is likely to be a mistake.",
    parameters: &["IfMatch", "IfNoneMatch", "DryRunOf"],
    body: Some(Asked { schema: "SaleSettings", required: true, limit: BodyLimit::Sale }),
    answers: &[
        Given {
            status: 200,
            content: Content::JsonOrDryRun("SaleSettings", "PutDryRun"),
            example: None,
            description: "Replaced; the settings as they are now. For a dry run: what would come of it",
            headers: &["ETag"],
            links: links::OF_SETTINGS,
        },
        Given {
            status: 201,
            content: Content::Json("SaleSettings"),
            example: None,
            description: "Created; the settings as they are now",
            headers: &["ETag"],
            links: links::OF_SETTINGS,
        },
    ],
    problems: &[
        &problems::SALE_NOT_FOUND,
        &problems::SALE_ENDED,
        &problems::INITIAL_STOCK_IMMUTABLE,
        &problems::PRECONDITION_FAILED,
    ],
    ..BARE
};

pub(super) static PATCH_SALE: Row = Row {
    name: "patch_sale",
    method: Method::Patch,
    path: "/v1/sales/{sale}",
    access: Access::OfSale(Role::Operator),
    id: "patchSale",
    tag: Tag::Sales,
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
        content: Content::Json("SaleSettings"),
        example: Some("SaleSettings, patched"),
        description: "Changed; the settings as they are now",
        headers: &["ETag"],
        links: links::OF_SETTINGS,
    }],
    problems: &[
        &problems::SALE_NOT_FOUND,
        &problems::SALE_ENDED,
        &problems::INITIAL_STOCK_IMMUTABLE,
        &problems::PRECONDITION_FAILED,
    ],
    ..BARE
};

pub(super) static PAUSE_SALE: Row = Row {
    name: "pause_sale",
    method: Method::Post,
    path: "/v1/sales/{sale}/pause",
    access: Access::OfSale(Role::Operator),
    id: "pauseSale",
    tag: Tag::Sales,
    summary: "Pause a sale",
    description: "The sale refuses reserves until an operator resumes it; confirm, release and extend still work. \
                  Repeating the call changes nothing.",
    body: may_ask("NoMembers"),
    answers: &[shows("Sale", "Sale, paused", "The sale, paused", links::OF_PAUSED)],
    problems: &[&problems::SALE_NOT_FOUND, &problems::SALE_ENDED],
    ..BARE
};

pub(super) static RESUME_SALE: Row = Row {
    name: "resume_sale",
    method: Method::Post,
    path: "/v1/sales/{sale}/resume",
    access: Access::OfSale(Role::Operator),
    id: "resumeSale",
    tag: Tag::Sales,
    summary: "Resume a paused sale",
    description: "The sale takes reserves again while its window is open. Repeating the call changes nothing.",
    body: may_ask("NoMembers"),
    answers: &[ok_then("Sale", "The sale, resumed", links::OF_RESUMED)],
    problems: &[&problems::SALE_NOT_FOUND, &problems::SALE_ENDED],
    ..BARE
};

pub(super) static CLOSE_SALE: Row = Row {
    name: "close_sale",
    method: Method::Post,
    path: "/v1/sales/{sale}/close",
    access: Access::OfSale(Role::Operator),
    id: "closeSale",
    tag: Tag::Sales,
    summary: "Close a sale for good",
    description: "The sale refuses reserves from now on; confirm, release and extend still work. Repeating the \
                  call changes nothing.",
    body: may_ask("NoMembers"),
    answers: &[shows("Sale", "Sale, closed", "The sale, closed", links::OF_CLOSED)],
    problems: &[&problems::SALE_NOT_FOUND],
    ..BARE
};

pub(super) static ADJUST: Row = Row {
    name: "adjust",
    method: Method::Post,
    path: "/v1/sales/{sale}/items/{sku}/adjustments",
    access: Access::OfSale(Role::Operator),
    id: "adjustStock",
    tag: Tag::Sales,
    summary: "Add units to an item's stock, or remove available ones",
    description: "Only available units can be removed. An item with several pools needs `pool`. With an idempotency \
                  key, repeating the call gives the first answer again.",
    parameters: &["IdempotencyKey"],
    body: asks("AdjustRequest"),
    answers: &[Given {
        status: 201,
        content: Content::Json("Adjustment"),
        example: None,
        description: "The change and its result",
        headers: &["Idempotent-Replayed"],
        links: links::OF_ADJUSTMENT,
    }],
    problems: &[
        &problems::SALE_NOT_FOUND,
        &problems::ITEM_NOT_FOUND,
        &problems::INSUFFICIENT_STOCK,
        &problems::IDEMPOTENCY_KEY_REUSED,
    ],
    ..BARE
};

pub(super) static ADJUST_ALL: Row = Row {
    name: "adjust_all",
    method: Method::Post,
    path: "/v1/sales/{sale}/adjustments",
    access: Access::OfSale(Role::Operator),
    id: "adjustStockOfMany",
    tag: Tag::Sales,
    summary: "Change the stock of several items in one step",
    description: "Makes all changes or none, in the order of the list. If one cannot be made, the service answers with \
                  its line and changes nothing. With an idempotency key, repeating the call gives the first answer again.",
    parameters: &["IdempotencyKey"],
    body: Some(Asked { schema: "AdjustmentsRequest", required: true, limit: BodyLimit::Sale }),
    answers: &[Given {
        status: 201,
        content: Content::Json("Adjustments"),
        example: None,
        description: "The changes and their results",
        headers: &["Idempotent-Replayed"],
        links: links::OF_ADJUSTMENT,
    }],
    problems: &[
        &problems::SALE_NOT_FOUND,
        &problems::ITEM_NOT_FOUND,
        &problems::INSUFFICIENT_STOCK,
        &problems::IDEMPOTENCY_KEY_REUSED,
    ],
    ..BARE
};

pub(super) static TRANSFER: Row = Row {
    name: "transfer",
    method: Method::Post,
    path: "/v1/sales/{sale}/items/{sku}/transfers",
    access: Access::OfSale(Role::Operator),
    id: "transferStock",
    tag: Tag::Sales,
    summary: "Move available units from one pool of an item to another",
    description: "The item's stock stays as it is. With an idempotency key, repeating the call gives the first answer \
                  again.",
    parameters: &["IdempotencyKey"],
    body: asks("TransferRequest"),
    answers: &[Given {
        status: 201,
        content: Content::Json("Transfer"),
        example: None,
        description: "The transfer and its result",
        headers: &["Idempotent-Replayed"],
        links: links::OF_ADJUSTMENT,
    }],
    problems: &[
        &problems::SALE_NOT_FOUND,
        &problems::ITEM_NOT_FOUND,
        &problems::INSUFFICIENT_STOCK,
        &problems::IDEMPOTENCY_KEY_REUSED,
    ],
    ..BARE
};

pub(super) static EXTEND_ALL: Row = Row {
    name: "extend_all",
    method: Method::Post,
    path: "/v1/sales/{sale}/holds/extend",
    access: Access::OfSale(Role::Operator),
    of_all_channels: true,
    id: "extendHolds",
    tag: Tag::Sales,
    summary: "Extend all holds of a sale",
    description: "Every live hold of the sale ends `seconds` later, for example while a payment provider is down. It counts towards \
                  no `max_extensions`. The service works in steps, while requests go on, and answers after the last. If the service \
                  or the connection fails, repeat the call with its key: each hold is extended once.",
    parameters: &["IdempotencyKey"],
    body: asks("ExtendAllRequest"),
    answers: &[Given {
        headers: &["Idempotent-Replayed"],
        ..ok_then("ExtendedHolds", "How many holds were extended", &[])
    }],
    problems: &[&problems::SALE_NOT_FOUND, &problems::IDEMPOTENCY_KEY_REUSED],
    ..BARE
};

pub(super) static AVAILABILITY: Row = Row {
    name: "availability",
    method: Method::Get,
    path: "/v1/sales/{sale}/availability",
    access: Access::OfSale(Role::Viewer),
    id: "getAvailability",
    tag: Tag::Sales,
    summary: "See what can be reserved",
    description: "A cheap call, made for polling. With `tier`, `channel` or `region` it counts only the pools that are \
                  open to such a request; without a query, all pools.",
    parameters: &["TierOf", "ChannelOf", "RegionOf"],
    answers: &[ok_then("Availability", "What is available now", links::OF_AVAILABILITY)],
    problems: &[&problems::SALE_NOT_FOUND],
    ..BARE
};

pub(super) static REPLENISHMENT: Row = Row {
    name: "replenishment",
    method: Method::Get,
    path: "/v1/sales/{sale}/replenishment",
    access: Access::OfSale(Role::Viewer),
    id: "getReplenishment",
    tag: Tag::Sales,
    summary: "See when items sell out, and what would last",
    description: "For each item: how fast it sells, when nothing of it is available any more at that pace, and how many \
                  units to add so that it lasts until the sale closes. The pace is that of the last five minutes in which \
                  the item could be bought, as it was up to a second ago; after a restart the service measures it anew.",
    answers: &[ok_then("Replenishment", "How the items sell", links::OF_REPLENISHMENT)],
    problems: &[&problems::SALE_NOT_FOUND],
    ..BARE
};

pub(super) static REPORT: Row = Row {
    name: "report",
    method: Method::Get,
    path: "/v1/sales/{sale}/report",
    access: Access::OfSale(Role::Viewer),
    of_all_channels: true,
    id: "getReport",
    tag: Tag::Sales,
    summary: "Get the report of a sale",
    description: "Reservations and units by outcome, conversion, sell-through, time to sell-out, units per minute \
                  and revenue, for the sale and for each item. The service reads the report from the store, which \
                  may lag: `as_of` says how far the store was. It counts refusals in memory, from the start of \
                  the process. It gives the same answer again for some seconds, so the call can be polled. With `by` \
                  it also has reservations, units and revenue by channel, tier, pool, location or a label.",
    parameters: &["ByOf"],
    answers: &[ok_then("Report", "The report", links::OF_REPORT)],
    problems: &[&problems::SALE_NOT_FOUND, &problems::STORE_UNAVAILABLE],
    ..BARE
};
