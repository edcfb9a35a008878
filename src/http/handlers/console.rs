//! The console: a page for people, and the files that it is made of. All of it is built in.
//!
//! Invariant: the page runs nothing but these files and asks nobody but this service. It holds no secret: a key is what
//! its reader types in, and goes into the `Authorization` header of the page's own calls.

use std::sync::LazyLock;

use bytes::Bytes;
use hyper::{
    StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
};

use super::Answered;
use crate::http::{body, problem};

/// The file that `/console` is.
pub const PAGE: &str = "page.html";

const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; frame-ancestors 'none'; form-action 'none'";

struct File {
    name: &'static str,
    media: &'static str,
    bytes: &'static [u8],
    tag: HeaderValue,
}

macro_rules! files {
    ($($name:expr, $path:literal, $media:ident;)*) => {
        static NAMES: &[&str] = &[$($name),*];

        static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
            vec![$(File::new($name, $media, include_bytes!(concat!("../console/", $path)))),*]
        });
    };
}

files! {
    PAGE, "page.html", HTML;
    "page.css", "page.css", CSS;
    "page.js", "page.js", JAVASCRIPT;
    "api.js", "api.js", JAVASCRIPT;
    "sale.js", "sale.js", JAVASCRIPT;
    "history.js", "history.js", JAVASCRIPT;
    "service.js", "service.js", JAVASCRIPT;
    "chart.js", "chart.js", JAVASCRIPT;
    "actions.js", "actions.js", JAVASCRIPT;
    "dom.js", "dom.js", JAVASCRIPT;
    "uplot.js", "uplot.js", JAVASCRIPT;
    "uplot.css", "uplot.css", CSS;
    "icon.svg", "icon.svg", SVG;
}

/// The names of the files beside the page.
pub fn files() -> impl Iterator<Item = &'static str> {
    NAMES.iter().copied().filter(|name| *name != PAGE)
}

impl File {
    fn new(name: &'static str, media: &'static str, bytes: &'static [u8]) -> Self {
        let hash = blake3::hash(bytes).to_hex();
        let tag = HeaderValue::try_from(format!("\"{}\"", &hash[..16])).expect("digits in quotes");
        Self { name, media, bytes, tag }
    }
}

pub fn get(name: &str, headers: &HeaderMap) -> Answered {
    let file = FILES.iter().find(|file| file.name == name);
    let file = file.ok_or_else(|| problem::NOT_FOUND.respond("the console has no such file; its page is /console"))?;
    let known = headers.get_all(IF_NONE_MATCH).iter().any(|tags| names(tags.as_bytes(), file.tag.as_bytes()));
    let (status, bytes) =
        if known { (StatusCode::NOT_MODIFIED, Bytes::new()) } else { (StatusCode::OK, Bytes::from_static(file.bytes)) };
    let mut response = body::respond(status, file.media, bytes);
    let own = response.headers_mut();
    for (name, value) in [
        (ETAG, file.tag.clone()),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ] {
        own.insert(name, value);
    }
    Ok(response)
}

/// Whether the list of entity tags has this one, compared weakly, as If-None-Match is.
fn names(tags: &[u8], wanted: &[u8]) -> bool {
    let mut tags = tags.split(|byte| *byte == b',').map(|tag| tag.trim_ascii());
    tags.any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == wanted)
}
