//! A batch: the payload of one journal frame, cut from all lanes at one instant.
//!
//! Layout: sections of `lane u16, length u32, events`, little-endian. A lane may have several sections, in order; sections of
//! other lanes are between them if stock moved between shards or the catalogue changed. Invariants: everything in the catalogue
//! that a shard's event needs is earlier in the same batch or in a previous one; and summed in the order of the batch, the
//! available units of an item are never negative.

use std::{collections::BTreeMap, ops::Range};

use sale::{
    codec::{Malformed, Reader, Write},
    event::Event,
};

/// The lane of sales and stock; every other number is a shard's index in the run that wrote the batch.
pub const CATALOGUE_LANE: u16 = u16::MAX;

/// What stands before a section's events.
const SECTION_HEAD_BYTES: usize = 6;

/// Events of one lane as bytes, with marks where generations begin.
#[derive(Default)]
pub struct LaneBytes {
    bytes: Vec<u8>,
    /// Generations that have events here, and where theirs begin.
    begins: Vec<(u64, usize)>,
}

impl LaneBytes {
    /// Where an event of the generation is to be appended. Generations come in their order.
    pub fn of(&mut self, generation: u64) -> &mut Vec<u8> {
        if self.begins.last().is_none_or(|&(last, _)| last != generation) {
            self.begins.push((generation, self.bytes.len()));
        }
        &mut self.bytes
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes that it takes in a payload.
    pub fn payload_len(&self) -> usize {
        self.bytes.len() + self.begins.len() * SECTION_HEAD_BYTES
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.begins.clear();
    }

    fn generations(&self) -> impl Iterator<Item = (u64, Range<usize>)> {
        let ends = self.begins.iter().skip(1).map(|&(_, begin)| begin).chain([self.bytes.len()]);
        self.begins.iter().zip(ends).map(|(&(generation, begin), end)| (generation, begin..end))
    }
}

/// Appends all lanes, generation by generation; within one in the order in which the lanes are given. Neighbours of one lane
/// are one section.
pub fn put_lanes<'a>(payload: &mut Vec<u8>, lanes: impl Iterator<Item = (u16, &'a LaneBytes)>) {
    let of_lane = |(number, lane): (u16, &'a LaneBytes)| {
        lane.generations().map(move |(generation, range)| (generation, number, &lane.bytes[range]))
    };
    let mut sections: Vec<(u64, u16, &[u8])> = lanes.flat_map(of_lane).collect();
    // Stable: within a generation the order stays.
    sections.sort_by_key(|&(generation, ..)| generation);
    for of_lane in sections.chunk_by(|(_, lane, _), (_, next, _)| lane == next) {
        match of_lane {
            [(_, number, events)] => put_section(payload, *number, events),
            several => {
                let events: Vec<&[u8]> = several.iter().map(|&(.., events)| events).collect();
                put_section(payload, several[0].1, &events.concat());
            }
        }
    }
}

/// Appends a section, unless it is empty.
pub fn put_section(payload: &mut Vec<u8>, lane: u16, events: &[u8]) {
    if !events.is_empty() {
        payload.u16(lane);
        payload.u32(u32::try_from(events.len()).expect("a section is below 4 GiB"));
        payload.put(events);
    }
}

/// Calls `each` with every event of the batch: its lane, its place among the lane's events in this batch from 0 on,
/// and the event.
pub fn for_each<'a, E: From<Malformed>>(
    payload: &'a [u8],
    mut each: impl FnMut(u16, u32, Event<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut events = Events::new(payload);
    while let Some((lane, place, event)) = events.next()? {
        each(lane, place, event)?;
    }
    Ok(())
}

/// The events of a batch one by one, for callers that pause in between.
pub struct Events<'a> {
    sections: Reader<'a>,
    lane: u16,
    events: Reader<'a>,
    place: u32,
    /// Events so far of the lanes that other sections were of.
    left_at: BTreeMap<u16, u32>,
}

