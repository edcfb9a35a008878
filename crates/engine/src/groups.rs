//! Group deals: customers open and join groups, leave them, and groups end.
//!
//! Invariant: what changes a group is one step under all locks, in which all shards are at one time. So a cut has all of it or nothing,
//! members agree on their group at every instant, and nothing else pays for it. The table of groups has a mutex of its own, which is
//! taken after the shards' locks; it changes under all of them.

use std::sync::atomic::Ordering;

use super::{
    Answer, Bounds, Engine, Guards, Made, Published,
    reserve::{Again, Totals, pools_of},
    stock::AllShards,
};
use sale::{
    event::{GroupChanged, GroupStep, JoinedGroup},
    groups::{GroupCounts, Groups, new_id},
    ids::{GroupId, ReservationId},
    judge::{Judgement, Plan, allocate},
    outcome::{GroupState, Refusal, Reservation},
    time::Timestamp,
};

/// Members whose groups fail in one step, about: each step holds all locks.
const MEMBERS_PER_STEP: usize = 128;
/// Ended groups that are forgotten in one step.
const FORGETS_PER_STEP: usize = 1024;

impl Engine {
    pub fn group_counts(&self) -> GroupCounts {
        self.groups.lock().counts()
    }

    /// A reserve of an item that is sold to groups. Under all locks, as members are of several shards.
    pub(super) fn reserve_in_group(
        &self,
        now: Timestamp,
        plan: &Plan<'_>,
        published: &Published,
        index: usize,
        entropy: u64,
    ) -> Result<Answer<Result<Made, Refusal>>, Again> {
        let mut guards = self.lock_all();
        if guards[index].catalogue_version != published.catalogue.version() {
            return Err(Again::Catalogue);
        }
        let bounds = &published.bounds;
        let time = meet(&mut guards, now);
        self.serve_pools(now, pools_of(&plan.lines), &mut guards, published);
        let mut groups = self.groups.lock();
        if let Some(group) = &plan.group
            && let Some(asked) = group.joins
            && groups.get(asked).is_some_and(|group| time >= group.expires_at)
            && groups.refuse_unless_sold_to_groups(group, asked, (plan.request.sale, plan.lines[0].item)).is_ok()
        {
            self.fail(asked, time, &mut guards, &mut groups, bounds);
        }
        let joined = self.joins(plan, &guards, &groups, index, entropy);
        let totals = Totals::of(plan, &guards);
        let planned = joined.as_ref().map(|_| plan);
        let judgement = guards[index]
            .shard
            .judge(now, &plan.request, planned, |_, plan| allocate(plan, &AllShards(|pool| totals.available(pool))));
        let grant = match judgement {
            Judgement::Grant(grant) => grant,
            Judgement::Outdated => return Err(Again::At(time)),
            judgement => {
                if let Judgement::Known(id) = judgement
                    && let Some(group) = guards[index].shard.overdue_group(now, id)
                {
                    self.fail(group, time, &mut guards, &mut groups, bounds);
                }
                if let Judgement::Short(_) = judgement {
                    self.tighten_short(&plan.lines, &totals, &guards, published, None);
                }
                let epoch = newest(&guards);
                let cell = &mut guards[index];
                if let Judgement::Refused(Refusal::AlreadyInGroup(member)) = &judgement {
                    // A complete group's member may be past its end.
                    let looked = self.decide(index, bounds, cell, |shard, record| shard.look(now, member.id, record));
                    let refused = looked.and_then(|shown| Err(Refusal::AlreadyInGroup(Box::new(shown))));
                    return Ok(Answer { durable_at: cell.lane.last_epoch.max(epoch), value: refused });
                }
                let answer = self.conclude(now, judgement, Some(plan), published, index, cell, entropy);
                // It rests on other members, too.
                return Ok(Answer { durable_at: answer.durable_at.max(epoch), ..answer });
            }
        };
        let joined = joined.expect("only a reserve that can join is granted");
        self.tighten_short(&plan.lines, &totals, &guards, published, Some(&grant));
        let portions = grant.portions.iter().map(|portion| (portion.pool, portion.units));
        self.gather(&mut guards, portions, |pool| totals.available(pool), index);
        let reservation = self.decide(index, bounds, &mut guards[index], |shard, record| {
            shard.hold_in(plan, grant, entropy, Some(Box::new(joined)), record)
        });
        let (sale, item) = (reservation.sale, plan.lines[0].item);
        groups.add(&joined, reservation.id, sale, item);
        self.follow_join(&joined, reservation.id, time, &mut guards, &mut groups, bounds);
        let made = Made { reservation, replayed_of: None };
        Ok(self.answer(Ok(made), &guards[index].lane))
    }

