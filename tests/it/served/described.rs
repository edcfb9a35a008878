//! Every answer against the OpenAPI document of the very service that gave it.
//!
//! Invariant: an answer to a call of the document has a status, headers and a body that the document has for that call,
//! to the last member; what was taken was a request that the document allows; every other answer is one of its problems.
//!
//! Documents are made known by whoever starts a service. They are not asked for here: tests count requests.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, LazyLock, Mutex},
};

use jsonschema::{Registry, Validator};
use serde_json::{Map, Value, json};

use super::{Answer, Ask};

/// Headers that only stand where the document has them.
const TOLD_HEADERS: [&str; 5] = ["allow", "idempotent-replayed", "location", "retry-after", "x-request-id"];

/// By what name the validators refer to the document.
const DOCUMENT: &str = "urn:doorbuster:openapi";

static BY_ADDRESS: LazyLock<Mutex<HashMap<SocketAddr, Arc<Described>>>> = LazyLock::new(Mutex::default);
/// One for all services of one configuration: validators take a while to make.
static BY_TEXT: LazyLock<Mutex<HashMap<String, Arc<Described>>>> = LazyLock::new(Mutex::default);

/// A document and what was made of it so far.
pub struct Described {
    document: Value,
    /// The document as it is referred to, indexed once for all validators.
    registry: Registry<'static>,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// Makes known what the service at this address says of itself.
pub fn learn(address: SocketAddr, text: &str) {
    let mut by_text = BY_TEXT.lock().expect("no test panics in here");
    let described = by_text.entry(text.to_owned()).or_insert_with_key(|text| {
        let document = serde_json::from_str(text).expect("the document is JSON");
        Arc::new(Described::new(document))
    });
    BY_ADDRESS.lock().expect("no test panics in here").insert(address, described.clone());
}

/// What is known of the service at this address.
pub fn at(address: SocketAddr) -> Option<Arc<Described>> {
    BY_ADDRESS.lock().expect("no test panics in here").get(&address).cloned()
}

/// A call of the document.
struct Call<'a> {
    name: String,
    pointer: String,
    operation: &'a Value,
}

impl Described {
    /// Answers may gain members for their readers; here every member must be known.
    pub fn new(mut document: Value) -> Self {
        let schemas = document["components"]["schemas"].as_object_mut().into_iter().flat_map(Map::values_mut);
        for schema in schemas.filter(|schema| schema.get("properties").is_some()) {
            schema["additionalProperties"] = json!(false);
        }
        let resource = json!({ "components": document["components"], "paths": document["paths"] });
        let registry = Registry::new().add(DOCUMENT, resource).and_then(|registry| registry.prepare());
        let registry = registry.expect("references lead somewhere");
        Self { document, registry, validators: Mutex::default() }
    }

    /// Fails unless the answer is one that the document has for the request.
    #[track_caller]
    pub fn check(&self, ask: &Ask, answer: &Answer) {
        let of_head = ask.method == "HEAD";
        match self.call(ask) {
            Some(call) => {
                self.check_answer(&call, answer, of_head);
                self.check_taken(&call, ask, answer);
            }
            None => self.check_alone(answer, of_head),
        }
    }

