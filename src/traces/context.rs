//! W3C Trace Context: the caller's trace of a request.
//!
//! As in the recommendation (<https://www.w3.org/TR/trace-context/>): an invalid `traceparent` counts as none, and an invalid
//! `tracestate` affects nothing else.

use hyper::header::{HeaderMap, HeaderName};
use opentelemetry::trace::{SpanId, TraceId, TraceState};

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What is passed on of a `tracestate`; a longer one is left out as a whole.
const STATE_BYTES_MAX: usize = 512;
const STATE_MEMBERS_MAX: usize = 32;

/// The span that the caller made its request in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub trace: TraceId,
    pub span: SpanId,
    pub sampled: bool,
}

/// None where the caller has said nothing that can be understood.
pub(super) fn parent(headers: &HeaderMap) -> Option<Parent> {
    let mut given = headers.get_all(&TRACEPARENT).iter();
    let (Some(only), None) = (given.next(), given.next()) else { return None };
    parse_parent(only.as_bytes())
}

/// `version-trace-parent-flags`, in lower case: 2, 32, 16 and 2 digits. Version 0 ends there; a later one may go on.
fn parse_parent(text: &[u8]) -> Option<Parent> {
    let (known, more) = text.split_at_checked(55)?;
    let dashes = [2, 35, 52].map(|place| known[place]);
    let version = hexadecimal::<1>(&known[..2])?[0];
    let ends = if version == 0 { more.is_empty() } else { more.is_empty() || more[0] == b'-' };
    if dashes != *b"---" || version == 0xff || !ends {
        return None;
    }
    let trace = TraceId::from_bytes(hexadecimal(&known[3..35])?);
    let span = SpanId::from_bytes(hexadecimal(&known[36..52])?);
    let flags = hexadecimal::<1>(&known[53..])?[0];
    let valid = trace != TraceId::INVALID && span != SpanId::INVALID;
    valid.then_some(Parent { trace, span, sampled: flags & 1 == 1 })
}

fn hexadecimal<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    data_encoding::HEXLOWER.decode_mut(digits, &mut bytes).ok()?;
    Some(bytes)
}

/// What other tracing systems want to have passed on; nothing where it is broken.
pub(super) fn state(headers: &HeaderMap) -> TraceState {
    parse_state(headers.get_all(&TRACESTATE).iter().map(|value| value.to_str().unwrap_or("="))).unwrap_or_default()
}

fn parse_state<'a>(lists: impl Iterator<Item = &'a str>) -> Option<TraceState> {
    let (mut members, mut bytes) = (Vec::new(), 0);
    for member in lists.flat_map(|list| list.split(',')).map(|member| member.trim_matches([' ', '\t'])) {
        if member.is_empty() {
            continue;
        }
        bytes += member.len() + 1;
        let (key, value) = member.split_once('=')?;
        let printable = value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=');
        if key.is_empty() || value.is_empty() || value.len() > 256 || !printable {
            return None;
        }
        if members.iter().any(|(other, _)| *other == key) {
            return None;
        }
        members.push((key, value));
    }
    if members.len() > STATE_MEMBERS_MAX || bytes > STATE_BYTES_MAX + 1 {
        return None;
    }
    // Judges the keys.
    TraceState::from_key_value(members).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn sampled(text: &str) -> Option<bool> {
        let parent = parse_parent(text.as_bytes())?;
        assert_eq!(parent.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.span.to_string(), "b7ad6b7169203331");
        Some(parent.sampled)
    }

    #[test]
    fn a_parent_is_read_as_written() {
        let with_flags = |flags: &str| sampled(&GOOD.replace("-01", &format!("-{flags}")));
        assert_eq!(["01", "03", "ff"].map(with_flags), [Some(true); 3]);
        assert_eq!(["00", "02", "fe"].map(with_flags), [Some(false); 3]);
        let later = |version: &str, more: &str| sampled(&format!("{version}{}{more}", &GOOD[2..]));
        assert_eq!([later("01", ""), later("cc", "-what-comes"), later("fe", "-")], [Some(true); 3]);
        assert_eq!([later("ff", ""), later("01", "x"), later("00", "-"), later("00", "-00")], [None; 4]);
    }

    #[test]
    fn what_is_not_exactly_a_parent_is_none() {
        for end in 0..GOOD.len() {
            assert_eq!(sampled(&GOOD[..end]), None, "{}", &GOOD[..end]);
        }
        // No digit may be another character, and no dash a digit.
        for place in 0..GOOD.len() {
            for other in ["g", "A", " ", "_", "/"] {
                let mut text = GOOD.to_owned();
                text.replace_range(place..place + 1, other);
                assert_eq!(sampled(&text), None, "{text}");
            }
        }
        let zeros = |digits: &str| GOOD.replace(digits, &"0".repeat(digits.len()));
        for text in [zeros("0af7651916cd43dd8448eb211c80319c"), zeros("b7ad6b7169203331"), format!(" {GOOD}")] {
            assert_eq!(parse_parent(text.as_bytes()), None, "{text}");
        }
        let header = |values: &[&str]| {
            let headers = values.iter().map(|value| (TRACEPARENT.clone(), value.parse().unwrap()));
            parent(&headers.collect::<HeaderMap>()).is_some()
        };
        assert!(header(&[GOOD]) && !header(&[GOOD, GOOD]) && !header(&[]), "one, and which would it be");
    }

    #[test]
    fn state_is_passed_on_or_left_out_as_a_whole() {
        let passed = |lists: &[&str]| parse_state(lists.iter().copied()).map(|state| state.header());
        assert_eq!(
            passed(&["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"]).unwrap(),
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
        );
        assert_eq!(passed(&["a=1 ,\tb=2", "", "c@d=3,,"]).unwrap(), "a=1,b=2,c@d=3");
        assert_eq!(passed(&[]).unwrap(), "");
        let many = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(passed(&[&many(32)]).unwrap().matches('=').count(), 32);
        let long = |bytes: usize| format!("a={0},b={0},c={1}", "x".repeat(250), "y".repeat(bytes - 508));
        assert_eq!(passed(&[&long(512)]).unwrap().len(), 512);
        let value = "v".repeat(257);
        for broken in [many(33), long(513), "a".into(), "a=".into(), "A=1".into(), "=1".into(), "a=1,a=2".into()] {
            assert_eq!(passed(&[&broken]), None, "{broken}");
        }
        for broken in ["a=b=c", "a=\u{7f}", "a=\u{e9}", &format!("a={value}")] {
            assert_eq!(passed(&[broken]), None, "{broken}");
        }
    }
}
