//! What answers show of group deals: a group is complete for all of its members at one instant, or fails for all.

use crate::{
    guarantees::{Findings, Guarantee},
    ledger::{Books, Together},
    run::Run,
    wire::{Group, GroupState, Reservation, State},
};

impl Run {
    /// Enters what an answer shows of a reservation's group. Of two answers that cross, the older one may be read last.
    pub fn judge_group(&self, shown: &Reservation) {
        let Some(group) = &shown.group else { return };
        let mut books = self.ledger.books();
        let is_new = !books.groups.contains_key(&group.id);
        let known = books.groups.entry(group.id.clone()).or_insert_with(|| Together {
            sku: shown.lines.keys().next().cloned().unwrap_or_default(),
            size: group.size,
            state: group.state,
            expires_at: group.expires_at,
            holds_until: None,
        });
        let is_of_it = known.size == group.size && known.expires_at == group.expires_at && group.members <= group.size;
        self.findings.check(Guarantee::Contract, is_of_it, || {
            format!("{group:?} of {} was shown before as {known:?}", shown.id)
        });
        self.findings.check(Guarantee::Together, is_together(known, group, shown), || {
            format!("{} is {} until {} in {group:?}, but: {known:?}", shown.id, shown.state.name(), shown.expires_at)
        });
        if known.state == GroupState::Open {
            known.state = group.state;
        }
        if group.state == GroupState::Complete {
            known.holds_until.get_or_insert(shown.expires_at);
        }
        if is_new && group.state == GroupState::Open {
            books.invitations.push(group.id.clone());
        }
    }

    /// A group that may have a place left, by the answers so far; and its item.
    pub fn invitation(&self) -> Option<(String, String)> {
        let now = self.watch.now();
        let mut books = self.ledger.books();
        while !books.invitations.is_empty() {
            let at = rand::random_range(0..books.invitations.len());
            let id = &books.invitations[at];
            let group = &books.groups[id];
            if group.state == GroupState::Open && now < self.watch.latest(group.expires_at) {
                return Some((id.clone(), group.sku.clone()));
            }
            books.invitations.swap_remove(at);
        }
        None
    }
}

fn is_together(known: &Together, group: &Group, shown: &Reservation) -> bool {
    let never_both = !matches!(
        (known.state, group.state),
        (GroupState::Complete, GroupState::Failed) | (GroupState::Failed, GroupState::Complete)
    );
    let stands = match group.state {
        GroupState::Open => {
            shown.state == State::Held && shown.expires_at == group.expires_at && group.members < group.size
        }
        // Nobody extends here: the holds of all members end at one moment.
        GroupState::Complete => known.holds_until.is_none_or(|until| until == shown.expires_at),
        GroupState::Failed => shown.state == State::Released,
    };
    never_both && stands
}

/// At the end: each group that is complete had all its members, and nobody was confirmed in any other.
pub fn judge(books: &Books, findings: &Findings) {
    let mut members = std::collections::HashMap::<&str, (usize, usize)>::new();
    for grant in books.grants.values() {
        let Some(group) = &grant.group else { continue };
        let (granted, confirmed) = members.entry(group).or_default();
        *granted += 1;
        *confirmed += usize::from(grant.state == State::Confirmed);
    }
    for (id, group) in &books.groups {
        let (granted, confirmed) = members.get(id.as_str()).copied().unwrap_or_default();
        let holds = if group.state == GroupState::Complete { granted >= group.size } else { confirmed == 0 };
        findings.check(Guarantee::Together, holds, || {
            format!("{granted} reservations were made in group {id} and {confirmed} are confirmed: {group:?}")
        });
    }
}
