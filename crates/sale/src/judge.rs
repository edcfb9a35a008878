//! The one judgement of a reserve: what there is, what is asked, and what comes of it.
//!
//! A single reserve, the slow path under all locks and a batch are drivers of this judgement. They differ only in what they know
//! of stock: a driver that does not know enough gets `Unsure`, and asks again when it knows more. Invariants: a grant takes every
//! line in full, unless the request allows less; no unit is taken from a later source while an earlier one has one; a shortage is
//! reported only if it is exact.

use smallvec::SmallVec;

use super::{
    attributes::Attributes,
    event::{PricedPortion, PricedPortions},
    groups::GroupPlan,
    ids::{Bucket, EntryId, ItemNumber, PoolNumber, ReservationId, SaleNumber},
    outcome::Refusal,
    settings::{HoldBudget, Price},
    shard::Shard,
    time::Timestamp,
};

/// Who asks: what a reserve is, whatever its sale says of it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub sale: SaleNumber,
    pub customer: &'a str,
    /// The customer's.
    pub bucket: Bucket,
    /// The idempotency key, and the fingerprint of the request.
    pub key: Option<(&'a str, u64)>,
    pub reference: Option<&'a str>,
    /// None if it has none.
    pub attributes: Option<&'a Attributes<'a>>,
}

/// A reserve that has passed all checks without a shard: what to hold, and the limits.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    pub request: Request<'a>,
    pub lines: SmallVec<[PlanLine; 1]>,
    /// Each line gets what is there of it.
    pub allow_partial: bool,
    pub hold_seconds: u32,
    pub hold_budget: Option<HoldBudget>,
    /// Its item is sold to groups.
    pub group: Option<Box<GroupPlan>>,
    /// The waitlist entry that it is offered to.
    pub entry: Option<EntryId>,
    /// From here on the plan may be another: the sale ends, a phase begins or ends, a pool is shared.
    pub until: Timestamp,
}

#[derive(Debug, Clone)]
pub struct PlanLine {
    pub item: ItemNumber,
    pub units: u32,
    pub customer_limit: Option<u32>,
    /// The pools that the line may draw from, in order.
    pub sources: SmallVec<[Source; 1]>,
    /// Whether it may draw from several.
    pub may_split: bool,
    /// The order is that of the most available units.
    pub most_available_first: bool,
}

/// A pool that a line may draw from, and the price there.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    pub pool: PoolNumber,
    pub price: Option<Price>,
}

/// What a driver knows of stock.
pub trait Stock {
    /// Whether all its answers are of one instant. If not, `is_still` tells.
    const ONE_INSTANT: bool;

    /// Units that it may give away without asking others.
    fn here(&self, pool: PoolNumber) -> u64;

    /// Units over all shards; None if it does not know.
    fn everywhere(&self, pool: PoolNumber) -> Option<Reading>;

    /// Whether the pool had these units at every instant since they were read.
    fn is_still(&self, pool: PoolNumber, reading: Reading) -> bool;
}

/// Units of a pool over all shards, as they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub units: u64,
    /// Another one whenever the units changed in between.
    pub stamp: u64,
}

/// What comes of a reserve.
#[derive(Debug)]
pub enum Judgement {
    /// The key stands for this reservation already.
    Known(ReservationId),
    Refused(Refusal),
    /// When it came to be decided the plan was no longer the sale's. It is to be planned again, for the shard's time.
    Outdated,
    /// Each of these lines asks for more than there is.
    Short(Shortages),
    LimitExceeded(LimitExceeded),
    BudgetExceeded(BudgetExceeded),
    /// The driver's stock does not decide it; that of all shards does.
    Unsure,
    /// These units, to be held now.
    Grant(Grant),
}

/// Units for a reserve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub portions: PricedPortions,
    /// Lines that get less than they asked for.
    pub short: Shortages,
}

pub type Shortages = SmallVec<[Short; 1]>;

/// A line that asks for more than is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    pub item: ItemNumber,
    pub requested: u32,
    /// Units that such a line could get.
    pub available: u64,
}

