//! What events after the first do to a reservation: its end moves, its units move, its lines change.

use super::{
    Shard,
    entry::{Entry, Line, Lines, MemberState, NOBODY, REFUSED_MAX},
};
use crate::{
    confirm::UnitsByItem,
    event::{Cancelled, Changed, ConfirmRefused, Extended, Portion, Portions, Settled},
    ids::{ItemNumber, PoolNumber, ReservationId},
    outcome::State,
    stock::{Account, Amounts},
};

impl Shard {
    pub(super) fn lengthen(&mut self, extended: &Extended) {
        let slot = self.slot_of(extended.id);
        let entry = &mut self.reservations[slot];
        assert_eq!(entry.state, State::Held, "only a hold is extended: {}", extended.id);
        let bytes_before = entry.bytes();
        (entry.expires_at, entry.extensions) = (extended.expires_at, extended.extensions);
        self.bytes = self.bytes + entry.bytes() - bytes_before;
        if let Some(membership) = entry.membership_mut().filter(|membership| membership.state == MemberState::Open) {
            membership.deadline = extended.expires_at;
        }
        self.expiries.file(extended.expires_at, slot);
    }

    /// Units were confirmed, or held ones went back. `cause`: the state of a reservation of which nothing is left.
    pub(super) fn settle(&mut self, settled: &Settled<'_>, cause: State) {
        let slot = self.slot_of(settled.id);
        let Self { reservations, customers, budgets, bytes, .. } = self;
        let entry = &mut reservations[slot];
        let before = if settled.late { State::Expired } else { State::Held };
        assert_eq!(entry.state, before, "only such a reservation becomes {}: {}", cause.as_str(), settled.id);
        let bytes_before = entry.bytes();
        for portion in &settled.portions {
            entry.lines.shift(before, portion.pool, (before.account(), cause.account()), portion.units);
        }
        for portion in &settled.returned {
            entry.lines.shift(before, portion.pool, (Account::Held, Account::Available), portion.units);
        }
        if entry.customer != NOBODY {
            let customer = &mut customers[entry.customer];
            let back = if cause == State::Confirmed { &settled.returned } else { &settled.portions };
            for portion in back {
                *bytes = bytes.strict_add_signed(customer.give_up(portion.item, portion.units.into()));
            }
            for portion in settled.portions.iter().filter(|_| settled.late) {
                *bytes = bytes.strict_add_signed(customer.take(portion.item, portion.units.into()));
            }
        }
        let ended_before = entry.ended_at;
        entry.follow_units(cause);
        (entry.ended_at, entry.late) = (settled.at, settled.late);
        entry.end_with(settled.text);
        let (customer, sale, state) = (entry.customer, entry.sale, entry.state);
        if let Some(membership) = entry.membership_mut().filter(|membership| membership.state == MemberState::Open) {
            assert_eq!(cause, State::Released, "a member of an open group is released or waits: {}", settled.id);
            membership.state = MemberState::Left;
        }
        *bytes = *bytes + entry.bytes() - bytes_before;
        if settled.late {
            budgets.unexpire(customer, sale, ended_before, bytes);
        } else if state != State::Held {
            self.live_holds -= 1;
            budgets.close(customer, sale);
            if state == State::Expired {
                budgets.expire(customer, sale, settled.at, bytes);
            }
        }
        if state != State::Held {
            self.retirements.file(settled.at.plus_millis(self.retention_millis), slot);
        }
    }

    pub(super) fn change_lines(&mut self, changed: &Changed) {
        let slot = self.slot_of(changed.id);
        let Self { reservations, customers, prices, pools, bytes, .. } = self;
        let entry = &mut reservations[slot];
        assert_eq!(entry.state, State::Held, "only a hold is changed: {}", changed.id);
        let bytes_before = entry.bytes();
        let mut lines: Vec<Line> = entry.lines.iter(State::Held).collect();
        if entry.history().is_none_or(|history| history.as_made.is_none()) {
            let as_made = (lines.clone().into(), entry.short().into());
            entry.history_mut().as_made = Some(as_made);
        }
        for portion in &changed.returned {
            let mut units = portion.units;
            // The last that was taken goes back first.
            for line in lines.iter_mut().rev().filter(|line| line.pool == portion.pool) {
                let back = units.min(line.amounts.held);
                line.amounts.held -= back;
                units -= back;
            }
            assert_eq!(units, 0, "a hold has the units that go back: {}", changed.id);
        }
        lines.retain(|line| line.amounts.held > 0);
        for portion in &changed.taken {
            let price = prices.intern(portion.price);
            match lines.iter_mut().find(|line| line.pool == portion.pool && line.price == price) {
                Some(line) => line.amounts.held += portion.units,
                None => {
                    // Lines of an item stay together.
                    let last = lines.iter().rposition(|line| pools[line.pool.index()].item == portion.item);
                    let line = Line { pool: portion.pool, price, amounts: Amounts::held(portion.units) };
                    lines.insert(last.map_or(lines.len(), |last| last + 1), line);
                }
            }
        }
        entry.lines = Lines::held(lines.into_iter());
        if let Some(extras) = entry.texts.as_deref_mut().and_then(|texts| texts.extras.as_deref_mut()) {
            extras.short = Box::default();
        }
        if entry.customer != NOBODY {
            let customer = &mut customers[entry.customer];
            for portion in &changed.returned {
                *bytes = bytes.strict_add_signed(customer.give_up(portion.item, portion.units.into()));
            }
            for portion in &changed.taken {
                *bytes = bytes.strict_add_signed(customer.take(portion.item, portion.units.into()));
            }
        }
        *bytes = *bytes + entry.bytes() - bytes_before;
    }

