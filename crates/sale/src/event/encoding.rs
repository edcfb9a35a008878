//! Events on disk: `length, kind u8, required fields, optional fields`.
//!
//! `length` and most numbers are of variable length; see `codec`. An optional field is `number u8, length, bytes`. Invariants:
//! `decode(encode(event)) == event`; a kind, a required field and a field's number never change their meaning. So an event may
//! get more optional fields, which earlier versions skip. A new kind refuses the start of earlier versions.

mod catalogue;
mod customers;
mod groups;
mod waitlist;

use super::*;
use crate::{
    audit,
    codec::{Malformed, Reader, Write, put_block},
    settings::Currency,
    timeline::Uptime,
};

/// Kinds of customers' events are below this, those of the catalogue are not.
const CATALOGUE_KINDS: u8 = 64;

mod kind {
    pub(super) const HELD: u8 = 1;
    pub(super) const EXTENDED: u8 = 2;
    pub(super) const CONFIRMED: u8 = 3;
    pub(super) const RELEASED: u8 = 4;
    pub(super) const EXPIRED: u8 = 5;
    pub(super) const RETIRED: u8 = 6;
    pub(super) const CARRIED: u8 = 7;
    pub(super) const SOLD: u8 = 8;
    pub(super) const CUSTOMER_ERASED: u8 = 9;
    pub(super) const CHANGED: u8 = 10;
    pub(super) const CANCELLED: u8 = 11;
    pub(super) const CONFIRM_REFUSED: u8 = 12;
    pub(super) const JOINED: u8 = 13;
    pub(super) const OFFERED: u8 = 14;
    pub(super) const LEFT_WAITLIST: u8 = 15;
    pub(super) const WAIT_EXPIRED: u8 = 16;
    pub(super) const PASSED_OVER: u8 = 17;
    pub(super) const ENTRY_RETIRED: u8 = 18;
    pub(super) const GROUP_CHANGED: u8 = 20;
    pub(super) const GROUP_NOTED: u8 = 21;
    pub(super) const SALE_DEFINED: u8 = 64;
    pub(super) const SALE_PAUSED: u8 = 65;
    pub(super) const SALE_RESUMED: u8 = 66;
    pub(super) const SALE_CLOSED: u8 = 67;
    pub(super) const STATUS_REACHED: u8 = 68;
    pub(super) const ADJUSTED: u8 = 69;
    pub(super) const STOCKED: u8 = 70;
    pub(super) const AUDITED: u8 = 71;
    pub(super) const KEYS_NOTED: u8 = 72;
    pub(super) const AUDIT_REACHED: u8 = 73;
    pub(super) const CLOCK_SET: u8 = 74;
    pub(super) const WRITTEN_BY: u8 = 75;
    pub(super) const PHASE_OPENED: u8 = 76;
    pub(super) const POOL_SHARED: u8 = 77;
    pub(super) const TRANSFERRED: u8 = 78;
    pub(super) const HOLDS_EXTENDING: u8 = 79;
    pub(super) const HOLDS_EXTENDED: u8 = 80;
}

/// Numbers of optional fields, for each event its own.
mod field {
    pub(super) const KEY: u8 = 1;
    pub(super) const REFERENCE: u8 = 2;
    pub(super) const REASON: u8 = 3;
    /// Of a hold.
    pub(super) const TIER: u8 = 4;
    pub(super) const CHANNEL: u8 = 5;
    pub(super) const REGION: u8 = 6;
    pub(super) const LABELS: u8 = 7;
    pub(super) const SHORT: u8 = 8;
    /// Of an adjustment.
    pub(super) const OF_POOL: u8 = 9;
    pub(super) const OF_SALE: u8 = 10;
    pub(super) const OF_RESERVATION: u8 = 11;
    /// Of a hold.
    pub(super) const ENTRY: u8 = 12;
    pub(super) const GROUP: u8 = 13;
    pub(super) const LOCATIONS: u8 = 14;
    /// Of a settled reservation.
    pub(super) const TEXT: u8 = 1;
    pub(super) const RETURNED: u8 = 2;
    pub(super) const LATE: u8 = 3;
    /// Of an extension.
    pub(super) const WITH_ALL: u8 = 1;
    /// Of an extension of all holds.
    pub(super) const DONE: u8 = 2;
    pub(super) const UPTIME: u8 = 1;
    /// Of a sale document.
    pub(super) const LOW_STOCK: u8 = 1;
}

impl<'a> Event<'a> {
    /// Appends the event to a lane.
    pub fn encode(&self, lane: &mut Vec<u8>) {
        match self {
            Self::Customer(event) => event.encode(lane),
            Self::Catalogue(event) => event.encode(lane),
        }
    }

