//! The router: finds the call for a path and method.

use compact_str::CompactString;
use hyper::Method;

use super::{BoxedResponse, problem};

/// The calls of the contract, as metrics count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Route {
    Unknown,
    ListSales,
    PutSale,
    PatchSale,
    GetSale,
    PauseSale,
    ResumeSale,
    CloseSale,
    Availability,
    Report,
    Adjust,
    Reserve,
    ReserveBatch,
    CustomerReservations,
    GetReservation,
    Confirm,
    Release,
    Extend,
    EraseCustomer,
    Audit,
    Events,
    Status,
    Console,
    ConsoleFile,
    Docs,
    DocsFile,
    Problem,
    OpenApi,
}

impl Route {
    /// Label values of metrics, by `Route as usize`.
    pub const NAMES: [&'static str; 28] = [
        "unknown",
        "list_sales",
        "put_sale",
        "patch_sale",
        "get_sale",
        "pause_sale",
        "resume_sale",
        "close_sale",
        "availability",
        "report",
        "adjust",
        "reserve",
        "reserve_batch",
        "customer_reservations",
        "get_reservation",
        "confirm",
        "release",
        "extend",
        "erase_customer",
        "audit",
        "events",
        "status",
        "console",
        "console_file",
        "docs",
        "docs_file",
        "problem",
        "openapi",
    ];
}

/// A call with the variable segments of its path, decoded.
#[derive(Debug)]
pub struct Matched {
    pub route: Route,
    /// Sale id, reservation id, customer id, slug or the name of a file.
    pub subject: CompactString,
    pub sku: CompactString,
}

/// The answer to a request that is not a call.
#[derive(Debug)]
pub struct Unrouted {
    pub route: Route,
    pub response: BoxedResponse,
}

/// The methods of a sale's document.
const OF_SALE: &str = "GET, HEAD, PATCH, PUT";
/// And of a sale's reservations.
const OF_RESERVATIONS: &str = "GET, HEAD, POST";

/// Finds the call. Paths are few and fixed, so a match on their segments is enough.
pub fn route(method: &Method, path: &str) -> Result<Matched, Unrouted> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let mut segments = [""; 6];
    let (mut count, mut start) = (0, 0);
    // Byte by byte: segments are short, and setting up a search costs more than it saves.
    for end in 0..=path.len() {
        if end < path.len() && path.as_bytes()[end] != b'/' {
            continue;
        }
        if count == segments.len() {
            return Err(not_found());
        }
        segments[count] = &path[start..end];
        (count, start) = (count + 1, end + 1);
    }
    let (subject, sku) = (segments[2], segments[4]);
    let get = matches!(*method, Method::GET | Method::HEAD);
    let post = *method == Method::POST;
    let (route, allowed, allow) = match &segments[..count] {
        ["v1", "sales"] => (Route::ListSales, get, "GET, HEAD"),
        ["v1", "sales", _] if *method == Method::PUT => (Route::PutSale, true, OF_SALE),
        ["v1", "sales", _] if *method == Method::PATCH => (Route::PatchSale, true, OF_SALE),
        ["v1", "sales", _] => (Route::GetSale, get, OF_SALE),
        ["v1", "sales", _, "pause"] => (Route::PauseSale, post, "POST"),
        ["v1", "sales", _, "resume"] => (Route::ResumeSale, post, "POST"),
        ["v1", "sales", _, "close"] => (Route::CloseSale, post, "POST"),
        ["v1", "sales", _, "availability"] => (Route::Availability, get, "GET, HEAD"),
        ["v1", "sales", _, "report"] => (Route::Report, get, "GET, HEAD"),
        ["v1", "sales", _, "reservations"] if get => (Route::CustomerReservations, true, OF_RESERVATIONS),
        ["v1", "sales", _, "reservations"] => (Route::Reserve, post, OF_RESERVATIONS),
        ["v1", "sales", _, "reservations", "batch"] => (Route::ReserveBatch, post, "POST"),
        ["v1", "sales", _, "items", _, "adjustments"] => (Route::Adjust, post, "POST"),
        ["v1", "reservations", _] => (Route::GetReservation, get, "GET, HEAD"),
        ["v1", "reservations", _, "confirm"] => (Route::Confirm, post, "POST"),
        ["v1", "reservations", _, "release"] => (Route::Release, post, "POST"),
        ["v1", "reservations", _, "extend"] => (Route::Extend, post, "POST"),
        ["v1", "customers", _] => (Route::EraseCustomer, *method == Method::DELETE, "DELETE"),
        ["v1", "audit"] => (Route::Audit, get, "GET, HEAD"),
        ["v1", "events"] => (Route::Events, get, "GET, HEAD"),
        ["v1", "status"] => (Route::Status, get, "GET, HEAD"),
        ["console"] => (Route::Console, get, "GET, HEAD"),
        ["console", _] => (Route::ConsoleFile, get, "GET, HEAD"),
        ["docs"] => (Route::Docs, get, "GET, HEAD"),
        ["docs", _] => (Route::DocsFile, get, "GET, HEAD"),
        ["problems", _] => (Route::Problem, get, "GET, HEAD"),
        ["openapi.json"] => (Route::OpenApi, get, "GET, HEAD"),
        _ => return Err(not_found()),
    };
    if !allowed {
        return Err(Unrouted { route, response: problem::method_not_allowed(allow) });
    }
    let subject =
        if matches!(route, Route::Problem | Route::ConsoleFile | Route::DocsFile) { segments[1] } else { subject };
    match (decode(subject), decode(sku)) {
        (Some(subject), Some(sku)) => Ok(Matched { route, subject, sku }),
        _ => Err(not_found()),
    }
}

