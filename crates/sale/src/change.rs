//! Changes of a hold's lines, in one step: as if the old units were free for it.
//!
//! Invariants: units that stay keep their pool and price; a refused change changes nothing. What a hold gets more of is judged as a
//! new reserve is, by the sale, its phases, stock and limits. What it gives back needs none of that.

use std::sync::Arc;

use compact_str::CompactString;
use smallvec::SmallVec;

use super::{
    attributes::Attributes,
    catalogue::Catalogue,
    command::{AskedLine, Extras, Reserve},
    confirm::UnitsByItem,
    decide::Record,
    event::{Changed, CustomerEvent, Portion, Portions, PricedPortions},
    ids::{Bucket, ItemNumber, PoolNumber, ReservationId, SaleNumber},
    judge::{Allocation, LimitExceeded, PlanLine, Reading, Request, Shortages, Stock, allocate_lines},
    outcome::{Refusal, Reservation},
    settings::Invalid,
    shard::Shard,
    stock::Account,
    time::{Now, Timestamp},
    transition::{Command, Transition, transition},
};

/// A hold as a change finds it.
#[derive(Debug, Clone)]
pub struct Hold {
    pub id: ReservationId,
    pub sale: SaleNumber,
    customer: CompactString,
    attributes: Option<Arc<Attributes<'static>>>,
    units: UnitsByItem,
}

/// What a hold is to have.
#[derive(Debug)]
pub struct Target {
    lines: SmallVec<[TargetLine; 2]>,
}

#[derive(Debug)]
struct TargetLine {
    item: ItemNumber,
    units: u32,
    /// Units that the hold has now.
    held: u32,
    /// If it gets more: from where.
    plan: Option<PlanLine>,
}

/// What comes of a change.
#[derive(Debug)]
pub enum Judged {
    Change(Moved),
    Short(Shortages),
    LimitExceeded(LimitExceeded),
    /// The driver's stock does not decide it; that of all shards does.
    Unsure,
}

/// The units that a change moves.
#[derive(Debug, Default)]
pub struct Moved {
    pub returned: Portions,
    pub taken: PricedPortions,
}

impl Target {
    /// Checks what needs no shard. `now`: of the hold's shard.
    pub fn plan(catalogue: &Catalogue, now: Now, hold: &Hold, lines: &[AskedLine<'_>]) -> Result<Self, Refusal> {
        let sale = catalogue.sale_numbered(hold.sale);
        let mut target = Self { lines: SmallVec::new() };
        for line in lines {
            let item = sale.item(line.sku).ok_or_else(|| Refusal::ItemNotFound { sku: line.sku.to_owned() })?.number;
            let held = hold.units.iter().find(|(known, _)| *known == item).map_or(0, |(_, units)| *units);
            target.lines.push(TargetLine { item, units: line.units, held, plan: None });
        }
        let attributes = hold.attributes.as_deref().cloned().unwrap_or_default();
        let extras = Extras { attributes, ..Extras::default() };
        let grows = |line: &&AskedLine<'_>| {
            let item = sale.item(line.sku).map(|item| item.number);
            target.lines.iter().any(|known| Some(known.item) == item && known.units > known.held)
        };
        let growing: SmallVec<[AskedLine<'_>; 2]> = lines.iter().filter(grows).copied().collect();
        if growing.is_empty() {
            return Ok(target);
        }
        let asked = Reserve {
            sale: &sale.settings.id,
            customer: &hold.customer,
            lines: growing,
            hold_seconds: None,
            reference: None,
            key: None,
            extras: Some(&extras),
        };
        let bucket = Bucket::of(&hold.customer);
        let request =
            Request { sale: hold.sale, customer: &hold.customer, bucket, key: None, reference: None, attributes: None };
        let plan = catalogue.plan(now, sale, request, &asked)?;
        if plan.group.is_some() {
            let detail = "must not ask for more units of an item that is sold to groups: reserve them in a group";
            return Err(Refusal::Invalid(vec![Invalid::new("/lines", detail)]));
        }
        for planned in plan.lines {
            let line = target.lines.iter_mut().find(|line| line.item == planned.item).expect("it is one of them");
            line.plan = Some(planned);
        }
        Ok(target)
    }

    /// Whether the hold gets more of anything.
    pub fn grows(&self) -> bool {
        self.lines.iter().any(|line| line.plan.is_some())
    }

    /// The lines that the hold gets more of.
    pub fn growing(&self) -> impl Iterator<Item = &PlanLine> {
        self.lines.iter().filter_map(|line| line.plan.as_ref())
    }
}

impl Shard {
    /// The hold, if it can be changed.
    pub fn hold_to_change(
        &mut self,
        now: Timestamp,
        id: ReservationId,
        record: &mut impl Record,
    ) -> Result<Hold, Refusal> {
        let (slot, _) = self.current(now, id, record)?;
        let entry = &self.reservations[slot];
        match transition(entry.state, Command::Change) {
            Transition::Change => {}
            Transition::Refuse(reason) => return Err(self.refuse(slot, reason)),
            other => unreachable!("a change comes to {other:?}"),
        }
        self.refuse_if_open(slot)?;
        let entry = &self.reservations[slot];
        let shown = self.show(slot);
        let units = self.by_item(slot, |amounts| amounts.held);
        Ok(Hold { id, sale: entry.sale, customer: shown.customer, attributes: shown.attributes, units })
    }