    /// The next event of a lane; None at its end.
    pub fn decode(lane: &mut Reader<'a>) -> Result<Option<Self>, Malformed> {
        if lane.is_empty() {
            return Ok(None);
        }
        let mut fields = Reader::new(lane.block()?);
        let kind = fields.u8()?;
        Ok(Some(if kind < CATALOGUE_KINDS {
            Self::Customer(CustomerEvent::decode(kind, &mut fields)?)
        } else {
            Self::Catalogue(CatalogueEvent::decode(kind, &mut fields)?)
        }))
    }
}

impl<'a> CustomerEvent<'a> {
    /// Appends the event to a lane.
    pub fn encode(&self, lane: &mut Vec<u8>) {
        put_block(lane, |lane| match self {
            Self::Held(held) => held.encode(lane),
            Self::Extended(extended) => extended.encode(lane),
            Self::Confirmed(settled) => settled.encode(kind::CONFIRMED, lane),
            Self::Released(settled) => settled.encode(kind::RELEASED, lane),
            Self::Expired(settled) => settled.encode(kind::EXPIRED, lane),
            Self::Changed(changed) => changed.encode(lane),
            Self::Cancelled(cancelled) => cancelled.encode(lane),
            Self::ConfirmRefused(refused) => refused.encode(lane),
            Self::GroupChanged(changed) => changed.encode(lane),
            Self::GroupNoted(noted) => noted.encode(lane),
            Self::Joined(joined) => joined.encode(lane),
            Self::Offered(offered) => offered.encode(lane),
            Self::LeftWaitlist(ended) => ended.encode(kind::LEFT_WAITLIST, lane),
            Self::WaitExpired(ended) => ended.encode(kind::WAIT_EXPIRED, lane),
            Self::PassedOver(passed) => passed.encode(lane),
            Self::EntryRetired { id } => {
                lane.u8(kind::ENTRY_RETIRED);
                lane.put(id.bytes());
            }
            Self::Retired { id, counted } => {
                lane.u8(kind::RETIRED);
                lane.put(id.bytes());
                lane.u8(u8::from(*counted));
            }
            Self::Carried { customer, item, units } => {
                lane.u8(kind::CARRIED);
                lane.text(customer);
                lane.varint(item.0.into());
                lane.varint(*units);
            }
            Self::Sold { bucket, item, pool, units } => {
                lane.u8(kind::SOLD);
                lane.varint(bucket.index() as u64);
                lane.varint(item.0.into());
                lane.varint(pool.0.into());
                lane.varint(*units);
            }
            Self::CustomerErased { at, customer } => {
                lane.u8(kind::CUSTOMER_ERASED);
                lane.u64(at.millis());
                lane.text(customer);
            }
        });
    }

    fn decode(kind: u8, fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match kind {
            kind::HELD => Self::Held(Held::decode(fields)?),
            kind::EXTENDED => Self::Extended(Extended::decode(fields)?),
            kind::CONFIRMED => Self::Confirmed(Settled::decode(fields)?),
            kind::RELEASED => Self::Released(Settled::decode(fields)?),
            kind::EXPIRED => Self::Expired(Settled::decode(fields)?),
            kind::CHANGED => Self::Changed(Changed::decode(fields)?),
            kind::CANCELLED => Self::Cancelled(Cancelled::decode(fields)?),
            kind::CONFIRM_REFUSED => Self::ConfirmRefused(ConfirmRefused::decode(fields)?),
            kind::GROUP_CHANGED => Self::GroupChanged(GroupChanged::decode(fields)?),
            kind::GROUP_NOTED => Self::GroupNoted(GroupNoted::decode(fields)?),
            kind::JOINED => Self::Joined(Joined::decode(fields)?),
            kind::OFFERED => Self::Offered(Offered::decode(fields)?),
            kind::LEFT_WAITLIST => Self::LeftWaitlist(WaitEnded::decode(fields)?),
            kind::WAIT_EXPIRED => Self::WaitExpired(WaitEnded::decode(fields)?),
            kind::PASSED_OVER => Self::PassedOver(PassedOver::decode(fields)?),
            kind::ENTRY_RETIRED => Self::EntryRetired { id: decode_id(fields)? },
            kind::RETIRED => Self::Retired { id: decode_id(fields)?, counted: fields.u8()? != 0 },
            kind::CARRIED => {
                Self::Carried { customer: fields.text()?, item: decode_item(fields)?, units: fields.varint()? }
            }
            kind::SOLD => Self::Sold {
                bucket: usize::try_from(fields.varint()?)
                    .ok()
                    .and_then(Bucket::from_index)
                    .ok_or(Malformed::Bytes("a bucket is out of range"))?,
                item: decode_item(fields)?,
                pool: decode_pool(fields)?,
                units: fields.varint()?,
            },
            kind::CUSTOMER_ERASED => Self::CustomerErased { at: decode_time(fields)?, customer: fields.text()? },
            unknown => return Err(Malformed::UnknownEvent(unknown)),
        })
    }
}

