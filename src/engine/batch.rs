//! A batch: the payload of one journal frame, cut from all lanes at one instant.
//!
//! Layout: sections of `lane u16, length u32, events`, little-endian; the catalogue's lane first, then shards in order.
//! Invariant: an event of a shard's lane finds everything of the catalogue that it needs in the same batch or before.

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
    let mut sections = Reader::new(payload);
    while !sections.is_empty() {
        let lane = sections.u16()?;
        let mut events = Reader::new(sections.block()?);
        let mut place = 0;
        while let Some(event) = Event::decode(&mut events)? {
            each(lane, place, event)?;
            place += 1;
        }
    }
    Ok(())
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
}
