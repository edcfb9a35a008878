//! Hand-written JSON of reservations and shortages. During a sale nearly every answer is one of these, and through serde they
//! took more instructions than the decisions themselves.
//!
//! Invariant: the bytes equal those of `Serialize`; tests compare the two.

use super::answers::{FromPool, ReservationBody, StandingBody, by_item_of, one_price};
use crate::{
    api::problems::Problem,
    sale::{outcome::Shortage, settings::Price},
};

/// Room for an answer of one line with short names.
pub const RESERVATION_BYTES: usize = 512;

/// Appends the reservation. `id`: the text of its id, which the caller may need elsewhere.
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
    let (lines, catalogue) = &body.lines;
    for (index, lines) in by_item_of(lines).enumerate() {
        let item = catalogue.item_numbered(lines[0].item);
        out.extend_from_slice(if index == 0 { b"{\"sku\":".as_slice() } else { b",{\"sku\":" });
        text(out, &item.settings.sku);
        out.extend_from_slice(b",\"quantity\":");
        number(out, lines.iter().map(|line| u64::from(line.amounts.sum())).sum());
        price(out, one_price(lines));
        if item.settings.has_pools() {
            out.extend_from_slice(b",\"from\":[");
            for (index, line) in lines.iter().enumerate() {
                from_pool(out, index, &FromPool::of(line, item));
            }
            out.push(b']');
        }
        out.push(b'}');
    }
    out.push(b']');
    for (name, units) in [(&b",\"returned\":"[..], &body.returned), (b",\"cancelled\":", &body.cancelled)] {
        if !units.is_empty() {
            out.extend_from_slice(name);
            serde_json::to_writer(&mut *out, units).expect("units are plain JSON");
        }
    }
    if body.late {
        out.extend_from_slice(b",\"late\":true");
    }
    if !body.short.is_empty() {
        out.extend_from_slice(b",\"short\":");
        serde_json::to_writer(&mut *out, &body.short).expect("lines are plain JSON");
    }
    if let Some(group) = &body.group {
        out.extend_from_slice(b",\"group\":");
        serde_json::to_writer(&mut *out, group).expect("a group is plain JSON");
    }
    for (name, value) in [
        (&b",\"reference\":"[..], body.reference),
        (b",\"tier\":", body.tier),
        (b",\"channel\":", body.channel),
        (b",\"region\":", body.region),
    ] {
        if let Some(value) = value {
            out.extend_from_slice(name);
            text(out, value);
        }
    }
    if let Some(labels) = body.labels {
        for (index, (name, value)) in labels.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b",\"labels\":{".as_slice() } else { b"," });
            text(out, name);
            out.push(b':');
            text(out, value);
        }
        out.push(b'}');
    }
    let times = [
        (&b",\"created_at\":\""[..], Some(body.created_at)),
        (b",\"expires_at\":\"", Some(body.expires_at)),
        (b",\"confirmed_at\":\"", body.confirmed_at),
        (b",\"released_at\":\"", body.released_at),
        (b",\"expired_at\":\"", body.expired_at),
        (b",\"cancelled_at\":\"", body.cancelled_at),
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
    if let Some(entry) = body.waitlist {
        out.extend_from_slice(b",\"waitlist\":\"");
        out.extend_from_slice(entry.encode(&mut [0; 36]).as_bytes());
        out.push(b'"');
    }
    if let Some(StandingBody { state, expires_at }) = body.replayed_of {
        out.extend_from_slice(b",\"replayed_of\":{\"state\":\"");
        out.extend_from_slice(state.as_bytes());
        out.extend_from_slice(b"\",\"expires_at\":\"");
        out.extend_from_slice(&expires_at.encode_bytes());
        out.extend_from_slice(b"\"}");
    }
    out.push(b'}');
}

fn from_pool(out: &mut Vec<u8>, index: usize, from: &FromPool<'_>) {
    out.extend_from_slice(if index == 0 { b"{\"pool\":".as_slice() } else { b",{\"pool\":" });
    text(out, from.pool);
    out.extend_from_slice(b",\"quantity\":");
    number(out, from.quantity.into());
    price(out, from.price);
    if let Some(location) = from.location {
        out.extend_from_slice(b",\"location\":");
        text(out, location);
    }
    out.push(b'}');
}

fn price(out: &mut Vec<u8>, price: Option<Price>) {
    if let Some(Price { amount, currency }) = price {
        out.extend_from_slice(b",\"price\":{\"amount\":");
        number(out, amount);
        out.extend_from_slice(b",\"currency\":\"");
        out.extend_from_slice(currency.as_str().as_bytes());
        out.extend_from_slice(b"\"}");
    }
}