/// A customer's limit that a plan would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitExceeded {
    pub item: ItemNumber,
    pub limit: u32,
    /// Units that the customer holds or has confirmed.
    pub already: u64,
}

/// A customer's hold budget in a sale that a plan would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetExceeded {
    Open { limit: u32, open: u32 },
    Expired { limit: u32, expired: u32, retry_after_seconds: u64 },
}

/// Units for the lines of a plan.
#[derive(Debug)]
pub enum Allocation {
    Grant(Grant),
    Short(Shortages),
    Unsure,
}

/// The driver's stock does not decide a request; that of all shards does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsure;

type Readings = SmallVec<[(PoolNumber, Reading); 4]>;

/// Finds units for every line of a plan, as far as `stock` knows.
pub fn allocate<S: Stock>(plan: &Plan<'_>, stock: &S) -> Allocation {
    allocate_lines(&plan.lines, plan.allow_partial, stock)
}

/// Finds units for every line, as far as `stock` knows.
pub fn allocate_lines<S: Stock>(lines: &[PlanLine], allow_partial: bool, stock: &S) -> Allocation {
    let (mut portions, mut short, mut readings) = (PricedPortions::new(), Shortages::new(), Readings::new());
    for line in lines {
        match allocate_line(line, stock, allow_partial, &mut portions, &mut readings) {
            Found::All => {}
            Found::Only(available) => short.push(Short { item: line.item, requested: line.units, available }),
            Found::Unsure => return Allocation::Unsure,
        }
    }
    // Several numbers that were read one after the other say nothing of one instant, unless they are still the same.
    if !S::ONE_INSTANT && readings.len() > 1 && !readings.iter().all(|&(pool, reading)| stock.is_still(pool, reading)) {
        return Allocation::Unsure;
    }
    if short.is_empty() || (allow_partial && !portions.is_empty()) {
        Allocation::Grant(Grant { portions, short })
    } else {
        Allocation::Short(short)
    }
}

enum Found {
    All,
    /// There are only so many units.
    Only(u64),
    Unsure,
}

#[inline]
fn allocate_line<S: Stock>(
    line: &PlanLine,
    stock: &S,
    allow_partial: bool,
    portions: &mut PricedPortions,
    readings: &mut Readings,
) -> Found {
    let wanted = u64::from(line.units);
    let mut give = |source: &Source, units: u64| {
        let units = u32::try_from(units).expect("no more than the line asks for");
        portions.push(PricedPortion { item: line.item, pool: source.pool, units, price: source.price });
    };
    // Units of this pool over all shards; fewer than enough are exact.
    let mut read = |source: &Source, enough: u64| {
        let here = stock.here(source.pool);
        if here >= enough {
            return Some((here, true));
        }
        let reading = stock.everywhere(source.pool)?;
        if !S::ONE_INSTANT {
            readings.push((source.pool, reading));
        }
        Some((reading.units, reading.units <= here))
    };
    let ordered: SmallVec<[Source; 1]>;
    let sources = if line.most_available_first && line.sources.len() > 1 {
        if !S::ONE_INSTANT {
            return Found::Unsure;
        }
        let mut by_units = line.sources.clone();
        by_units.sort_by_key(|source| std::cmp::Reverse(stock.here(source.pool)));
        ordered = by_units;
        &ordered
    } else {
        &line.sources
    };
    if !line.may_split {
        let mut most: Option<(&Source, u64, bool)> = None;
        for source in sources {
            let Some((units, all_here)) = read(source, wanted) else { return Found::Unsure };
            if units >= wanted {
                give(source, wanted);
                return if all_here { Found::All } else { Found::Unsure };
            }
            if most.is_none_or(|(_, most, _)| units > most) {
                most = Some((source, units, all_here));
            }
        }
        return match most {
            Some((source, units, all_here)) if allow_partial && units > 0 => {
                give(source, units);
                if all_here { Found::Only(units) } else { Found::Unsure }
            }
            most => Found::Only(most.map_or(0, |(_, units, _)| units)),
        };
    }
    let (mut missing, mut asks_others) = (wanted, false);
    for source in sources {
        // Units of this pool on other shards come before any later source.
        let Some((units, all_here)) = read(source, missing) else { return Found::Unsure };
        let taken = units.min(missing);
        if taken > 0 {
            give(source, taken);
            asks_others |= !all_here;
            missing -= taken;
        }
        if missing == 0 {
            return if asks_others { Found::Unsure } else { Found::All };
        }
    }
    if allow_partial && asks_others { Found::Unsure } else { Found::Only(wanted - missing) }
}