    /// The group that a reserve would open or join, at one time of all shards.
    fn joins(
        &self,
        plan: &Plan<'_>,
        guards: &Guards<'_>,
        groups: &Groups,
        index: usize,
        entropy: u64,
    ) -> Result<JoinedGroup, Refusal> {
        let asked = plan.group.as_ref().expect("its item is sold to groups");
        let (request, shard) = (&plan.request, &guards[index].shard);
        let place = (request.sale, plan.lines[0].item);
        if let Some(id) = asked.joins {
            groups.refuse_unless_sold_to_groups(asked, id, place)?;
            // Of one customer, all reservations are in one bucket.
            let near = groups.members(id).iter().filter(|member| member.bucket() == request.bucket);
            let mut own = near.filter_map(|&member| shard.member_of(member, request.customer));
            if let Some(reservation) = own.next() {
                return Err(Refusal::AlreadyInGroup(Box::new(reservation)));
            }
        }
        let new = new_id(shard.now(), request.bucket, entropy);
        let is_known = |member| guards[self.shard_of(member)].shard.has(member);
        groups.join(shard.now(), asked, place, new, is_known)
    }

    /// Under all locks: the group that a hold in this shard would open, and what time it is.
    pub(super) fn opens_group(
        &self,
        now: Timestamp,
        plan: &Plan<'_>,
        guards: &mut Guards<'_>,
        index: usize,
        entropy: u64,
    ) -> (JoinedGroup, Timestamp) {
        let time = meet(guards, now);
        let joined = self.joins(plan, guards, &self.groups.lock(), index, entropy);
        (joined.expect("a group can be opened at any time"), time)
    }

    /// Under all locks: its first member has it.
    pub(super) fn opened_group(
        &self,
        joined: &JoinedGroup,
        first: &Reservation,
        time: Timestamp,
        guards: &mut Guards<'_>,
        bounds: &Bounds,
    ) {
        let mut groups = self.groups.lock();
        groups.add(joined, first.id, first.sale, first.lines[0].item);
        self.follow_join(joined, first.id, time, guards, &mut groups, bounds);
    }

    /// What follows for the group when a member has joined.
    fn follow_join(
        &self,
        joined: &JoinedGroup,
        member: ReservationId,
        time: Timestamp,
        guards: &mut Guards<'_>,
        groups: &mut Groups,
        bounds: &Bounds,
    ) {
        let &JoinedGroup { id, size, members, .. } = joined;
        if members == size {
            let group = groups.end(id, GroupState::Complete, time);
            for &other in group.members.iter().filter(|&&other| other != member) {
                self.in_shard(other, guards, bounds, |shard, record| shard.complete_member(other, size, record));
            }
            self.note_group(group.changed(id, time, GroupStep::Completed), guards, bounds);
            return;
        }
        self.share_count(id, guards, groups);
        if members == 1 {
            let group = groups.get(id).expect("it was just opened");
            self.note_group(group.changed(id, time, GroupStep::Opened), guards, bounds);
        }
    }

    /// Has all members of an open group know how many they are. Their answers wait for what made it so.
    fn share_count(&self, id: GroupId, guards: &mut Guards<'_>, groups: &Groups) {
        let Some(group) = groups.get(id) else { return };
        let epoch = self.open_epoch.load(Ordering::Relaxed);
        for &member in &group.members {
            let cell = &mut guards[self.shard_of(member)];
            cell.shard.set_group_members(member, group.members.len() as u8);
            cell.lane.last_epoch = epoch;
        }
    }

    /// Releases a member of an open group: it leaves the group, and with the last one the group fails.
    pub(super) fn leave_group(
        &self,
        now: Timestamp,
        id: ReservationId,
        reason: Option<&str>,
    ) -> Answer<Result<Reservation, Refusal>> {
        let index = self.shard_of(id);
        let mut guards = self.lock_all();
        let published = self.published.load_full();
        let mut groups = self.groups.lock();
        let time = meet(&mut guards, now);
        if let Some(group) = guards[index].shard.overdue_group(now, id) {
            self.fail(group, time, &mut guards, &mut groups, &published.bounds);
        }
        // It may have ended meanwhile: then this is the release of a reservation like any other.
        let group = guards[index].shard.open_group(id);
        let left = group.map(|group| (group, groups.leave(group, id)));
        let released = self.decide(index, &published.bounds, &mut guards[index], |shard, record| {
            shard.release(now, id, reason, record)
        });
        match left {
            Some((group, 0)) => {
                let ended = groups.end(group, GroupState::Failed, time);
                self.note_group(ended.changed(group, time, GroupStep::Failed), &mut guards, &published.bounds);
            }
            Some((group, _)) => self.share_count(group, &mut guards, &groups),
            None => {}
        }
        self.answer(released, &guards[index].lane)
    }

    /// What would come of a reserve in a group; see `try_out`.
    pub(super) fn try_group(
        &self,
        now: Timestamp,
        plan: &Plan<'_>,
        guards: &mut Guards<'_>,
        index: usize,
    ) -> Result<JoinedGroup, Refusal> {
        meet(guards, now);
        self.joins(plan, guards, &self.groups.lock(), index, 0)
    }

