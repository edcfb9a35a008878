//! What is wrong with a request body, for its author: a pointer, the rule that the value breaks, and an example.
//!
//! Serde reads bodies, but its errors name Rust types and columns, so callers never see them. When serde refuses a body, the
//! body's `Shape` reads it again and finds every wrong member in one pass, or the place where the text stops being JSON. Only
//! refused requests pay for that.
//!
//! Invariant: the shape refuses whatever serde or the check of a member refuses. Tests compare the two.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::worker::Limits;
use crate::sale::{
    rule::Rule,
    settings::{self, Invalid},
};

/// Most errors in one answer: callers fix the first ones and try again.
const ERRORS_MAX: usize = 100;

/// Limits that appear in rules.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    pub edge: &'a Limits,
    pub sale: &'a settings::Limits,
}

/// A body that has a `Shape`.
pub trait Described {
    fn shape(bounds: &Bounds<'_>) -> Shape;
}

/// The members of an object.
#[derive(Debug, Clone)]
pub struct Shape {
    members: Vec<Member>,
}

#[derive(Debug, Clone)]
pub struct Member {
    pub name: &'static str,
    kind: Kind,
    need: Need,
}

#[derive(Debug, Clone)]
enum Kind {
    Value(Rule),
    Object(Shape),
    List {
        entry: Shape,
        most: usize,
    },
    /// Accepted and ignored, whatever it is.
    Ignored,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    /// May be left out, or be null.
    Optional,
    /// May be left out, but not null: null would remove it.
    Kept,
}

impl Shape {
    pub fn new(members: Vec<Member>) -> Self {
        Self { members }
    }

    /// The shape without this member.
    pub fn without(mut self, name: &str) -> Self {
        self.members.retain(|member| member.name != name);
        self
    }

    /// The shape with this member added.
    pub fn and(mut self, member: Member) -> Self {
        self.members.push(member);
        self
    }

    /// The shape of a patch: required members may be left out, except `names`, which identify entries of lists.
    pub fn of_change(mut self, names: &[&str]) -> Self {
        for member in &mut self.members {
            if let Kind::Object(shape) | Kind::List { entry: shape, .. } = &mut member.kind {
                *shape = std::mem::replace(shape, Self { members: Vec::new() }).of_change(names);
            }
            if member.need == Need::Required && !names.contains(&member.name) {
                member.need = Need::Kept;
            }
        }
        self
    }

    /// The names of its members that are read.
    fn names(&self) -> String {
        let read = self.members.iter().filter(|member| !matches!(member.kind, Kind::Ignored));
        let names: Vec<_> = read.map(|member| member.name).collect();
        match &names[..] {
            [] => "no members".to_owned(),
            [only] => format!("{only} only"),
            [first @ .., last] => format!("{} and {last}", first.join(", ")),
        }
    }

    /// The rule of the value at a pointer, if one is known.
    fn rule_at(&self, pointer: &[Step]) -> Option<Rule> {
        let (Step::Member(name), rest) = pointer.split_first()? else { return None };
        let member = self.members.iter().find(|member| member.name == name)?;
        match (&member.kind, rest) {
            (Kind::Value(rule), []) => Some(*rule),
            (Kind::Object(shape), rest) => shape.rule_at(rest),
            (Kind::List { entry, .. }, [Step::Entry(_), rest @ ..]) => entry.rule_at(rest),
            _ => None,
        }
    }

    #[cfg(test)]
    pub fn members(&self) -> impl Iterator<Item = (&'static str, Option<&Shape>, bool)> {
        self.members.iter().map(|member| {
            let inner = match &member.kind {
                Kind::Object(shape) | Kind::List { entry: shape, .. } => Some(shape),
                Kind::Value(_) | Kind::Ignored => None,
            };
            (member.name, inner, member.need == Need::Required)
        })
    }
}

impl Member {
    pub fn value(name: &'static str, rule: Rule) -> Self {
        Self { name, kind: Kind::Value(rule), need: Need::Required }
    }

    pub fn object(name: &'static str, shape: Shape) -> Self {
        Self { name, kind: Kind::Object(shape), need: Need::Required }
    }

    /// A list of 1 to `most` objects.
    pub fn list(name: &'static str, entry: Shape, most: usize) -> Self {
        Self { name, kind: Kind::List { entry, most }, need: Need::Required }
    }

    pub fn ignored(name: &'static str) -> Self {
        Self { name, kind: Kind::Ignored, need: Need::Optional }
    }

    pub fn optional(self) -> Self {
        Self { need: Need::Optional, ..self }
    }

    /// May be left out, but not be null.
    pub fn kept(self) -> Self {
        Self { need: Need::Kept, ..self }
    }

