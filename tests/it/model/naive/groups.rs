//! Groups, as a table that everybody can look into.

use doorbuster::sale::{
    groups,
    ids::{Bucket, GroupId},
    outcome::{Group, GroupState, Refusal, State},
    settings::{GroupSettings, Invalid},
    time::Timestamp,
};

use super::{Model, Name, Request};

/// An open group.
#[derive(Debug, Clone)]
pub struct Open {
    sale: Name,
    sku: Name,
    size: u8,
    members: Vec<usize>,
    expires_at: Timestamp,
}

/// The group of a reservation.
#[derive(Debug, Clone)]
pub struct InGroup {
    pub id: GroupId,
    size: u8,
    /// How many members it had with this one.
    joined_as: u8,
    expires_at: Timestamp,
    state: GroupState,
    /// At its end.
    members: u8,
    left: bool,
    completed_at: Option<Timestamp>,
}

/// The group that a request opens or joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joins {
    /// None: a new one.
    id: Option<GroupId>,
    size: u8,
    members: u8,
    expires_at: Timestamp,
}

impl Joins {
    /// When a hold ends that would otherwise end then.
    pub(super) fn until(&self, otherwise: Timestamp) -> Timestamp {
        if self.members < self.size { self.expires_at } else { otherwise }
    }
}

impl Model {
    /// How many groups are open.
    pub fn open_groups(&self) -> usize {
        self.groups.len()
    }

    /// How the item of a request is sold to groups.
    pub(super) fn sold_to_groups(&self, request: &Request) -> Result<Option<GroupSettings>, Refusal> {
        let sale = &self.sales[request.sale];
        let wrong = |pointer: &str| Err(Refusal::Invalid(vec![Invalid::new(pointer, "")]));
        let settings = |sku: &str| sale.settings.items.iter().find(|item| item.sku == sku).and_then(|item| item.group);
        let first = request.lines.iter().find_map(|line| settings(line.0));
        match first {
            Some(_) if request.lines.len() > 1 => wrong("/lines"),
            None if let Some(id) = request.group => match self.groups.get(&id) {
                // Opened when the item was still sold to groups.
                Some(open)
                    if (open.sale, open.sku) == (request.sale, request.lines[0].0) && request.lines.len() == 1 =>
                {
                    Ok(Some(GroupSettings { size: open.size, seconds: 0 }))
                }
                _ => wrong("/group"),
            },
            first => Ok(first),
        }
    }

    pub(super) fn joins(
        &self,
        now: Timestamp,
        request: &Request,
        GroupSettings { size, seconds }: GroupSettings,
    ) -> Result<Joins, Refusal> {
        let Some(id) = request.group else {
            let expires_at = now.plus_seconds(seconds.into()).min(self.sales[request.sale].settings.closes_at);
            return Ok(Joins { id: None, size, members: 1, expires_at });
        };
        let open = self.groups.get(&id);
        let members = open.map(|open| &open.members).or_else(|| self.complete.get(&id));
        for position in members.into_iter().flatten() {
            if let Some(known) = self.reservations.get(position)
                && !known.erased
                && known.request.customer == request.customer
            {
                return Err(Refusal::AlreadyInGroup(Box::new(self.show(*position))));
            }
        }
        let Some(open) = open else {
            let is_known = members.into_iter().flatten().any(|position| self.reservations.contains_key(position));
            return Err(if is_known { Refusal::GroupFull } else { Refusal::GroupClosed });
        };
        if (open.sale, open.sku) != (request.sale, request.lines[0].0) {
            return Err(Refusal::Invalid(vec![Invalid::new("/group", "")]));
        }
        if now >= open.expires_at {
            return Err(Refusal::GroupClosed);
        }
        Ok(Joins { id: Some(id), size: open.size, members: open.members.len() as u8 + 1, expires_at: open.expires_at })
    }

    /// A reserve that could join a group finds out that its time is over.
    pub(super) fn fail_if_asked(&mut self, now: Timestamp, request: &Request) {
        let Some(id) = request.group else { return };
        let is_overdue = self.groups.get(&id).is_some_and(|open| now >= open.expires_at);
        if is_overdue && self.plan(now, request).is_ok_and(|(_, group)| group.is_some()) {
            self.fail_group(now, id);
        }
    }

