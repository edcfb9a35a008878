//! The path of a request: admission step by step, the call, and what is counted, logged and traced of it.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{
    Method, Request, Response, Version,
    header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT, HOST, HeaderValue},
};

use super::{
    body::{self, BoxedRequest},
    closing::Inbound,
    handlers::{self, Admitted},
    request_log::{self, Answered, X_REQUEST_ID},
    response::{Body, BoxedResponse},
    router::{self, Matched},
    worker::Worker,
};
use crate::{
    api::{
        authorize,
        calls::{Call, Formats},
        problems,
        refused::Refused,
    },
    auth::Caller,
    sale::settings::Invalid,
    traces::{self, Trace},
};

/// A request up to where its body would be read.
enum Found {
    /// A call that anybody may make, answered.
    Public(Call, BoxedResponse),
    Admitted(Admitted),
}

impl Worker {
    /// One request, one answer, and when it was there.
    pub(super) async fn handle(self: Rc<Self>, request: BoxedRequest) -> (Response<Body>, Instant) {
        let started = Instant::now();
        let method = request.method().clone();
        let version = request.version();
        let asked_id = request_log::asked_id(request.headers());
        let trace = self.service.tracer.as_ref().and_then(|tracer| tracer.begin(request.headers())).map(Arc::new);
        let (call, mut response) = match self.find(&request) {
            Err((call, refused)) => (call, self.refuse(refused).await),
            Ok(Found::Public(call, response)) => (Some(call), response),
            Ok(Found::Admitted(admitted)) => {
                let call = admitted.matched.call;
                let answering = handlers::handle(&self, admitted, request);
                let response = match &trace {
                    None => answering.await,
                    // Boxed: few requests are traced, and the tasks of the others should not be larger for it.
                    Some(trace) => Box::pin(trace.within(answering)).await,
                };
                (Some(call), response)
            }
        };
        let (status, ended) = (response.status(), Instant::now());
        let elapsed = ended - started;
        self.api.tally.answered(&self.api.service.telemetry, Call::index(call), status.as_u16(), elapsed);
        if self.service.request_log.is_worth_a_line(status, elapsed) {
            let answered = Answered { method: request_log::method_name(&method), call, elapsed };
            self.service.request_log.write(&mut response, asked_id, answered, trace.as_deref());
        } else if let Some(id) = asked_id {
            response.headers_mut().insert(&X_REQUEST_ID, id);
        }
        if let Some(trace) = trace {
            self.end_trace(&trace, &method, version, call, &response, elapsed);
        }
        (if method == Method::HEAD { without_body(*response) } else { *response }, ended)
    }

    /// Admits a call step by step: route, capacity, caller, quota. Or returns its answer, if the head is enough for that.
    fn find(&self, request: &Request<Inbound>) -> Result<Found, (Option<Call>, Refused)> {
        let unknown = |refused| (None, refused);
        self.check_head(request).map_err(unknown)?;
        let routed = router::route(request.method(), request.uri().path());
        let call = routed.as_ref().map_or_else(|unrouted| unrouted.call, |matched| Some(matched.call));
        check_accept(request, call).map_err(unknown)?;
        let matched = routed.map_err(|unrouted| (unrouted.call, unrouted.refused))?;
        let call = matched.call;
        let refused = |refused| (Some(call), refused);
        self.admit_load(call).map_err(refused)?;
        let access = call.row().access;
        if access.role().is_none() {
            return Ok(Found::Public(call, handlers::handle_public(self, &matched, request)));
        }
        let caller = self.caller(request, &matched).map_err(refused)?;
        let service = &self.api.service;
        let catalogue = service.engine.catalogue();
        let sale = if access.is_of_sale() { catalogue.sale(&matched.subject).ok() } else { None };
        if !service.rates.idle(&catalogue) {
            service.admit(&caller, call, sale.map(|sale| &**sale)).map_err(refused)?;
        }
        let sale = sale.map(|sale| sale.number);
        Ok(Found::Admitted(Admitted { matched, sale, caller, catalogue }))
    }

    /// The caller, if it may make the call.
    fn caller(&self, request: &Request<Inbound>, matched: &Matched) -> Result<Arc<Caller>, Refused> {
        let caller = self.with_keys(|keys| {
            let header = if keys.asks_for_key() { request.headers().get(AUTHORIZATION) } else { None };
            keys.authenticate(header.map(HeaderValue::as_bytes))
        });
        let caller =
            caller.map_err(|unauthenticated| problems::UNAUTHENTICATED.because(unauthenticated.to_string()))?;
        authorize(&caller, matched.call, &matched.subject)?;
        Ok(caller)
    }

