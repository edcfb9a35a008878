//! An answer, and what tests want to know of it.

use serde_json::Value;

use super::shapes;

#[derive(Debug, Clone)]
pub struct Answer {
    /// `HTTP/1.1`, as the status line has it.
    pub version: String,
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let first = found.next();
        assert!(found.next().is_none(), "header {name} stands in the answer twice: {self:?}");
        first
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("an answer is UTF-8")
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// The document of a success, which must have this status.
    #[track_caller]
    pub fn success(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.json()
    }

    /// A reservation, checked.
    #[track_caller]
    pub fn reservation(&self, status: u16) -> Value {
        let reservation = self.success(status);
        shapes::check_reservation(&reservation);
        reservation
    }

    /// The problem document, which must have this code. Its status and members were checked when it came in.
    #[track_caller]
    pub fn refused(&self, code: &str) -> Value {
        assert!(self.status >= 400, "{code} was expected and the answer is {}: {}", self.status, self.text());
        let document = self.json();
        assert_eq!(document["code"], code, "{document}");
        document
    }

    /// The pointers of an `invalid_request`.
    #[track_caller]
    pub fn pointers(&self) -> Vec<String> {
        let document = self.refused("invalid_request");
        let errors = document["errors"].as_array().expect("errors are a list");
        errors.iter().map(|error| error["pointer"].as_str().expect("a pointer is text").to_owned()).collect()
    }

    pub fn is_replayed(&self) -> bool {
        match self.header("idempotent-replayed") {
            None => false,
            Some(value) => {
                assert_eq!(value, "true");
                true
            }
        }
    }
}
