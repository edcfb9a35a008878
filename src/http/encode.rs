//! A reservation's JSON, written by hand: it is the answer to nearly every call while a sale is on, and written through
//! serde it took more instructions than the decision that it tells of.
//!
//! Invariant: the bytes are those that `ReservationBody`'s `Serialize` gives; a test holds the two against each other.

use super::wire::ReservationBody;
use crate::sale::settings::Price;

/// Room for an answer of one line with short names.
pub const RESERVATION_BYTES: usize = 512;

/// Appends the reservation. `id` is the text of its id, which the caller may need elsewhere.
pub fn reservation(out: &mut Vec<u8>, body: &ReservationBody<'_>, id: &str) {
    out.extend_from_slice(b"{\"id\":\"");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b"\",\"sale\":");
    text(out, body.sale);
    out.extend_from_slice(b",\"customer\":");
    text(out, body.customer);
    out.extend_from_slice(b",\"state\":\"");
    out.extend_from_slice(body.state.as_bytes());
    out.extend_from_slice(b"\",\"lines\":[");
    let (lines, catalogue) = body.lines;
    for (index, line) in lines.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"sku\":".as_slice() } else { b",{\"sku\":" });
        text(out, catalogue.sku(line.item));
        out.extend_from_slice(b",\"quantity\":");
        number(out, line.units.into());
        if let Some(Price { amount, currency }) = line.price {
            out.extend_from_slice(b",\"price\":{\"amount\":");
            number(out, amount);
            out.extend_from_slice(b",\"currency\":\"");
            out.extend_from_slice(currency.as_str().as_bytes());
            out.extend_from_slice(b"\"}");
        }
        out.push(b'}');
    }
    out.push(b']');
    if let Some(reference) = body.reference {
        out.extend_from_slice(b",\"reference\":");
        text(out, reference);
    }
    let times = [
        (&b",\"created_at\":\""[..], Some(body.created_at)),
        (b",\"expires_at\":\"", Some(body.expires_at)),
        (b",\"confirmed_at\":\"", body.confirmed_at),
        (b",\"released_at\":\"", body.released_at),
        (b",\"expired_at\":\"", body.expired_at),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            out.extend_from_slice(name);
            out.extend_from_slice(&time.encode_bytes());
            out.push(b'"');
        }
    }
    out.extend_from_slice(b",\"extensions\":");
    number(out, body.extensions.into());
    out.push(b'}');
}

/// Appends a JSON string. Names seldom hold what must be escaped.
fn text(out: &mut Vec<u8>, text: &str) {
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    // Without an early end: the whole is looked at in steps of many bytes.
    if text.as_bytes().iter().fold(true, |all, byte| all & plain(byte)) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("a string is plain JSON");
    }
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::{
        catalogue::{Catalogue, encode_settings},
        event::{Event, PricedLine},
        ids::{Bucket, ItemNumber, ReservationId, SaleNumber},
        outcome::{Reservation, State},
        settings::{Currency, SaleSettings},
        time::Timestamp,
    };

    const NAMES: [&str; 6] = ["ann", "a\"b", "back\\slash", "tab\t", "ünï 🛒", "\u{7f}\u{1}"];

    fn catalogue() -> Catalogue {
        let document = r#"{"name":"Drop","opens_at":"2026-11-27T08:00:00Z","closes_at":"2026-11-27T09:00:00Z",
            "hold_seconds":300,"items":[]}"#;
        let mut settings: SaleSettings = serde_json::from_str(document).unwrap();
        settings.id = "drop".to_owned();
        for sku in NAMES {
            let item = format!(r#"{{"sku":{},"initial_stock":10}}"#, serde_json::to_string(sku).unwrap());
            settings.items.push(serde_json::from_str(&item).unwrap());
        }
        let mut catalogue = Catalogue::default();
        let items = (0..NAMES.len() as u32).map(ItemNumber).collect();
        let (sale, at) = (SaleNumber(0), Timestamp::default());
        catalogue.apply(&Event::SaleDefined { sale, at, items, settings: &encode_settings(&settings) });
        catalogue
    }

    #[test]
    fn the_bytes_are_those_of_the_wire_type() {
        let catalogue = catalogue();
        let price = Some(Price { amount: u64::MAX, currency: Currency::parse("EUR").unwrap() });
        let line = |item, price| PricedLine { item: ItemNumber(item), units: 1 << (item * 6), price };
        let now = Timestamp::from_millis(1_795_766_400_000);
        let mut shown = 0;
        for (index, name) in NAMES.into_iter().enumerate() {
            for state in [State::Held, State::Confirmed, State::Released, State::Expired] {
                for (lines, reference) in [
                    (vec![line(index as u32, None)], None),
                    ((0..6).map(|item| line(item, price.filter(|_| item % 2 == 0))).collect(), Some(name)),
                ] {
                    let reservation = Reservation {
                        id: ReservationId::new(now, Bucket::of(name), 0x0123_4567_89ab_cdef << index),
                        sale: SaleNumber(0),
                        customer: name.into(),
                        state,
                        lines: lines.into(),
                        reference: reference.map(Box::from),
                        expires_at: now.plus_seconds(300),
                        ended_at: (state != State::Held).then(|| now.plus_millis(1)),
                        extensions: index as u16 * 13_000,
                    };
                    let body = ReservationBody::new(&reservation, &catalogue);
                    let mut bytes = Vec::new();
                    super::reservation(&mut bytes, &body, reservation.id.encode(&mut [0; 36]));
                    assert_eq!(String::from_utf8(bytes).unwrap(), serde_json::to_string(&body).unwrap());
                    shown += 1;
                }
            }
        }
        assert_eq!(shown, NAMES.len() * 8);
    }
}
