//! The fields of events about groups.

use super::*;

impl JoinedGroup {
    /// `hold`: the member's id.
    pub(super) fn encode(&self, hold: ReservationId, lane: &mut Vec<u8>) {
        lane.put(self.id.bytes());
        lane.u8(self.size);
        lane.u8(self.members);
        encode_since(hold, self.expires_at, lane);
    }

    pub(super) fn decode(hold: ReservationId, fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (id, size, members) = (decode_id(fields)?, fields.u8()?, fields.u8()?);
        Ok(Self { id, size, members, expires_at: decode_since(hold, fields)? })
    }
}

impl GroupChanged {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        lane.u8(kind::GROUP_CHANGED);
        lane.put(self.id.bytes());
        lane.varint(self.sale.0.into());
        lane.varint(self.item.0.into());
        encode_since(self.id, self.at, lane);
        lane.u8(self.step as u8);
        lane.u8(self.size);
        encode_since(self.id, self.expires_at, lane);
        lane.varint(self.members.len() as u64);
        self.members.iter().for_each(|member| lane.put(member.bytes()));
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (id, sale, item) = (decode_id(fields)?, decode_sale(fields)?, decode_item(fields)?);
        let at = decode_since(id, fields)?;
        let step = GroupStep::ALL.get(usize::from(fields.u8()?)).copied();
        let step = step.ok_or(Malformed::Bytes("a step of a group is unknown"))?;
        let (size, expires_at) = (fields.u8()?, decode_since(id, fields)?);
        let members = (0..fields.varint()?).map(|_| decode_id(fields)).collect::<Result<_, _>>()?;
        Ok(Self { id, sale, item, at, step, size, expires_at, members })
    }
}

impl GroupNoted {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        lane.u8(kind::GROUP_NOTED);
        lane.put(self.id.bytes());
        lane.varint(self.sale.0.into());
        encode_since(self.id, self.at, lane);
        lane.u8(self.state as u8);
        lane.u8(self.members);
        encode_since(self.id, self.deadline, lane);
        encode_since(self.id, self.expires_at, lane);
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (id, sale) = (decode_id(fields)?, decode_sale(fields)?);
        let at = decode_since(id, fields)?;
        let state = GroupState::ALL.get(usize::from(fields.u8()?)).copied();
        let state = state.ok_or(Malformed::Bytes("a state of a group is unknown"))?;
        let members = fields.u8()?;
        let (deadline, expires_at) = (decode_since(id, fields)?, decode_since(id, fields)?);
        Ok(Self { id, sale, at, state, members, deadline, expires_at })
    }
}
