//! Paths, parameters and headers of the OpenAPI document.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    bounds::{CURSOR_BYTES_MAX, PRINTABLE, SLUG, UUID_ASKED, key_pattern},
    examples, feed, problems, reference, schemas,
};
use crate::{
    api::{
        self,
        calls::{Access, Asked, BodyLimit, Call, Content, Given, Link, Method, Row},
        problems::PROBLEMS,
    },
    http::{
        Limits,
        handlers::{pages, trail::RECORDS},
        request_log::REQUEST_ID_BYTES_MAX,
        response::MERGE_PATCH,
    },
    sale::ids::{NAME_BYTES_MAX, TEXT_BYTES_MAX},
    store::RECORDS_MAX,
};

/// ETags in a condition.
const ETAGS: &str = r#"^(\*|(W/)?"[!#-~]*"(\s*,\s*(W/)?"[!#-~]*")*)$"#;

/// Every path with its calls. `asks_for_key`: whether calls need a key.
pub(super) fn paths(limits: &Limits, asks_for_key: bool) -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for call in Call::ALL {
        let row = call.row();
        let path = paths.entry(row.path).or_default();
        if row.path.contains('{') {
            let parameters = path_parameters(row.path).map(|name| reference("parameters", name));
            path.insert("parameters".to_owned(), parameters.collect());
        }
        let operation = operation(*call, limits, asks_for_key);
        if row.method == Method::Get {
            path.insert("head".to_owned(), head(&operation, row));
        }
        path.insert(row.method.as_str().to_ascii_lowercase(), operation);
    }
    json!(paths)
}

/// The names in braces.
pub(super) fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

fn operation(call: Call, limits: &Limits, asks_for_key: bool) -> Value {
    let row = call.row();
    let mut responses: Map<String, Value> =
        row.answers.iter().map(|given| (given.status.to_string(), answer(given))).collect();
    responses.extend(problems::by_status(&call.problems()));
    let mut operation = json!({
        "operationId": row.id,
        "tags": [row.tag.name()],
        "summary": row.summary,
        "description": row.description,
        "responses": responses,
        "security": security(row.access, asks_for_key),
    });
    if let Some(role) = row.access.role() {
        let text = format!("{} Needs the role `{}`.", row.description, role.as_str());
        operation["description"] = json!(text);
    }
    if !row.parameters.is_empty() {
        operation["parameters"] = row.parameters.iter().map(|name| reference("parameters", name)).collect();
    }
    if let Some(asked) = &row.body {
        operation["requestBody"] = request_body(asked, limits);
    }
    operation
}

/// A key, if the call needs one. A service without keys also takes callers that send one.
fn security(access: Access, asks_for_key: bool) -> Value {
    match access.role() {
        Some(_) if asks_for_key => json!([{ "key": [] }]),
        Some(_) => json!([{ "key": [] }, {}]),
        None => json!([]),
    }
}

/// The GET without bodies.
fn head(get: &Value, row: &Row) -> Value {
    let mut head = get.clone();
    head["operationId"] = json!(format!("{}Head", row.id));
    head["summary"] = json!(format!("{}: headers only", row.summary));
    head["description"] = json!("Answers as GET does, with the length of the body but without the body.");
    for response in head["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        // What is referred to is written out, so that its body can be left out.
        if let Some(code) = response["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            *response = problems::response_named(code);
        }
        let members = response.as_object_mut().expect("a response is an object");
        members.remove("content");
        members.remove("links");
    }
    head
}

fn request_body(asked: &Asked, limits: &Limits) -> Value {
    let bytes_max = match asked.limit {
        BodyLimit::Small => limits.body_bytes_max,
        BodyLimit::Sale => limits.sale_body_bytes_max,
        BodyLimit::Batch => limits.batch_body_bytes_max,
    };
    let media = json!({ "schema": reference("schemas", asked.schema), "example": examples::of(asked.schema) });
    let mut content = json!({ "application/json": media });
    if asked.schema == schemas::PATCH {
        content[MERGE_PATCH] = media;
    }
    let optional = if asked.required { "" } else { " All members are optional, and so is the body." };
    json!({
        "description": format!("Up to {bytes_max} bytes.{optional}"),
        "required": asked.required,
        "content": content,
    })
}

