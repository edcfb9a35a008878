//! What is wrong with a request body, for its author: a pointer, the rule that the value breaks, and an example.
//!
//! Serde reads bodies, but its errors name Rust types and columns, so callers never see them. When serde refuses a body, the
//! body's `Shape` reads it again and finds every wrong member in one pass, or the place where the text stops being JSON. Only
//! refused requests pay for that.
//!
//! Invariant: the shape refuses whatever serde or the check of a member refuses. Tests compare the two.

mod reader;
mod shape;
mod syntax;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::de::DeserializeSeed;

use self::reader::Object;
pub use self::{
    shape::{Described, Member, Shape},
    syntax::why_not_json,
};
use crate::sale::settings::Invalid;

/// Most errors in one answer: callers fix the first ones and try again.
const ERRORS_MAX: usize = 100;

/// Everything that is wrong with the text as JSON of this shape.
pub fn errors_of_text(shape: &Shape, bytes: &[u8]) -> Vec<Invalid> {
    if bytes.trim_ascii().is_empty() {
        return vec![Invalid::new("", format!("the body is empty; it must be a JSON object with {}", shape.names()))];
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut found = Found::default();
    let read = Object { shape, found: &mut found }.deserialize(&mut reader).and_then(|()| reader.end());
    match read {
        Ok(()) => found.errors,
        Err(error) => vec![syntax::not_json(&error, bytes, shape, &found.at)],
    }
}

/// Everything that is wrong with a value of this shape, which stands at `pointer`.
pub fn errors_of_value(shape: &Shape, value: &serde_json::Value, pointer: &str) -> Vec<Invalid> {
    let mut found = Found::default();
    // Reading a value that is in memory cannot fail.
    let _ = Object { shape, found: &mut found }.deserialize(value);
    for error in &mut found.errors {
        error.pointer.insert_str(0, pointer);
    }
    found.errors
}

#[derive(Debug, Clone)]
enum Step {
    Member(String),
    Entry(usize),
}

fn pointer_of(steps: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Member(name) => format!("/{}", escape(name)),
        Step::Entry(index) => format!("/{index}"),
    };
    steps.iter().map(step).collect()
}

/// A member's name as JSON pointers write it.
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Errors found so far, and the reader's place. After a failure, the place of the failure.
#[derive(Debug, Default)]
struct Found {
    at: Vec<Step>,
    errors: Vec<Invalid>,
}

impl Found {
    fn wrong(&mut self, detail: impl fmt::Display) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(Invalid::new(pointer_of(&self.at), detail));
        }
    }

    fn wrong_member(&mut self, name: &str, detail: impl fmt::Display) {
        self.at.push(Step::Member(name.to_owned()));
        self.wrong(detail);
        self.at.pop();
    }
}
