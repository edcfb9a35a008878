//! Plans: who may buy now, and which pools each line may draw from, in which order and at which price.
//!
//! Invariant: a plan is that of one moment, and says until when no other plan could come of the same request.

use smallvec::SmallVec;

use super::{Catalogue, Item, Sale};
use crate::{
    attributes::Attributes,
    command::{Extras, Reserve},
    groups::GroupPlan,
    ids::PoolNumber,
    judge::{Plan, PlanLine, Request, Source},
    outcome::{Refusal, Status},
    settings::{Invalid, Phase, PoolSettings, Sourcing},
    time::{Now, Timestamp},
};

impl Sale {
    /// The phase that lets such a request in; None if the sale has no phases.
    fn admit(&self, now: Now, attributes: &Attributes<'_>) -> Result<Option<&Phase>, Refusal> {
        let phases = &self.settings.phases;
        if phases.is_empty() {
            return Ok(None);
        }
        let mine = || phases.iter().filter(|phase| phase.audience().has(attributes));
        let running = mine().filter(|phase| now.surely(|at| phase.runs(at)));
        if let Some(phase) = running.max_by_key(|phase| phase.opens_at) {
            return Ok(Some(phase));
        }
        let later = mine().map(|phase| phase.opens_at).filter(|&opens_at| !now.surely(|at| at >= opens_at));
        match later.min() {
            Some(opens_at) => Err(Refusal::SaleNotStarted { opens_at }),
            None => Err(Refusal::NotEligible),
        }
    }

    fn refuse_unless_open(&self, now: Now) -> Result<(), Refusal> {
        match self.status_in_doubt(now) {
            Status::Open => Ok(()),
            Status::Closed => Err(Refusal::SaleEnded),
            Status::Paused => Err(Refusal::SalePaused),
            Status::Scheduled => Err(Refusal::SaleNotStarted { opens_at: self.settings.opens_at }),
        }
    }
}

impl Catalogue {
    /// The checks of a reserve that need no shard, in their order: the sale is open, a phase lets the customer in, each item exists.
    ///
    /// # Panics
    /// When an item is asked for by two lines: they are summed where requests are parsed.
    pub fn plan<'a>(
        &self,
        now: Now,
        sale: &Sale,
        request: Request<'a>,
        asked: &Reserve<'a>,
    ) -> Result<Plan<'a>, Refusal> {
        sale.refuse_unless_open(now)?;
        let Extras { attributes, allow_partial, group: joins, .. } = asked.extras();
        let phase = sale.admit(now, attributes)?;
        let mut until = now.reaches(sale.settings.closes_at).unwrap_or(now.time);
        for phase in &sale.settings.phases {
            let bounds = [Some(phase.opens_at), phase.closes_at];
            until = bounds.into_iter().flatten().filter_map(|at| now.reaches(at)).fold(until, Timestamp::min);
        }
        let phase_limit = phase.and_then(|phase| phase.customer_limit);
        let (mut lines, mut in_groups) = (SmallVec::new(), None);
        for line in &asked.lines {
            let item = sale.item(line.sku).ok_or_else(|| Refusal::ItemNotFound { sku: line.sku.to_owned() })?;
            let once = lines.iter().all(|known: &PlanLine| known.item != item.number);
            assert!(once, "a reserve names each SKU once");
            in_groups = in_groups.or(item.settings.group.map(|group| (line.sku, group)));
            lines.push(PlanLine {
                item: item.number,
                units: line.units,
                customer_limit: [sale.customer_limit(item), phase_limit].into_iter().flatten().min(),
                sources: item.sources(now, asked.extras(), &mut until),
                may_split: item.settings.may_split(),
                most_available_first: item.settings.sourcing() == Sourcing::MostAvailable,
            });
        }
        let group = match in_groups {
            Some((sku, _)) if lines.len() > 1 => {
                let detail = format!("must have one line, because {sku:?} is sold to groups: reserve it by itself");
                return Err(Refusal::Invalid(vec![Invalid::new("/lines", detail)]));
            }
            Some((_, settings)) => {
                let closes_at = sale.settings.closes_at;
                Some(Box::new(GroupPlan { joins: *joins, settings: Some(settings), closes_at }))
            }
            None if joins.is_some() && lines.len() > 1 => {
                let detail = "must be left out: none of these items is sold to groups";
                return Err(Refusal::Invalid(vec![Invalid::new("/group", detail)]));
            }
            // Of an item that was sold to groups, some may still be open.
            None => joins.map(|id| {
                let closes_at = sale.settings.closes_at;
                Box::new(GroupPlan { joins: Some(id), settings: None, closes_at })
            }),
        };
        let sale_hold_seconds = u32::try_from(sale.settings.hold_seconds).expect("checked against hold_seconds_max");
        Ok(Plan {
            request,
            lines,
            hold_seconds: asked.hold_seconds.unwrap_or(sale_hold_seconds),
            hold_budget: sale.settings.hold_budget,
            allow_partial: *allow_partial && group.is_none(),
            group,
            entry: None,
            until,
        })
    }
}

impl Item {
    /// The pools that are open to such a request.
    pub fn open_pools(&self, now: Now, extras: &Extras<'_>) -> SmallVec<[PoolNumber; 2]> {
        self.sources(now, extras, &mut Timestamp::MAX.clone()).iter().map(|source| source.pool).collect()
    }

    /// The pools that are open to a request, in the order in which it draws from them. `until`: made earlier where that changes.
    fn sources(&self, now: Now, extras: &Extras<'_>, until: &mut Timestamp) -> SmallVec<[Source; 1]> {
        let settings = &self.settings;
        if !settings.has_pools() {
            // Its one pool has no location.
            let pools = self.pools.iter().filter(|_| extras.attributes.locations.is_empty());
            return pools.map(|&pool| Source { pool, price: settings.price }).collect();
        }
        let mut open: SmallVec<[(&PoolSettings, PoolNumber); 8]> = SmallVec::new();
        for (pool, &number) in settings.pools.iter().zip(&self.pools) {
            let is_here = || {
                pool.location.as_ref().is_some_and(|here| extras.attributes.locations.iter().any(|each| each == here))
            };
            if !extras.attributes.locations.is_empty() && !is_here() {
                continue;
            }
            if !pool.audience().has(&extras.attributes) && !now.surely(|at| pool.is_shared(at)) {
                if let Some(shared) = pool.shared_at.and_then(|at| now.reaches(at)) {
                    *until = shared.min(*until);
                }
                continue;
            }
            open.push((pool, number));
        }
        if settings.sourcing() == Sourcing::Cheapest {
            let cost = |pool: &PoolSettings| {
                let region = extras.attributes.region.as_deref()?;
                pool.costs.as_ref()?.get(region).copied()
            };
            // Stable: else as listed.
            open.sort_by_key(|(pool, _)| cost(pool).map_or((true, 0), |cost| (false, cost)));
        }
        open.iter().map(|&(pool, number)| Source { pool: number, price: pool.price.or(settings.price) }).collect()
    }
}
