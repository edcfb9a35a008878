//! The one judgement of a reserve: what there is, what is asked, and what comes of it.
//!
//! A single reserve, the slow path under all locks and a batch are drivers of this judgement. They differ only in what they know
//! of stock: a driver that does not know enough gets `Unsure`, and asks again when it knows more. Invariants: a grant takes every
//! line in full; no unit is taken from a later source while an earlier one has one; a shortage is reported only if it is exact.

use smallvec::SmallVec;

use super::{
    event::{PricedPortion, PricedPortions},
    ids::{Bucket, ItemNumber, PoolNumber, ReservationId, SaleNumber},
    outcome::Refusal,
    settings::Price,
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
}

/// A reserve that has passed all checks without a shard: what to hold, and the limits.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    pub request: Request<'a>,
    pub lines: SmallVec<[PlanLine; 1]>,
    pub hold_seconds: u32,
    /// No more holds from here on.
    pub closes_at: Timestamp,
}

#[derive(Debug, Clone)]
pub struct PlanLine {
    pub item: ItemNumber,
    pub units: u32,
    pub customer_limit: Option<u32>,
    /// The pools that the line may draw from, in order.
    pub sources: SmallVec<[Source; 1]>,
}

/// A pool that a line may draw from, and the price there.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    pub pool: PoolNumber,
    pub price: Option<Price>,
}

/// What a driver knows of stock.
pub trait Stock {
    /// Whether all its answers are of one instant. If not, it shows at most one line of one pool to be short.
    const ONE_INSTANT: bool;

    /// Units that it may give away without asking others.
    fn here(&self, pool: PoolNumber) -> u64;

    /// Units over all shards; None if it does not know.
    fn everywhere(&self, pool: PoolNumber) -> Option<u64>;
}

/// What comes of a reserve.
#[derive(Debug)]
pub enum Judgement {
    /// The key stands for this reservation already.
    Known(ReservationId),
    Refused(Refusal),
    /// The sale's window was over when it came to be decided.
    SaleEnded,
    /// Each of these lines asks for more than there is.
    Short(Shortages),
    LimitExceeded(LimitExceeded),
    /// The driver's stock does not decide it; that of all shards does.
    Unsure,
    /// These units, to be held now.
    Grant(PricedPortions),
}

pub type Shortages = SmallVec<[Short; 1]>;

/// A line that asks for more than is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    pub item: ItemNumber,
    pub requested: u32,
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

/// Units for every line.
#[derive(Debug)]
pub enum Allocation {
    All(PricedPortions),
    Short(Shortages),
    Unsure,
}

/// Finds units for every line, as far as `stock` knows.
pub fn allocate<S: Stock>(lines: &[PlanLine], stock: &S) -> Allocation {
    let (mut portions, mut short) = (PricedPortions::new(), Shortages::new());
    for line in lines {
        match allocate_line(line, stock, &mut portions) {
            Found::All => {}
            Found::Only(available) => short.push(Short { item: line.item, requested: line.units, available }),
            Found::Unsure => return Allocation::Unsure,
        }
    }
    match short.len() {
        0 => Allocation::All(portions),
        2.. if !S::ONE_INSTANT => Allocation::Unsure,
        _ => Allocation::Short(short),
    }
}

enum Found {
    All,
    /// There are only so many units.
    Only(u64),
    Unsure,
}

fn allocate_line<S: Stock>(line: &PlanLine, stock: &S, portions: &mut PricedPortions) -> Found {
    let mut wanted = u64::from(line.units);
    let mut asks_others = false;
    for &Source { pool, price } in &line.sources {
        let here = stock.here(pool);
        // Units of this pool on other shards come before any later source.
        let there = if here >= wanted {
            here
        } else {
            let Some(everywhere) = stock.everywhere(pool) else { return Found::Unsure };
            asks_others |= everywhere > here;
            everywhere
        };
        let taken = there.min(wanted);
        if taken > 0 {
            let units = u32::try_from(taken).expect("no more than the line asks for");
            portions.push(PricedPortion { item: line.item, pool, units, price });
            wanted -= taken;
        }
        if wanted == 0 {
            return if asks_others { Found::Unsure } else { Found::All };
        }
    }
    if S::ONE_INSTANT || line.sources.len() == 1 { Found::Only(u64::from(line.units) - wanted) } else { Found::Unsure }
}

/// A shard by itself: it knows its slices and nothing of the others'.
impl Stock for Shard {
    const ONE_INSTANT: bool = false;

    fn here(&self, pool: PoolNumber) -> u64 {
        u64::try_from(self.slice(pool).available).unwrap_or(0)
    }

    fn everywhere(&self, _: PoolNumber) -> Option<u64> {
        None
    }
}

