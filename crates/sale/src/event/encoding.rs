//! Events on disk: `length u32, tag u8, fields`, little-endian. ARCHITECTURE.md documents every byte.
//!
//! Invariant: `decode(encode(event)) == event`, and a tag never changes its meaning.

use super::{Adjusted, Ended, Event, Held, PricedLine, PricedLines, Quantities, Quantity};
use crate::{
    audit::{self, Audited, Head},
    codec::{Malformed, Reader, Write},
    ids::{Bucket, ItemNumber, ReservationId, SaleNumber},
    outcome::Status,
    settings::{Currency, Price},
    time::Timestamp,
    timeline::{ClockSet, Uptime},
};

mod tag {
    pub const HELD: u8 = 1;
    pub const EXTENDED: u8 = 2;
    pub const EXTENDED_OF_SALE: u8 = 9;
    pub const CONFIRMED: u8 = 3;
    pub const RELEASED: u8 = 4;
    pub const EXPIRED: u8 = 5;
    pub const RETIRED: u8 = 6;
    pub const CARRIED: u8 = 7;
    pub const FORGOTTEN: u8 = 8;
    pub const CUSTOMER_ERASED: u8 = 10;
    pub const SALE_DEFINED: u8 = 32;
    pub const SALE_PAUSED: u8 = 33;
    pub const SALE_RESUMED: u8 = 34;
    pub const SALE_CLOSED: u8 = 35;
    pub const STATUS_REACHED: u8 = 36;
    pub const ADJUSTED: u8 = 37;
    pub const STOCKED: u8 = 38;
    pub const AUDITED: u8 = 39;
    pub const KEYS_NOTED: u8 = 40;
    pub const AUDIT_REACHED: u8 = 41;
    pub const CLOCK_SET: u8 = 42;
}

