//! The fields of events about customers' reservations.

use super::*;

impl<'a> Held<'a> {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        lane.u8(kind::HELD);
        lane.put(self.id.bytes());
        lane.varint(self.sale.0.into());
        lane.varint(self.hold_seconds.into());
        lane.text(self.customer);
        lane.varint(self.portions.len() as u64);
        self.portions.iter().for_each(|portion| portion.encode(lane));
        encode_key(self.key, lane);
        lane.text_field(field::REFERENCE, self.reference);
        if let Some(attributes) = &self.attributes {
            encode_attributes(attributes, lane);
        }
        if !self.short.is_empty() {
            lane.u8(field::SHORT);
            put_block(lane, |lane| {
                for asked in &self.short {
                    lane.varint(asked.item.0.into());
                    lane.varint(asked.units.into());
                }
            });
        }
        if let Some(entry) = self.entry {
            lane.u8(field::ENTRY);
            put_block(lane, |lane| lane.put(entry.bytes()));
        }
        if let Some(group) = &self.group {
            lane.u8(field::GROUP);
            put_block(lane, |lane| group.encode(self.id, lane));
        }
    }

    pub(super) fn decode(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        let id = decode_id(fields)?;
        let (sale, hold_seconds) = (decode_sale(fields)?, fields.varint32()?);
        let customer = fields.text()?;
        let portions = (0..fields.varint()?).map(|_| PricedPortion::decode(fields)).collect::<Result<_, _>>()?;
        let (mut key, mut reference, mut attributes, mut short) = (None, None, None::<Box<Attributes<'a>>>, Vec::new());
        let (mut group, mut entry) = (None, None);
        while let Some((number, mut value)) = fields.field()? {
            match number {
                field::KEY => key = Some(decode_key(&mut value)?),
                field::REFERENCE => reference = Some(value.rest_as_text()?),
                field::TIER | field::CHANNEL | field::REGION | field::LABELS | field::LOCATIONS => {
                    decode_attribute(number, &mut value, attributes.get_or_insert_default())?;
                }
                field::SHORT => {
                    while !value.is_empty() {
                        short.push(AskedUnits { item: decode_item(&mut value)?, units: value.varint32()? });
                    }
                }
                field::GROUP => group = Some(Box::new(JoinedGroup::decode(id, &mut value)?)),
                field::ENTRY => entry = Some(decode_id(&mut value)?),
                // A later version's: skipped.
                _ => {}
            }
        }
        let short = short.into_boxed_slice();
        Ok(Self { id, sale, customer, hold_seconds, portions, reference, key, attributes, short, group, entry })
    }
}

/// One of the fields of attributes.
pub(super) fn decode_attribute<'a>(
    number: u8,
    value: &mut Reader<'a>,
    attributes: &mut Attributes<'a>,
) -> Result<(), Malformed> {
    match number {
        field::TIER => attributes.tier = Some(value.rest_as_text()?.into()),
        field::CHANNEL => attributes.channel = Some(value.rest_as_text()?.into()),
        field::REGION => attributes.region = Some(value.rest_as_text()?.into()),
        field::LOCATIONS => {
            while !value.is_empty() {
                attributes.locations.push(value.text()?.into());
            }
        }
        _ => {
            while !value.is_empty() {
                attributes.labels.push((value.text()?.into(), value.text()?.into()));
            }
        }
    }
    Ok(())
}

pub(super) fn encode_attributes(attributes: &Attributes<'_>, lane: &mut Vec<u8>) {
    lane.text_field(field::TIER, attributes.tier.as_deref());
    lane.text_field(field::CHANNEL, attributes.channel.as_deref());
    lane.text_field(field::REGION, attributes.region.as_deref());
    if !attributes.locations.is_empty() {
        lane.u8(field::LOCATIONS);
        put_block(lane, |lane| attributes.locations.iter().for_each(|location| lane.text(location)));
    }
    if !attributes.labels.is_empty() {
        lane.u8(field::LABELS);
        put_block(lane, |lane| {
            for (name, value) in &attributes.labels {
                lane.text(name);
                lane.text(value);
            }
        });
    }
}

impl PricedPortion {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        let &Self { item, pool, units, price } = self;
        Portion { item, pool, units }.encode(lane);
        // One more than the amount, as 0 is "no price".
        lane.varint(price.map_or(0, |price| price.amount + 1));
        if let Some(price) = price {
            lane.put(price.currency.as_str().as_bytes());
        }
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let Portion { item, pool, units } = Portion::decode(fields)?;
        let price = match fields.varint()?.checked_sub(1) {
            None => None,
            Some(amount) => {
                let letters = std::str::from_utf8(fields.take(3)?).ok();
                let currency = letters.and_then(Currency::parse);
                Some(Price { amount, currency: currency.ok_or(Malformed::Bytes("a currency is not ISO 4217"))? })
            }
        };
        Ok(Self { item, pool, units, price })
    }
}

fn encode_portions(portions: &Portions, lane: &mut Vec<u8>) {
    lane.varint(portions.len() as u64);
    portions.iter().for_each(|portion| portion.encode(lane));
}

fn decode_portions(fields: &mut Reader<'_>) -> Result<Portions, Malformed> {
    (0..fields.varint()?).map(|_| Portion::decode(fields)).collect()
}