fn answer(given: &Given) -> Value {
    let page = || json!({ "schema": { "type": "string" } });
    let document = |schema| {
        json!({ "application/json": {
            "schema": reference("schemas", schema),
            "example": examples::of(given.example.unwrap_or(schema)),
        } })
    };
    let mut answer = json!({ "description": given.description });
    match given.content {
        Content::Json(schema) => answer["content"] = document(schema),
        Content::JsonOrDryRun(schema, dry_run) => {
            answer["content"] = document(schema);
            let either = json!({ "oneOf": [reference("schemas", schema), reference("schemas", dry_run)] });
            answer["content"]["application/json"]["schema"] = either;
        }
        Content::JsonOrPage(schema) => {
            answer["content"] = document(schema);
            answer["content"]["text/html"] = page();
        }
        Content::Feed => answer["content"] = feed::content(),
        Content::Page => answer["content"] = json!({ "text/html": page() }),
        Content::Files(media) => answer["content"] = files(media),
        Content::Nothing => {}
    }
    answer["headers"]["X-Request-Id"] = reference("headers", "X-Request-Id");
    for name in given.headers {
        answer["headers"][name] = match (given.content, *name) {
            (Content::Json("WaitlistEntry"), "Location") => reference("headers", "Location-Of-Entry"),
            (Content::JsonOrDryRun(..), "ETag") => reference("headers", "ETag-Unless-Dry-Run"),
            _ => reference("headers", name),
        };
    }
    for Link { operation, parameters, body } in given.links {
        let parameters: BTreeMap<_, _> = parameters.iter().copied().collect();
        let mut link = json!({ "operationId": operation, "parameters": parameters });
        if let Some(body) = body {
            link["requestBody"] = serde_json::from_str(body).expect("the body of a link is JSON");
        }
        answer["links"][operation] = link;
    }
    answer
}

fn files(media: &[&str]) -> Value {
    let example = |media: &str| match media {
        "text/css" => "body { margin: 0 }",
        "text/javascript" => "export {};",
        _ => "<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
    };
    let file = |media: &&str| (media.to_string(), json!({ "schema": { "type": "string" }, "example": example(media) }));
    Value::Object(media.iter().map(file).collect())
}

