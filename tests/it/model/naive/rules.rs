//! Who may buy what, from where and at what price.

use std::{borrow::Cow, cmp::Reverse};

use doorbuster::{
    engine::Tried,
    sale::{
        event::PricedPortion,
        ids::PoolNumber,
        judge::{Grant, Short},
        outcome::{Refusal, Shortage, State, Status},
        settings::{GroupSettings, ItemSettings, Phase, PoolSettings, Price, Sourcing},
        time::Timestamp,
    },
};

use super::{Line, Model, Name, Request, Sale, groups::Joins};

/// What a request gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub lines: Vec<Line>,
    /// Items of which it gets less than it asked for, with what it asked for and gets.
    pub short: Vec<(Name, u32, u64)>,
    pub expires_at: Timestamp,
    /// How long the hold is to last.
    pub hold_seconds: u64,
    /// Of an item that is sold to groups.
    pub group: Option<Joins>,
}

/// Who is meant by two lists, either of which may be absent.
fn is_among(tiers: &Option<Vec<String>>, channels: &Option<Vec<String>>, request: &Request) -> bool {
    let has = |list: &Option<Vec<String>>, name: Option<Name>| match list {
        None => true,
        Some(list) => list.iter().any(|each| Some(each.as_str()) == name),
    };
    has(tiers, request.tier) && has(channels, request.channel)
}

impl Sale {
    /// The phase that lets the request in, if there are phases.
    pub(super) fn admit(&self, now: Timestamp, request: &Request) -> Result<Option<&Phase>, Refusal> {
        let phases = &self.settings.phases;
        if phases.is_empty() {
            return Ok(None);
        }
        let mut latest: Option<&Phase> = None;
        let mut next: Option<Timestamp> = None;
        for phase in phases.iter().filter(|phase| is_among(&phase.tiers, &phase.channels, request)) {
            let is_over = phase.closes_at.is_some_and(|closes_at| closes_at <= now);
            if phase.opens_at > now {
                next = Some(next.map_or(phase.opens_at, |next| next.min(phase.opens_at)));
            } else if !is_over && latest.is_none_or(|latest| latest.opens_at < phase.opens_at) {
                latest = Some(phase);
            }
        }
        match (latest, next) {
            (Some(phase), _) => Ok(Some(phase)),
            (None, Some(opens_at)) => Err(Refusal::SaleNotStarted { opens_at }),
            (None, None) => Err(Refusal::NotEligible),
        }
    }
}

fn is_open(pool: &PoolSettings, now: Timestamp, request: &Request) -> bool {
    let is_shared = pool.shared_at.is_some_and(|shared_at| shared_at <= now);
    let is_wanted = |location: &String| request.locations.iter().any(|wanted| wanted == location);
    let is_here = request.locations.is_empty() || pool.location.as_ref().is_some_and(is_wanted);
    (is_shared || is_among(&pool.tiers, &pool.channels, request)) && is_here
}

impl Model {
    /// Numbers and prices of the pools that are open to a request, in the order in which it draws from them.
    pub fn open_pools(&self, now: Timestamp, request: &Request, item: &ItemSettings) -> Vec<(usize, Option<Price>)> {
        let number = |id: &str| self.pool(request.sale, &item.sku, id).expect("a pool of the item");
        if item.pools.is_empty() {
            let default = (number("default"), item.price);
            return if request.locations.is_empty() { vec![default] } else { Vec::new() };
        }
        let mut open: Vec<&PoolSettings> = item.pools.iter().filter(|pool| is_open(pool, now, request)).collect();
        match item.sourcing.unwrap_or(Sourcing::InOrder) {
            Sourcing::InOrder => {}
            Sourcing::Cheapest => open.sort_by_key(|pool| {
                let costs = pool.costs.as_ref();
                let cost = request.region.and_then(|region| costs?.get(region).copied());
                cost.unwrap_or(u64::MAX)
            }),
            Sourcing::MostAvailable => open.sort_by_key(|pool| Reverse(self.available(number(&pool.id)))),
        }
        open.iter().map(|pool| (number(&pool.id), pool.price.or(item.price))).collect()
    }