/// A shard by itself: it knows its slices and nothing of the others'.
impl Stock for Shard {
    const ONE_INSTANT: bool = false;

    fn here(&self, pool: PoolNumber) -> u64 {
        u64::try_from(self.slice(pool).available).unwrap_or(0)
    }

    fn everywhere(&self, _: PoolNumber) -> Option<Reading> {
        None
    }

    fn is_still(&self, _: PoolNumber, _: Reading) -> bool {
        false
    }
}

impl Shard {
    /// Judges a reserve: the key first, then the plan, which may be outdated, as time has passed since it was made, then stock,
    /// then the customer's limits. Changes nothing but the shard's time.
    pub fn judge(
        &mut self,
        now: Timestamp,
        request: &Request<'_>,
        planned: Result<&Plan<'_>, &Refusal>,
        stock: impl FnOnce(&Self, &Plan<'_>) -> Allocation,
    ) -> Judgement {
        let now = self.advance(now);
        if let Some(known) = request.key.and_then(|key| self.known(request, key)) {
            return known;
        }
        let plan = match planned {
            Ok(plan) => plan,
            Err(refusal) => return Judgement::Refused(refusal.clone()),
        };
        if now >= plan.until {
            return Judgement::Outdated;
        }
        let grant = match stock(self, plan) {
            Allocation::Grant(grant) => grant,
            Allocation::Short(short) => return Judgement::Short(short),
            Allocation::Unsure => return Judgement::Unsure,
        };
        if let Err(exceeded) = self.check_limits(plan, Some(&grant)) {
            return Judgement::LimitExceeded(exceeded);
        }
        if let Some(budget) = plan.hold_budget
            && let Err(exceeded) = self.check_budget(plan, budget)
        {
            return Judgement::BudgetExceeded(exceeded);
        }
        Judgement::Grant(grant)
    }

    /// What the key says: it is known, or it belongs to another request.
    fn known(&self, request: &Request<'_>, (key, fingerprint): (&str, u64)) -> Option<Judgement> {
        let (slot, first) = self.find_key(request.sale, request.customer, key)?;
        Some(if first == fingerprint {
            Judgement::Known(self.reservations[slot].id)
        } else {
            Judgement::Refused(Refusal::IdempotencyKeyReused)
        })
    }

    /// Whether the customer's limits allow what the plan gets; None: all that it asks for.
    pub(crate) fn check_limits(&self, plan: &Plan<'_>, grant: Option<&Grant>) -> Result<(), LimitExceeded> {
        let Request { customer, bucket, .. } = plan.request;
        for line in &plan.lines {
            let Some(limit) = line.customer_limit else { continue };
            let already = self.units_of(bucket, customer, line.item);
            let short = grant.and_then(|grant| grant.short.iter().find(|short| short.item == line.item));
            let units = short.map_or(line.units.into(), |short| short.available);
            // A line that gets nothing breaks no limit, whatever the customer has: the limit may have been lowered.
            if units > 0 && already + units > u64::from(limit) {
                return Err(LimitExceeded { item: line.item, limit, already });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::BTreeMap};

    use proptest::prelude::*;

    use super::*;

    /// Units here and everywhere, by pool; `None`: unknown.
    struct Known<const ONE_INSTANT: bool> {
        pools: BTreeMap<u32, (u64, Option<u64>)>,
        /// Whether others change pools meanwhile.
        restless: bool,
        looks: Cell<usize>,
    }

    impl<const ONE_INSTANT: bool> Known<ONE_INSTANT> {
        fn of(pools: impl IntoIterator<Item = (u32, (u64, Option<u64>))>) -> Self {
            Self { pools: pools.into_iter().collect(), restless: false, looks: Cell::new(0) }
        }
    }

    impl<const ONE_INSTANT: bool> Stock for Known<ONE_INSTANT> {
        const ONE_INSTANT: bool = ONE_INSTANT;

        fn here(&self, pool: PoolNumber) -> u64 {
            self.pools[&pool.0].0
        }

        fn everywhere(&self, pool: PoolNumber) -> Option<Reading> {
            Some(Reading { units: self.pools[&pool.0].1?, stamp: 0 })
        }

        fn is_still(&self, _: PoolNumber, _: Reading) -> bool {
            self.looks.set(self.looks.get() + 1);
            !self.restless
        }
    }

    fn line(units: u32, pools: &[u32]) -> PlanLine {
        let sources = pools.iter().map(|&pool| Source { pool: PoolNumber(pool), price: None }).collect();
        let (may_split, most_available_first) = (true, false);
        PlanLine { item: ItemNumber(0), units, customer_limit: None, sources, may_split, most_available_first }
    }

    fn plan(lines: &[PlanLine], allow_partial: bool) -> Plan<'static> {
        let (bucket, sale) = (Bucket::of("ann"), SaleNumber(0));
        let request = Request { sale, customer: "ann", bucket, key: None, reference: None, attributes: None };
        let (hold_seconds, hold_budget, until) = (60, None, Timestamp::MAX);
        let (group, entry) = (None, None);
        Plan { request, lines: lines.into(), allow_partial, hold_seconds, hold_budget, group, entry, until }
    }

    fn units(grant: &Grant) -> Vec<(u32, u32)> {
        grant.portions.iter().map(|portion| (portion.pool.0, portion.units)).collect()
    }

    fn taken(allocation: Allocation) -> Option<Vec<(u32, u32)>> {
        let Allocation::Grant(grant) = allocation else { return None };
        Some(units(&grant))
    }

    fn short(allocation: Allocation) -> Option<Vec<u64>> {
        let Allocation::Short(short) = allocation else { return None };
        Some(short.iter().map(|short| short.available).collect())
    }

    #[test]
    fn an_earlier_pool_is_drawn_empty_before_a_later_one_is_touched() {
        let wanted = plan(&[line(3, &[0, 1])], false);
        let known = Known::<false>::of([(0, (2, Some(2))), (1, (9, None))]);
        assert_eq!(taken(allocate(&wanted, &known)), Some(vec![(0, 2), (1, 1)]));
        // Others have units of the first pool, or may have.
        for everywhere in [None, Some(3)] {
            let known = Known::<false>::of([(0, (2, everywhere)), (1, (9, None))]);
            assert!(matches!(allocate(&wanted, &known), Allocation::Unsure));
        }
    }

    #[test]
    fn a_line_that_may_not_be_split_gets_the_first_pool_that_has_all_of_it() {
        let whole = |units| PlanLine { may_split: false, ..line(units, &[0, 1, 2]) };
        let known = Known::<true>::of([(0, (2, Some(2))), (1, (5, Some(5))), (2, (9, Some(9)))]);
        assert_eq!(taken(allocate(&plan(&[whole(2)], false), &known)), Some(vec![(0, 2)]));
        assert_eq!(taken(allocate(&plan(&[whole(4)], false), &known)), Some(vec![(1, 4)]));
        assert_eq!(short(allocate(&plan(&[whole(10)], false), &known)), Some(vec![9]));
        assert_eq!(taken(allocate(&plan(&[whole(10)], true), &known)), Some(vec![(2, 9)]));
    }

    #[test]
    fn the_pool_with_the_most_units_comes_first_where_that_is_asked() {
        let most = PlanLine { most_available_first: true, ..line(6, &[0, 1, 2]) };
        let pools = [(0, (4, Some(4))), (1, (5, Some(5))), (2, (5, Some(5)))];
        assert_eq!(
            taken(allocate(&plan(std::slice::from_ref(&most), false), &Known::<true>::of(pools))),
            Some(vec![(1, 5), (2, 1)])
        );
        assert!(matches!(allocate(&plan(&[most], false), &Known::<false>::of(pools)), Allocation::Unsure));
    }

    #[test]
    fn a_partial_fill_gets_what_is_there_and_says_what_is_missing() {
        let known = Known::<true>::of([(0, (2, Some(2))), (1, (0, Some(0)))]);
        let Allocation::Grant(grant) = allocate(&plan(&[line(3, &[0]), line(1, &[1])], true), &known) else { panic!() };
        assert_eq!(units(&grant), [(0, 2)]);
        assert_eq!(
            grant.short.iter().map(|short| (short.requested, short.available)).collect::<Vec<_>>(),
            [(3, 2), (1, 0)]
        );
        assert_eq!(short(allocate(&plan(&[line(1, &[1])], true), &known)), Some(vec![0]));
        // Nothing is open to the request.
        assert_eq!(short(allocate(&plan(&[line(1, &[])], true), &known)), Some(vec![0]));
    }

    #[test]
    fn a_shortage_is_exact_or_not_said() {
        let bounds = [(0, (0, Some(2))), (1, (0, Some(0)))];
        let (loose, exact) = (Known::<false>::of(bounds), Known::<true>::of(bounds));
        let restless = Known::<false> { restless: true, ..Known::of(bounds) };
        let (one, split, two) = ([line(3, &[0])], [line(3, &[0, 1])], [line(3, &[0]), line(1, &[1])]);
        assert_eq!(short(allocate(&plan(&one, false), &restless)), Some(vec![2]));
        for (lines, available) in [(&split[..], vec![2]), (&two[..], vec![2, 0])] {
            assert_eq!(short(allocate(&plan(lines, false), &loose)), Some(available.clone()));
            assert_eq!(short(allocate(&plan(lines, false), &exact)), Some(available));
            // Numbers that changed while they were read say nothing of one instant.
            assert_eq!(short(allocate(&plan(lines, false), &restless)), None);
        }
        assert!(loose.looks.get() > 0 && exact.looks.get() == 0);
    }

    proptest! {
        /// Who knows less says the same or that it is unsure.
        #[test]
        fn less_knowledge_never_leads_to_another_answer(
            pools in prop::collection::vec((0_u64..5, 0_u64..5, any::<bool>()), 3),
            lines in prop::collection::vec(
                (1_u32..8, prop::sample::subsequence(vec![0_u32, 1, 2], 0..=3), any::<bool>(), any::<bool>()), 1..3),
            allow_partial: bool,
        ) {
            let number = |index: usize| index as u32;
            let all = pools.iter().enumerate();
            let partly = Known::<false>::of(all.clone().map(|(index, &(here, elsewhere, known))| {
                (number(index), (here, known.then_some(here + elsewhere)))
            }));
            let whole = Known::<true>::of(all.map(|(index, &(here, elsewhere, _))| {
                (number(index), (here + elsewhere, Some(here + elsewhere)))
            }));
            let lines: Vec<_> = lines.iter().map(|(units, pools, may_split, most_available_first)| {
                PlanLine { may_split: *may_split, most_available_first: *most_available_first, ..line(*units, pools) }
            }).collect();
            let plan = plan(&lines, allow_partial);
            match (allocate(&plan, &partly), allocate(&plan, &whole)) {
                (Allocation::Unsure, Allocation::Grant(_) | Allocation::Short(_)) => {}
                (Allocation::Grant(some), Allocation::Grant(all)) => prop_assert_eq!(some, all),
                (Allocation::Short(some), Allocation::Short(all)) => prop_assert_eq!(some, all),
                (some, all) => prop_assert!(false, "{:?} {:?}", some, all),
            }
        }
    }
}