/// Parameters, by the names that calls and paths use for them.
pub(super) fn parameters(limits: &api::Limits) -> Value {
    // Codes with and without an underscore; those without are slugs already.
    let codes = PROBLEMS.iter().map(|problem| problem.code).filter(|code| code.contains('_'));
    let slugs: Vec<_> = PROBLEMS.iter().map(|problem| problem.slug()).chain(codes).collect();
    json!({
        "sale": {
            "name": "sale", "in": "path", "required": true, "description": "A sale's id.",
            "schema": { "type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX, "pattern": SLUG },
            "example": "doorbuster-tv",
        },
        "sku": {
            "name": "sku", "in": "path", "required": true,
            "description": format!(
                "An item's SKU, 1 to {NAME_BYTES_MAX} bytes of UTF-8 without control characters, percent-encoded."
            ),
            "schema": { "type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX, "pattern": PRINTABLE },
            "example": "tv-55",
        },
        "id": {
            "name": "id", "in": "path", "required": true, "description": "A reservation's id.",
            "schema": { "type": "string", "format": "uuid", "pattern": UUID_ASKED },
            "example": examples::ID,
        },
        "entry": {
            "name": "entry", "in": "path", "required": true, "description": "A waitlist entry's id.",
            "schema": { "type": "string", "format": "uuid", "pattern": UUID_ASKED },
            "example": examples::ENTRY,
        },
        "customer": {
            "name": "customer", "in": "path", "required": true,
            "description": format!(
                "A customer's id as it is reserved with, 1 to {NAME_BYTES_MAX} bytes of UTF-8 without control characters, \
                 percent-encoded."
            ),
            "schema": { "type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX, "pattern": PRINTABLE },
            "example": "ann",
        },
        "webhook": {
            "name": "webhook", "in": "path", "required": true, "description": "A webhook's name in the configuration.",
            "schema": { "type": "string", "pattern": "^[a-z0-9_-]{1,64}$" },
            "example": "orders",
        },
        "slug": {
            "name": "slug", "in": "path", "required": true, "description": "A problem's code, also with `-` for `_`.",
            "schema": { "type": "string", "enum": slugs },
            "example": "sold-out",
        },
        "file": {
            "name": "file", "in": "path", "required": true, "description": "A file of the console.",
            "schema": { "type": "string", "enum": pages::CONSOLE.files().collect::<Vec<_>>() },
            "example": "page.js",
        },
        "docs_file": {
            "name": "docs_file", "in": "path", "required": true, "description": "A file of the page.",
            "schema": { "type": "string", "enum": pages::DOCS.files().collect::<Vec<_>>() },
            "example": "page.js",
        },
        "AfterEvent": {
            "name": "after", "in": "query",
            "description": "The cursor of the last event that the reader has; `0` starts at the beginning of the \
                            journal. Cursors are opaque: they cannot be compared or counted, and only a key with the \
                            same sales can use them. The service answers any other text with 400.",
            "schema": { "type": "string", "minLength": 1, "maxLength": CURSOR_BYTES_MAX },
            "example": "0",
        },
        "LastEventId": {
            "name": "Last-Event-ID", "in": "header", "description": "As `after`, which takes precedence; browsers \
                                                                     send this header automatically.",
            "schema": { "type": "string", "minLength": 1, "maxLength": CURSOR_BYTES_MAX },
            "example": "0",
        },
        "After": {
            "name": "after", "in": "query", "description": "Only sales whose ids sort after this one: the `next` of \
                                                            the last page.",
            "schema": { "type": "string" },
            "example": "doorbuster-tv",
        },
        "Limit": {
            "name": "limit", "in": "query", "description": "Most sales on a page.",
            "schema": {
                "type": "integer", "minimum": 1, "maximum": limits.sales_page_max, "default": limits.sales_page_max,
            },
            "example": 1,
        },
        "OfCustomer": {
            "name": "customer", "in": "query", "required": true,
            "description": format!(
                "A customer's id as it is reserved with, 1 to {NAME_BYTES_MAX} bytes of UTF-8 without control characters. Encoded \
                 as forms are: `+` is a space, and `%2B` is a plus."
            ),
            "schema": { "type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX, "pattern": PRINTABLE },
            "example": "ann",
        },
        "ByOf": {
            "name": "by", "in": "query",
            "description": "Adds reservations, units and revenue by channel, tier, pool, location, or a label, as in `label:campaign`.",
            "schema": {
                "type": "string", "maxLength": "label:".len() + NAME_BYTES_MAX,
                "pattern": "^(channel|tier|pool|location|label:[a-z0-9][a-z0-9._-]{0,63})$",
            },
            "example": "channel",
        },
        "TierOf": {
            "name": "tier", "in": "query", "description": "Counts only pools that are open to a customer of this tier.",
            "schema": { "type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX, "pattern": SLUG },
            "example": "gold",
        },
        "ChannelOf": {
            "name": "channel", "in": "query",
            "description": "Counts only pools that are open to a request through this channel.",
            "schema": { "type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX, "pattern": SLUG },
            "example": "livestream",
        },
        "RegionOf": {
            "name": "region", "in": "query",
            "description": "The region of such a request. It changes the order of pools, not which are open.",
            "schema": { "type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX, "pattern": SLUG },
            "example": "eu-west",
        },
        "DryRunOf": {
            "name": "dry_run", "in": "query",
            "description": "With `true` the call makes every check and has no effect.",
            "schema": { "type": "boolean", "default": false },
            "example": false,
        },
        "Before": {
            "name": "before", "in": "query",
            "description": "Records before this: the last page's `next`. It is opaque, and only a key that reaches the same sales can \
                            use it. Any other text is answered 400.",
            "schema": { "type": "string", "minLength": 1, "maxLength": CURSOR_BYTES_MAX },
            "example": examples::CURSOR,
        },
        "RecordsLimit": {
            "name": "limit", "in": "query", "description": "Records on a page.",
            "schema": { "type": "integer", "minimum": 1, "maximum": RECORDS_MAX, "default": RECORDS },
            "example": RECORDS,
        },
        "OfSale": {
            "name": "sale", "in": "query", "description": "Only records of the sale with this id.",
            "schema": { "type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX, "pattern": SLUG },
            "example": "doorbuster-tv",
        },
        "IfMatch": {
            "name": "If-Match", "in": "header",
            "description": "ETags from GET, or `*` for any sale that exists. If the sale's ETag is another one, the \
                            service refuses the request with `precondition_failed` and does nothing.",
            "schema": { "type": "string", "pattern": ETAGS },
            "example": "\"0a1b2c3d4e5f6071\"",
        },
        "IfNoneMatch": {
            "name": "If-None-Match", "in": "header",
            "description": "ETags that the caller has. If the sale's ETag is among them, GET answers 304 and the \
                            service refuses a change. `*` with PUT creates a sale and never replaces one.",
            "schema": { "type": "string", "pattern": ETAGS },
            "example": "\"0a1b2c3d4e5f6071\"",
        },
        "IdempotencyKey": {
            "name": "Idempotency-Key", "in": "header",
            "description": format!(
                "Makes the call safe to repeat: the same key with the same request gets the first answer again; with \
                 another request the service refuses it. 1 to {TEXT_BYTES_MAX} visible ASCII characters, bare or in \
                 double quotes. Its scope is the sale and customer of a reserve or of a waitlist entry, the item of an adjustment or a transfer, \
                 or the sale of several adjustments."
            ),
            "schema": { "type": "string", "minLength": 1, "maxLength": TEXT_BYTES_MAX + 2, "pattern": key_pattern() },
            "example": "6b7f1a52-8a0e-4f63-9d3c-1f2a3b4c5d6e",
        },
    })
}

/// A dry run has no settings to tell the version of.
fn etag(required: bool) -> Value {
    json!({
        "description": "The version of the settings, for `If-Match` and `If-None-Match`. A dry run has none.",
        "required": required,
        "schema": { "type": "string", "pattern": "^\"[0-9a-f]{16}\"$" },
        "example": "\"0a1b2c3d4e5f6071\"",
    })
}

/// An answer of the same status that is not about a quota has none.
fn rate_limit(required: bool) -> Value {
    json!({
        "description": "The quota that is used up, what is left of it, and the seconds until the service admits the next request \
                        (draft-ietf-httpapi-ratelimit-headers-10).",
        "required": required,
        "schema": { "type": "string", "pattern": "^\"(key|customer|sale)\";r=0;t=[0-9]+$" },
        "example": "\"customer\";r=0;t=3",
    })
}

fn rate_limit_policy(required: bool) -> Value {
    json!({
        "description": "That quota: the number of requests, and the seconds in which that many become available again.",
        "required": required,
        "schema": { "type": "string", "pattern": "^\"(key|customer|sale)\";q=[0-9]+;w=[0-9]+$" },
        "example": "\"customer\";q=20;w=10",
    })
}

/// Headers of answers.
pub(super) fn headers() -> Value {
    json!({
        "Location": {
            "description": "The path of the reservation.", "required": true,
            "schema": { "type": "string", "format": "uri-reference" },
            "example": format!("/v1/reservations/{}", examples::ID),
        },
        "Location-Of-Entry": {
            "description": "The path of the waitlist entry.", "required": true,
            "schema": { "type": "string", "format": "uri-reference" },
            "example": format!("/v1/waitlist/{}", examples::ENTRY),
        },
        "Idempotent-Replayed": {
            "description": "Present only when the request repeats a key.",
            "schema": { "type": "string", "const": "true" },
        },
        "Retry-After": {
            "description": "Seconds after which to try again.", "required": true,
            "schema": { "type": "integer", "minimum": 1 },
            "example": 1,
        },
        "X-Request-Id": {
            "description": format!(
                "The request's `X-Request-Id`, 1 to {REQUEST_ID_BYTES_MAX} visible ASCII characters; the service \
                 ignores any other. If the log has a line about the request, the answer has an id even if the request \
                 had none."
            ),
            "schema": { "type": "string", "minLength": 1, "maxLength": REQUEST_ID_BYTES_MAX, "pattern": "^[!-~]+$" },
            "example": examples::ID,
        },
        "X-Request-Id-Of-Failure": {
            "description": "The request's own `X-Request-Id`, or one that the service made. The log line about the \
                            request has the same id.",
            "required": true,
            "schema": { "type": "string", "minLength": 1, "maxLength": REQUEST_ID_BYTES_MAX, "pattern": "^[!-~]+$" },
            "example": examples::ID,
        },
        "Event-Cursor": {
            "description": "The cursor after which the answer starts.", "required": true,
            "schema": { "type": "string", "minLength": 1, "maxLength": CURSOR_BYTES_MAX },
            "example": examples::CURSOR,
        },
        "RateLimit": rate_limit(true),
        "RateLimit-Of-Quota": rate_limit(false),
        "RateLimit-Policy": rate_limit_policy(true),
        "RateLimit-Policy-Of-Quota": rate_limit_policy(false),
        "ETag": etag(true),
        "ETag-Unless-Dry-Run": etag(false),
        "Accept-Patch": {
            "description": "Only for PATCH: the media type of its body.",
            "schema": { "type": "string", "const": MERGE_PATCH },
        },
        "Cache-Control": {
            "description": "Caches may keep the answer but must revalidate it before each use.", "required": true,
            "schema": { "type": "string", "const": "no-cache" },
        },
        "Content-Security-Policy": {
            "description": "The page runs only its own files and calls only its own service.", "required": true,
            "schema": { "type": "string", "pattern": "^default-src 'none'; " },
            "example": "default-src 'none'; script-src 'self'",
        },
        "WWW-Authenticate": {
            "description": "How to authenticate.", "required": true,
            "schema": { "type": "string", "pattern": "^Bearer " },
            "example": "Bearer realm=\"doorbuster\"",
        },
        "Allow": {
            "description": "The methods that the path supports.", "required": true,
            "schema": { "type": "string" },
            "example": "GET, HEAD, PATCH, PUT",
        },
    })
}
