//! The body of a batch: its list is read entry by entry, one bounded piece at a time. Also what the answer shows of each entry.
//!
//! Invariant: a body that is not JSON of the batch's shape is refused as a whole, before anything is done. An entry that is
//! JSON but not a reserve is reported at its own index.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, de::IgnoredAny};
use smallvec::SmallVec;
use utoipa::ToSchema;

use super::{
    answers::ReservationBody,
    encode,
    invalid::{escape, why_not_json},
    parse, quick,
    requests::{ExtrasBody, Labels, LineBody, ReserveBody, Texts},
};
use crate::{
    api::Limits,
    engine::Made,
    sale::{catalogue::Catalogue, object::Object, settings::Invalid},
};

/// A reserve with its key. Repeats the members of `ReserveBody`, because serde cannot flatten a type and refuse unknown members
/// too.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with the members of a reserve")]
#[schema(as = BatchEntry)]
pub(crate) struct EntryBody<'a> {
    /// The customer's id: opaque, chosen by the caller.
    #[serde(borrow)]
    customer: Cow<'a, str>,
    /// What to hold. The service adds up lines of the same SKU before any check.
    #[serde(borrow)]
    #[schema(value_type = Vec<LineBody>)]
    lines: SmallVec<[Object<LineBody<'a>>; 2]>,
    /// How long to hold, in seconds. Left out: the sale's `hold_seconds`.
    #[serde(default)]
    hold_seconds: Option<u64>,
    /// The caller's name for this reservation, such as a cart's id. The service stores it and shows it, but never uses it.
    #[serde(default, borrow)]
    reference: Option<Cow<'a, str>>,
    /// Makes the entry safe to repeat, in a batch or alone with the same `Idempotency-Key`.
    #[serde(default, borrow)]
    idempotency_key: Option<Cow<'a, str>>,
    /// The customer's tier. The caller vouches for it.
    #[serde(default, borrow)]
    tier: Option<Cow<'a, str>>,
    /// The channel that the request came through. A key tied to one channel has it as the default.
    #[serde(default, borrow)]
    channel: Option<Cow<'a, str>>,
    /// Where the units are to go; for items whose pools are drawn from by cost.
    #[serde(default, borrow)]
    region: Option<Cow<'a, str>>,
    /// Up to four names with values of 1 to 32 bytes, such as experiments and campaigns. The service stores them and shows them.
    #[serde(default, borrow)]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    labels: Option<Labels<'a>>,
    /// Only pools of these locations are drawn from. Left out: pools of all locations, and of none.
    #[serde(default, borrow)]
    #[schema(value_type = Option<Vec<String>>)]
    locations: Option<Texts<'a>>,
    /// Whether each line gets what is there of it, instead of all lines or none.
    #[serde(default)]
    allow_partial: Option<bool>,
    /// Of an item that is sold to groups: the group to join, which the reservation that opened it shows. Left out: the reserve opens
    /// a group.
    #[serde(default, borrow)]
    group: Option<Cow<'a, str>>,
}

impl<'a> EntryBody<'a> {
    /// The body of the call for one reservation, and its header.
    pub(super) fn split(self) -> (ReserveBody<'a>, Option<Cow<'a, str>>) {
        let Self { customer, lines, hold_seconds, reference, idempotency_key, .. } = self;
        let Self { tier, channel, region, labels, locations, allow_partial, group, .. } = self;
        let extras = ExtrasBody { tier, channel, region, labels, locations, allow_partial, group };
        (ReserveBody::of(customer, lines, hold_seconds, reference, extras.boxed()), idempotency_key)
    }
}

/// The result of a granted entry.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchGranted)]
pub(crate) struct GrantedBody<'a> {
    /// The status that the call for one reservation answers: 201.
    status: u16,
    /// The durable hold. For a repeated key: the hold as first answered.
    reservation: ReservationBody<'a>,
    /// Present if the entry repeats a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<bool>,
}

impl<'a> GrantedBody<'a> {
    pub(crate) fn new(made: &'a Made, catalogue: &'a Catalogue) -> Self {
        let reservation = ReservationBody::made(made, catalogue);
        Self { status: 201, reservation, replayed: made.replayed_of.map(|_| true) }
    }

    /// Appends the outcome's JSON.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"status\":201,\"reservation\":");
        encode::reservation(out, &self.reservation, self.reservation.id.encode(&mut [0; 36]));
        out.extend_from_slice(if self.replayed.is_some() { b",\"replayed\":true}".as_slice() } else { b"}" });
    }
}

