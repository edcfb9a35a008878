//! The OpenAPI 3.1 document of the API: made once at start from the types that parse requests and write answers, with
//! the limits of the running configuration in it.
//!
//! Invariant: every call of the router is in it and no other, and so is every problem. Tests compare it with the router,
//! with the table of problems, and with every answer that any test of the contract sees.
//!
//! `calls` says what each call takes and answers, and `paths` writes that down; `schemas` collects what `ToSchema` knows
//! of the wire types, and `bounds` adds what types do not say; `links`, `problems`, `feed` and `examples` are what their names say.

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

/// The document, its parts in the order that people read them in. Shown with `{:#}` it is laid out for them.
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
Holds stock for customers while a flash sale is on: it answers from memory, never oversells, and never loses what it \
acknowledged.\n\n\
JSON in UTF-8 over HTTP/1.1 keep-alive and HTTP/2 with prior knowledge. Times are RFC 3339; answers give them in UTC with \
milliseconds. Unknown members in requests are refused; answers may gain members, so ignore those that you do not know. \
Lengths of text are limited in bytes of UTF-8, where JSON Schema counts characters. Integers are written without fraction \
and exponent: `1` and not `1.0`, which JSON Schema takes for the same.\n\n\
Refusals are `application/problem+json` (RFC 9457): tell them apart by `code`; the page at `type` says what each means \
and what to do. A path with a method that it does not have is answered 405 with `Allow`.\n\n\
Send an `Idempotency-Key` with every reserve and adjustment: then every timeout is safe to retry.\n\n\
Limits in this document are those of the configuration that it was made with.\n\n\
Operators: probes and metrics (`/livez`, `/readyz`, `/metrics`) are on a listener of their own, `server.ops_listen`, and \
no part of this document.";

/// Makes the document for a service with these limits. `asks_for_key`: whether calls need one.
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
            { "name": SALES, "description": "What operators do: sales and their stock" },
            { "name": RESERVATIONS, "description": "What checkout services do: hold, confirm, release, extend" },
            { "name": CUSTOMERS, "description": "What customers may ask for: to be erased" },
            { "name": EVENTS, "description": "What happened, for whoever follows" },
            { "name": AUDIT, "description": "Who changed what, for operators and auditors" },
            { "name": CONSOLE, "description": "What people look at while a sale is on" },
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
                "description": "A key that `doorbuster keys new` made. Its role says which calls it may make, and it may be \
                                limited to some sales: others do not exist for it. A service without any keys asks for none.",
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
