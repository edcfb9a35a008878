//! Pages for people: the console and the API's documentation, with their files. All are built in.
//!
//! Invariant: a page runs only its own files and calls only this service. It holds no secret: its reader types in a key, which
//! goes only into the `Authorization` header of the page's calls.

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
use crate::{
    api::{problems, refused::Refused},
    http::response,
};

/// The file that a page itself is.
const PAGE: &str = "page.html";

const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The content security policy of a page, except for styles.
macro_rules! policy {
    ($styles:literal) => {
        concat!(
            "default-src 'none'; script-src 'self'; style-src ",
            $styles,
            "; connect-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
        )
    };
}

/// A page and its files.
pub(crate) struct Site {
    policy: &'static str,
    files: &'static [(&'static str, &'static str, &'static [u8])],
    served: LazyLock<Vec<File>>,
}

struct File {
    name: &'static str,
    media: &'static str,
    bytes: &'static [u8],
    tag: HeaderValue,
}

macro_rules! site {
    ($site:ident, $folder:literal, $policy:expr, $($name:literal: $media:ident,)*) => {
        pub(crate) static $site: Site = {
            static FILES: &[(&str, &str, &[u8])] =
                &[$(($name, $media, include_bytes!(concat!("../", $folder, "/", $name)))),*];
            Site { policy: $policy, files: FILES, served: LazyLock::new(|| FILES.iter().map(File::new).collect()) }
        };
    };
}

site! {
    CONSOLE, "console", policy!("'self'"),
    "page.html": HTML,
    "page.css": CSS,
    "page.js": JAVASCRIPT,
    "api.js": JAVASCRIPT,
    "report.js": JAVASCRIPT,
    "trail.js": JAVASCRIPT,
    "webhooks.js": JAVASCRIPT,
    "sale.js": JAVASCRIPT,
    "history.js": JAVASCRIPT,
    "holds.js": JAVASCRIPT,
    "service.js": JAVASCRIPT,
    "chart.js": JAVASCRIPT,
    "actions.js": JAVASCRIPT,
    "form.js": JAVASCRIPT,
    "stock.js": JAVASCRIPT,
    "reservations.js": JAVASCRIPT,
    "phases.js": JAVASCRIPT,
    "pools.js": JAVASCRIPT,
    "dom.js": JAVASCRIPT,
    "uplot.js": JAVASCRIPT,
    "uplot.css": CSS,
    "icon.svg": SVG,
}

// Swagger UI sets styles on elements; the page shows no foreign content.
site! {
    DOCS, "explorer", policy!("'self' 'unsafe-inline'"),
    "page.html": HTML,
    "page.js": JAVASCRIPT,
    "swagger-ui.js": JAVASCRIPT,
    "swagger-ui.css": CSS,
}

impl File {
    fn new(&(name, media, bytes): &(&'static str, &'static str, &'static [u8])) -> Self {
        let hash = blake3::hash(bytes).to_hex();
        let tag = HeaderValue::try_from(format!("\"{}\"", &hash[..16])).expect("digits in quotes");
        Self { name, media, bytes, tag }
    }
}

impl Site {
    /// The names of the files beside the page.
    pub(crate) fn files(&self) -> impl Iterator<Item = &'static str> {
        self.files.iter().map(|(name, ..)| *name).filter(|name| *name != PAGE)
    }

    pub(crate) fn page(&self, headers: &HeaderMap) -> Answered {
        self.get(PAGE, headers)
    }

    /// A file beside the page.
    pub(crate) fn file(&self, name: &str, headers: &HeaderMap) -> Answered {
        if name == PAGE { Err(no_such_file()) } else { self.get(name, headers) }
    }

    fn get(&self, name: &str, headers: &HeaderMap) -> Answered {
        let file = self.served.iter().find(|file| file.name == name).ok_or_else(no_such_file)?;
        let known = headers.get_all(IF_NONE_MATCH).iter().any(|tags| names(tags.as_bytes(), file.tag.as_bytes()));
        let (status, bytes) = if known {
            (StatusCode::NOT_MODIFIED, Bytes::new())
        } else {
            (StatusCode::OK, Bytes::from_static(file.bytes))
        };
        let mut response = response::respond(status, file.media, bytes);
        let own = response.headers_mut();
        for (name, value) in [
            (ETAG, file.tag.clone()),
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (CONTENT_SECURITY_POLICY, HeaderValue::from_static(self.policy)),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ] {
            own.insert(name, value);
        }
        Ok(response)
    }
}

fn no_such_file() -> Refused {
    problems::NOT_FOUND.because("this page has no such file; the pages are /console and /docs")
}

/// Whether the list of entity tags has this one, compared weakly, as If-None-Match is.
fn names(tags: &[u8], wanted: &[u8]) -> bool {
    let mut tags = tags.split(|byte| *byte == b',').map(|tag| tag.trim_ascii());
    tags.any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == wanted)
}