impl<'a> CatalogueEvent<'a> {
    /// Appends the event to a lane.
    pub fn encode(&self, lane: &mut Vec<u8>) {
        put_block(lane, |lane| match self {
            Self::SaleDefined(defined) => defined.encode(lane),
            Self::SalePaused { sale, at } => encode_of_sale(kind::SALE_PAUSED, *sale, *at, lane),
            Self::SaleResumed { sale, at } => encode_of_sale(kind::SALE_RESUMED, *sale, *at, lane),
            Self::SaleClosed { sale, at } => encode_of_sale(kind::SALE_CLOSED, *sale, *at, lane),
            Self::StatusReached { sale, at, status } => {
                encode_of_sale(kind::STATUS_REACHED, *sale, *at, lane);
                lane.u8(*status as u8);
            }
            Self::PhaseOpened { sale, at, phase, opens_at } => {
                encode_of_sale(kind::PHASE_OPENED, *sale, *at, lane);
                lane.u64(opens_at.millis());
                lane.text(phase);
            }
            Self::PoolShared { sale, item, pool, at, shared_at } => {
                encode_of_sale(kind::POOL_SHARED, *sale, *at, lane);
                lane.varint(item.0.into());
                lane.varint(pool.0.into());
                lane.u64(shared_at.millis());
            }
            Self::Transferred(transferred) => transferred.encode(lane),
            Self::HoldsExtending(extending) => extending.encode(lane),
            Self::HoldsExtended(extended) => extended.encode(lane),
            Self::Adjusted(adjusted) => adjusted.encode(lane),
            Self::Stocked { item, pool, stock } => {
                lane.u8(kind::STOCKED);
                lane.varint(item.0.into());
                lane.varint(pool.0.into());
                lane.varint(*stock);
            }
            Self::Audited(audited) => {
                lane.u8(kind::AUDITED);
                audited.encode(lane);
            }
            Self::KeysNoted { keys } => {
                lane.u8(kind::KEYS_NOTED);
                lane.varint(keys.len() as u64);
                for (name, print) in keys {
                    lane.text(name);
                    lane.put(print);
                }
            }
            Self::AuditReached(head) => {
                lane.u8(kind::AUDIT_REACHED);
                lane.u64(head.sequence);
                lane.put(head.hash.as_bytes());
            }
            Self::ClockSet(ClockSet { at, by, uptime }) => {
                lane.u8(kind::CLOCK_SET);
                lane.u64(at.millis());
                lane.signed(*by);
                if let Some(Uptime { boot, millis }) = uptime {
                    lane.u8(field::UPTIME);
                    put_block(lane, |lane| {
                        lane.put(boot);
                        lane.u64(*millis);
                    });
                }
            }
            Self::WrittenBy { version } => {
                lane.u8(kind::WRITTEN_BY);
                lane.text(version);
            }
        });
    }

    fn decode(kind: u8, fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match kind {
            kind::SALE_DEFINED => Self::SaleDefined(SaleDefined::decode(fields)?),
            kind::SALE_PAUSED => decode_of_sale(fields).map(|(sale, at)| Self::SalePaused { sale, at })?,
            kind::SALE_RESUMED => decode_of_sale(fields).map(|(sale, at)| Self::SaleResumed { sale, at })?,
            kind::SALE_CLOSED => decode_of_sale(fields).map(|(sale, at)| Self::SaleClosed { sale, at })?,
            kind::STATUS_REACHED => {
                let (sale, at) = decode_of_sale(fields)?;
                let status = Status::from_u8(fields.u8()?).ok_or(Malformed::Bytes("a status is unknown"))?;
                Self::StatusReached { sale, at, status }
            }
            kind::PHASE_OPENED => {
                let ((sale, at), opens_at) = (decode_of_sale(fields)?, decode_time(fields)?);
                Self::PhaseOpened { sale, at, phase: fields.text()?, opens_at }
            }
            kind::POOL_SHARED => {
                let (sale, at) = decode_of_sale(fields)?;
                let (item, pool) = (decode_item(fields)?, decode_pool(fields)?);
                Self::PoolShared { sale, item, pool, at, shared_at: decode_time(fields)? }
            }
            kind::TRANSFERRED => Self::Transferred(Transferred::decode(fields)?),
            kind::HOLDS_EXTENDING => Self::HoldsExtending(HoldsExtending::decode(fields)?),
            kind::HOLDS_EXTENDED => Self::HoldsExtended(HoldsExtended::decode(fields)?),
            kind::ADJUSTED => Self::Adjusted(Adjusted::decode(fields)?),
            kind::STOCKED => {
                Self::Stocked { item: decode_item(fields)?, pool: decode_pool(fields)?, stock: fields.varint()? }
            }
            kind::AUDITED => Self::Audited(Audited::decode(fields)?),
            kind::KEYS_NOTED => {
                let count = fields.varint()?;
                Self::KeysNoted {
                    keys: (0..count).map(|_| Ok((fields.text()?, fields.array()?))).collect::<Result<_, _>>()?,
                }
            }
            kind::AUDIT_REACHED => {
                Self::AuditReached(Head { sequence: fields.u64()?, hash: audit::decode_hash(fields)? })
            }
            kind::CLOCK_SET => {
                let (at, by, mut uptime) = (decode_time(fields)?, fields.signed()?, None);
                while let Some((number, mut value)) = fields.field()? {
                    if number == field::UPTIME {
                        uptime = Some(Uptime { boot: value.array()?, millis: value.u64()? });
                    }
                }
                Self::ClockSet(ClockSet { at, by, uptime })
            }
            kind::WRITTEN_BY => Self::WrittenBy { version: fields.text()? },
            unknown => return Err(Malformed::UnknownEvent(unknown)),
        })
    }
}