    pub(super) fn cancel_units(&mut self, cancelled: &Cancelled<'_>) {
        let slot = self.slot_of(cancelled.id);
        let Self { reservations, customers, bytes, .. } = self;
        let entry = &mut reservations[slot];
        assert_eq!(entry.state, State::Confirmed, "only confirmed units are cancelled: {}", cancelled.id);
        let bytes_before = entry.bytes();
        for portion in &cancelled.portions {
            entry.lines.shift(State::Confirmed, portion.pool, (Account::Confirmed, Account::Available), portion.units);
        }
        // In a snapshot, an event without units brings back a key.
        if !cancelled.portions.is_empty() {
            entry.follow_units(State::Cancelled);
        }
        if let Some((key, fingerprint)) = cancelled.key.filter(|_| entry.customer != NOBODY) {
            entry.history_mut().cancellations.push((key.into(), fingerprint));
        }
        if let Some(reason) = cancelled.reason {
            entry.history_mut().cancel_reason = Some(reason.into());
        }
        if entry.state == State::Cancelled {
            let confirmed_at = std::mem::replace(&mut entry.ended_at, cancelled.at);
            entry.history_mut().confirmed_at = Some(confirmed_at);
            self.retirements.file(cancelled.at.plus_millis(self.retention_millis), slot);
        }
        if entry.customer != NOBODY {
            let customer = &mut customers[entry.customer];
            for portion in &cancelled.portions {
                *bytes = bytes.strict_add_signed(customer.give_up(portion.item, portion.units.into()));
            }
        }
        *bytes = *bytes + entry.bytes() - bytes_before;
    }

    pub(super) fn note_refused(&mut self, refused: &ConfirmRefused<'_>) {
        let slot = self.slot_of(refused.id);
        let entry = &mut self.reservations[slot];
        let bytes_before = entry.bytes();
        // After an erasure no text of a caller is kept.
        let reference = refused.reference.filter(|_| entry.customer != NOBODY).map(Box::from);
        let known = &mut entry.history_mut().refused;
        if known.len() == REFUSED_MAX {
            known.remove(0);
        }
        known.push((reference, refused.cause));
        self.bytes = self.bytes + entry.bytes() - bytes_before;
    }

    /// Portions of these units of each item, in the order of the lines or against it, and those of the rest.
    pub(crate) fn portions_of(
        &self,
        slot: u32,
        wanted: &[(ItemNumber, u32)],
        from: Account,
        last_first: bool,
    ) -> (Portions, Portions) {
        let mut all = self.portions(&self.reservations[slot], |amounts| amounts.in_account(from));
        if last_first {
            all.reverse();
        }
        let mut missing = wanted.to_vec();
        let (mut chosen, mut rest) = (Portions::new(), Portions::new());
        for portion in all {
            let missing = missing.iter_mut().find(|(item, _)| *item == portion.item);
            let units = missing.as_ref().map_or(0, |(_, missing)| portion.units.min(*missing));
            if let Some((_, missing)) = missing {
                *missing -= units;
            }
            for (portions, units) in [(&mut chosen, units), (&mut rest, portion.units - units)] {
                if units > 0 {
                    portions.push(Portion { units, ..portion });
                }
            }
        }
        (chosen, rest)
    }

    /// Units of each item of a reservation, as far as it has some.
    pub(crate) fn by_item(&self, slot: u32, units: impl Fn(Amounts) -> u32) -> UnitsByItem {
        let mut by_item = UnitsByItem::new();
        for portion in self.portions(&self.reservations[slot], units) {
            match by_item.iter_mut().find(|(item, _)| *item == portion.item) {
                Some((_, units)) => *units += portion.units,
                None => by_item.push((portion.item, portion.units)),
            }
        }
        by_item
    }

    /// Units of the item that a reservation's customer holds or has confirmed.
    pub(crate) fn units_of_customer(&self, entry: &Entry, item: ItemNumber) -> u64 {
        if entry.is_somebodys() { self.customers[entry.customer].units(item) } else { 0 }
    }

    /// The pools of an expired reservation, with the units that it had there. None if it is not in memory.
    pub fn pools_of(&self, id: ReservationId) -> Vec<(PoolNumber, u32)> {
        let Some(slot) = self.find(id) else { return Vec::new() };
        let mut pools: Vec<(PoolNumber, u32)> = Vec::new();
        for portion in self.portions(&self.reservations[slot], |amounts| amounts.returned) {
            match pools.iter_mut().find(|(pool, _)| *pool == portion.pool) {
                Some((_, units)) => *units += portion.units,
                None => pools.push((portion.pool, portion.units)),
            }
        }
        pools
    }

    /// The fingerprint of the request that a cancellation's key stands for.
    pub(crate) fn cancelled_by(&self, slot: u32, key: &str) -> Option<u64> {
        let known = &self.reservations[slot].history()?.cancellations;
        known.iter().find(|(known, _)| **known == *key).map(|(_, fingerprint)| *fingerprint)
    }

    /// Whether a confirmation with this reference was recorded as refused.
    pub(crate) fn has_refused(&self, slot: u32, reference: Option<&str>) -> bool {
        let history = self.reservations[slot].history();
        history.is_some_and(|history| history.refused.iter().any(|(known, _)| known.as_deref() == reference))
    }
}