    /// What does not depend on stock: the limit of the phase that lets the request in, and how its item is sold to groups.
    pub(super) fn plan(
        &self,
        now: Timestamp,
        request: &Request,
    ) -> Result<(Option<u32>, Option<GroupSettings>), Refusal> {
        let sale = self.sales.get(request.sale).ok_or(Refusal::SaleNotFound)?;
        match sale.status(now) {
            Status::Open => {}
            Status::Closed => return Err(Refusal::SaleEnded),
            Status::Paused => return Err(Refusal::SalePaused),
            Status::Scheduled => return Err(Refusal::SaleNotStarted { opens_at: sale.settings.opens_at }),
        }
        let phase = sale.admit(now, request)?;
        if let Some((sku, _)) = request.lines.iter().find(|line| sale.item(line.0).is_none()) {
            return Err(Refusal::ItemNotFound { sku: (*sku).into() });
        }
        let phase_limit = phase.and_then(|phase| phase.customer_limit);
        Ok((phase_limit, self.sold_to_groups(request)?))
    }

    /// What a request would get now.
    pub fn take(&self, now: Timestamp, request: &Request) -> Result<Taken, Refusal> {
        let (phase_limit, in_group) = self.plan(now, request)?;
        let sale = &self.sales[request.sale];
        let group = in_group.map(|settings| self.joins(now, request, settings)).transpose()?;
        let allow_partial = request.allow_partial && group.is_none();
        let (mut lines, mut got, mut short, mut shortages) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for &(sku, units) in &request.lines {
            let item = sale.item(sku).expect("just seen");
            let open = self.open_pools(now, request, item);
            let (taken, most) = self.take_line(item, units, &open, allow_partial);
            let units_taken: u32 = taken.iter().map(|line| line.units).sum();
            got.push((sku, u64::from(units_taken)));
            lines.extend(taken);
            if most < u64::from(units) {
                let pools: Vec<usize> = open.iter().map(|pool| pool.0).collect();
                let held = self.sum(&pools).held;
                short.push((sku, units, most));
                let requested = units.into();
                shortages.push(Shortage {
                    sku: sku.into(),
                    requested,
                    available: most,
                    held,
                    next_release_at: None,
                    waitlist: false,
                });
            }
        }
        if !short.is_empty() && (!allow_partial || lines.is_empty()) {
            return Err(Refusal::Short(shortages));
        }
        for (sku, units) in got {
            let already = self.units_of(request.customer, request.sale, sku);
            let Some(limit) = sale.limit(sku).into_iter().chain(phase_limit).min() else { continue };
            if units > 0 && already + units > limit.into() {
                return Err(Refusal::CustomerLimitExceeded { sku: sku.into(), limit, already });
            }
        }
        self.check_budget(now, request)?;
        let hold_seconds = request.hold_seconds.map_or(sale.settings.hold_seconds, u64::from);
        let expires_at = now.plus_seconds(hold_seconds);
        let expires_at = group.as_ref().map_or(expires_at, |group| group.until(expires_at));
        Ok(Taken { lines, short, expires_at, hold_seconds, group })
    }