/// Appends the document of a shortage: most answers of a sale once it is sold out. Appends nothing and returns false if a name
/// needs escapes.
pub fn shortage(out: &mut Vec<u8>, problem: &Problem, lines: &[Shortage]) -> bool {
    let plain = |byte: &u8| (0x20..0x7f).contains(byte) && *byte != b'"' && *byte != b'\\';
    if !lines.iter().all(|line| line.sku.as_bytes().iter().all(plain)) {
        return false;
    }
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(problem.path.as_bytes());
    out.extend_from_slice(b"\",\"title\":");
    text(out, problem.title);
    out.extend_from_slice(b",\"status\":");
    number(out, problem.status.into());
    out.extend_from_slice(b",\"code\":\"");
    out.extend_from_slice(problem.code.as_bytes());
    out.extend_from_slice(b"\",\"detail\":\"");
    for (index, line) in lines.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"\\\"".as_slice() } else { b"; \\\"" });
        out.extend_from_slice(line.sku.as_bytes());
        out.extend_from_slice(b"\\\": ");
        number(out, line.requested);
        out.extend_from_slice(b" requested, ");
        number(out, line.available);
        out.extend_from_slice(b" available");
    }
    out.extend_from_slice(b"\",\"lines\":[");
    for (index, line) in lines.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"sku\":\"".as_slice() } else { b",{\"sku\":\"" });
        out.extend_from_slice(line.sku.as_bytes());
        out.extend_from_slice(b"\",\"requested\":");
        number(out, line.requested);
        out.extend_from_slice(b",\"available\":");
        number(out, line.available);
        out.extend_from_slice(b",\"held\":");
        number(out, line.held);
        if let Some(at) = line.next_release_at {
            out.extend_from_slice(b",\"next_release_at\":\"");
            out.extend_from_slice(&at.encode_bytes());
            out.push(b'"');
        }
        if line.waitlist {
            out.extend_from_slice(b",\"waitlist\":true");
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    true
}

/// Appends a JSON string. Names seldom need escapes.
fn text(out: &mut Vec<u8>, text: &str) {
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    // Without an early exit, so that the compiler vectorizes it.
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
        catalogue::Catalogue,
        event::samples,
        ids::{Bucket, EntryId, ItemNumber, PoolNumber, ReservationId, SaleNumber},
        outcome::{Group, GroupState, Refusal, Reservation, ReservedLine, Standing, State},
        settings::{Currency, SaleSettings},
        stock::Amounts,
        time::Timestamp,
    };
    use crate::{api::problems, engine::Made, http::json::problem};

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
        let items: Vec<_> = (0..NAMES.len() as u32).map(ItemNumber).collect();
        let record = samples::record_of(&settings, &items);
        catalogue.apply(&samples::defined(SaleNumber(0), Timestamp::default(), &record));
        catalogue
    }

    #[test]
    fn a_shortage_is_told_as_serde_tells_it() {
        let names = ["tv", "a b~!#[]{}'", "q\"", "back\\", "tab\t", "ünï", "\u{7f}"];
        let lines: Vec<_> = (0..names.len() as u64)
            .map(|index| Shortage {
                sku: names[index as usize].into(),
                requested: index * 1_000_003,
                available: if index == 3 { 0 } else { index },
                held: index / 2,
                next_release_at: (index % 4 == 2).then(|| Timestamp::from_millis(1_795_766_400_000 + index)),
                waitlist: index % 3 == 1,
            })
            .collect();
        for problem in [&problems::SOLD_OUT, &problems::INSUFFICIENT_STOCK] {
            for (some, plain) in [(&lines[..1], true), (&lines[..2], true), (&lines[..], false), (&lines[5..6], false)]
            {
                let (mut quick, mut slow) = (Vec::new(), Vec::new());
                problem::spell(&mut slow, problem, &Refusal::Short(some.to_vec()), &Catalogue::default());
                assert_eq!(shortage(&mut quick, problem, some), plain, "{some:?}");
                assert_eq!(String::from_utf8(if plain { quick } else { slow.clone() }), String::from_utf8(slow));
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_wire_type() {
        let catalogue = catalogue();
        let price = Some(Price { amount: u64::MAX, currency: Currency::parse("EUR").unwrap() });
        let line = |item, price| {
            let units = 1_u32 << (item * 6);
            let mixed = Amounts { held: units, confirmed: units + 1, returned: 2 * units, cancelled: item };
            let amounts = if item % 2 == 0 { mixed } else { State::Held.amounts(units) };
            ReservedLine { item: ItemNumber(item), pool: PoolNumber(item), price, amounts }
        };
        let now = Timestamp::from_millis(1_795_766_400_000);
        let id = ReservationId::new(now, Bucket::of("bob"), 7);
        let group = Group { id, size: 3, members: 2, state: GroupState::Open, expires_at: now.plus_seconds(9) };
        let mut shown = 0;
        for (index, name) in NAMES.into_iter().enumerate() {
            for state in State::ALL {
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
                        confirmed_at: (state == State::Cancelled).then_some(now),
                        late: index % 2 == 0,
                        extensions: index as u16 * 13_000,
                        attributes: None,
                        short: Box::default(),
                        group: (index % 2 == 1).then(|| Box::new(group)),
                        entry: (index % 3 == 1).then(|| EntryId::new(now, Bucket::of(name), index as u64)),
                    };
                    let stands = Standing { state, expires_at: now.plus_seconds(600) };
                    let replayed_of = reference.map(|_| stands);
                    let made = Made { reservation, replayed_of };
                    let (reservation, body) = (&made.reservation, ReservationBody::made(&made, &catalogue));
                    let mut bytes = Vec::new();
                    super::reservation(&mut bytes, &body, reservation.id.encode(&mut [0; 36]));
                    assert_eq!(String::from_utf8(bytes).unwrap(), serde_json::to_string(&body).unwrap());
                    shown += 1;
                }
            }
        }
        assert_eq!(shown, NAMES.len() * 10);
    }
}