    /// As `check`, when the request is not known: some call must have such an answer, if it is none of the problems.
    #[track_caller]
    pub fn check_alone(&self, answer: &Answer, of_head: bool) {
        if answer.status < 400 {
            let has_it = |call: &Call<'_>| {
                let pointer = format!("{}/responses/{}/content/application~1json/schema", call.pointer, answer.status);
                let is_there = self.document.pointer(&pointer).is_some();
                of_head || (is_there && self.validator(&pointer).is_valid(&answer.json()))
            };
            assert!(self.calls().iter().any(has_it), "no call of the document has this answer: {}", told(answer));
        } else if !of_head {
            let document = answer.json();
            let code = document["code"].as_str().unwrap_or_default();
            let capital = |word: &str| word.chars().next().into_iter().flat_map(char::to_uppercase).collect::<String>();
            let words = code.split('_').map(|word| capital(word) + word.get(1..).unwrap_or_default());
            let name: String = words.chain(["Problem".to_owned()]).collect();
            self.check_body(&format!("/components/schemas/{name}"), &document, &format!("problem {code:?}"));
        }
    }

    /// Fails unless the document has the event.
    #[track_caller]
    pub fn check_event(&self, event: &Value) {
        self.check_body("/components/schemas/Event", event, "an event");
    }

    fn calls(&self) -> Vec<Call<'_>> {
        let paths = self.document["paths"].as_object().expect("paths");
        let calls = paths.iter().flat_map(|(path, item)| {
            let methods = item.as_object().expect("calls").iter().filter(|(method, _)| *method != "parameters");
            methods.map(move |(method, operation)| Call {
                name: format!("{} {path}", method.to_uppercase()),
                pointer: format!("/paths/{}/{method}", path.replace('/', "~1")),
                operation,
            })
        });
        calls.collect()
    }

    /// The call that the request is.
    fn call(&self, ask: &Ask) -> Option<Call<'_>> {
        let target = ask.path.strip_prefix("http://").map_or(&*ask.path, |rest| &rest[rest.find('/').unwrap_or(0)..]);
        let path: Vec<&str> = target.split('?').next()?.split('/').collect();
        let fits = |template: &str| {
            let template: Vec<&str> = template.split('/').collect();
            let same = |(wanted, given): (&&str, &&str)| wanted.starts_with('{') || wanted == given;
            template.len() == path.len() && template.iter().zip(&path).all(same)
        };
        self.calls().into_iter().find(|call| {
            let (method, template) = call.name.split_once(' ').expect("a method and a path");
            method == ask.method && fits(template)
        })
    }

    #[track_caller]
    fn check_answer(&self, call: &Call<'_>, answer: &Answer, of_head: bool) {
        let mut pointer = format!("{}/responses/{}", call.pointer, answer.status);
        let response = self.document.pointer(&pointer);
        let mut response =
            response.unwrap_or_else(|| panic!("{} has no such answer in the document: {}", call.name, told(answer)));
        if let Some(reference) = response["$ref"].as_str() {
            pointer = reference.trim_start_matches('#').to_owned();
            response = self.document.pointer(&pointer).expect("references lead somewhere");
        }
        self.check_headers(call, response, answer);
        if of_head {
            assert!(response.get("content").is_none() && answer.body.is_empty(), "a HEAD has no body: {}", call.name);
            return;
        }
        if response.get("content").is_none() {
            assert!(answer.body.is_empty(), "{} has no body with this status: {}", call.name, told(answer));
            return;
        }
        let content_type = answer.header("content-type").unwrap_or_default();
        let media = content_type.split(';').next().unwrap_or_default();
        let known = response["content"].get(media).is_some();
        assert!(known, "{} does not answer {media:?} in the document: {}", call.name, told(answer));
        let body = if media.ends_with("json") { answer.json() } else { json!(answer.text()) };
        let schema = format!("{pointer}/content/{}/schema", media.replace('/', "~1"));
        self.check_body(&schema, &body, &format!("the {} to {}", answer.status, call.name));
    }

    #[track_caller]
    fn check_headers(&self, call: &Call<'_>, response: &Value, answer: &Answer) {
        let empty = Map::new();
        let documented = response["headers"].as_object().unwrap_or(&empty);
        for (name, header) in documented {
            let pointer = header["$ref"].as_str().expect("headers are components").trim_start_matches('#');
            let header = self.document.pointer(pointer).expect("references lead somewhere");
            let (required, is_number) = (header["required"] == true, header["schema"]["type"] == "integer");
            match answer.header(&name.to_ascii_lowercase()) {
                None => assert!(!required, "{} has no {name}: {}", call.name, told(answer)),
                Some(value) => {
                    let number = value.parse::<u64>().ok().filter(|_| is_number);
                    let value = number.map_or_else(|| json!(value), |number| json!(number));
                    self.check_body(&format!("{pointer}/schema"), &value, &format!("{name} of {}", call.name));
                }
            }
        }
        for name in TOLD_HEADERS.into_iter().filter(|name| answer.header(name).is_some()) {
            let known = documented.keys().any(|known| known.eq_ignore_ascii_case(name));
            assert!(known, "{} has no {name} in the document: {answer:?}", call.name);
        }
    }

    /// What succeeded was asked as the document says.
    #[track_caller]
    fn check_taken(&self, call: &Call<'_>, ask: &Ask, answer: &Answer) {
        if answer.status >= 300 {
            return;
        }
        if let Some(body) = ask.body.as_ref().filter(|body| !body.is_empty() && ask.method != "GET") {
            let mut body = serde_json::from_slice(body).expect("what was taken is JSON");
            if answer.status == 200 {
                keep_granted_entries(&mut body, answer);
            }
            let schema = format!("{}/requestBody/content/application~1json/schema", call.pointer);
            self.check_body(&schema, &body, &format!("what {} took", call.name));
        } else if call.operation["requestBody"]["required"] == true {
            panic!("{} was taken without a body", call.name);
        }
        for (_, key) in ask.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("idempotency-key")) {
            let schema = "/components/parameters/IdempotencyKey/schema";
            self.check_body(schema, &json!(key), &format!("the key that {} took", call.name));
        }
    }

    #[track_caller]
    fn check_body(&self, schema: &str, body: &Value, what: &str) {
        let validator = self.validator(schema);
        let wrong: Vec<_> =
            validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(wrong.is_empty(), "{what} is not as the document says at {schema}: {wrong:#?} in {body:#}");
    }

    fn validator(&self, pointer: &str) -> Arc<Validator> {
        if let Some(known) = self.validators.lock().expect("no test panics in here").get(pointer) {
            return known.clone();
        }
        let escaped = pointer.replace('{', "%7B").replace('}', "%7D");
        let schema = json!({ "$ref": format!("{DOCUMENT}#{escaped}") });
        let options = jsonschema::options().with_registry(&self.registry).should_validate_formats(true);
        let made = options.build(&schema);
        let made = Arc::new(made.unwrap_or_else(|error| panic!("no schema at {pointer}: {error}")));
        self.validators.lock().expect("no test panics in here").insert(pointer.to_owned(), made.clone());
        made
    }
}

/// Of a batch, only those entries were taken that were granted; it stays as it is where there are none.
fn keep_granted_entries(body: &mut Value, answer: &Answer) {
    let Some(entries) = body.get_mut("reservations").and_then(Value::as_array_mut) else { return };
    let document = answer.json();
    let results = document["results"].as_array().expect("a batch has results");
    if results.iter().all(|result| result["status"] != 201) {
        entries.truncate(0);
        entries.push(json!({ "customer": "nobody", "lines": [{ "sku": "nothing", "quantity": 1 }] }));
        return;
    }
    let mut results = results.iter();
    entries.retain(|_| results.next().is_some_and(|result| result["status"] == 201));
}

fn told(answer: &Answer) -> String {
    format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))
}
