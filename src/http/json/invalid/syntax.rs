//! Why a text is not JSON, and where it stops being JSON.

use super::{Shape, Step, pointer_of};
use crate::sale::settings::Invalid;

/// Why a text is not JSON.
pub fn why_not_json(error: &serde_json::Error) -> String {
    format!("the body is not valid JSON: {}", reason(&error.to_string()))
}

/// Where the text stops being JSON, and why.
pub(super) fn not_json(error: &serde_json::Error, bytes: &[u8], shape: &Shape, at: &[Step]) -> Invalid {
    let message = error.to_string();
    let pointer = pointer_of(at);
    // JSON has no limit for numbers; the member's rule has.
    if message.starts_with("number out of range")
        && let Some(rule) = shape.rule_at(at)
    {
        return Invalid::new(pointer, rule);
    }
    let place = offset_of(error, bytes);
    let found = bytes
        .get(place)
        .filter(|byte| byte.is_ascii_graphic())
        .map(|byte| format!(", at {:?}", char::from(*byte).to_string()));
    let why = if bytes.starts_with(b"\xef\xbb\xbf") {
        "it begins with a byte order mark; remove it"
    } else if std::str::from_utf8(bytes).is_err() {
        "it is not UTF-8"
    } else {
        reason(&message)
    };
    let found = found.filter(|_| !error.is_eof()).unwrap_or_default();
    Invalid::new(pointer, format!("the body is not valid JSON: {why}{found}"))
}

/// The parser's reasons in plain words.
fn reason(message: &str) -> &'static str {
    let reasons = [
        ("EOF while parsing a string", "it ends inside quoted text; a closing \" is missing"),
        ("EOF", "it ends too early; a value, } or ] is missing"),
        ("expected `:`", "a : must separate a name from its value"),
        ("expected `,` or `}`", "a comma or } is missing"),
        ("expected `,` or `]`", "a comma or ] is missing"),
        ("expected ident", "words other than true, false and null must be in double quotes"),
        ("key must be a string", "member names must be in double quotes"),
        ("invalid number", "a number must be written like 12, -5 or 0.5"),
        ("number out of range", "a number is too large"),
        ("control character", "a control character in quoted text must be written as an escape, such as \\n"),
        ("invalid escape", "a backslash in quoted text must begin an escape, such as \\n or \\\\"),
        ("trailing comma", "a comma must be followed by another member or entry"),
        ("trailing characters", "there is text after its end"),
        ("recursion limit exceeded", "objects and lists are nested too deeply"),
    ];
    let unicode = ["lone leading surrogate", "unexpected end of hex escape", "invalid unicode code point"];
    if unicode.iter().any(|known| message.starts_with(known)) {
        return "an escape in quoted text is not a Unicode character";
    }
    let known = reasons.iter().find(|(known, _)| message.starts_with(known));
    known.map_or("a value is missing, or is not text, a number, an object or a list", |(_, reason)| reason)
}

/// Where the parser stopped.
fn offset_of(error: &serde_json::Error, bytes: &[u8]) -> usize {
    let lines = bytes.split(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    lines.map(|line| line.len() + 1).sum::<usize>() + error.column().saturating_sub(1)
}
