//! Groups: customers who get an item together or not at all.
//!
//! The table of groups. A group has members in several shards, so it changes only in steps that hold all of them. Invariants: a group
//! is open until its last member joins, its time is over or everybody left, and whichever comes first is final; an open group has the
//! members that say so in their shards, from which a start rebuilds the table.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    event::{GroupChanged, GroupStep, JoinedGroup},
    ids::{Bucket, GroupId, ItemNumber, ReservationId, SaleNumber},
    outcome::{GroupState, Refusal},
    settings::{GroupSettings, Invalid},
    time::Timestamp,
};

/// What a reserve of an item asks that is sold to groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPlan {
    /// None: it opens a group.
    pub joins: Option<GroupId>,
    /// Of a group that it opens. None: the item is not sold to groups any more, or never was.
    pub settings: Option<GroupSettings>,
    /// The sale's.
    pub closes_at: Timestamp,
}

/// The id of a group that a customer opens. `entropy`: of the request, from which the reservation's id is made too; nobody can tell that
/// from this one.
pub fn new_id(now: Timestamp, bucket: Bucket, entropy: u64) -> GroupId {
    let hash = blake3::derive_key("doorbuster 2026-11 id of a group", &entropy.to_le_bytes());
    let (first, _) = hash.split_first_chunk().expect("a hash has 32 bytes");
    GroupId::new(now, bucket, u64::from_le_bytes(*first))
}

/// A group as the table knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub sale: SaleNumber,
    pub item: ItemNumber,
    pub size: u8,
    pub members: Vec<ReservationId>,
    pub expires_at: Timestamp,
}

/// The groups of a service: those that are open, and those that are complete for as long as a member's reservation is in memory.
#[derive(Debug, Default)]
pub struct Groups {
    retention_millis: u64,
    open: BTreeMap<GroupId, Group>,
    /// How many of an item are open; none of other items are.
    open_of: BTreeMap<ItemNumber, u64>,
    /// When open ones fail.
    deadlines: BTreeSet<(Timestamp, GroupId)>,
    /// The members of complete ones.
    complete: BTreeMap<GroupId, Vec<ReservationId>>,
    /// When complete ones may be forgotten.
    forgets: BTreeSet<(Timestamp, GroupId)>,
    /// Those that completed and failed since the start.
    completed: u64,
    failed: u64,
    released: u64,
}

/// How many groups there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupCounts {
    pub open: u64,
    /// Since the start.
    pub completed: u64,
    /// Since the start.
    pub failed: u64,
    /// Members who were released because their groups failed, since the start.
    pub released: u64,
}

/// A member's knowledge of its group, from which the table is rebuilt.
#[derive(Debug, Clone, Copy)]
pub struct MemberOf {
    pub member: ReservationId,
    pub sale: SaleNumber,
    pub item: ItemNumber,
    pub id: GroupId,
    pub size: u8,
    pub state: GroupState,
    pub expires_at: Timestamp,
}

impl Groups {
    pub fn new(retention_millis: u64) -> Self {
        Self { retention_millis, ..Self::default() }
    }

    pub fn counts(&self) -> GroupCounts {
        GroupCounts {
            open: self.open.len() as u64,
            completed: self.completed,
            failed: self.failed,
            released: self.released,
        }
    }

    /// Open groups of an item.
    pub fn open_of(&self, item: ItemNumber) -> u64 {
        self.open_of.get(&item).copied().unwrap_or(0)
    }

    pub fn get(&self, id: GroupId) -> Option<&Group> {
        self.open.get(&id)
    }

    /// Members of a group that is open or complete.
    pub fn members(&self, id: GroupId) -> &[ReservationId] {
        let open = self.open.get(&id).map(|group| &group.members);
        open.or_else(|| self.complete.get(&id)).map_or(&[], Vec::as_slice)
    }