    /// The reservation is made. What becomes of its group.
    pub(super) fn follow_join(&mut self, now: Timestamp, position: usize, joins: &Joins, entropy: u64) {
        let known = &self.reservations[&position];
        let (sale, sku, customer) = (known.request.sale, known.request.lines[0].0, known.request.customer);
        let &Joins { id, size, members, expires_at } = joins;
        let id = id.unwrap_or_else(|| groups::new_id(now, Bucket::of(customer), entropy));
        let (state, left) = (GroupState::Open, false);
        let in_group =
            InGroup { id, size, joined_as: members, expires_at, state, members: 0, left, completed_at: None };
        self.reservations.get_mut(&position).expect("just made").group = Some(in_group);
        let new = Open { sale, sku, size, members: Vec::new(), expires_at };
        let open = self.groups.entry(id).or_insert(new);
        open.members.push(position);
        self.uncommitted.extend(&open.members);
        if members < size {
            return;
        }
        let open = self.groups.remove(&id).expect("just seen");
        for &member in &open.members {
            let known = self.reservations.get_mut(&member).expect("a member of an open group is known");
            let own = known.group.as_mut().expect("it is a member");
            (own.state, own.members, own.completed_at) = (GroupState::Complete, size, Some(now));
            if member != position {
                // As long as it was to last when it was made.
                known.expires_at = now.plus_seconds(known.hold_seconds_then);
            }
        }
        self.complete.insert(id, open.members);
    }

    pub(super) fn fail_group(&mut self, now: Timestamp, id: GroupId) {
        let open = self.groups.remove(&id).expect("only an open group fails");
        for &member in &open.members {
            self.end(now, member, State::Released);
            let own = self.reservations.get_mut(&member).and_then(|known| known.group.as_mut());
            let own = own.expect("it is a member");
            (own.state, own.members) = (GroupState::Failed, open.members.len() as u8);
        }
    }

    /// Fails the groups whose time is over. How many members that were.
    pub(super) fn fail_due_groups(&mut self, now: Timestamp) -> usize {
        let due = self.groups.iter().filter(|(_, open)| now >= open.expires_at).map(|(&id, _)| id);
        let mut released = 0;
        for id in due.collect::<Vec<_>>() {
            released += self.groups[&id].members.len();
            self.fail_group(now, id);
        }
        released
    }

    /// Whether it is of a group that was open at this moment, or is it still.
    pub(super) fn is_of_group_open_at(&self, position: usize, moment: Timestamp) -> bool {
        let group = self.reservations[&position].group.as_ref();
        group.is_some_and(|own| !own.left && own.completed_at.is_none_or(|at| at >= moment))
    }

    /// The open group of a reservation.
    pub fn open_group(&self, position: usize) -> Option<GroupId> {
        let own = self.reservations.get(&position)?.group.as_ref()?;
        (own.state == GroupState::Open && !own.left).then_some(own.id)
    }

    pub(super) fn refuse_if_open(&self, position: usize) -> Result<(), Refusal> {
        match self.open_group(position) {
            Some(_) => Err(Refusal::GroupIncomplete(Box::new(self.show(position)))),
            None => Ok(()),
        }
    }

    /// The member is about to be released.
    pub(super) fn leave(&mut self, position: usize) {
        let Some(id) = self.open_group(position) else { return };
        let open = self.groups.get_mut(&id).expect("it is open");
        open.members.retain(|&member| member != position);
        let is_last = open.members.is_empty();
        self.uncommitted.extend(&open.members);
        let own = self.reservations.get_mut(&position).and_then(|known| known.group.as_mut());
        let own = own.expect("it is a member");
        own.left = true;
        if is_last {
            self.groups.remove(&id);
        }
    }

    pub(super) fn show_group(&self, own: &InGroup, as_made: bool) -> Option<Box<Group>> {
        let &InGroup { id, size, joined_as, expires_at, state, members, left, .. } = own;
        if as_made {
            let state = if joined_as == size { GroupState::Complete } else { GroupState::Open };
            return Some(Box::new(Group { id, size, members: joined_as, state, expires_at }));
        }
        let members = if state == GroupState::Open && !left { self.groups[&id].members.len() as u8 } else { members };
        (!left).then(|| Box::new(Group { id, size, members, state, expires_at }))
    }
}
