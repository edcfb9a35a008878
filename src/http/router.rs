//! The router: finds the call for a path and method, in a tree made from the table of calls.
//!
//! `matchit` takes 1.5 times as long as this tree, which takes about as long as a match written by hand.

use std::sync::LazyLock;

use compact_str::CompactString;

use crate::api::{
    calls::{Call, Method},
    problems,
    refused::Refused,
};

/// A call with the variable segments of its path, decoded.
#[derive(Debug)]
pub(super) struct Matched {
    pub call: Call,
    /// The first: a sale, a reservation, a customer, a problem or a file.
    pub subject: CompactString,
    /// The second.
    pub sku: CompactString,
}

/// A request that is not a call.
#[derive(Debug)]
pub(super) struct Unrouted {
    /// The GET of this path, or its only call.
    pub call: Option<Call>,
    pub refused: Refused,
}

/// Most variable segments of a path.
const VARIABLES_MAX: usize = 2;

/// A segment of paths, and what may follow it.
#[derive(Debug, Default)]
struct Node {
    fixed: Vec<(&'static str, Node)>,
    variable: Option<Box<Node>>,
    /// The calls whose path ends here.
    calls: Vec<(Method, Call)>,
    /// Their methods, as an Allow header lists them.
    allowed: &'static str,
}

static ROOT: LazyLock<Node> = LazyLock::new(|| {
    let mut root = Node::default();
    for call in Call::ALL {
        let row = call.row();
        let mut node = &mut root;
        for segment in row.path[1..].split('/') {
            node = node.child_made(segment);
        }
        node.calls.push((row.method, *call));
        let mut methods: Vec<_> = node.calls.iter().map(|(method, _)| method.as_str()).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        node.allowed = methods.join(", ").leak();
    }
    root
});

impl Node {
    fn child_made(&mut self, segment: &'static str) -> &mut Self {
        if segment.starts_with('{') {
            return self.variable.get_or_insert_default();
        }
        let place = self.fixed.iter().position(|(known, _)| *known == segment).unwrap_or_else(|| {
            self.fixed.push((segment, Self::default()));
            self.fixed.len() - 1
        });
        &mut self.fixed[place].1
    }
}

/// Finds the call.
pub(super) fn route(method: &hyper::Method, path: &str) -> Result<Matched, Unrouted> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (mut node, mut variables, mut count, mut start) = (&*ROOT, [""; VARIABLES_MAX], 0, 0);
    // Byte by byte: segments are short, and setting up a search costs more than it saves.
    for end in 0..=path.len() {
        if end < path.len() && path.as_bytes()[end] != b'/' {
            continue;
        }
        let segment = &path[start..end];
        start = end + 1;
        node = match node.fixed.iter().find(|(known, _)| *known == segment) {
            Some((_, next)) => next,
            None => {
                let next = node.variable.as_deref().ok_or_else(not_found)?;
                variables[count] = segment;
                count += 1;
                next
            }
        };
    }
    let method = if *method == hyper::Method::HEAD { "GET" } else { method.as_str() };
    let Some((_, call)) = node.calls.iter().find(|(known, _)| known.as_str() == method) else {
        let get = node.calls.iter().find(|(method, _)| *method == Method::Get);
        let Some((_, call)) = get.or(node.calls.first()) else { return Err(not_found()) };
        return Err(Unrouted { call: Some(*call), refused: Refused::method_not_allowed(node.allowed) });
    };
    match variables.map(decode) {
        [Some(subject), Some(sku)] => Ok(Matched { call: *call, subject, sku }),
        _ => Err(not_found()),
    }
}

fn not_found() -> Unrouted {
    Unrouted { call: None, refused: problems::NOT_FOUND.because("the API has no such path") }
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
    use hyper::Method;

    use super::*;

    #[test]
    fn calls_are_found_and_their_segments_decoded() {
        let matched = route(&Method::POST, "/v1/sales/drop/items/tv%2F55%20in/adjustments").unwrap();
        assert_eq!((matched.call, &*matched.subject, &*matched.sku), (Call::Adjust, "drop", "tv/55 in"));
        assert_eq!(route(&Method::GET, "/problems/sold-out").unwrap().subject, "sold-out");
        let matched = route(&Method::POST, "/v1/sales/drop/reservations/batch").unwrap();
        assert_eq!((matched.call, &*matched.subject), (Call::ReserveBatch, "drop"));
        assert_eq!(route(&Method::HEAD, "/v1/sales").unwrap().call, Call::ListSales);
        assert_eq!(route(&Method::GET, "/openapi.json").unwrap().call, Call::OpenApi);
        let matched = route(&Method::GET, "/v1/sales/drop/reservations").unwrap();
        assert_eq!((matched.call, &*matched.subject), (Call::CustomerReservations, "drop"));
        let matched = route(&Method::GET, "/console/page.js").unwrap();
        assert_eq!((matched.call, &*matched.subject), (Call::ConsoleFile, "page.js"));
    }

    #[test]
    fn other_methods_and_paths_are_refused() {
        for (method, path, status) in [
            (Method::DELETE, "/v1/sales/drop", 405),
            (Method::GET, "/v1/sales/drop/pause", 405),
            (Method::GET, "/", 404),
            (Method::GET, "/v1", 404),
            (Method::GET, "/v1/sales/drop/items/tv", 404),
            (Method::GET, "/v1/sales/drop/items/tv/adjustments/x", 404),
            (Method::POST, "/v1/sales/", 405),
            (Method::GET, "/v1/reservations/%ff", 404),
        ] {
            assert_eq!(route(&method, path).unwrap_err().refused.problem.status, status, "{method} {path}");
        }
    }

    #[test]
    fn methods_are_listed_with_head_beside_get() {
        let allowed = |path| route(&Method::TRACE, path).unwrap_err().refused.detail;
        assert_eq!(allowed("/v1/sales/drop"), "this path allows GET, HEAD, PATCH, PUT");
        assert_eq!(allowed("/v1/sales/drop/reservations"), "this path allows GET, HEAD, POST");
        assert_eq!(allowed("/v1/customers/ann"), "this path allows DELETE");
    }
}