impl<'a> Event<'a> {
    /// Appends the event to a lane.
    pub fn encode(&self, lane: &mut Vec<u8>) {
        let start = lane.len();
        lane.u32(0);
        self.encode_fields(lane);
        let length = u32::try_from(lane.len() - start - 4).expect("an event is below 4 GiB");
        lane[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn encode_fields(&self, lane: &mut Vec<u8>) {
        match self {
            Self::Held(held) => held.encode(lane),
            Self::Extended { id, at, expires_at, extensions, sale } => {
                lane.u8(if sale.is_some() { tag::EXTENDED_OF_SALE } else { tag::EXTENDED });
                lane.put(id.bytes());
                lane.u64(at.millis());
                lane.u64(expires_at.millis());
                lane.u16(*extensions);
                if let Some(sale) = sale {
                    lane.u32(sale.0);
                }
            }
            Self::Confirmed(ended) => ended.encode(tag::CONFIRMED, lane),
            Self::Released(ended) => ended.encode(tag::RELEASED, lane),
            Self::Expired(ended) => ended.encode(tag::EXPIRED, lane),
            Self::Retired { id, counted } => {
                lane.u8(tag::RETIRED);
                lane.put(id.bytes());
                lane.u8(u8::from(*counted));
            }
            Self::Carried { customer, item, units } => {
                lane.u8(tag::CARRIED);
                lane.text(customer);
                lane.u32(item.0);
                lane.u64(*units);
            }
            Self::Forgotten { bucket, item, units } => {
                lane.u8(tag::FORGOTTEN);
                lane.u16(bucket.index() as u16);
                lane.u32(item.0);
                lane.u64(*units);
            }
            Self::CustomerErased { at, customer } => {
                lane.u8(tag::CUSTOMER_ERASED);
                lane.u64(at.millis());
                lane.text(customer);
            }
            Self::SaleDefined { sale, at, items, settings } => {
                lane.u8(tag::SALE_DEFINED);
                lane.u32(sale.0);
                lane.u64(at.millis());
                lane.u32(u32::try_from(items.len()).expect("items are limited"));
                for item in items {
                    lane.u32(item.0);
                }
                lane.block(settings);
            }
            Self::SalePaused { sale, at } => encode_turn(tag::SALE_PAUSED, *sale, *at, lane),
            Self::SaleResumed { sale, at } => encode_turn(tag::SALE_RESUMED, *sale, *at, lane),
            Self::SaleClosed { sale, at } => encode_turn(tag::SALE_CLOSED, *sale, *at, lane),
            Self::StatusReached { sale, at, status } => {
                encode_turn(tag::STATUS_REACHED, *sale, *at, lane);
                lane.u8(*status as u8);
            }
            Self::Adjusted(adjusted) => adjusted.encode(lane),
            Self::Stocked { item, stock } => {
                lane.u8(tag::STOCKED);
                lane.u32(item.0);
                lane.u64(*stock);
            }
            Self::Audited(audited) => {
                lane.u8(tag::AUDITED);
                audited.encode(lane);
            }
            Self::KeysNoted { keys } => {
                lane.u8(tag::KEYS_NOTED);
                lane.u32(keys.len() as u32);
                for (name, print) in keys {
                    lane.text(name);
                    lane.put(print);
                }
            }
            Self::AuditReached(head) => {
                lane.u8(tag::AUDIT_REACHED);
                lane.u64(head.sequence);
                lane.put(head.hash.as_bytes());
            }
            Self::ClockSet(ClockSet { at, by, uptime }) => {
                lane.u8(tag::CLOCK_SET);
                lane.u64(at.millis());
                lane.i64(*by);
                lane.u8(u8::from(uptime.is_some()));
                if let Some(Uptime { boot, millis }) = uptime {
                    lane.put(boot);
                    lane.u64(*millis);
                }
            }
        }
    }

    /// The next event of a lane; None at its end.
    pub fn decode(lane: &mut Reader<'a>) -> Result<Option<Self>, Malformed> {
        if lane.is_empty() {
            return Ok(None);
        }
        let mut fields = Reader::new(lane.block()?);
        let event = Self::decode_fields(&mut fields)?;
        if fields.is_empty() { Ok(Some(event)) } else { Err(Malformed("an event is longer than its fields")) }
    }

    fn decode_fields(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        let tag = fields.u8()?;
        Ok(match tag {
            tag::HELD => Self::Held(Held::decode(fields)?),
            tag::EXTENDED | tag::EXTENDED_OF_SALE => Self::Extended {
                id: decode_id(fields)?,
                at: decode_time(fields)?,
                expires_at: decode_time(fields)?,
                extensions: fields.u16()?,
                sale: if tag == tag::EXTENDED { None } else { Some(SaleNumber(fields.u32()?)) },
            },
            tag::CONFIRMED => Self::Confirmed(Ended::decode(fields)?),
            tag::RELEASED => Self::Released(Ended::decode(fields)?),
            tag::EXPIRED => Self::Expired(Ended::decode(fields)?),
            tag::RETIRED => Self::Retired { id: decode_id(fields)?, counted: fields.u8()? != 0 },
            tag::CARRIED => {
                Self::Carried { customer: fields.text()?, item: ItemNumber(fields.u32()?), units: fields.u64()? }
            }
            tag::FORGOTTEN => Self::Forgotten {
                bucket: Bucket::from_index(fields.u16()?.into()).ok_or(Malformed("a bucket is out of range"))?,
                item: ItemNumber(fields.u32()?),
                units: fields.u64()?,
            },
            tag::CUSTOMER_ERASED => Self::CustomerErased { at: decode_time(fields)?, customer: fields.text()? },
            tag::SALE_DEFINED => {
                let (sale, at) = decode_turn(fields)?;
                let count = fields.u32()?;
                let items = (0..count).map(|_| fields.u32().map(ItemNumber)).collect::<Result<_, _>>()?;
                Self::SaleDefined { sale, at, items, settings: fields.block()? }
            }
            tag::SALE_PAUSED => decode_turn(fields).map(|(sale, at)| Self::SalePaused { sale, at })?,
            tag::SALE_RESUMED => decode_turn(fields).map(|(sale, at)| Self::SaleResumed { sale, at })?,
            tag::SALE_CLOSED => decode_turn(fields).map(|(sale, at)| Self::SaleClosed { sale, at })?,
            tag::STATUS_REACHED => {
                let (sale, at) = decode_turn(fields)?;
                let status = Status::from_u8(fields.u8()?).ok_or(Malformed("a status is unknown"))?;
                Self::StatusReached { sale, at, status }
            }
            tag::ADJUSTED => Self::Adjusted(Adjusted::decode(fields)?),
            tag::STOCKED => Self::Stocked { item: ItemNumber(fields.u32()?), stock: fields.u64()? },
            tag::AUDITED => Self::Audited(Audited::decode(fields)?),
            tag::KEYS_NOTED => {
                let count = fields.u32()?;
                Self::KeysNoted {
                    keys: (0..count).map(|_| Ok((fields.text()?, fields.id()?))).collect::<Result<_, _>>()?,
                }
            }
            tag::AUDIT_REACHED => {
                Self::AuditReached(Head { sequence: fields.u64()?, hash: audit::decode_hash(fields)? })
            }
            tag::CLOCK_SET => Self::ClockSet(ClockSet {
                at: decode_time(fields)?,
                by: fields.i64()?,
                uptime: match fields.u8()? {
                    0 => None,
                    _ => Some(Uptime { boot: fields.id()?, millis: fields.u64()? }),
                },
            }),
            _ => return Err(Malformed("an event's tag is unknown; was it written by a newer version?")),
        })
    }
}

fn encode_turn(tag: u8, sale: SaleNumber, at: Timestamp, lane: &mut Vec<u8>) {
    lane.u8(tag);
    lane.u32(sale.0);
    lane.u64(at.millis());
}

fn decode_turn(fields: &mut Reader<'_>) -> Result<(SaleNumber, Timestamp), Malformed> {
    Ok((SaleNumber(fields.u32()?), decode_time(fields)?))
}

fn decode_id(fields: &mut Reader<'_>) -> Result<ReservationId, Malformed> {
    ReservationId::from_bytes(fields.id()?).ok_or(Malformed("a reservation id is not a UUIDv7"))
}

fn decode_time(fields: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
    Ok(Timestamp::from_millis(fields.u64()?))
}

fn encode_key(key: Option<(&str, u64)>, lane: &mut Vec<u8>) {
    lane.optional_text(key.map(|(text, _)| text));
    if let Some((_, fingerprint)) = key {
        lane.u64(fingerprint);
    }
}

fn decode_key<'a>(fields: &mut Reader<'a>) -> Result<Option<(&'a str, u64)>, Malformed> {
    match fields.optional_text()? {
        Some(text) => Ok(Some((text, fields.u64()?))),
        None => Ok(None),
    }
}

impl<'a> Held<'a> {
    fn encode(&self, lane: &mut Vec<u8>) {
        lane.u8(tag::HELD);
        lane.put(self.id.bytes());
        lane.u32(self.sale.0);
        lane.u32(self.hold_seconds);
        lane.text(self.customer);
        encode_key(self.key, lane);
        lane.optional_text(self.reference);
        lane.u8(u8::try_from(self.lines.len()).expect("lines are limited"));
        for line in &self.lines {
            lane.u32(line.item.0);
            lane.u32(line.units);
            match line.price {
                None => lane.u8(0),
                Some(price) => {
                    lane.u8(1);
                    lane.u64(price.amount);
                    lane.put(price.currency.as_str().as_bytes());
                }
            }
        }
    }

