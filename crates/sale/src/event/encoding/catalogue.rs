//! The fields of events about sales and their stock.

use super::*;

impl PoolLevels {
    pub(super) fn encode(self, lane: &mut Vec<u8>) {
        lane.varint(self.stock);
        lane.varint(self.available);
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { stock: fields.varint()?, available: fields.varint()? })
    }
}

impl<'a> Transferred<'a> {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        lane.u8(kind::TRANSFERRED);
        lane.varint(self.item.0.into());
        lane.varint(self.from.0.into());
        lane.varint(self.to.0.into());
        lane.u64(self.at.millis());
        lane.varint(self.units);
        self.after.iter().for_each(|levels| levels.encode(lane));
        encode_key(self.key, lane);
        lane.text_field(field::REFERENCE, self.reference);
        lane.text_field(field::REASON, self.reason);
    }

    pub(super) fn decode(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (item, from, to) = (decode_item(fields)?, decode_pool(fields)?, decode_pool(fields)?);
        let (at, units) = (decode_time(fields)?, fields.varint()?);
        let after = [PoolLevels::decode(fields)?, PoolLevels::decode(fields)?];
        let mut transferred = Self { item, from, to, at, units, reason: None, reference: None, key: None, after };
        while let Some((number, mut value)) = fields.field()? {
            match number {
                field::KEY => transferred.key = Some(decode_key(&mut value)?),
                field::REFERENCE => transferred.reference = Some(value.rest_as_text()?),
                field::REASON => transferred.reason = Some(value.rest_as_text()?),
                // A later version's: skipped.
                _ => {}
            }
        }
        Ok(transferred)
    }
}

impl<'a> HoldsExtending<'a> {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        encode_of_sale(kind::HOLDS_EXTENDING, self.sale, self.at, lane);
        lane.varint(self.run);
        lane.varint(self.seconds.into());
        encode_key(self.key, lane);
        if let Some((buckets, holds)) = self.done {
            lane.u8(field::DONE);
            put_block(lane, |lane| {
                lane.varint(buckets.into());
                lane.varint(holds);
            });
        }
    }

    pub(super) fn decode(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (sale, at) = decode_of_sale(fields)?;
        let (run, seconds) = (fields.varint()?, fields.varint32()?);
        let mut extending = Self { sale, at, run, seconds, key: None, done: None };
        while let Some((number, mut value)) = fields.field()? {
            match number {
                field::KEY => extending.key = Some(decode_key(&mut value)?),
                field::DONE => extending.done = Some((value.varint32()?, value.varint()?)),
                // A later version's: skipped.
                _ => {}
            }
        }
        Ok(extending)
    }
}

impl<'a> HoldsExtended<'a> {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        encode_of_sale(kind::HOLDS_EXTENDED, self.sale, self.at, lane);
        lane.varint(self.run);
        lane.varint(self.holds);
        encode_key(self.key, lane);
    }

    pub(super) fn decode(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (sale, at) = decode_of_sale(fields)?;
        let mut extended = Self { sale, at, run: fields.varint()?, holds: fields.varint()?, key: None };
        while let Some((number, mut value)) = fields.field()? {
            if number == field::KEY {
                extended.key = Some(decode_key(&mut value)?);
            }
        }
        Ok(extended)
    }
}

impl<'a> SaleDefined<'a> {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        encode_of_sale(kind::SALE_DEFINED, self.sale, self.at, lane);
        lane.varint(self.opened.len() as u64);
        for OpenedPool { item, pool, units } in &self.opened {
            lane.varint(item.0.into());
            lane.varint(pool.0.into());
            lane.varint(*units);
        }
        lane.block(self.record);
        if !self.low_stock.is_empty() {
            lane.u8(field::LOW_STOCK);
            put_block(lane, |lane| {
                for LowStockChange { item, from, to } in &self.low_stock {
                    lane.varint(item.0.into());
                    // 0: none.
                    [from, to].into_iter().for_each(|level| lane.varint(level.map_or(0, |level| level + 1)));
                }
            });
        }
    }

    pub(super) fn decode(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (sale, at) = decode_of_sale(fields)?;
        let count = fields.varint()?;
        let opened = (0..count).map(|_| {
            Ok(OpenedPool { item: decode_item(fields)?, pool: decode_pool(fields)?, units: fields.varint()? })
        });
        let opened = opened.collect::<Result<_, _>>()?;
        let mut defined = Self { sale, at, opened, low_stock: Vec::new(), record: fields.block()? };
        while let Some((number, mut value)) = fields.field()? {
            // Another one is a later version's: skipped.
            if number == field::LOW_STOCK {
                while !value.is_empty() {
                    let item = decode_item(&mut value)?;
                    let mut level = || Ok(value.varint()?.checked_sub(1));
                    defined.low_stock.push(LowStockChange { item, from: level()?, to: level()? });
                }
            }
        }
        Ok(defined)
    }
}

impl<'a> Adjusted<'a> {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        lane.u8(kind::ADJUSTED);
        lane.varint(self.item.0.into());
        lane.varint(self.pool.0.into());
        lane.u64(self.at.millis());
        lane.signed(self.delta);
        lane.varint(self.stock);
        lane.varint(self.available);
        encode_key(self.key, lane);
        lane.text_field(field::REFERENCE, self.reference);
        lane.text_field(field::REASON, self.reason);
        if let Some(sale) = self.of_sale {
            lane.u8(field::OF_SALE);
            put_block(lane, |lane| lane.varint(sale.0.into()));
        }
        if let Some(id) = self.of_reservation {
            lane.u8(field::OF_RESERVATION);
            put_block(lane, |lane| lane.put(id.bytes()));
        }
        if let Some(levels) = self.of_pool {
            lane.u8(field::OF_POOL);
            put_block(lane, |lane| levels.encode(lane));
        }
    }

    pub(super) fn decode(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (item, pool, at) = (decode_item(fields)?, decode_pool(fields)?, decode_time(fields)?);
        let (delta, stock, available) = (fields.signed()?, fields.varint()?, fields.varint()?);
        let mut adjusted = Self {
            item,
            pool,
            at,
            delta,
            reason: None,
            reference: None,
            key: None,
            of_sale: None,
            of_reservation: None,
            stock,
            available,
            of_pool: None,
        };
        while let Some((number, mut value)) = fields.field()? {
            match number {
                field::KEY => adjusted.key = Some(decode_key(&mut value)?),
                field::REFERENCE => adjusted.reference = Some(value.rest_as_text()?),
                field::REASON => adjusted.reason = Some(value.rest_as_text()?),
                field::OF_SALE => adjusted.of_sale = Some(decode_sale(&mut value)?),
                field::OF_RESERVATION => adjusted.of_reservation = Some(decode_id(&mut value)?),
                field::OF_POOL => adjusted.of_pool = Some(PoolLevels::decode(&mut value)?),
                // A later version's: skipped.
                _ => {}
            }
        }
        Ok(adjusted)
    }
}