    fn rule(&self) -> Cow<'static, str> {
        match &self.kind {
            Kind::Value(rule) => rule.to_string().into(),
            Kind::Object(shape) => format!("must be an object with {}", shape.names()).into(),
            Kind::List { most, entry } => list_rule(entry, *most).into(),
            Kind::Ignored => "is ignored".into(),
        }
    }
}

fn list_rule(entry: &Shape, most: usize) -> String {
    format!("must be a list of 1 to {most} objects, each with {}", entry.names())
}

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
        Err(error) => vec![not_json(&error, bytes, shape, &found.at)],
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

/// Why a text is not JSON.
pub fn why_not_json(error: &serde_json::Error) -> String {
    format!("the body is not valid JSON: {}", reason(&error.to_string()))
}

/// Where the text stops being JSON, and why.
fn not_json(error: &serde_json::Error, bytes: &[u8], shape: &Shape, at: &[Step]) -> Invalid {
    let told = error.to_string();
    let pointer = pointer_of(at);
    // JSON has no limit for numbers; the member's rule has.
    if told.starts_with("number out of range")
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
        reason(&told)
    };
    let found = found.filter(|_| !error.is_eof()).unwrap_or_default();
    Invalid::new(pointer, format!("the body is not valid JSON: {why}{found}"))
}

/// The parser's reasons in plain words.
fn reason(told: &str) -> &'static str {
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
    if unicode.iter().any(|known| told.starts_with(known)) {
        return "an escape in quoted text is not a Unicode character";
    }
    let known = reasons.iter().find(|(known, _)| told.starts_with(known));
    known.map_or("a value is missing, or is not text, a number, an object or a list", |(_, reason)| reason)
}

/// Where the parser stopped.
fn offset_of(error: &serde_json::Error, bytes: &[u8]) -> usize {
    let lines = bytes.split(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    lines.map(|line| line.len() + 1).sum::<usize>() + error.column().saturating_sub(1)
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

/// Reads an object of a shape.
struct Object<'a> {
    shape: &'a Shape,
    found: &'a mut Found,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { shape, found } = self;
        let rule = || format!("must be an object with {}", shape.names()).into();
        deserializer.deserialize_any(Reader { found, rule: &rule, wanted: Wanted::Object(shape) })
    }
}

/// Reads the value of a member.
struct OfMember<'a> {
    member: &'a Member,
    found: &'a mut Found,
}

impl<'de> DeserializeSeed<'de> for OfMember<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { member, found } = self;
        let wanted = match &member.kind {
            Kind::Ignored => return deserializer.deserialize_ignored_any(IgnoredAny).map(drop),
            Kind::Value(rule) => Wanted::Value(*rule),
            Kind::Object(shape) => Wanted::Object(shape),
            Kind::List { entry, most } => Wanted::List(entry, *most),
        };
        let wanted = if member.need == Need::Optional { Wanted::NullOr(Box::new(wanted)) } else { wanted };
        deserializer.deserialize_any(Reader { found, rule: &|| member.rule(), wanted })
    }
}

