//! The OpenAPI 3.1 document of the API. The service builds it once at start, from the types that parse requests and write
//! answers and from the limits of its configuration.
//!
//! Invariant: the document has exactly the router's calls and every problem. Tests compare it with the router, with the table
//! of problems, and with every answer that a contract test sees.
//!
//! `paths` renders the table of calls. `schemas` collects the `ToSchema` of the types in `json`, and `bounds` adds limits that types
//! do not express. `problems`, `feed` and `examples` hold those parts.

mod bounds;
mod examples;
mod feed;
mod paths;
mod problems;
mod schemas;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::Limits;
use crate::api::{self, calls::Tag};

/// The document, its parts in reading order. `{:#}` prints it indented.
#[derive(Debug, Clone, Serialize)]
pub struct Document {
    openapi: &'static str,
    info: Value,
    servers: Value,
    tags: Value,
    paths: Value,
    components: Value,
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if f.alternate() { serde_json::to_string_pretty(self) } else { serde_json::to_string(self) };
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

const DESCRIPTION: &str = "\
Holds stock for customers while a flash sale is on. The service answers from memory, never oversells, and never loses \
what it acknowledged.\n\n\
The API speaks JSON in UTF-8 over HTTP/1.1 keep-alive and HTTP/2 with prior knowledge. Times are RFC 3339; answers give \
them in UTC with milliseconds. The service refuses unknown members in requests. Answers may gain members, so ignore those \
that you do not know. Lengths of text are limited in UTF-8 bytes; JSON Schema counts characters. Write integers without \
fraction or exponent: `1`, not `1.0`, although JSON Schema treats the two alike.\n\n\
Refusals are `application/problem+json` (RFC 9457). Tell them apart by `code`; the page at `type` says what each one \
means and what to do. The service answers a method that the path does not support with 405 and `Allow`.\n\n\
Send an `Idempotency-Key` with every reserve and adjustment: then every timeout is safe to retry.\n\n\
The limits in this document are those of the service's configuration.\n\n\
For operators: probes and metrics (`/livez`, `/readyz`, `/metrics`) have a listener of their own, `server.ops_listen`, \
and are not part of this document.";

/// Makes the document for a service with these limits. `asks_for_key`: whether calls need a key.
pub fn document(limits: &Limits, api: &api::Limits, asks_for_key: bool) -> Document {
    Document {
        openapi: "3.1.0",
        info: json!({
            "title": "Doorbuster",
            "summary": "Reserve stock in flash sales",
            "description": DESCRIPTION,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
        }),
        servers: json!([{ "url": "/", "description": "Where this document is served" }]),
        tags: Tag::ALL.map(|tag| json!({ "name": tag.name(), "description": tag.description() })).into_iter().collect(),
        paths: paths::paths(limits, asks_for_key),
        components: json!({
            "schemas": schemas::schemas(api),
            "parameters": paths::parameters(api),
            "headers": paths::headers(),
            "responses": problems::responses(),
            "examples": problems::examples(),
            "securitySchemes": { "key": {
                "type": "http",
                "scheme": "bearer",
                "description": "A key that `doorbuster keys new` made. Its role says which calls it may make. A key \
                                may be limited to certain sales; other sales do not exist for it. A service without \
                                configured keys asks for none.",
            } },
        }),
    }
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}