    /// Refuses to join a group with an item that is not sold to groups, unless the group was opened when it still was.
    pub fn refuse_unless_sold_to_groups(
        &self,
        plan: &GroupPlan,
        id: GroupId,
        place: (SaleNumber, ItemNumber),
    ) -> Result<(), Refusal> {
        let is_of_it = self.get(id).is_some_and(|group| (group.sale, group.item) == place);
        if plan.settings.is_some() || is_of_it {
            return Ok(());
        }
        let detail = "must be left out: this item is not sold to groups";
        Err(Refusal::Invalid(vec![Invalid::new("/group", detail)]))
    }

    /// The group that a reserve opens or joins. `new`: the id of a new one. `is_known`: whether a reservation is in memory.
    pub fn join(
        &self,
        now: Timestamp,
        plan: &GroupPlan,
        (sale, item): (SaleNumber, ItemNumber),
        new: GroupId,
        is_known: impl Fn(ReservationId) -> bool,
    ) -> Result<JoinedGroup, Refusal> {
        let Some(id) = plan.joins else {
            let GroupSettings { size, seconds } =
                plan.settings.expect("a group is opened where the item is sold to groups");
            let expires_at = now.plus_seconds(seconds.into()).min(plan.closes_at);
            return Ok(JoinedGroup { id: new, size, members: 1, expires_at });
        };
        let Some(group) = self.open.get(&id) else {
            let is_complete = self.members(id).iter().any(|&member| is_known(member));
            return Err(if is_complete { Refusal::GroupFull } else { Refusal::GroupClosed });
        };
        if (group.sale, group.item) != (sale, item) {
            let detail = "must be a group of the item that the line asks for";
            return Err(Refusal::Invalid(vec![Invalid::new("/group", detail)]));
        }
        if now >= group.expires_at {
            return Err(Refusal::GroupClosed);
        }
        let members = group.members.len() as u8 + 1;
        Ok(JoinedGroup { id, size: group.size, members, expires_at: group.expires_at })
    }

    /// A member joins, or opens the group.
    ///
    /// # Panics
    /// If the group cannot be joined: `join` says whether it can.
    pub fn add(&mut self, joined: &JoinedGroup, member: ReservationId, sale: SaleNumber, item: ItemNumber) {
        let JoinedGroup { id, size, members, expires_at } = *joined;
        if members == 1 {
            let known = self.complete.contains_key(&id) || !self.deadlines.insert((expires_at, id));
            assert!(!known, "group id {id} was drawn twice");
            self.open(id, Group { sale, item, size, members: Vec::new(), expires_at });
        }
        let group = self.open.get_mut(&id).expect("a group that is joined is open");
        group.members.push(member);
        assert!(group.members.len() <= usize::from(size), "a group has at most {size} members: {id}");
    }

    fn open(&mut self, id: GroupId, group: Group) {
        *self.open_of.entry(group.item).or_default() += 1;
        self.open.insert(id, group);
    }

    /// A member leaves. How many are left.
    pub fn leave(&mut self, id: GroupId, member: ReservationId) -> usize {
        let group = self.open.get_mut(&id).expect("a group that is left is open");
        group.members.retain(|known| *known != member);
        group.members.len()
    }

    /// Ends an open group.
    pub fn end(&mut self, id: GroupId, state: GroupState, at: Timestamp) -> Group {
        let group = self.open.remove(&id).expect("only an open group ends");
        self.deadlines.remove(&(group.expires_at, id));
        let open_of = self.open_of.get_mut(&group.item).expect("it was open");
        *open_of -= 1;
        if *open_of == 0 {
            self.open_of.remove(&group.item);
        }
        match state {
            GroupState::Complete => {
                self.completed += 1;
                self.complete.insert(id, group.members.clone());
                self.keep(id, at);
            }
            GroupState::Failed => {
                self.failed += 1;
                self.released += group.members.len() as u64;
            }
            GroupState::Open => unreachable!("a group ends complete or failed"),
        }
        group
    }