    #[cold]
    fn end_trace(
        &self,
        trace: &Trace,
        method: &Method,
        version: Version,
        call: Option<Call>,
        response: &Response<Body>,
        elapsed: Duration,
    ) {
        let ended = traces::Request {
            method: request_log::method_name(method),
            route: call.map(|call| call.row().path),
            version,
            tls: self.service.tls.is_some(),
            status: response.status(),
            code: response.body().problem().map(|problem| problem.code),
        };
        trace.end(&ended, elapsed);
    }

    /// Refuses calls while too many answers wait for the disk. Refuses new reserves first, so that holds can still be confirmed
    /// and released.
    fn admit_load(&self, call: Call) -> Result<(), Refused> {
        let most = self.service.limits.waiting_max;
        let most = if matches!(call, Call::Reserve | Call::ReserveBatch | Call::JoinWaitlist) {
            most
        } else {
            most + most.div_ceil(4)
        };
        if self.waiting() < most {
            return Ok(());
        }
        Err(problems::OVERLOADED.because("too many answers wait for the disk: limits.waiting_max is reached"))
    }

    /// The checks that need nothing but the head, cheapest first.
    fn check_head(&self, request: &Request<Inbound>) -> Result<(), Refused> {
        self.api.service.refuse_if_stopping()?;
        let limits = &self.service.limits;
        let target = request.uri();
        if target.path().len() + target.query().map_or(0, str::len) > limits.path_bytes_max {
            let detail = format!("the target may have up to {} bytes", limits.path_bytes_max);
            return Err(problems::URI_TOO_LONG.because(detail));
        }
        // One walk over all headers, which costs less than a look-up for each.
        let (mut bytes, mut hosts, mut host) = (0, 0, None);
        for (name, value) in request.headers() {
            bytes += name.as_str().len() + value.len() + 4;
            if *name == HOST {
                (hosts, host) = (hosts + 1, Some(value));
            } else if *name == EXPECT {
                request.body().hold_back();
            }
        }
        if bytes > limits.header_bytes_max {
            let detail = format!("the headers may have up to {} bytes", limits.header_bytes_max);
            return Err(problems::HEADERS_TOO_LARGE.because(detail));
        }
        let needs_host = request.version() == Version::HTTP_11;
        if hosts > 1 || (hosts == 0 && needs_host) || !host.is_none_or(names_a_host) {
            let wrong = "must be given once and name a host, such as shop.example:8080";
            return Err(Invalid::new("/Host", wrong).into());
        }
        Ok(())
    }
}

/// Calls with other formats than JSON check Accept themselves.
fn check_accept(request: &Request<Inbound>, call: Option<Call>) -> Result<(), Refused> {
    let formats = call.map_or(Formats::Json, |call| call.row().formats);
    if formats != Formats::Json || body::accepts_json(request.headers()) {
        return Ok(());
    }
    Err(problems::NOT_ACCEPTABLE.because("this call answers application/json or application/problem+json"))
}

/// Whether it is a host with or without a port (RFC 3986, 3.2.2).
fn names_a_host(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    // Nearly every request has a plain name or an IPv4 address: one pass, and nothing is searched.
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let end = bytes.iter().position(|byte| !plain(byte)).unwrap_or(bytes.len());
    if end > 0 && (end == bytes.len() || (bytes[end] == b':' && bytes[end + 1..].iter().all(u8::is_ascii_digit))) {
        return true;
    }
    names_an_unusual_host(bytes)
}

fn names_an_unusual_host(bytes: &[u8]) -> bool {
    let (host, port) = match bytes.iter().rposition(|byte| *byte == b':') {
        // The colons of an IPv6 address are in brackets.
        Some(colon) if !bytes[colon..].contains(&b']') => (&bytes[..colon], &bytes[colon + 1..]),
        _ => (bytes, &[][..]),
    };
    let is_address = |inner: &[u8]| inner.iter().all(|byte| byte.is_ascii_alphanumeric() || b":.-_~".contains(byte));
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
    let named = match host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        Some(inner) => !inner.is_empty() && is_address(inner),
        None => !host.is_empty() && host.iter().all(is_name),
    };
    named && port.iter().all(u8::is_ascii_digit)
}

/// The answer to HEAD: that of GET, with the length of the body, if known, but without the body.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = hyper::body::Body::size_hint(&body).exact() {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, Body::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        let named = |text: &str| names_a_host(&HeaderValue::from_str(text).unwrap());
        for right in
            ["shop.example", "shop.example:8080", "shop.example:", "10.0.0.1:80", "[::1]", "[2001:db8::1]:8080", "a_b"]
        {
            assert!(named(right), "{right}");
        }
        for wrong in
            ["", ":80", "a b", "a@b", "a/b", "a:b", "a:80:80", "::1", "[]", "[::1", "[::1]x", "a?b", "a#b", "http://a"]
        {
            assert!(!named(wrong), "{wrong}");
        }
    }
}