fn not_found() -> Unrouted {
    Unrouted { route: Route::Unknown, response: problem::NOT_FOUND.respond("the API has no such path") }
}

/// Decodes percent-encoding; None if it is invalid or not UTF-8.
fn decode(segment: &str) -> Option<CompactString> {
    if !segment.as_bytes().contains(&b'%') {
        return Some(segment.into());
    }
    percent_encoding::percent_decode_str(segment).decode_utf8().ok().map(CompactString::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_and_their_segments_decoded() {
        let matched = route(&Method::POST, "/v1/sales/drop/items/tv%2F55%20in/adjustments").unwrap();
        assert_eq!((matched.route, &*matched.subject, &*matched.sku), (Route::Adjust, "drop", "tv/55 in"));
        assert_eq!(route(&Method::GET, "/problems/sold-out").unwrap().subject, "sold-out");
        let matched = route(&Method::POST, "/v1/sales/drop/reservations/batch").unwrap();
        assert_eq!((matched.route, &*matched.subject), (Route::ReserveBatch, "drop"));
        assert_eq!(route(&Method::HEAD, "/v1/sales").unwrap().route, Route::ListSales);
        assert_eq!(route(&Method::GET, "/openapi.json").unwrap().route, Route::OpenApi);
        let matched = route(&Method::GET, "/v1/sales/drop/reservations").unwrap();
        assert_eq!((matched.route, &*matched.subject), (Route::CustomerReservations, "drop"));
        let matched = route(&Method::GET, "/console/page.js").unwrap();
        assert_eq!((matched.route, &*matched.subject), (Route::ConsoleFile, "page.js"));
    }

    #[test]
    fn other_methods_and_paths_are_refused() {
        for (method, path, status) in [
            (Method::DELETE, "/v1/sales/drop", 405),
            (Method::GET, "/v1/sales/drop/pause", 405),
            (Method::GET, "/", 404),
            (Method::GET, "/v1/sales/drop/items/tv/adjustments/x", 404),
            (Method::POST, "/v1/sales/", 405),
            (Method::GET, "/v1/reservations/%ff", 404),
        ] {
            assert_eq!(route(&method, path).unwrap_err().response.status(), status, "{method} {path}");
        }
    }

    #[test]
    fn every_route_has_a_name() {
        assert_eq!(Route::NAMES[Route::OpenApi as usize], "openapi");
        assert_eq!(Route::NAMES.len(), Route::OpenApi as usize + 1);
    }
}
