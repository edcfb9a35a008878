//! Members of groups: what a reservation knows of its group.
//!
//! Invariants: an open member is held, ends with its group and by nothing else but its own release, and is never confirmed. How many
//! members an open group has is not recorded: it follows from the members of all shards, and the engine sets it here.

use super::{
    Search, Shard,
    entry::{Entry, MemberState, Membership},
};
use crate::{
    decide::Record,
    event::{CustomerEvent, GroupChanged, GroupNoted, JoinedGroup, Portions, Settled},
    groups::MemberOf,
    ids::{GroupId, ReservationId},
    outcome::{Group, GroupState, Refusal, Reservation},
    time::Timestamp,
};

/// The reason of a release when a group fails.
pub const GROUP_FAILED: &str = "group_failed";

impl Membership {
    /// `at`: when it joined.
    pub(super) fn new(joined: JoinedGroup, at: Timestamp) -> Self {
        let state = if joined.members == joined.size { MemberState::Complete } else { MemberState::Open };
        Self { joined, members: joined.members, state, deadline: joined.expires_at, completed_at: at }
    }

    pub(super) fn group_state(&self) -> Option<GroupState> {
        match self.state {
            MemberState::Open => Some(GroupState::Open),
            MemberState::Complete => Some(GroupState::Complete),
            MemberState::Failed => Some(GroupState::Failed),
            MemberState::Left => None,
        }
    }

    /// The group as it is now; None after leaving it.
    pub(super) fn show(&self) -> Option<Box<Group>> {
        let JoinedGroup { id, size, .. } = self.joined;
        let state = self.group_state()?;
        Some(Box::new(Group { id, size, members: self.members, state, expires_at: self.deadline }))
    }
}

impl JoinedGroup {
    /// The group as it was answered to its new member.
    pub(crate) fn show(&self) -> Box<Group> {
        let &Self { id, size, members, expires_at } = self;
        let state = if members == size { GroupState::Complete } else { GroupState::Open };
        Box::new(Group { id, size, members, state, expires_at })
    }
}

impl Shard {
    /// The time of this shard, at least this: all shards of a step are at one time.
    pub fn catch_up(&mut self, time: Timestamp) {
        self.now = self.now.max(time);
    }

    /// The service's time at a steady time, as this shard sees it.
    pub fn time(&mut self, now: Timestamp) -> Timestamp {
        self.advance(now)
    }

    /// The open group that the reservation is a member of.
    pub fn open_group(&self, id: ReservationId) -> Option<GroupId> {
        if self.members == 0 {
            return None;
        }
        let membership = self.reservations[self.find(id)?].membership()?;
        (membership.state == MemberState::Open).then_some(membership.joined.id)
    }

    /// As `open_group`, if the group's time is over.
    pub fn overdue_group(&mut self, now: Timestamp, id: ReservationId) -> Option<GroupId> {
        let group = self.open_group(id)?;
        let now = self.advance(now);
        let entry = &self.reservations[self.find(id)?];
        (now >= entry.expires_at).then_some(group)
    }

    /// Whether the reservation is in memory.
    pub fn has(&self, id: ReservationId) -> bool {
        self.find(id).is_some()
    }

    /// One of those found that is a member of a group whose time is over.
    pub fn overdue_member(&mut self, now: Timestamp, search: &Search) -> Option<ReservationId> {
        if self.members == 0 {
            return None;
        }
        search.newest().0.into_iter().find(|&id| self.overdue_group(now, id).is_some())
    }

    /// The reservation as it is, if it is of this customer and its group counts it.
    pub fn member_of(&self, id: ReservationId, customer: &str) -> Option<Reservation> {
        let slot = self.find(id)?;
        let entry = &self.reservations[slot];
        (entry.is_somebodys() && self.customers[entry.customer].name == customer).then(|| self.show(slot))
    }

    /// How many members the open group of this member has.
    pub fn set_group_members(&mut self, id: ReservationId, members: u8) {
        let slot = self.find(id).expect("a member of an open group is in memory");
        let membership = self.reservations[slot].membership_mut().expect("it is a member");
        assert_eq!(membership.state, MemberState::Open, "the group of {id} is open");
        membership.members = members;
    }

    /// The group of this member is complete: its hold ends like any other from here on.
    pub fn complete_member(&mut self, id: ReservationId, members: u8, record: &mut impl Record) {
        let (entry, at) = (self.member(id), self.now);
        let deadline = entry.expires_at;
        let expires_at = at.plus_seconds(entry.hold_seconds.into());
        let (sale, state) = (entry.sale, GroupState::Complete);
        self.take(
            &CustomerEvent::GroupNoted(GroupNoted { id, sale, at, state, members, deadline, expires_at }),
            record,
        );
    }

    /// The group of this member failed: its units go back.
    pub fn fail_member(&mut self, id: ReservationId, members: u8, record: &mut impl Record) {
        let (slot, at) = (self.slot_of(id), self.now);
        let (sale, deadline, state) = (self.member(id).sale, self.member(id).expires_at, GroupState::Failed);
        let noted = GroupNoted { id, sale, at, state, members, deadline, expires_at: deadline };
        self.take(&CustomerEvent::GroupNoted(noted), record);
        let (portions, returned) = (self.held_portions(slot), Portions::new());
        let settled = Settled { id, sale, at, text: Some(GROUP_FAILED), portions, returned, late: false };
        self.take(&CustomerEvent::Released(settled), record);
    }

    /// Records what became of a group whose id is of a bucket of this shard.
    pub fn note_group(&mut self, changed: GroupChanged, record: &mut impl Record) {
        self.take(&CustomerEvent::GroupChanged(changed), record);
    }

    fn member(&self, id: ReservationId) -> &Entry {
        &self.reservations[self.find(id).expect("a member of an open group is in memory")]
    }

    /// What the members in memory know of their groups.
    pub fn memberships(&self, mut each: impl FnMut(&MemberOf)) {
        if self.members == 0 {
            return;
        }
        for slot in self.buckets.iter().flat_map(|bucket| bucket.by_id.iter()) {
            let entry = &self.reservations[slot];
            let Some(membership) = entry.membership() else { continue };
            let (Some(state), Some((item, _))) = (membership.group_state(), self.lines_of(entry).next()) else {
                continue;
            };
            let (JoinedGroup { id, size, .. }, expires_at) = (membership.joined, membership.deadline);
            each(&MemberOf { member: entry.id, sale: entry.sale, item, id, size, state, expires_at });
        }
    }

    /// Refuses a command for which the reservation's group must be complete.
    pub(crate) fn refuse_if_open(&self, slot: u32) -> Result<(), Refusal> {
        if self.reservations[slot].is_open_member() {
            return Err(Refusal::GroupIncomplete(Box::new(self.show(slot))));
        }
        Ok(())
    }

    pub(super) fn apply_noted(&mut self, noted: &GroupNoted) {
        let slot = self.slot_of(noted.id);
        let entry = &mut self.reservations[slot];
        let membership = entry.membership_mut().unwrap_or_else(|| panic!("{} is of no group", noted.id));
        assert_eq!(membership.state, MemberState::Open, "the group of {} is open", noted.id);
        (membership.members, membership.deadline, membership.completed_at) = (noted.members, noted.deadline, noted.at);
        membership.state = match noted.state {
            GroupState::Open => MemberState::Open,
            GroupState::Complete => MemberState::Complete,
            GroupState::Failed => MemberState::Failed,
        };
        entry.expires_at = noted.expires_at;
        self.expiries.file(noted.expires_at, slot);
    }
}
