//! The fields of events about waitlist entries.

use super::{
    customers::{decode_attribute, encode_attributes},
    *,
};

impl<'a> Joined<'a> {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        lane.u8(kind::JOINED);
        lane.put(self.id.bytes());
        lane.varint(self.sale.0.into());
        lane.text(self.customer);
        lane.varint(self.place);
        encode_since(self.id, self.expires_at, lane);
        lane.varint(self.lines.len() as u64);
        for line in &self.lines {
            lane.varint(line.item.0.into());
            lane.varint(line.units.into());
        }
        encode_key(self.key, lane);
        lane.text_field(field::REFERENCE, self.reference);
        if let Some(attributes) = &self.attributes {
            encode_attributes(attributes, lane);
        }
    }

    pub(super) fn decode(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (id, sale, customer) = (decode_id(fields)?, decode_sale(fields)?, fields.text()?);
        let (place, expires_at) = (fields.varint()?, decode_since(id, fields)?);
        let line = |fields: &mut Reader<'_>| Ok(AskedUnits { item: decode_item(fields)?, units: fields.varint32()? });
        let lines = (0..fields.varint()?).map(|_| line(fields)).collect::<Result<_, Malformed>>()?;
        let (reference, key, attributes) = (None, None, None);
        let mut joined = Self { id, sale, customer, place, expires_at, lines, reference, key, attributes };
        while let Some((number, mut value)) = fields.field()? {
            match number {
                field::KEY => joined.key = Some(decode_key(&mut value)?),
                field::REFERENCE => joined.reference = Some(value.rest_as_text()?),
                field::TIER | field::CHANNEL | field::REGION | field::LABELS | field::LOCATIONS => {
                    decode_attribute(number, &mut value, joined.attributes.get_or_insert_default())?;
                }
                // A later version's: skipped.
                _ => {}
            }
        }
        Ok(joined)
    }
}

impl Offered {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        lane.u8(kind::OFFERED);
        lane.put(self.id.bytes());
        lane.varint(self.sale.0.into());
        encode_since(self.id, self.at, lane);
        lane.put(self.reservation.bytes());
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (id, sale) = (decode_id(fields)?, decode_sale(fields)?);
        Ok(Self { id, sale, at: decode_since(id, fields)?, reservation: decode_id(fields)? })
    }
}

impl WaitEnded {
    pub(super) fn encode(&self, kind: u8, lane: &mut Vec<u8>) {
        lane.u8(kind);
        lane.put(self.id.bytes());
        lane.varint(self.sale.0.into());
        encode_since(self.id, self.at, lane);
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (id, sale) = (decode_id(fields)?, decode_sale(fields)?);
        Ok(Self { id, sale, at: decode_since(id, fields)? })
    }
}

impl PassedOver {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        lane.u8(kind::PASSED_OVER);
        lane.put(self.id.bytes());
        lane.varint(self.sale.0.into());
        encode_since(self.id, self.at, lane);
        lane.u8(self.cause as u8);
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (id, sale) = (decode_id(fields)?, decode_sale(fields)?);
        let at = decode_since(id, fields)?;
        let cause = NoRoom::ALL.get(usize::from(fields.u8()?)).copied();
        Ok(Self { id, sale, at, cause: cause.ok_or(Malformed::Bytes("why an entry was passed over is unknown"))? })
    }
}