fn encode_of_sale(kind: u8, sale: SaleNumber, at: Timestamp, lane: &mut Vec<u8>) {
    lane.u8(kind);
    lane.varint(sale.0.into());
    lane.u64(at.millis());
}

fn decode_of_sale(fields: &mut Reader<'_>) -> Result<(SaleNumber, Timestamp), Malformed> {
    Ok((decode_sale(fields)?, decode_time(fields)?))
}

fn decode_sale(fields: &mut Reader<'_>) -> Result<SaleNumber, Malformed> {
    fields.varint32().map(SaleNumber)
}

fn decode_item(fields: &mut Reader<'_>) -> Result<ItemNumber, Malformed> {
    fields.varint32().map(ItemNumber)
}

fn decode_pool(fields: &mut Reader<'_>) -> Result<PoolNumber, Malformed> {
    fields.varint32().map(PoolNumber)
}

fn decode_id(fields: &mut Reader<'_>) -> Result<ReservationId, Malformed> {
    ReservationId::from_bytes(fields.array()?).ok_or(Malformed::Bytes("a reservation id is not a UUIDv7"))
}

fn decode_time(fields: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
    Ok(Timestamp::from_millis(fields.u64()?))
}

/// A time near the creation of a reservation.
fn encode_since(id: ReservationId, at: Timestamp, lane: &mut Vec<u8>) {
    lane.signed(at.signed_since(id.created_at()));
}

fn decode_since(id: ReservationId, fields: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
    Ok(id.created_at().shifted(fields.signed()?))
}

fn encode_key(key: Option<(&str, u64)>, lane: &mut Vec<u8>) {
    if let Some((text, fingerprint)) = key {
        lane.u8(field::KEY);
        put_block(lane, |lane| {
            lane.u64(fingerprint);
            lane.put(text.as_bytes());
        });
    }
}

fn decode_key<'a>(value: &mut Reader<'a>) -> Result<(&'a str, u64), Malformed> {
    let fingerprint = value.u64()?;
    Ok((value.rest_as_text()?, fingerprint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::samples;

    #[test]
    fn every_event_comes_back_as_it_was() {
        let mut lane = Vec::new();
        for event in samples::events() {
            event.encode(&mut lane);
        }
        let mut reader = Reader::new(&lane);
        for event in samples::events() {
            assert_eq!(Event::decode(&mut reader), Ok(Some(event)));
        }
        assert_eq!(Event::decode(&mut reader), Ok(None));
    }

    #[test]
    fn bytes_cut_short_or_changed_are_refused_and_never_panic() {
        for event in samples::events() {
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

    /// What a later version may write: each event with an optional field that this version does not know.
    #[test]
    fn optional_fields_of_later_versions_are_skipped() {
        for event in samples::events() {
            let mut lane = Vec::new();
            event.encode(&mut lane);
            let fields = Reader::new(&lane).block().unwrap();
            let mut later = Vec::new();
            put_block(&mut later, |later| {
                later.put(fields);
                later.text_field(200, Some("something new"));
            });
            assert_eq!(Event::decode(&mut Reader::new(&later)), Ok(Some(event)));
        }
    }

    #[test]
    fn events_of_later_versions_are_named() {
        for kind in [63, 255] {
            let lane = [2, kind, 0];
            assert_eq!(Event::decode(&mut Reader::new(&lane)), Err(Malformed::UnknownEvent(kind)));
        }
    }
}