    fn decode(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        let id = decode_id(fields)?;
        let (sale, hold_seconds) = (SaleNumber(fields.u32()?), fields.u32()?);
        let customer = fields.text()?;
        let key = decode_key(fields)?;
        let reference = fields.optional_text()?;
        let mut lines = PricedLines::new();
        for _ in 0..fields.u8()? {
            let (item, units) = (ItemNumber(fields.u32()?), fields.u32()?);
            let price = match fields.u8()? {
                0 => None,
                _ => {
                    let amount = fields.u64()?;
                    let letters = std::str::from_utf8(fields.take(3)?).ok();
                    let currency = letters.and_then(Currency::parse).ok_or(Malformed("a currency is not ISO 4217"))?;
                    Some(Price { amount, currency })
                }
            };
            lines.push(PricedLine { item, units, price });
        }
        Ok(Self { id, sale, customer, hold_seconds, lines, reference, key })
    }
}

impl<'a> Ended<'a> {
    fn encode(&self, tag: u8, lane: &mut Vec<u8>) {
        lane.u8(tag);
        lane.put(self.id.bytes());
        lane.u64(self.at.millis());
        lane.optional_text(self.text);
        lane.u8(u8::try_from(self.lines.len()).expect("lines are limited"));
        for line in &self.lines {
            lane.u32(line.item.0);
            lane.u32(line.units);
        }
    }

    fn decode(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (id, at, text) = (decode_id(fields)?, decode_time(fields)?, fields.optional_text()?);
        let mut lines = Quantities::new();
        for _ in 0..fields.u8()? {
            lines.push(Quantity { item: ItemNumber(fields.u32()?), units: fields.u32()? });
        }
        Ok(Self { id, at, text, lines })
    }
}

impl<'a> Adjusted<'a> {
    fn encode(&self, lane: &mut Vec<u8>) {
        lane.u8(tag::ADJUSTED);
        lane.u32(self.item.0);
        lane.u64(self.at.millis());
        lane.i64(self.delta);
        lane.optional_text(self.reason);
        lane.optional_text(self.reference);
        encode_key(self.key, lane);
        lane.u64(self.stock);
        lane.u64(self.available);
    }

    fn decode(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            item: ItemNumber(fields.u32()?),
            at: decode_time(fields)?,
            delta: fields.i64()?,
            reason: fields.optional_text()?,
            reference: fields.optional_text()?,
            key: decode_key(fields)?,
            stock: fields.u64()?,
            available: fields.u64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::samples;

    #[test]
    fn what_is_decoded_is_what_was_encoded() {
        let mut lane = Vec::new();
        for event in samples() {
            event.encode(&mut lane);
        }
        let mut reader = Reader::new(&lane);
        for event in samples() {
            assert_eq!(Event::decode(&mut reader), Ok(Some(event)));
        }
        assert_eq!(Event::decode(&mut reader), Ok(None));
    }

    #[test]
    fn bytes_cut_short_or_changed_are_refused_and_never_panic() {
        for event in samples() {
            let mut lane = Vec::new();
            event.encode(&mut lane);
            for length in 1..lane.len() {
                assert!(Event::decode(&mut Reader::new(&lane[..length])).is_err());
            }
            for index in 0..lane.len() {
                let mut changed = lane.clone();
                changed[index] ^= 0xff;
                let _ = Event::decode(&mut Reader::new(&changed));
            }
        }
    }
}
