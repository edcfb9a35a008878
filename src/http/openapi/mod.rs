//! The OpenAPI 3.1 document of the API. The service builds it once at start, from the types that parse requests and write
//! answers and from the limits of its configuration.
//!
//! Invariant: the document has exactly the router's calls and every problem. Tests compare it with the router, with the table
//! of problems, and with every answer that a contract test sees.
//!
//! `calls` lists what each call takes and answers, and `paths` renders it. `schemas` collects the wire types' `ToSchema`, and
//! `bounds` adds limits that types do not express. `links`, `problems`, `feed` and `examples` hold those parts.

mod bounds;
mod calls;
mod examples;
mod feed;
mod links;
mod paths;
mod problems;
mod schemas;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Limits, router::Route};
use crate::sale::settings;

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
pub fn document(edge: &Limits, sale: &settings::Limits, asks_for_key: bool) -> Document {
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
        tags: json!([
            { "name": SALES, "description": "For operators: sales and their stock" },
            { "name": RESERVATIONS, "description": "For checkout services: hold, confirm, release, extend" },
            { "name": CUSTOMERS, "description": "Erasing a customer's data" },
            { "name": EVENTS, "description": "The feed of durable changes" },
            { "name": AUDIT, "description": "Operators' changes, for operators and auditors" },
            { "name": CONSOLE, "description": "Pages to watch and run a sale" },
            { "name": CONTRACT, "description": "This contract, for programs and people" },
        ]),
        paths: paths::paths(edge, asks_for_key),
        components: json!({
            "schemas": schemas::schemas(edge, sale),
            "parameters": paths::parameters(edge),
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

/// The path of a call, with the names of its variable parts in braces.
pub fn path_of(route: Route) -> Option<&'static str> {
    calls::CALLS.iter().find(|call| call.route == route).map(|call| call.path)
}

const SALES: &str = "sales";
const RESERVATIONS: &str = "reservations";
const CUSTOMERS: &str = "customers";
const EVENTS: &str = "events";
const AUDIT: &str = "audit";
const CONSOLE: &str = "console";
const CONTRACT: &str = "contract";