    /// Keeps a complete group for as long as a reservation that ends at this time.
    pub fn keep(&mut self, id: GroupId, at: Timestamp) {
        self.forgets.insert((at.plus_millis(self.retention_millis), id));
    }

    pub fn forget(&mut self, id: GroupId) {
        self.complete.remove(&id);
    }

    /// An open group whose time is over, the earliest first.
    pub fn due(&self, now: Timestamp) -> Option<GroupId> {
        self.deadlines.first().filter(|(deadline, _)| now >= *deadline).map(|(_, id)| *id)
    }

    /// A group that may be forgotten, if none of its members is in memory; else it is to be kept for longer.
    pub fn take_forgettable(&mut self, now: Timestamp) -> Option<(GroupId, Vec<ReservationId>)> {
        let &(at, id) = self.forgets.first().filter(|(at, _)| now >= *at)?;
        self.forgets.remove(&(at, id));
        Some((id, self.complete.get(&id).cloned().unwrap_or_default()))
    }

    /// Time is so much later, or earlier: open groups last as long as they were promised. The events that say so.
    pub fn set_clock(&mut self, at: Timestamp, by: i64) -> Vec<GroupChanged> {
        self.deadlines.clear();
        let mut moved = Vec::with_capacity(self.open.len());
        for (&id, group) in &mut self.open {
            group.expires_at = group.expires_at.shifted(by);
            self.deadlines.insert((group.expires_at, id));
            moved.push(group.changed(id, at, GroupStep::Moved));
        }
        moved
    }

    /// Takes over what a member knows, at a start.
    pub fn restore(&mut self, known: &MemberOf) {
        let &MemberOf { member, sale, item, id, size, state, expires_at } = known;
        match state {
            GroupState::Open => {
                if self.deadlines.insert((expires_at, id)) {
                    self.open(id, Group { sale, item, size, members: Vec::new(), expires_at });
                }
                self.open.get_mut(&id).expect("it has a deadline").members.push(member);
            }
            GroupState::Complete => {
                self.complete.entry(id).or_default().push(member);
                self.keep(id, expires_at);
            }
            GroupState::Failed => {}
        }
    }

    /// The open groups, for a start and for tests.
    pub fn iter(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        self.open.iter().map(|(&id, group)| (id, group))
    }
}

