//! Groups of the world in miniature: opened, joined, left, complete and failed.

use super::*;
use crate::sale::{
    event::{GroupChanged, GroupNoted, GroupStep, JoinedGroup},
    ids::GroupId,
    outcome::GroupState,
};

/// An open group.
pub(super) struct Open {
    id: GroupId,
    sale: SaleNumber,
    item: ItemNumber,
    size: u8,
    members: Vec<ReservationId>,
    expires_at: Timestamp,
}

impl World {
    /// The group that a reservation of this item opens or joins.
    pub(super) fn joined(&self, id: ReservationId, item: ItemNumber, sort: u8) -> JoinedGroup {
        let joins = self.groups.iter().find(|group| group.item == item && sort.is_multiple_of(2));
        let new = || JoinedGroup {
            id: reservation_id(self.now, "opener", self.entropy + 7),
            size: 2 + sort % 2,
            members: 1,
            expires_at: self.now.plus_seconds(100),
        };
        debug_assert!(self.reservations.iter().all(|made| made.id != id));
        joins.map_or_else(new, |group| {
            let &Open { id, size, expires_at, .. } = group;
            JoinedGroup { id, size, members: group.members.len() as u8 + 1, expires_at }
        })
    }

    /// What follows when the reservation is a member.
    pub(super) fn follow(&mut self, joined: &JoinedGroup, id: ReservationId, sale: SaleNumber, item: ItemNumber) {
        let &JoinedGroup { id: group, size, members, expires_at } = joined;
        if members == 1 {
            self.groups.push(Open { id: group, sale, item, size, members: Vec::new(), expires_at });
        }
        let place = self.groups.iter().position(|open| open.id == group).unwrap();
        self.groups[place].members.push(id);
        if members == 1 {
            self.tell_group(place, GroupStep::Opened);
        }
        if members == size {
            let others: Vec<_> = self.groups[place].members.iter().copied().filter(|other| *other != id).collect();
            let expires_at = self.now.plus_seconds(120);
            others.into_iter().for_each(|member| self.note(place, member, GroupState::Complete, expires_at));
            self.tell_group(place, GroupStep::Completed);
            self.groups.remove(place);
        }
    }

    pub(super) fn is_open_member(&self, id: ReservationId) -> bool {
        self.groups.iter().any(|group| group.members.contains(&id))
    }

    /// The reservation is about to be released by its customer.
    pub(super) fn leave(&mut self, id: ReservationId) {
        let Some(place) = self.groups.iter().position(|group| group.members.contains(&id)) else { return };
        self.groups[place].members.retain(|member| *member != id);
        if self.groups[place].members.is_empty() {
            let expires_at = self.groups[place].expires_at;
            self.note(place, id, GroupState::Failed, expires_at);
            self.tell_group(place, GroupStep::Failed);
            self.groups.remove(place);
        }
    }

    /// One of the open groups fails.
    pub(super) fn fail(&mut self, pick: usize) {
        if self.groups.is_empty() {
            return;
        }
        let place = pick % self.groups.len();
        let expires_at = self.groups[place].expires_at;
        for id in self.groups[place].members.clone() {
            self.note(place, id, GroupState::Failed, expires_at);
            let made = self.reservations.iter_mut().find(|made| made.id == id).unwrap();
            made.state = State::Released;
            let (sale, portions, at) = (made.sale, made.units.clone(), self.now);
            self.put_back(&portions);
            let (text, returned, late) = (Some("group_failed"), Portions::new(), false);
            self.tell(&CustomerEvent::Released(Settled { id, sale, at, text, portions, returned, late }).into());
        }
        self.tell_group(place, GroupStep::Failed);
        self.groups.remove(place);
    }

    fn note(&mut self, place: usize, id: ReservationId, state: GroupState, expires_at: Timestamp) {
        let group = &self.groups[place];
        let (sale, members, deadline, at) = (group.sale, group.size, group.expires_at, self.now);
        self.tell(&CustomerEvent::GroupNoted(GroupNoted { id, sale, at, state, members, deadline, expires_at }).into());
    }

    fn tell_group(&mut self, place: usize, step: GroupStep) {
        let &Open { id, sale, item, size, expires_at, ref members } = &self.groups[place];
        let (members, at) = (members.as_slice().into(), self.now);
        let changed = GroupChanged { id, sale, item, at, step, size, expires_at, members };
        self.tell(&CustomerEvent::GroupChanged(changed).into());
    }
}
