//! Conditional requests (RFC 9110, section 13) on a sale's document.
//!
//! Invariant: an ETag names the settings of a sale, which PUT and PATCH change. It stays the same while stock and status
//! change, and across restarts.

use hyper::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH};

use crate::sale::{
    expected::{Expected, Tag, Tags},
    settings::Invalid,
};

/// The precondition of a change.
pub(super) fn expected(headers: &HeaderMap) -> Result<Expected, Invalid> {
    Ok(Expected { tags: tags(headers, &IF_MATCH, false)?, no_tags: tags(headers, &IF_NONE_MATCH, true)? })
}

/// The settings that the caller has already.
pub(super) fn known(headers: &HeaderMap) -> Result<Tags, Invalid> {
    Ok(tags(headers, &IF_NONE_MATCH, true)?.unwrap_or(Tags::Of(Vec::new())))
}

/// The tags in all lines of the header. A tag in another format matches nothing. `weakly`: ignore the marks of weak tags;
/// otherwise weak tags match nothing either.
fn tags(headers: &HeaderMap, name: &HeaderName, weakly: bool) -> Result<Option<Tags>, Invalid> {
    let malformed = || {
        let name = if *name == IF_MATCH { "If-Match" } else { "If-None-Match" };
        Invalid::new("", format!("the header {name} must be * or ETags from GET, such as \"0a1b2c3d4e5f6071\""))
    };
    let mut lines = headers.get_all(name).iter().peekable();
    if lines.peek().is_none() {
        return Ok(None);
    }
    let mut all = Vec::new();
    let mut any = false;
    for line in lines {
        let mut rest = line.to_str().map_err(|_| malformed())?.trim();
        if rest == "*" {
            any = true;
            continue;
        }
        if rest.is_empty() {
            return Err(malformed());
        }
        while !rest.is_empty() {
            let strong = rest.strip_prefix("W/");
            let (is_weak, quoted) = (strong.is_some(), strong.unwrap_or(rest));
            let (tag, behind) = quoted.strip_prefix('"').and_then(|text| text.split_once('"')).ok_or_else(malformed)?;
            if weakly || !is_weak {
                all.extend(ours(tag));
            }
            rest = behind.trim_start();
            rest = match rest.strip_prefix(',') {
                Some(next) => next.trim_start(),
                None if rest.is_empty() => rest,
                None => return Err(malformed()),
            };
        }
    }
    Ok(Some(if any { Tags::Any } else { Tags::Of(all) }))
}

/// A tag in the form that this service uses.
fn ours(text: &str) -> Option<Tag> {
    let plain = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(text, 16).ok().filter(|_| plain).map(Tag)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;
    use crate::http::json::problem::etag;

    fn read(lines: &[&str], name: HeaderName) -> Result<Option<Tags>, Invalid> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name.clone(), HeaderValue::from_str(line).unwrap());
        }
        tags(&headers, &name, name == IF_NONE_MATCH)
    }

    #[test]
    fn headers_are_read_as_http_writes_them() {
        let (one, two) = (Tag(1), Tag(0xfedc_ba98_7654_3210));
        let [first, second] = [one, two].map(etag);
        let weak = format!("W/{first}");
        let list = format!("{first},{second}");
        let spaced = format!("  {first} ,\t\"other\", {second}");
        for (lines, strong, weakly) in [
            (vec![], None, None),
            (vec!["*"], Some(Tags::Any), Some(Tags::Any)),
            (vec![&*first], Some(Tags::Of(vec![one])), Some(Tags::Of(vec![one]))),
            (vec![&*list], Some(Tags::Of(vec![one, two])), Some(Tags::Of(vec![one, two]))),
            (vec![&*spaced], Some(Tags::Of(vec![one, two])), Some(Tags::Of(vec![one, two]))),
            (vec![&*first, &*second], Some(Tags::Of(vec![one, two])), Some(Tags::Of(vec![one, two]))),
            (vec![&*weak], Some(Tags::Of(vec![])), Some(Tags::Of(vec![one]))),
            (vec!["\"\""], Some(Tags::Of(vec![])), Some(Tags::Of(vec![]))),
            (vec!["\"00000000000000AB\""], Some(Tags::Of(vec![])), Some(Tags::Of(vec![]))),
            (vec!["\"a,b\""], Some(Tags::Of(vec![])), Some(Tags::Of(vec![]))),
        ] {
            assert_eq!(read(&lines, IF_MATCH), Ok(strong), "{lines:?}");
            assert_eq!(read(&lines, IF_NONE_MATCH), Ok(weakly), "{lines:?}");
        }
        for malformed in ["", "0000000000000001", "\"", "\"a", "\"a\" \"b\"", "*,*", "w/\"a\"", "\"a\",b"] {
            assert!(read(&[malformed], IF_MATCH).is_err(), "{malformed}");
        }
    }
}