impl Shard {
    /// Judges a reserve: the key first, then the plan, the end of the sale's window, as time has passed since the plan was made,
    /// then stock, then the customer's limits. Changes nothing but the shard's time.
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
        if now >= plan.closes_at {
            return Judgement::SaleEnded;
        }
        let portions = match stock(self, plan) {
            Allocation::All(portions) => portions,
            Allocation::Short(short) => return Judgement::Short(short),
            Allocation::Unsure => return Judgement::Unsure,
        };
        match self.check_limits(plan) {
            Ok(()) => Judgement::Grant(portions),
            Err(exceeded) => Judgement::LimitExceeded(exceeded),
        }
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

    /// Whether the customer's limits allow the plan.
    fn check_limits(&self, plan: &Plan<'_>) -> Result<(), LimitExceeded> {
        let Request { customer, bucket, .. } = plan.request;
        for line in &plan.lines {
            let Some(limit) = line.customer_limit else { continue };
            let already = self.units_of(bucket, customer, line.item);
            if already + u64::from(line.units) > u64::from(limit) {
                return Err(LimitExceeded { item: line.item, limit, already });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Units here and everywhere, by pool; `None`: unknown.
    struct Known<const ONE_INSTANT: bool>(BTreeMap<u32, (u64, Option<u64>)>);

    impl<const ONE_INSTANT: bool> Stock for Known<ONE_INSTANT> {
        const ONE_INSTANT: bool = ONE_INSTANT;

        fn here(&self, pool: PoolNumber) -> u64 {
            self.0[&pool.0].0
        }

        fn everywhere(&self, pool: PoolNumber) -> Option<u64> {
            self.0[&pool.0].1
        }
    }

    fn line(units: u32, pools: &[u32]) -> PlanLine {
        let sources = pools.iter().map(|&pool| Source { pool: PoolNumber(pool), price: None }).collect();
        PlanLine { item: ItemNumber(0), units, customer_limit: None, sources }
    }

    fn taken(allocation: Allocation) -> Option<Vec<(u32, u32)>> {
        let Allocation::All(portions) = allocation else { return None };
        Some(portions.iter().map(|portion| (portion.pool.0, portion.units)).collect())
    }

    #[test]
    fn an_earlier_pool_is_drawn_empty_before_a_later_one_is_touched() {
        let known = Known::<false>([(0, (2, Some(2))), (1, (9, None))].into());
        assert_eq!(taken(allocate(&[line(3, &[0, 1])], &known)), Some(vec![(0, 2), (1, 1)]));
        // Others have units of the first pool, or may have.
        for everywhere in [None, Some(3)] {
            let known = Known::<false>([(0, (2, everywhere)), (1, (9, None))].into());
            assert!(matches!(allocate(&[line(3, &[0, 1])], &known), Allocation::Unsure));
        }
    }

    #[test]
    fn a_shortage_is_exact_or_not_said() {
        let bounds = [(0, (0, Some(2))), (1, (0, Some(0)))];
        let short = |allocation| match allocation {
            Allocation::Short(short) => Some(short.iter().map(|short| short.available).collect::<Vec<_>>()),
            _ => None,
        };
        let (loose, exact) = (Known::<false>(bounds.into()), Known::<true>(bounds.into()));
        assert_eq!(short(allocate(&[line(3, &[0])], &loose)), Some(vec![2]));
        // Two numbers that were read one after the other say nothing of one instant.
        assert_eq!(short(allocate(&[line(3, &[0, 1])], &loose)), None);
        assert_eq!(short(allocate(&[line(3, &[0]), line(1, &[1])], &loose)), None);
        assert_eq!(short(allocate(&[line(3, &[0, 1])], &exact)), Some(vec![2]));
        assert_eq!(short(allocate(&[line(3, &[0]), line(1, &[1])], &exact)), Some(vec![2, 0]));
    }

    proptest! {
        /// Who knows less says the same or that it is unsure.
        #[test]
        fn less_knowledge_never_leads_to_another_answer(
            pools in prop::collection::vec((0_u64..5, 0_u64..5, any::<bool>()), 3),
            lines in prop::collection::vec((1_u32..8, prop::sample::subsequence(vec![0_u32, 1, 2], 1..=3)), 1..3),
        ) {
            let number = |index: usize| index as u32;
            let all = pools.iter().enumerate();
            let partly = Known::<false>(all.clone().map(|(index, &(here, elsewhere, known))| {
                (number(index), (here, known.then_some(here + elsewhere)))
            }).collect());
            let whole = Known::<true>(all.map(|(index, &(here, elsewhere, _))| {
                (number(index), (here + elsewhere, Some(here + elsewhere)))
            }).collect());
            let lines: Vec<_> = lines.iter().map(|(units, pools)| line(*units, pools)).collect();
            match (allocate(&lines, &partly), allocate(&lines, &whole)) {
                (Allocation::Unsure, Allocation::All(_) | Allocation::Short(_)) => {}
                (Allocation::All(some), Allocation::All(all)) => prop_assert_eq!(some, all),
                (Allocation::Short(some), Allocation::Short(all)) => prop_assert_eq!(some, all),
                (some, all) => prop_assert!(false, "{:?} {:?}", some, all),
            }
        }
    }
}