/// The positions of a body's entries. Each entry is parsed again when it is decided: keeping it would take more time and far
/// more memory.
#[derive(Debug)]
pub(crate) struct Entries<'a> {
    body: &'a [u8],
    places: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    begin: usize,
    length: u32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Reserve,
    Other,
    TooLarge,
}

#[derive(Debug)]
pub(crate) enum Content<'a> {
    Reserve {
        body: ReserveBody<'a>,
        key: Option<Cow<'a, str>>,
    },
    /// JSON, but not a reserve.
    Other(&'a [u8]),
    /// Longer than the body of a single call may be; skipped.
    TooLarge,
}

impl<'a> Entries<'a> {
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Memory that the positions take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>()
    }

    /// How many entries, from this one on, fit into the portion; the first always fits.
    pub(crate) fn fitting(&self, first: usize, portion: Portion) -> usize {
        let mut bytes = 0;
        let places = self.places[first..].iter().take(portion.entries);
        let fitting = places.take_while(|place| {
            bytes += place.length as usize;
            bytes <= portion.bytes
        });
        fitting.count().max(1)
    }

    /// What the entry says.
    pub(crate) fn content(&self, entry: usize) -> Content<'a> {
        let Place { begin, length, kind } = self.places[entry];
        let text = &self.body[begin..begin + length as usize];
        match kind {
            Kind::TooLarge => Content::TooLarge,
            Kind::Other => Content::Other(text),
            Kind::Reserve => {
                let (body, key) = read_entry(text).map(|(body, key, _)| (body, key)).expect("it was read before");
                Content::Reserve { body, key }
            }
        }
    }
}

/// The reserve that the bytes begin with, its key, and where it ends.
fn read_entry(bytes: &[u8]) -> Option<(ReserveBody<'_>, Option<Cow<'_, str>>, usize)> {
    quick::reserve(bytes).or_else(|| {
        let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Object<EntryBody<'_>>>();
        let Object(entry) = values.next()?.ok()?;
        let (body, key) = entry.split();
        Some((body, key, values.byte_offset()))
    })
}

/// What is wrong with JSON that is not a reserve.
pub(crate) fn explain(other: &[u8], limits: &Limits) -> Vec<Invalid> {
    parse::explain::<EntryBody<'_>>(other, limits)
}

/// Work done before other requests get the worker: a number of entries, or of their bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portion {
    pub entries: usize,
    pub bytes: usize,
}

/// What may come next in the body, besides space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Object,
    Name,
    Colon,
    List,
    FirstEntry,
    Entry,
    CommaOrEnd,
    EndOfObject,
    Nothing,
}

/// Reads a batch's body in portions.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    expect: Expect,
    /// Set inside an entry that is too large.
    passing: Option<Passing>,
    places: Vec<Place>,
    entries_max: usize,
    entry_bytes_max: usize,
}

/// The only member of the body.
const MEMBER: &str = "reservations";

