//! A fast parser for a reserve's JSON as programs usually write it: one pass, no look-ups.
//!
//! Invariant: serde would read the same. At the first doubt (an escape, a repeated or unknown member, a number that is not a
//! plain integer, a null) it gives up, and serde decides. Only serde reports errors.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::requests::{ExtrasBody, LineBody, ReserveBody};
use crate::sale::object::Object;

/// The reserve at the start of the bytes, its idempotency key if that is a member, and its end.
pub(super) fn reserve<'a>(bytes: &'a [u8]) -> Option<(ReserveBody<'a>, Option<Cow<'a, str>>, usize)> {
    let mut reader = Reader { bytes, at: 0 };
    let (mut customer, mut lines, mut hold_seconds, mut reference, mut key) = (None, None, None, None, None);
    let mut extras: Option<Box<ExtrasBody<'_>>> = None;
    reader.expect(b'{')?;
    loop {
        match reader.name()? {
            b"customer" if customer.is_none() => customer = Some(reader.text()?),
            b"lines" if lines.is_none() => lines = Some(reader.lines()?),
            b"hold_seconds" if hold_seconds.is_none() => hold_seconds = Some(reader.number()?),
            b"reference" if reference.is_none() => reference = Some(reader.text()?),
            b"idempotency_key" if key.is_none() => key = Some(reader.text()?),
            b"tier" if extras.as_ref().is_none_or(|extras| extras.tier.is_none()) => {
                extras.get_or_insert_default().tier = Some(reader.text()?.into());
            }
            b"channel" if extras.as_ref().is_none_or(|extras| extras.channel.is_none()) => {
                extras.get_or_insert_default().channel = Some(reader.text()?.into());
            }
            b"region" if extras.as_ref().is_none_or(|extras| extras.region.is_none()) => {
                extras.get_or_insert_default().region = Some(reader.text()?.into());
            }
            _ => return None,
        }
        match reader.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    let body = ReserveBody::of(customer?.into(), lines?, hold_seconds, reference.map(Cow::Borrowed), extras);
    Some((body, key.map(Cow::Borrowed), reader.at))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Skips spaces and takes the next byte.
    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(byte);
            }
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20)?;
        self.at += end + 1;
        (rest[end] == b'"').then_some(&rest[..end])
    }

    fn name(&mut self) -> Option<&'a [u8]> {
        let name = self.string()?;
        self.expect(b':')?;
        Some(name)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.string()?).ok()
    }

    /// An integer of up to 18 digits: no sign, no fraction, no exponent.
    fn number(&mut self) -> Option<u64> {
        let first = self.next()?;
        let mut number = u64::from(first.checked_sub(b'0').filter(|digit| *digit < 10)?);
        let begin = self.at;
        while let Some(digit) = self.bytes.get(self.at)?.checked_sub(b'0').filter(|digit| *digit < 10) {
            number = number * 10 + u64::from(digit);
            self.at += 1;
            if first == b'0' || self.at - begin > 17 {
                return None;
            }
        }
        // The caller then expects a comma or an end, so it refuses a fraction.
        Some(number)
    }

    fn lines(&mut self) -> Option<SmallVec<[Object<LineBody<'a>>; 2]>> {
        let mut lines = SmallVec::new();
        self.expect(b'[')?;
        loop {
            lines.push(Object(self.line()?));
            match self.next()? {
                b',' => {}
                b']' => return Some(lines),
                _ => return None,
            }
        }
    }

    fn line(&mut self) -> Option<LineBody<'a>> {
        let (mut sku, mut quantity) = (None, None);
        self.expect(b'{')?;
        loop {
            match self.name()? {
                b"sku" if sku.is_none() => sku = Some(self.text()?),
                b"quantity" if quantity.is_none() => quantity = Some(self.number()?),
                _ => return None,
            }
            match self.next()? {
                b',' => {}
                b'}' => return Some(LineBody { sku: sku?.into(), quantity: quantity? }),
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::json::{entries::EntryBody, parse};

    /// What serde reads of the same bytes, if it takes them.
    fn slowly(bytes: &[u8]) -> Option<(String, usize)> {
        let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Object<EntryBody<'_>>>();
        let Object(entry) = values.next()?.ok()?;
        Some((format!("{:?}", entry.split()), values.byte_offset()))
    }

    fn quickly(bytes: &[u8]) -> Option<(String, usize)> {
        reserve(bytes).map(|(body, key, end)| (format!("{:?}", (body, key)), end))
    }

    const USUAL: [&str; 5] = [
        r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1}]}"#,
        r#"{"lines":[{"quantity":12,"sku":"tv"},{"sku":"ünï","quantity":0}],"customer":"bob","hold_seconds":60}"#,
        "{ \"customer\" : \"c\" ,\n\t\"lines\" : [ { \"sku\" : \"a\" , \"quantity\" : 999999999999999999 } ] }\r\n",
        r#"{"customer":"c","reference":"cart 1","idempotency_key":"k-1","lines":[{"sku":"a","quantity":7}]}"#,
        r#"{"customer":"c","tier":"gold","channel":"app","region":"eu","lines":[{"sku":"a","quantity":7}]}"#,
    ];

    #[test]
    fn what_programs_write_is_read_as_serde_reads_it() {
        for text in USUAL {
            assert_eq!(quickly(text.as_bytes()), slowly(text.as_bytes()), "{text}");
            assert!(quickly(text.as_bytes()).is_some(), "{text}");
        }
    }

    #[test]
    fn doubts_are_left_to_serde() {
        for text in [
            r#"{"customer":"a\n","lines":[{"sku":"a","quantity":1}]}"#,
            r#"{"customer":"a","customer":"b","lines":[{"sku":"a","quantity":1}]}"#,
            r#"{"customer":"a","lines":[{"sku":"a","quantity":01}]}"#,
            r#"{"customer":"a","lines":[{"sku":"a","quantity":1.0}]}"#,
            r#"{"customer":"a","lines":[{"sku":"a","quantity":-1}]}"#,
            r#"{"customer":"a","lines":[{"sku":"a","quantity":18446744073709551616}]}"#,
            r#"{"customer":"a","lines":[{"sku":"a","quantity":1,"vip":1}]}"#,
            r#"{"customer":"a","lines":[{"sku":"a","quantity":1}],"hold_seconds":null}"#,
            r#"{"customer":"a","lines":[{"sku":"a","quantity":1}],}"#,
            r#"{"customer":"a","lines":[]}"#,
            r#"[{"customer":"a"}]"#,
            "{",
            "",
        ] {
            assert_eq!(quickly(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_follows_a_reserve_is_looked_at() {
        for (behind, sound) in [("", true), (" \r\n\t", true), ("x", false), ("{}", false), (",", false)] {
            let text = format!("{}{behind}", USUAL[0]);
            let limits = crate::service::api_limits(&crate::config::Config::default());
            assert_eq!(parse::parse_reserve(text.as_bytes(), &limits).is_ok(), sound, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Reserves with a few bytes changed, taken out or put in: whatever is read, serde reads it too.
        #[test]
        fn what_is_read_serde_reads_the_same(
            which in 0..USUAL.len(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3, prop_oneof![
                prop::sample::select(b"\"\\{}[]:,. 019eE-+ntrfu\x00\x1f\x7f\xc3\xff".to_vec()), any::<u8>()
            ]), 0..4),
        ) {
            let mut bytes = USUAL[which].as_bytes().to_vec();
            for (place, how, byte) in changes {
                let place = place.index(bytes.len());
                match how {
                    0 => bytes[place] = byte,
                    1 => bytes.insert(place, byte),
                    _ => drop(bytes.remove(place)),
                }
            }
            if let Some(quick) = quickly(&bytes) {
                prop_assert_eq!(Some(quick), slowly(&bytes));
            }
        }
    }
}