enum Wanted<'a> {
    Value(Rule),
    Object(&'a Shape),
    List(&'a Shape, usize),
    NullOr(Box<Wanted<'a>>),
}

/// Reads any value to its end, and records what is wrong with it.
struct Reader<'a, 'f> {
    found: &'f mut Found,
    rule: &'a dyn Fn() -> Cow<'static, str>,
    wanted: Wanted<'a>,
}

impl Reader<'_, '_> {
    fn unless<E>(self, allowed: bool) -> Result<(), E> {
        if !allowed {
            self.found.wrong((self.rule)());
        }
        Ok(())
    }

    fn number<E>(self, number: i128) -> Result<(), E> {
        let allowed = matches!(self.wanted.within(), Wanted::Value(rule) if rule.allows_number(number));
        self.unless(allowed)
    }
}

impl<'a> Wanted<'a> {
    fn within(&self) -> &Wanted<'a> {
        match self {
            Self::NullOr(wanted) => wanted,
            wanted => wanted,
        }
    }
}

impl<'de> Visitor<'de> for Reader<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.unless(false)
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.number(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.number(number.into())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.unless(false)
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let allowed = matches!(self.wanted.within(), Wanted::Value(rule) if rule.allows_text(text));
        self.unless(allowed)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        let allowed = matches!(self.wanted, Wanted::NullOr(_));
        self.unless(allowed)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let &Wanted::List(entry, most) = self.wanted.within() else {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return self.unless(false);
        };
        let (mut count, found) = (0, self.found);
        loop {
            found.at.push(Step::Entry(count));
            // Entries past the limit are counted, but not checked.
            let more = if count < most {
                list.next_element_seed(Object { shape: entry, found: &mut *found })?.is_some()
            } else {
                list.next_element::<IgnoredAny>()?.is_some()
            };
            found.at.pop();
            if !more {
                break;
            }
            count += 1;
        }
        if count == 0 || count > most {
            found.wrong((self.rule)());
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let &Wanted::Object(shape) = self.wanted.within() else {
            while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return self.unless(false);
        };
        let found = self.found;
        let mut seen = vec![false; shape.members.len()];
        while let Some(name) = object.next_key::<String>()? {
            let known = shape.members.iter().position(|member| member.name == name);
            found.at.push(Step::Member(name));
            match known {
                None => {
                    found.wrong(format!("is not a known member; this object takes {}", shape.names()));
                    object.next_value::<IgnoredAny>()?;
                }
                Some(index) if seen[index] => {
                    found.wrong("appears twice in this object; remove one");
                    object.next_value::<IgnoredAny>()?;
                }
                Some(index) => {
                    seen[index] = true;
                    object.next_value_seed(OfMember { member: &shape.members[index], found: &mut *found })?;
                }
            }
            found.at.pop();
        }
        let missing = shape.members.iter().zip(seen).filter(|(member, seen)| !seen && member.need == Need::Required);
        for (member, _) in missing {
            found.wrong_member(member.name, format_args!("is required and {}", member.rule()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::{
        config::Config,
        http::{
            entries::EntryBody,
            settings_body::SettingsBody,
            wire::{self, AdjustBody, ConfirmBody, ExtendBody, NoBody, ReserveBody},
        },
        privacy::CustomerIds,
        sale::settings::SaleSettings,
        service,
    };

    const RESERVE: &str = r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1}],"hold_seconds":60,"reference":"a"}"#;
    const SALE: &str = r#"{"id":"drop","name":"Drop","opens_at":"2026-11-27T08:00:00Z","closes_at":"2026-11-27T09:00:00Z",
        "hold_seconds":300,"max_extensions":1,"customer_limit":2,"rate_limits":{"sale":{"requests":1,"window_seconds":1}},
        "items":[{"sku":"tv","initial_stock":5,"price":{"amount":1,"currency":"EUR"},"customer_limit":1,"stock":5}]}"#;

    fn bounded<T>(with: impl FnOnce(&Bounds<'_>) -> T) -> T {
        let config = Config::default();
        let (edge, sale) = (service::edge_limits(&config), config.limits.for_sales());
        with(&Bounds { edge: &edge, sale: &sale })
    }

    fn told<T: Described>(text: &str) -> Vec<(String, String)> {
        let errors = bounded(|bounds| errors_of_text(&T::shape(bounds), text.as_bytes()));
        errors.into_iter().map(|error| (error.pointer, error.detail)).collect()
    }

    fn pointers<T: Described>(text: &str) -> Vec<String> {
        told::<T>(text).into_iter().map(|(pointer, _)| pointer).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let body = r#"{"customer":7,"lines":[{"sku":"tv","quantity":"1"},{"sku":"","quantity":0},{}],"hold_seconds":1.5,"vip":1}"#;
        let expected = [
            "/customer",
            "/lines/0/quantity",
            "/lines/1/sku",
            "/lines/1/quantity",
            "/lines/2/sku",
            "/lines/2/quantity",
            "/hold_seconds",
            "/vip",
        ];
        assert_eq!(pointers::<ReserveBody<'_>>(body), expected);
        let told = told::<SettingsBody>(&SALE.replace(":5,", ":\"five\","));
        let rule = "must be a whole number from 0 to 1000000000000, such as 5000";
        assert_eq!(told, [("/items/0/initial_stock".to_owned(), rule.to_owned())]);
        let many = format!("{{{}\"end\":1}}", (0..500).map(|n| format!("\"m{n}\":1,")).collect::<String>());
        assert_eq!(pointers::<ReserveBody<'_>>(&many).len(), ERRORS_MAX);
    }

    #[test]
    fn where_text_stops_being_json_is_told_in_words() {
        for (text, pointer, words) in [
            ("", "", "the body is empty"),
            ("  ", "", "the body is empty"),
            ("{", "", "ends too early"),
            (r#"{"customer":"ann"#, "/customer", "a closing \" is missing"),
            (r#"{"customer":ann}"#, "/customer", "at \"a\""),
            (r#"{"customer":'ann'}"#, "/customer", "at \"'\""),
            (r#"{"customer" "ann"}"#, "/customer", "a : must separate"),
            (r#"{"customer":"ann" "lines":[]}"#, "", "a comma or } is missing"),
            (r#"{"lines":[{} {}]}"#, "", "a comma or ] is missing"),
            (r#"{"lines":[{},]}"#, "", "a comma must be followed"),
            (r#"{"hold_seconds":01}"#, "", "a number must be written"),
            (r#"{customer:1}"#, "", "double quotes"),
            (r#"{"customer":"a\x"}"#, "/customer", "a backslash in quoted text"),
            ("{\"customer\":\"a\u{1}\"}", "/customer", "control character"),
            (r#"{"customer":"\ud800"}"#, "/customer", "not a Unicode character"),
            (r#"{} {}"#, "", "there is text after its end, at \"{\""),
            ("\u{feff}{}", "", "byte order mark"),
        ] {
            let told = told::<ReserveBody<'_>>(text);
            assert!(matches!(&told[..], [(_, detail)] if detail.contains(words)), "{words:?} for {text}: {told:?}");
            assert!(pointer.is_empty() || told[0].0 == pointer, "{pointer} for {text}: {told:?}");
        }
        let not_text = bounded(|bounds| errors_of_text(&ReserveBody::shape(bounds), b"{\"customer\":\"\xff\"}"));
        assert!(not_text[0].detail.contains("not UTF-8"), "{not_text:?}");
    }

    /// Names of types and the words of parsers.
    const FORBIDDEN: [&str; 14] = [
        "u64",
        "i64",
        "u32",
        "f64",
        "struct",
        "invalid type",
        "expected",
        "EOF",
        "line ",
        "column",
        "integer",
        "string",
        "boolean",
        "sequence",
    ];

    /// What serde refuses the shape refuses; what both take, the shape finds nothing wrong with.
    fn agree<'a, T: Deserialize<'a> + Described>(text: &'a str, check: impl FnOnce(T) -> bool) {
        let parsed = bounded(|bounds| wire::parse::<T>(text.as_bytes(), bounds));
        let errors = bounded(|bounds| errors_of_text(&T::shape(bounds), text.as_bytes()));
        for error in &errors {
            assert!(FORBIDDEN.iter().all(|word| !error.detail.contains(word)), "{error:?} for {text}");
        }
        match parsed {
            Err(refused) => assert!(refused == errors && !errors.is_empty(), "{text}"),
            Ok(body) => assert!(errors.is_empty() || !check(body), "{errors:?} for {text}"),
        }
    }

    const VALUES: [&str; 16] = [
        "null",
        "true",
        "0",
        "1",
        "-1",
        "-0",
        "1.5",
        "1e400",
        "18446744073709551616",
        "\"\"",
        "\"x\"",
        "[]",
        "{}",
        "[{}]",
        "\"2026-11-27T08:00:00Z\"",
        "4294967296",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// Bodies with a value in the place of another, a member taken out, twice, or under another name.
        #[test]
        fn shapes_refuse_what_serde_refuses(
            body in 0..6,
            change in 0..5,
            place in any::<prop::sample::Index>(),
            value in prop::sample::select(VALUES.to_vec()),
        ) {
            let text = match body {
                0 | 1 => RESERVE,
                2 => SALE,
                3 => r#"{"delta":5,"reason":"a","reference":"b"}"#,
                4 => r#"{"hold_seconds":60}"#,
                _ => r#"{"reference":"a"}"#,
            };
            let colons: Vec<usize> = text.match_indices("\":").map(|(at, _)| at).collect();
            let at = colons[place.index(colons.len())];
            let name = text[..at].rfind('"').unwrap();
            let end = at + 2 + text[at + 2..].find([',', '}']).unwrap();
            let changed = match change {
                0 | 1 => format!("{}{value}{}", &text[..at + 2], &text[end..]),
                2 => format!("{}\"other{}", &text[..name], &text[at..]),
                3 => format!("{}\"{}\":{value},{}", &text[..name], &text[name + 1..at], &text[name..]),
                _ => format!("{}{}", &text[..name], text[end..].trim_start_matches(',')),
            };
            match body {
                0 => agree(&changed, |body: ReserveBody<'_>| {
                    let limits = bounded(|bounds| bounds.edge.reserve);
                    body.check(&limits, &CustomerIds::Plain).is_ok()
                }),
                1 => agree(&changed, |_: EntryBody<'_>| false),
                2 => agree(&changed, |body: SettingsBody| {
                    SaleSettings::from(body).check(&Config::default().limits.for_sales()).is_empty()
                }),
                3 => agree(&changed, |body: AdjustBody<'_>| {
                    body.check(&Config::default().limits.for_sales()).is_ok()
                }),
                4 => agree(&changed, |body: ExtendBody| body.check(86_400).is_ok()),
                _ => {
                    agree(&changed, |body: ConfirmBody<'_>| body.check().is_ok());
                    agree(&changed, |_: NoBody| true);
                }
            }
        }
    }
}