impl Portion {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        lane.varint(self.item.0.into());
        lane.varint(self.pool.0.into());
        lane.varint(self.units.into());
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { item: decode_item(fields)?, pool: decode_pool(fields)?, units: fields.varint32()? })
    }
}

impl Extended {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        lane.u8(kind::EXTENDED);
        lane.put(self.id.bytes());
        lane.varint(self.sale.0.into());
        encode_since(self.id, self.at, lane);
        encode_since(self.id, self.expires_at, lane);
        lane.varint(self.extensions.into());
        if let Some(Progress { run, holds }) = self.with_all {
            lane.u8(field::WITH_ALL);
            put_block(lane, |lane| {
                lane.varint(run);
                lane.varint(holds);
            });
        }
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (id, sale) = (decode_id(fields)?, decode_sale(fields)?);
        let (at, expires_at) = (decode_since(id, fields)?, decode_since(id, fields)?);
        let extensions = u16::try_from(fields.varint()?);
        let extensions = extensions.map_err(|_| Malformed::Bytes("a hold has too many extensions"))?;
        let mut with_all = None;
        while let Some((number, mut value)) = fields.field()? {
            if number == field::WITH_ALL {
                with_all = Some(Progress { run: value.varint()?, holds: value.varint()? });
            }
        }
        Ok(Self { id, sale, at, expires_at, extensions, with_all })
    }
}

impl Changed {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        lane.u8(kind::CHANGED);
        lane.put(self.id.bytes());
        lane.varint(self.sale.0.into());
        encode_since(self.id, self.at, lane);
        encode_portions(&self.returned, lane);
        lane.varint(self.taken.len() as u64);
        self.taken.iter().for_each(|portion| portion.encode(lane));
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (id, sale) = (decode_id(fields)?, decode_sale(fields)?);
        let (at, returned) = (decode_since(id, fields)?, decode_portions(fields)?);
        let taken = (0..fields.varint()?).map(|_| PricedPortion::decode(fields)).collect::<Result<_, _>>()?;
        Ok(Self { id, sale, at, returned, taken })
    }
}

impl<'a> Cancelled<'a> {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        lane.u8(kind::CANCELLED);
        lane.put(self.id.bytes());
        lane.varint(self.sale.0.into());
        encode_since(self.id, self.at, lane);
        encode_portions(&self.portions, lane);
        lane.u8(u8::from(self.restock));
        lane.u8(u8::from(self.is_all));
        encode_key(self.key, lane);
        lane.text_field(field::REASON, self.reason);
    }

    pub(super) fn decode(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (id, sale) = (decode_id(fields)?, decode_sale(fields)?);
        let (at, portions) = (decode_since(id, fields)?, decode_portions(fields)?);
        let (restock, is_all) = (fields.u8()? != 0, fields.u8()? != 0);
        let mut cancelled = Self { id, sale, at, reason: None, portions, restock, is_all, key: None };
        while let Some((number, mut value)) = fields.field()? {
            match number {
                field::KEY => cancelled.key = Some(decode_key(&mut value)?),
                field::REASON => cancelled.reason = Some(value.rest_as_text()?),
                // A later version's: skipped.
                _ => {}
            }
        }
        Ok(cancelled)
    }
}

impl<'a> ConfirmRefused<'a> {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        lane.u8(kind::CONFIRM_REFUSED);
        lane.put(self.id.bytes());
        lane.varint(self.sale.0.into());
        encode_since(self.id, self.at, lane);
        lane.u8(self.cause as u8);
        lane.text_field(field::REFERENCE, self.reference);
    }

    pub(super) fn decode(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (id, sale) = (decode_id(fields)?, decode_sale(fields)?);
        let at = decode_since(id, fields)?;
        let cause = RefusedConfirm::ALL.get(usize::from(fields.u8()?)).copied();
        let cause = cause.ok_or(Malformed::Bytes("the cause of a refused confirmation is unknown"))?;
        let mut refused = Self { id, sale, at, reference: None, cause };
        while let Some((number, mut value)) = fields.field()? {
            if number == field::REFERENCE {
                refused.reference = Some(value.rest_as_text()?);
            }
        }
        Ok(refused)
    }
}

impl<'a> Settled<'a> {
    pub(super) fn encode(&self, kind: u8, lane: &mut Vec<u8>) {
        lane.u8(kind);
        lane.put(self.id.bytes());
        lane.varint(self.sale.0.into());
        encode_since(self.id, self.at, lane);
        encode_portions(&self.portions, lane);
        lane.text_field(field::TEXT, self.text);
        if !self.returned.is_empty() {
            lane.u8(field::RETURNED);
            put_block(lane, |lane| encode_portions(&self.returned, lane));
        }
        if self.late {
            lane.u8(field::LATE);
            put_block(lane, |_| {});
        }
    }

    pub(super) fn decode(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (id, sale) = (decode_id(fields)?, decode_sale(fields)?);
        let (at, portions) = (decode_since(id, fields)?, decode_portions(fields)?);
        let mut settled = Self { id, sale, at, text: None, portions, returned: Portions::new(), late: false };
        while let Some((number, mut value)) = fields.field()? {
            match number {
                field::TEXT => settled.text = Some(value.rest_as_text()?),
                field::RETURNED => settled.returned = decode_portions(&mut value)?,
                field::LATE => settled.late = true,
                // A later version's: skipped.
                _ => {}
            }
        }
        Ok(settled)
    }
}