impl Group {
    /// The event of a step of this group.
    pub fn changed(&self, id: GroupId, at: Timestamp, step: GroupStep) -> GroupChanged {
        let &Self { sale, item, size, expires_at, .. } = self;
        GroupChanged { id, sale, item, at, step, size, expires_at, members: self.members.as_slice().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_766_400_000);
    const PLACE: (SaleNumber, ItemNumber) = (SaleNumber(0), ItemNumber(0));

    fn id(number: u64) -> ReservationId {
        ReservationId::new(NOW, Bucket::of("ann"), number << 8)
    }

    fn plan(joins: Option<GroupId>) -> GroupPlan {
        GroupPlan { joins, settings: Some(GroupSettings { size: 2, seconds: 60 }), closes_at: NOW.plus_seconds(600) }
    }

    /// A table with one open group of one member.
    fn opened() -> (Groups, GroupId) {
        let mut groups = Groups::new(1000);
        let joined = groups.join(NOW, &plan(None), PLACE, id(1), |_| true).unwrap();
        assert_eq!(joined, JoinedGroup { id: id(1), size: 2, members: 1, expires_at: NOW.plus_seconds(60) });
        groups.add(&joined, id(11), PLACE.0, PLACE.1);
        (groups, id(1))
    }

    #[test]
    fn the_id_of_a_group_is_not_that_of_its_first_reservation() {
        let [group, other] = [3 << 8, 4 << 8].map(|entropy| new_id(NOW, Bucket::of("ann"), entropy));
        assert_ne!(group.entropy(), id(3).entropy());
        assert_ne!(group, other);
        assert_eq!((group.bucket(), group.created_at()), (Bucket::of("ann"), NOW));
    }

    #[test]
    fn a_group_never_outlasts_its_sale() {
        let late = NOW.plus_seconds(590);
        let joined = Groups::default().join(late, &plan(None), PLACE, id(1), |_| true).unwrap();
        assert_eq!(joined.expires_at, NOW.plus_seconds(600));
    }

    #[test]
    fn a_group_is_joined_until_it_is_complete_and_only_before_its_deadline() {
        let (mut groups, group) = opened();
        let join = |groups: &Groups, at| groups.join(at, &plan(Some(group)), PLACE, id(9), |member| member == id(12));
        let last = NOW.plus_seconds(60);
        assert_eq!(join(&groups, last), Err(Refusal::GroupClosed));
        let joined = join(&groups, Timestamp::from_millis(last.millis() - 1)).unwrap();
        assert_eq!((joined.id, joined.members), (group, 2));
        groups.add(&joined, id(12), PLACE.0, PLACE.1);
        groups.end(group, GroupState::Complete, NOW);
        assert_eq!(join(&groups, NOW), Err(Refusal::GroupFull));
        assert_eq!(groups.members(group), [id(11), id(12)]);
        assert_eq!(groups.counts(), GroupCounts { completed: 1, ..GroupCounts::default() });
        // Long after, nothing is known of it.
        assert_eq!(groups.take_forgettable(NOW.plus_millis(999)), None);
        let (forgotten, members) = groups.take_forgettable(NOW.plus_seconds(1)).unwrap();
        assert_eq!((forgotten, members.len()), (group, 2));
        groups.forget(forgotten);
        assert_eq!(join(&groups, NOW.plus_seconds(1)), Err(Refusal::GroupClosed));
        assert_eq!((groups.complete.len(), groups.forgets.len(), groups.deadlines.len()), (0, 0, 0));
    }

    #[test]
    fn an_item_that_is_sold_to_groups_no_longer_is_still_for_those_that_are_open() {
        let (mut groups, group) = opened();
        let plan = GroupPlan { settings: None, ..plan(Some(group)) };
        let join = |groups: &Groups| groups.join(NOW, &plan, PLACE, id(9), |_| true);
        let refuse = |groups: &Groups, place| groups.refuse_unless_sold_to_groups(&plan, group, place);
        assert_eq!((refuse(&groups, PLACE), join(&groups).unwrap().members), (Ok(()), 2));
        assert!(refuse(&groups, (PLACE.0, ItemNumber(1))).is_err());
        groups.end(group, GroupState::Failed, NOW.plus_seconds(60));
        assert!(matches!(refuse(&groups, PLACE), Err(Refusal::Invalid(_))));
    }

    #[test]
    fn a_group_of_another_item_is_not_joined() {
        let (groups, group) = opened();
        for place in [(SaleNumber(1), PLACE.1), (PLACE.0, ItemNumber(1))] {
            let joined = groups.join(NOW, &plan(Some(group)), place, id(9), |_| true);
            assert!(matches!(joined, Err(Refusal::Invalid(_))), "{joined:?}");
        }
        assert_eq!(groups.join(NOW, &plan(Some(id(77))), PLACE, id(9), |_| true), Err(Refusal::GroupClosed));
    }

    #[test]
    fn a_group_is_due_at_its_deadline_and_moves_with_the_clock() {
        let (mut groups, group) = opened();
        assert_eq!(groups.due(NOW.plus_millis(59_999)), None);
        assert_eq!(groups.due(NOW.plus_seconds(60)), Some(group));
        let moved = groups.set_clock(NOW, 5000);
        assert_eq!((moved[0].step, moved[0].expires_at), (GroupStep::Moved, NOW.plus_seconds(65)));
        assert_eq!((groups.due(NOW.plus_seconds(64)), groups.due(NOW.plus_seconds(65))), (None, Some(group)));
        assert_eq!(groups.leave(group, id(11)), 0);
        groups.end(group, GroupState::Failed, NOW);
        assert_eq!((groups.due(Timestamp::MAX), groups.members(group)), (None, &[][..]));
    }
}