    /// Judges a change, under the lock under which the hold was found. Changes nothing.
    pub fn judge_change<S: Stock>(&self, hold: &Hold, target: &Target, stock: &S) -> Judged {
        let slot = self.find(hold.id).expect("it was just found");
        let old = self.portions(&self.reservations[slot], |amounts| amounts.held);
        let of_item = |item| old.iter().filter(move |portion| portion.item == item).copied();
        let mut moved = Moved::default();
        for &(item, held) in &hold.units {
            let line = target.lines.iter().find(|line| line.item == item);
            let kept = line.map_or(0, |line| line.units);
            if kept < held {
                moved.returned.extend(self.portions_of(slot, &[(item, held - kept)], Account::Held, true).0);
            }
        }
        let (mut lines, mut freed) = (SmallVec::<[PlanLine; 2]>::new(), SmallVec::<[Portion; 2]>::new());
        for (line, plan) in target.lines.iter().filter_map(|line| Some((line, line.plan.as_ref()?))) {
            if plan.may_split {
                lines.push(PlanLine { units: line.units - line.held, ..plan.clone() });
            } else {
                lines.push(plan.clone());
                freed.extend(of_item(line.item));
            }
        }
        let mut short = match allocate_lines(&lines, false, &Freed { stock, freed: &freed }) {
            Allocation::Unsure => return Judged::Unsure,
            Allocation::Short(short) => short,
            Allocation::Grant(grant) => {
                for mut portion in grant.portions {
                    // Units of the pool that the line has already stay.
                    let kept = freed.iter().filter(|old| old.pool == portion.pool).map(|old| old.units).sum::<u32>();
                    portion.units -= kept;
                    moved.taken.push(portion);
                    let others = of_item(portion.item).filter(|old| old.pool != portion.pool);
                    moved.returned.extend(others.filter(|old| freed.contains(old)));
                }
                return match self.limit_of_change(hold, target) {
                    Some(exceeded) => Judged::LimitExceeded(exceeded),
                    None => Judged::Change(moved),
                };
            }
        };
        for short in &mut short {
            let line = target.lines.iter().find(|line| line.item == short.item).expect("it is one of them");
            short.available += u64::from(line.units - short.requested);
            short.requested = line.units;
        }
        Judged::Short(short)
    }

    /// The customer's limit that a change would break.
    fn limit_of_change(&self, hold: &Hold, target: &Target) -> Option<LimitExceeded> {
        let bucket = Bucket::of(&hold.customer);
        target.lines.iter().find_map(|line| {
            let limit = line.plan.as_ref()?.customer_limit?;
            let others = self.units_of(bucket, &hold.customer, line.item).saturating_sub(line.held.into());
            let exceeds = others + u64::from(line.units) > u64::from(limit);
            exceeds.then_some(LimitExceeded { item: line.item, limit, already: others })
        })
    }

    /// Carries out a change, under the lock that it was judged under.
    pub fn change(&mut self, hold: &Hold, moved: Moved, record: &mut impl Record) -> Reservation {
        let Moved { returned, taken } = moved;
        if !returned.is_empty() || !taken.is_empty() {
            let (id, sale, at) = (hold.id, hold.sale, self.now());
            self.take(&CustomerEvent::Changed(Changed { id, sale, at, returned, taken }), record);
        }
        self.show(self.find(hold.id).expect("a hold that is changed stays"))
    }
}

/// Stock and the hold's own units, which count as free.
struct Freed<'a, S> {
    stock: &'a S,
    freed: &'a [Portion],
}

impl<S> Freed<'_, S> {
    fn of(&self, pool: PoolNumber) -> u64 {
        self.freed.iter().filter(|portion| portion.pool == pool).map(|portion| u64::from(portion.units)).sum()
    }
}

impl<S: Stock> Stock for Freed<'_, S> {
    const ONE_INSTANT: bool = S::ONE_INSTANT;

    fn here(&self, pool: PoolNumber) -> u64 {
        self.stock.here(pool) + self.of(pool)
    }

    fn everywhere(&self, pool: PoolNumber) -> Option<Reading> {
        let reading = self.stock.everywhere(pool)?;
        Some(Reading { units: reading.units + self.of(pool), ..reading })
    }

    fn is_still(&self, pool: PoolNumber, reading: Reading) -> bool {
        self.stock.is_still(pool, reading)
    }
}
