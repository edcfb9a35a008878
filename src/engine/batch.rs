//! A batch: the payload of one journal frame, cut from all lanes at one instant.
//!
//! Layout: sections of `lane u16, length u32, events`, little-endian; the catalogue's lane first, then shards in order. Where
//! the catalogue changed after customers had done something, the same follows once more: a lane may have several sections.
//! Invariant: between a change of the catalogue and what customers did, the order is that in which it happened.

use std::collections::BTreeMap;

use crate::sale::{
    codec::{Malformed, Reader, Write},
    event::Event,
};

/// The lane of sales and stock; every other number is a shard's index in the run that wrote the batch.
pub const CATALOGUE_LANE: u16 = u16::MAX;

/// Appends a section, unless it is empty.
pub fn put_section(payload: &mut Vec<u8>, lane: u16, events: &[u8]) {
    if !events.is_empty() {
        payload.u16(lane);
        payload.block(events);
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

/// The events of a batch one by one, for those who pause between them.
pub struct Events<'a> {
    sections: Reader<'a>,
    lane: u16,
    events: Reader<'a>,
    place: u32,
    /// Where lanes go on of which sections were read.
    places: BTreeMap<u16, u32>,
}

impl<'a> Events<'a> {
    pub fn new(payload: &'a [u8]) -> Self {
        let (sections, events) = (Reader::new(payload), Reader::new(&[]));
        Self { sections, lane: CATALOGUE_LANE, events, place: 0, places: BTreeMap::new() }
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
            self.places.insert(self.lane, self.place);
            self.lane = self.sections.u16()?;
            self.events = Reader::new(self.sections.block()?);
            self.place = self.places.get(&self.lane).copied().unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::event::tests::samples;

    #[test]
    fn sections_come_back_in_order_with_places() {
        let mut lane = Vec::new();
        samples().iter().for_each(|event| event.encode(&mut lane));
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
            .flat_map(|lane| samples().into_iter().enumerate().map(move |(place, event)| (lane, place as u32, event)))
            .collect();
        assert_eq!(seen, expected);
        assert!(for_each::<Malformed>(&payload[..payload.len() - 1], |_, _, _| Ok(())).is_err());
    }

    #[test]
    fn places_go_on_in_a_lanes_next_section() {
        let mut event = Vec::new();
        samples()[0].encode(&mut event);
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