/// `{"customer":"a","lines":[{"sku":"a","quantity":1}]}` has 50.
const RESERVE_BYTES_LEAST: usize = 50;

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], entries_max: usize, entry_bytes_max: usize) -> Self {
        let places = Vec::with_capacity(entries_max.min(bytes.len() / RESERVE_BYTES_LEAST));
        Self { bytes, at: 0, expect: Expect::Object, passing: None, places, entries_max, entry_bytes_max }
    }

    /// All entries, once `read` has reached the end.
    pub(crate) fn into_entries(self) -> Entries<'a> {
        Entries { body: self.bytes, places: self.places }
    }

    /// Reads the next portion and says whether the end is reached. Refuses a body that is not a batch.
    pub(crate) fn read(&mut self, portion: Portion) -> Result<bool, Invalid> {
        let stop = self.bytes.len().min(self.at + portion.bytes);
        let most = self.places.len() + portion.entries;
        while self.at < stop && self.places.len() < most {
            if let Some(passing) = &mut self.passing {
                let passed = passing.pass(&self.bytes[self.at..stop]);
                self.at += passed.unwrap_or(stop - self.at);
                if passed.is_some() {
                    self.passing = None;
                    self.places.push(Place { begin: self.at, length: 0, kind: Kind::TooLarge });
                }
            } else if matches!(self.bytes[self.at], b' ' | b'\n' | b'\t' | b'\r') {
                self.at += 1;
            } else {
                self.step(self.bytes[self.at])?;
            }
        }
        if self.at < self.bytes.len() {
            return Ok(false);
        }
        if self.expect == Expect::Nothing { Ok(true) } else { Err(Invalid::new("", ENDS_TOO_EARLY)) }
    }

    fn step(&mut self, byte: u8) -> Result<(), Invalid> {
        self.expect = match (self.expect, byte) {
            (Expect::FirstEntry, b']') => return Err(self.wrong_count()),
            (Expect::FirstEntry | Expect::Entry, _) => {
                self.entry(byte)?;
                Expect::CommaOrEnd
            }
            (Expect::Name, b'"') => {
                self.name()?;
                Expect::Colon
            }
            (expect, byte) => {
                self.at += 1;
                match (expect, byte) {
                    (Expect::Object, b'{') => Expect::Name,
                    (Expect::Colon, b':') => Expect::List,
                    (Expect::List, b'[') => Expect::FirstEntry,
                    (Expect::CommaOrEnd, b',') => Expect::Entry,
                    (Expect::CommaOrEnd, b']') => Expect::EndOfObject,
                    (Expect::EndOfObject, b'}') => Expect::Nothing,
                    (Expect::EndOfObject, b',') => return Err(Invalid::new("", ONE_MEMBER)),
                    (Expect::Object, _) | (Expect::Name, b'}') => return Err(Invalid::new("", ONE_MEMBER)),
                    (Expect::List, _) => return Err(self.wrong_count()),
                    (expect, _) => {
                        let detail = format!("the body is not valid JSON: {}", expect.reason());
                        return Err(Invalid::new("", detail));
                    }
                }
            }
        };
        Ok(())
    }

    fn name(&mut self) -> Result<(), Invalid> {
        let name: String = self.value().map_err(|error| Invalid::new("", why_not_json(&error)))?;
        if name == MEMBER {
            return Ok(());
        }
        Err(Invalid::new(format!("/{}", escape(&name)), ONE_MEMBER))
    }

    fn entry(&mut self, first: u8) -> Result<(), Invalid> {
        if self.places.len() == self.entries_max {
            return Err(self.wrong_count());
        }
        let begin = self.at;
        let kind = if let Some((.., end)) = read_entry(self.window()) {
            self.at += end;
            Kind::Reserve
        } else {
            match self.value::<IgnoredAny>() {
                Ok(_) => Kind::Other,
                Err(error) if error.is_eof() && self.window().len() < self.bytes.len() - begin => {
                    self.passing = Passing::begin(first);
                    return Ok(());
                }
                Err(error) => {
                    let pointer = format!("/reservations/{}", self.places.len());
                    return Err(Invalid::new(pointer, why_not_json(&error)));
                }
            }
        };
        let length = u32::try_from(self.at - begin).expect("an entry is no longer than the body of a single call");
        self.places.push(Place { begin, length, kind });
        Ok(())
    }

    fn wrong_count(&self) -> Invalid {
        Invalid::new("/reservations", format!("must be a list of 1 to {} entries", self.entries_max))
    }

    /// The furthest that one value may reach, so that a long one does not block the worker.
    fn window(&self) -> &'a [u8] {
        &self.bytes[self.at..self.bytes.len().min(self.at + self.entry_bytes_max)]
    }

    /// Reads the value that begins here and moves past it, or stays.
    fn value<T: Deserialize<'a>>(&mut self) -> serde_json::Result<T> {
        let mut values = serde_json::Deserializer::from_slice(self.window()).into_iter::<T>();
        let value = values.next().expect("a value begins here")?;
        self.at += values.byte_offset();
        Ok(value)
    }
}

const ONE_MEMBER: &str = "must be an object with exactly one member, reservations";
const ENDS_TOO_EARLY: &str = "the body is not valid JSON: it ends too early; a value, } or ] is missing";

impl Expect {
    /// Why any other byte is wrong here.
    fn reason(self) -> &'static str {
        match self {
            Self::Name => "member names must be in double quotes",
            Self::Colon => "a : must separate a name from its value",
            Self::CommaOrEnd => "a comma or ] is missing after an entry",
            Self::EndOfObject => "a } is missing after the list",
            Self::Nothing => "there is text after its end",
            Self::Object | Self::List | Self::FirstEntry | Self::Entry => "a value is missing",
        }
    }
}

/// A value that is skipped: only its end matters.
#[derive(Debug, Default)]
struct Passing {
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl Passing {
    /// Only objects, lists and strings can be long. Their first byte is skipped with the rest.
    fn begin(first: u8) -> Option<Self> {
        matches!(first, b'{' | b'[' | b'"').then(Self::default)
    }

    /// How many of the bytes belong to the value, if its end is among them.
    fn pass(&mut self, bytes: &[u8]) -> Option<usize> {
        for (place, byte) in bytes.iter().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth == 0 && !self.in_text {
                return Some(place + 1);
            }
        }
        None
    }
}