    /// Counts the customer's holds in the sale, and those that expired within the last hour, or as long as they are kept.
    fn check_budget(&self, now: Timestamp, request: &Request) -> Result<(), Refusal> {
        let Some(budget) = self.sales[request.sale].settings.hold_budget else { return Ok(()) };
        let window = self.retention_millis.min(3_600_000);
        let (mut open, mut until) = (0, Vec::new());
        for known in self.reservations.values().filter(|known| !known.erased) {
            if (known.request.sale, known.request.customer) != (request.sale, request.customer) {
                continue;
            }
            let counts_until = known.ended_at.map(|at| at.plus_millis(window));
            match known.state {
                State::Held => open += 1,
                State::Expired => until.extend(counts_until.filter(|&until| now < until)),
                State::Confirmed | State::Released | State::Cancelled => {}
            }
        }
        if let Some(limit) = budget.open_holds.filter(|&limit| open >= limit) {
            return Err(Refusal::TooManyHolds { limit, open });
        }
        if let Some(limit) = budget.expired_per_hour.filter(|&limit| until.len() >= limit as usize) {
            until.sort();
            let expired = until.len() as u32;
            let mut waited_for = now;
            while until.len() >= limit as usize {
                waited_for = until.remove(0);
            }
            let retry_after_seconds = waited_for.millis_since(now).div_ceil(1000);
            return Err(Refusal::CoolingDown { limit, expired, retry_after_seconds });
        }
        Ok(())
    }

    /// What a line takes, and the most that it could get.
    pub(super) fn take_line(
        &self,
        item: &ItemSettings,
        units: u32,
        open: &[(usize, Option<Price>)],
        allow_partial: bool,
    ) -> (Vec<Line>, u64) {
        let mut taken = Vec::new();
        let mut take = |(pool, price): (usize, Option<Price>), units: u32| {
            if units > 0 {
                taken.push(Line { pool, units, price });
            }
        };
        let most;
        if item.split.unwrap_or(true) {
            most = open.iter().map(|pool| self.available(pool.0)).sum();
            let mut missing = units;
            for &pool in open.iter().filter(|_| allow_partial || most >= u64::from(units)) {
                let here = u64::from(missing).min(self.available(pool.0)) as u32;
                take(pool, here);
                missing -= here;
            }
        } else {
            most = open.iter().map(|pool| self.available(pool.0)).max().unwrap_or(0);
            let wanted = u64::from(units).min(most);
            if allow_partial || wanted == u64::from(units) {
                let first = open.iter().find(|pool| self.available(pool.0) >= wanted);
                first.into_iter().for_each(|&pool| take(pool, wanted as u32));
            }
        }
        (taken, most)
    }

    /// As the service says what would come of a reserve.
    pub fn as_tried(&self, taken: &Taken, request: &Request) -> Tried {
        let portion = |line: &Line| PricedPortion {
            item: self.item(request.sale, self.pools[line.pool].sku),
            pool: PoolNumber(line.pool as u32),
            units: line.units,
            price: line.price,
        };
        let short = |&(sku, requested, available): &(Name, u32, u64)| Short {
            item: self.item(request.sale, sku),
            requested,
            available,
        };
        let portions = taken.lines.iter().map(portion).collect();
        Tried {
            grant: Grant { portions, short: taken.short.iter().map(short).collect() },
            expires_at: taken.expires_at,
        }
    }

    /// What is open to somebody with the request's tier, channel and region, wherever it is.
    pub fn open_to(&self, now: Timestamp, request: &Request) -> Vec<doorbuster::engine::Counts> {
        let request = Request { locations: Vec::new(), ..request.clone() };
        let items = self.sales[request.sale].settings.items.iter();
        let open = items.map(|item| self.open_pools(now, &request, item));
        open.map(|open| self.sum(&open.iter().map(|pool| pool.0).collect::<Vec<_>>())).collect()
    }
}

impl Request {
    /// Attributes as the service keeps them; None if it has none.
    pub fn attributes(&self) -> Option<doorbuster::sale::attributes::Attributes<'static>> {
        let text = |name: Option<Name>| name.map(Cow::Borrowed);
        let locations: std::collections::BTreeSet<Name> = self.locations.iter().copied().collect();
        let attributes = doorbuster::sale::attributes::Attributes {
            tier: text(self.tier),
            channel: text(self.channel),
            region: text(self.region),
            locations: locations.into_iter().map(Cow::Borrowed).collect(),
            labels: self.label.map(|value| ("campaign".into(), value.into())).into_iter().collect(),
        };
        (!attributes.is_empty()).then_some(attributes)
    }
}