impl<'a> Events<'a> {
    pub fn new(payload: &'a [u8]) -> Self {
        Self {
            sections: Reader::new(payload),
            lane: CATALOGUE_LANE,
            events: Reader::new(&[]),
            place: 0,
            left_at: BTreeMap::new(),
        }
    }

    /// The next event: its lane, its place in the lane, and itself; None at the batch's end.
    #[expect(clippy::should_implement_trait, reason = "an iterator would need two unwraps where `?` says it once")]
    pub fn next(&mut self) -> Result<Option<(u16, u32, Event<'a>)>, Malformed> {
        loop {
            if let Some(event) = Event::decode(&mut self.events)? {
                self.place += 1;
                return Ok(Some((self.lane, self.place - 1, event)));
            }
            if self.sections.is_empty() {
                return Ok(None);
            }
            let lane = self.sections.u16()?;
            let length = self.sections.u32()? as usize;
            self.events = Reader::new(self.sections.take(length)?);
            if lane != self.lane {
                self.left_at.insert(self.lane, self.place);
                self.place = self.left_at.get(&lane).copied().unwrap_or(0);
                self.lane = lane;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sale::event::samples::events;

    #[test]
    fn a_lane_in_several_sections_counts_its_places_on() {
        let [put, held, paused] = [&events()[10], &events()[0], &events()[11]];
        let (mut catalogue, mut first, mut second) = (LaneBytes::default(), LaneBytes::default(), LaneBytes::default());
        put.encode(catalogue.of(1));
        held.encode(second.of(1));
        held.encode(first.of(2));
        held.encode(second.of(2));
        held.encode(second.of(2));
        paused.encode(catalogue.of(4));
        held.encode(first.of(4));
        let mut payload = Vec::new();
        put_lanes(&mut payload, [(CATALOGUE_LANE, &catalogue), (0, &first), (1, &second)].into_iter());
        assert_eq!(payload.len(), [&catalogue, &first, &second].map(LaneBytes::payload_len).iter().sum::<usize>());

        let mut seen = Vec::new();
        for_each::<Malformed>(&payload, |lane, place, _| {
            seen.push((lane, place));
            Ok(())
        })
        .unwrap();
        let expected = [(CATALOGUE_LANE, 0), (1, 0), (0, 0), (1, 1), (1, 2), (CATALOGUE_LANE, 1), (0, 1)];
        assert_eq!(seen, expected);
    }

    #[test]
    fn sections_come_back_in_order_with_places() {
        let mut lane = Vec::new();
        events().iter().for_each(|event| event.encode(&mut lane));
        let mut payload = Vec::new();
        put_section(&mut payload, CATALOGUE_LANE, &lane);
        put_section(&mut payload, 0, &[]);
        put_section(&mut payload, 3, &lane);

        let mut seen = Vec::new();
        for_each::<Malformed>(&payload, |lane, place, event| {
            seen.push((lane, place, event));
            Ok(())
        })
        .unwrap();
        let expected: Vec<_> = [CATALOGUE_LANE, 3]
            .into_iter()
            .flat_map(|lane| events().into_iter().enumerate().map(move |(place, event)| (lane, place as u32, event)))
            .collect();
        assert_eq!(seen, expected);
        assert!(for_each::<Malformed>(&payload[..payload.len() - 1], |_, _, _| Ok(())).is_err());
    }

    #[test]
    fn places_go_on_in_a_lanes_next_section() {
        let mut event = Vec::new();
        events()[0].encode(&mut event);
        let mut payload = Vec::new();
        for lane in [CATALOGUE_LANE, 2, CATALOGUE_LANE, 2, 2, 5] {
            put_section(&mut payload, lane, &event);
        }
        let mut seen = Vec::new();
        for_each::<Malformed>(&payload, |lane, place, _| {
            seen.push((lane, place));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [(CATALOGUE_LANE, 0), (2, 0), (CATALOGUE_LANE, 1), (2, 1), (2, 2), (5, 0)]);
    }
}
