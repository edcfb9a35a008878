//! The feed of events: parses where to start and in which format, then streams.

use std::sync::Arc;

use hyper::{
    Method, StatusCode,
    header::{ACCEPT, HeaderMap, HeaderName},
};

use super::Answered;
use crate::{
    api::{NO_CURSOR, problems, refused::Refused},
    auth::Caller,
    events::{Cursor, Followed, Format, Start, ViewCursors},
    http::{
        body::BoxedRequest,
        response::{self, Body, BoxedResponse, Stream},
        worker::Worker,
    },
    sale::settings::Invalid,
};

static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Where an answer starts, for readers without an event yet.
static EVENT_CURSOR: HeaderName = HeaderName::from_static("event-cursor");

pub(super) async fn follow(worker: &Worker, caller: &Arc<Caller>, request: BoxedRequest) -> Answered {
    let format = format(request.headers())?;
    let cursors = worker.api.service.events.cursors_of(caller.patterns());
    let start = start(request.uri().query(), request.headers(), &cursors)?;
    let content_type = match format {
        Format::Stream => "text/event-stream",
        Format::Lines => "application/x-ndjson",
    };
    if request.method() == Method::HEAD {
        // HEAD reads nothing, so it cannot tell whether the journal still has the event, and it takes no reader's place.
        let from = match start {
            Start::Now => Cursor::behind(worker.engine().durability().epoch()),
            Start::After(cursor) => cursor,
        };
        return Ok(feed(content_type, Stream::empty(), cursors.write(from)));
    }
    let Followed { from, pieces, ended } = worker.api.service.follow(caller, start, format, cursors).await?;
    Ok(feed(content_type, Stream::new(pieces, ended), from))
}

fn feed(content_type: &'static str, stream: Stream, from: String) -> BoxedResponse {
    let response = response::respond(StatusCode::OK, content_type, Body::Streamed(stream));
    let mut response = response::unbuffered(response);
    response.headers_mut().insert(&EVENT_CURSOR, from.try_into().expect("a cursor is ASCII"));
    response
}

/// The first of the two formats in the Accept header; server-sent events if it names neither but allows any.
fn format(headers: &HeaderMap) -> Result<Format, Refused> {
    let mut accepted = headers.get_all(ACCEPT).iter().peekable();
    if accepted.peek().is_none() {
        return Ok(Format::Stream);
    }
    let ranges = accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut formats = ranges.filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or("").to_ascii_lowercase();
        let refused = parts.any(|part| part.strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0_f32)));
        match media.as_str() {
            _ if refused => None,
            "text/event-stream" | "text/*" | "*/*" => Some(Format::Stream),
            "application/x-ndjson" | "application/*" => Some(Format::Lines),
            _ => None,
        }
    });
    let none = || problems::NOT_ACCEPTABLE.because("this call answers text/event-stream or application/x-ndjson");
    formats.next().ok_or_else(none)
}

fn start(query: Option<&str>, headers: &HeaderMap, cursors: &ViewCursors) -> Result<Start, Invalid> {
    let mut after = None;
    for parameter in query.unwrap_or("").split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name != "after" || after.is_some() {
            return Err(Invalid::new(format!("/{name}"), "the only query parameter is after; send it at most once"));
        }
        after = Some(percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned());
    }
    let cursor = |pointer: &str, text: &str| cursors.read(text).ok_or_else(|| Invalid::new(pointer, NO_CURSOR));
    let after = after.map(|text| cursor("/after", &text)).transpose()?;
    let last = headers.get(&LAST_EVENT_ID).map(|id| String::from_utf8_lossy(id.as_bytes()));
    let last = last.map(|text| cursor("/Last-Event-ID", &text)).transpose()?;
    // A browser reconnects with its original address and the id of its last event, so a query from the first request would
    // start over. A caller that sets both by hand means the query.
    Ok(after.or(last).map_or(Start::Now, Start::After))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;
    use crate::events::{Cursor, CursorKey};

    fn headers(name: &HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.clone(), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn the_format_is_the_first_that_is_named() {
        for (accept, expected) in [
            ("*/*", Some(Format::Stream)),
            ("text/event-stream", Some(Format::Stream)),
            ("Application/X-NDJSON", Some(Format::Lines)),
            ("text/html, application/x-ndjson;q=0.5, */*;q=0.1", Some(Format::Lines)),
            ("application/x-ndjson;q=0, text/*", Some(Format::Stream)),
            ("application/json", None),
            ("text/event-stream;q=0.0", None),
        ] {
            assert_eq!(format(&headers(&ACCEPT, accept)).ok(), expected, "{accept}");
        }
        assert_eq!(format(&HeaderMap::new()).ok(), Some(Format::Stream));
    }

    #[test]
    fn the_query_wins_over_the_header_and_nothing_is_from_now_on() {
        let cursors = CursorKey::of_bytes([1; 32]).of_view([]);
        let [header, query] = [Cursor::at(7, 1), Cursor::at(3, 4)].map(|cursor| cursors.write(cursor));
        let known = headers(&LAST_EVENT_ID, &header);
        let none = HeaderMap::new();
        let start = |query: Option<&str>, headers| start(query, headers, &cursors);
        assert_eq!(start(None, &none), Ok(Start::Now));
        assert_eq!(start(Some("after=0"), &known), Ok(Start::After(Cursor::BEGINNING)));
        let escaped = format!("after=%{:02x}{}", query.as_bytes()[0], &query[1..]);
        assert_eq!(start(Some(&escaped), &none), Ok(Start::After(Cursor::at(3, 4))));
        assert_eq!(start(Some(""), &known), Ok(Start::After(Cursor::at(7, 1))));
        for (query, header, pointer) in [
            (Some("after="), &none, "/after"),
            (Some("after=x"), &known, "/after"),
            (Some("after=0&after=0"), &none, "/after"),
            (Some("before=0"), &none, "/before"),
            (None, &headers(&LAST_EVENT_ID, "7.1"), "/Last-Event-ID"),
            (Some("after=0"), &headers(&LAST_EVENT_ID, "7.1"), "/Last-Event-ID"),
        ] {
            assert_eq!(start(query, header).unwrap_err().pointer, pointer, "{query:?}");
        }
    }
}