    /// Fails the groups whose time is over. Returns how many members were released.
    pub(super) fn fail_due_groups(&self, now: Timestamp) -> usize {
        let mut released = 0;
        loop {
            let time = self.time(now);
            if self.groups.lock().due(time).is_none() {
                return released;
            }
            let mut guards = self.lock_all();
            let published = self.published.load_full();
            let mut groups = self.groups.lock();
            let time = meet(&mut guards, now);
            let mut in_step = 0;
            while in_step < MEMBERS_PER_STEP
                && let Some(group) = groups.due(time)
            {
                in_step += self.fail(group, time, &mut guards, &mut groups, &published.bounds);
            }
            released += in_step;
        }
    }

    /// Forgets complete groups none of whose members is in memory.
    pub(super) fn forget_groups(&self, now: Timestamp) {
        let time = self.time(now);
        for _ in 0..FORGETS_PER_STEP {
            let Some((id, members)) = self.groups.lock().take_forgettable(time) else { return };
            // What left memory does not come back, so one look at each is enough.
            let is_known = |&member: &ReservationId| self.cells[self.shard_of(member)].cell.lock().shard.has(member);
            if members.iter().any(is_known) {
                self.groups.lock().keep(id, time);
            } else {
                self.groups.lock().forget(id);
            }
        }
    }

    /// Fails the group of this member if its time is over.
    pub(super) fn fail_group_of(&self, now: Timestamp, id: ReservationId) {
        let mut guards = self.lock_all();
        let published = self.published.load_full();
        self.fail_if_overdue(now, id, &mut guards, &published.bounds);
    }

    /// As `fail_group_of`, under all locks.
    pub(super) fn fail_if_overdue(&self, now: Timestamp, id: ReservationId, guards: &mut Guards<'_>, bounds: &Bounds) {
        let index = self.shard_of(id);
        if let Some(group) = guards[index].shard.overdue_group(now, id) {
            let time = meet(guards, now);
            self.fail(group, time, guards, &mut self.groups.lock(), bounds);
        }
    }

    /// Fails a group: all of its members are released. How many there were.
    fn fail(
        &self,
        id: GroupId,
        time: Timestamp,
        guards: &mut Guards<'_>,
        groups: &mut Groups,
        bounds: &Bounds,
    ) -> usize {
        let group = groups.end(id, GroupState::Failed, time);
        assert!(time >= group.expires_at, "no group fails early");
        let members = group.members.len();
        for &member in &group.members {
            self.in_shard(member, guards, bounds, |shard, record| shard.fail_member(member, members as u8, record));
        }
        self.note_group(group.changed(id, time, GroupStep::Failed), guards, bounds);
        members
    }

    pub(super) fn note_group(&self, changed: GroupChanged, guards: &mut Guards<'_>, bounds: &Bounds) {
        self.in_shard(changed.id, guards, bounds, |shard, record| shard.note_group(changed, record));
    }

    /// Runs a decision of the shard of this id.
    fn in_shard<T>(
        &self,
        id: ReservationId,
        guards: &mut Guards<'_>,
        bounds: &Bounds,
        decide: impl FnOnce(&mut sale::shard::Shard, &mut super::Recorder<'_>) -> T,
    ) -> T {
        let index = self.shard_of(id);
        self.decide(index, bounds, &mut guards[index], decide)
    }
}

/// Brings all shards to one time.
fn meet(guards: &mut Guards<'_>, now: Timestamp) -> Timestamp {
    let time = guards.iter_mut().map(|cell| cell.shard.time(now)).max().expect("there is a shard");
    guards.iter_mut().for_each(|cell| cell.shard.catch_up(time));
    time
}

/// The epoch with which all that happened so far is durable.
pub(super) fn newest(guards: &Guards<'_>) -> super::Epoch {
    guards.iter().map(|cell| cell.lane.last_epoch).max().unwrap_or_default()
}

/// The table of groups that the members of these shards are in.
pub(super) fn rebuild(shards: &mut [sale::shard::Shard], retention_millis: u64) -> Groups {
    let mut groups = Groups::new(retention_millis);
    for shard in shards.iter() {
        shard.memberships(|known| groups.restore(known));
    }
    for (_, group) in groups.iter() {
        for member in &group.members {
            let index = member.bucket().shard(shards.len());
            shards[index].set_group_members(*member, group.members.len() as u8);
        }
    }
    groups
}

/// When the hold of a reserve in a group would end.
pub(super) fn expires_at(tried: &JoinedGroup, now: Timestamp, plan: &Plan<'_>) -> Timestamp {
    if tried.members < tried.size { tried.expires_at } else { now.plus_seconds(plan.hold_seconds.into()) }
}
