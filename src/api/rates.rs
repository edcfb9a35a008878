//! Rate limits: quotas of requests per key, per customer and per sale.
//!
//! Invariant: the memory of callers is bounded. A caller that has not called for its window is forgotten. If more call at once
//! than may be remembered, the rest share a fixed number of places, and none goes unlimited.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use foldhash::fast;
use governor::{
    NotUntil, RateLimiter,
    clock::{Clock, Reference},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed, keyed::DashMapStateStore},
};

use super::refused::Limited;
use crate::sale::{
    catalogue::{Catalogue, Sale},
    ids::SaleNumber,
    settings::{Quota, RateLimits},
};

/// New callers since the last clean-up that are too few for another one.
const FEW_NEW: usize = 4096;

/// Locks of a table of callers. Two workers seldom contend for one, all of them fit into a core's L1 cache, and each is held
/// for about 0.03 ms while a million callers are checked. They take 16 KiB of an empty table.
const LOCKS: usize = 128;

/// Places that callers share when there are too many to remember one by one.
const SHARED_PLACES: u64 = 1 << 16;

type Direct<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;
/// Callers by a hash that callers cannot choose.
type Callers = DashMapStateStore<u64, fast::RandomState>;
type Keyed<C> = RateLimiter<u64, Callers, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// A quota for each caller of one kind.
struct OfEach<C: Clock> {
    policy: &'static str,
    quota: Quota,
    limiter: Keyed<C>,
    full: AtomicBool,
    /// Callers left after the last clean-up.
    kept: AtomicUsize,
}

impl<C: Clock + Clone> OfEach<C> {
    fn new(policy: &'static str, quota: Quota, clock: &C) -> Option<Self> {
        let callers = DashMap::with_capacity_and_hasher_and_shard_amount(0, fast::RandomState::default(), LOCKS);
        let limiter = RateLimiter::new(governed(quota)?, callers, clock.clone());
        Some(Self { policy, quota, limiter, full: AtomicBool::new(false), kept: AtomicUsize::new(0) })
    }

    fn admit(&self, caller: u64) -> Result<(), Limited> {
        let place = if self.full.load(Ordering::Relaxed) { caller % SHARED_PLACES } else { caller };
        let admitted = self.limiter.check_key(&place);
        admitted.map_err(|until| limited(self.policy, self.quota, until, self.limiter.clock()))
    }

    /// Forgets callers whose quota is full again, and frees their memory.
    fn forget(&self, most: usize) {
        self.retain();
        if self.limiter.len() < most / 2 {
            self.limiter.shrink_to_fit();
        }
        self.find_full(most);
    }

    /// Forgets earlier if there are twice as many as were left: a small table stays in the caches.
    fn measure(&self, most: usize) {
        if self.limiter.len() >= 2 * self.kept.load(Ordering::Relaxed) + FEW_NEW {
            self.retain();
        }
        self.find_full(most);
    }

    fn retain(&self) {
        self.limiter.retain_recent();
        self.kept.store(self.limiter.len(), Ordering::Relaxed);
    }

    fn find_full(&self, most: usize) {
        self.full.store(self.limiter.len() >= most, Ordering::Relaxed);
    }
}

/// The limits of one sale, made on first use and again when its settings change.
struct OfSale<C: Clock> {
    limits: RateLimits,
    whole: Option<Direct<C>>,
    customers: Option<OfEach<C>>,
    keys: Option<OfEach<C>>,
}

/// All rate limits. Without any quota it costs nothing.
pub struct Rates<C: Clock> {
    clock: C,
    defaults: RateLimits,
    /// Callers of one kind to remember.
    callers_max: usize,
    hasher: RandomState,
    keys: Option<OfEach<C>>,
    /// Read with every reserve and seldom changed: reading writes nothing that another worker reads.
    sales: ArcSwap<Sales<C>>,
}

type Sales<C> = HashMap<SaleNumber, Arc<OfSale<C>>, fast::RandomState>;

impl<C: Clock + Clone> Rates<C> {
    /// `callers_max`: customers of one sale, and keys, that are remembered one by one.
    pub fn new(defaults: RateLimits, callers_max: usize, clock: C) -> Self {
        let keys = defaults.key.and_then(|quota| OfEach::new("key", quota, &clock));
        Self { clock, defaults, callers_max, hasher: RandomState::new(), keys, sales: ArcSwap::default() }
    }

    /// Whether there is no quota at all, so that no check is needed.
    pub fn idle(&self, catalogue: &Catalogue) -> bool {
        self.defaults == RateLimits::default() && !catalogue.rate_limited()
    }

    /// Admits a call of this key; `sale`: the one in its path.
    pub fn admit_key(&self, key: &str, sale: Option<&Sale>) -> Result<(), Limited> {
        let caller = self.hasher.hash_one(key);
        let admit = |keys: &Option<OfEach<C>>| keys.as_ref().map_or(Ok(()), |keys| keys.admit(caller));
        let own = sale.filter(|sale| own_limits(sale).key.is_some());
        own.and_then(|sale| self.ask(sale, |of_sale| admit(&of_sale.keys))).unwrap_or_else(|| admit(&self.keys))
    }

    /// Admits a reserve in this sale.
    pub fn admit_reserve(&self, sale: &Sale) -> Result<(), Limited> {
        let admitted = self.ask(sale, |of_sale| match (&of_sale.whole, of_sale.limits.sale) {
            (Some(whole), Some(quota)) => whole.check().map_err(|until| limited("sale", quota, until, &self.clock)),
            _ => Ok(()),
        });
        admitted.unwrap_or(Ok(()))
    }

    /// Admits a reserve for this customer.
    pub fn admit_customer(&self, sale: &Sale, customer: &str) -> Result<(), Limited> {
        let admitted = self.ask(sale, |of_sale| {
            of_sale.customers.as_ref().map_or(Ok(()), |customers| customers.admit(self.hasher.hash_one(customer)))
        });
        admitted.unwrap_or(Ok(()))
    }

    /// Forgets callers whose quota is full again; to be called every second or so.
    pub fn forget(&self) {
        self.each(|callers| callers.forget(self.callers_max));
    }

    /// Checks whether there are too many callers to remember, and forgets some if there are many new ones; to be called often.
    pub fn measure(&self) {
        self.each(|callers| callers.measure(self.callers_max));
    }

    /// Remembered callers, of all kinds and sales.
    pub fn remembered(&self) -> usize {
        let mut sum = 0;
        self.each(|callers| sum += callers.limiter.len());
        sum
    }

    fn each(&self, mut act: impl FnMut(&OfEach<C>)) {
        self.keys.iter().for_each(&mut act);
        for of_sale in self.sales.load().values() {
            of_sale.customers.iter().chain(&of_sale.keys).for_each(&mut act);
        }
    }

    /// Applies the limits of a sale; None: it has none.
    fn ask<T>(&self, sale: &Sale, ask: impl Fn(&OfSale<C>) -> T) -> Option<T> {
        let own = own_limits(sale);
        let limits = RateLimits {
            sale: own.sale.or(self.defaults.sale),
            customer: own.customer.or(self.defaults.customer),
            key: own.key,
        };
        if limits == RateLimits::default() {
            return None;
        }
        if let Some(known) = self.sales.load().get(&sale.number).filter(|known| known.limits == limits) {
            return Some(ask(known));
        }
        let made = Arc::new(OfSale::new(limits, &self.clock));
        self.sales.rcu(|sales| {
            let mut sales = Sales::clone(sales);
            // If another worker was first, its counts stay.
            let of_sale = sales.entry(sale.number).or_insert_with(|| made.clone());
            if of_sale.limits != limits {
                *of_sale = made.clone();
            }
            sales
        });
        self.sales.load().get(&sale.number).map(|of_sale| ask(of_sale))
    }
}

impl<C: Clock + Clone> OfSale<C> {
    fn new(limits: RateLimits, clock: &C) -> Self {
        let each = |policy, quota: Option<Quota>| quota.and_then(|quota| OfEach::new(policy, quota, clock));
        let whole = limits.sale.and_then(governed).map(|quota| RateLimiter::direct_with_clock(quota, clock.clone()));
        Self { limits, whole, customers: each("customer", limits.customer), keys: each("key", limits.key) }
    }
}

fn own_limits(sale: &Sale) -> RateLimits {
    sale.settings.rate_limits.unwrap_or_default()
}

/// As governor counts; None: no limit.
fn governed(quota: Quota) -> Option<governor::Quota> {
    let requests = NonZero::new(quota.requests)?;
    let window = Duration::from_secs(quota.window_seconds.into());
    Some(governor::Quota::with_period(window / quota.requests)?.allow_burst(requests))
}

fn limited<P: Reference, C: Clock<Instant = P>>(
    policy: &'static str,
    quota: Quota,
    until: NotUntil<P>,
    clock: &C,
) -> Limited {
    Limited { policy, quota, wait: until.wait_time_from(clock.now()) }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;
    use crate::sale::{event::samples, ids::ItemNumber, settings::SaleSettings, time::Timestamp};

    fn quota(requests: u32, window_seconds: u32) -> Option<Quota> {
        Some(Quota { requests, window_seconds })
    }

    fn sale(number: u32, rate_limits: Option<RateLimits>) -> Arc<Sale> {
        let document = r#"{"name":"Drop","opens_at":"2026-11-27T08:00:00Z","closes_at":"2026-11-27T09:00:00Z",
            "hold_seconds":300,"items":[{"sku":"tv","initial_stock":10}]}"#;
        let settings: SaleSettings = serde_json::from_str(document).unwrap();
        let mut catalogue = Catalogue::default();
        for number in 0..=number {
            let settings = SaleSettings { id: format!("drop-{number}"), rate_limits, ..settings.clone() };
            let record = samples::record_of(&settings, &[ItemNumber(number)]);
            catalogue.apply(&samples::defined(SaleNumber(number), Timestamp::default(), &record));
        }
        catalogue.sale_numbered(SaleNumber(number)).clone()
    }

    #[test]
    fn a_quota_lets_in_so_many_at_once_and_gives_them_back_over_its_window() {
        let clock = FakeRelativeClock::default();
        let limits = RateLimits { customer: quota(2, 10), ..RateLimits::default() };
        let rates = Rates::new(limits, 1000, clock.clone());
        let drop = sale(0, None);
        for _ in 0..2 {
            assert_eq!(rates.admit_customer(&drop, "ann"), Ok(()));
        }
        let limited = rates.admit_customer(&drop, "ann").unwrap_err();
        assert_eq!(
            (limited.policy, Some(limited.quota), limited.wait),
            ("customer", quota(2, 10), Duration::from_secs(5))
        );
        assert_eq!(rates.admit_customer(&drop, "bob"), Ok(()), "each customer has a quota");
        assert_eq!(rates.admit_customer(&sale(1, None), "ann"), Ok(()), "in each sale");
        clock.advance(Duration::from_millis(4999));
        assert!(rates.admit_customer(&drop, "ann").is_err());
        clock.advance(Duration::from_millis(1));
        assert_eq!(rates.admit_customer(&drop, "ann"), Ok(()));
    }

    #[test]
    fn a_sale_may_say_otherwise_and_change_its_mind() {
        let clock = FakeRelativeClock::default();
        let limits = RateLimits { sale: quota(1, 1), customer: quota(1, 1), key: quota(1, 1) };
        let rates = Rates::new(limits, 1000, clock.clone());
        assert_eq!(rates.admit_reserve(&sale(0, None)), Ok(()));
        assert_eq!(rates.admit_reserve(&sale(0, None)).unwrap_err().policy, "sale");
        let own = RateLimits { sale: quota(0, 1), customer: quota(3, 60), key: quota(2, 1) };
        let own = sale(0, Some(own));
        assert!((0..100).all(|_| rates.admit_reserve(&own).is_ok()), "0 is no limit");
        assert_eq!((0..10).filter(|_| rates.admit_customer(&own, "ann").is_ok()).count(), 3);
        assert_eq!((0..10).filter(|_| rates.admit_key("eu", Some(&own)).is_ok()).count(), 2);
        assert_eq!((0..10).filter(|_| rates.admit_key("eu", None).is_ok()).count(), 1, "and for itself alone");
        assert_eq!((0..10).filter(|_| rates.admit_key("us", Some(&sale(1, None))).is_ok()).count(), 1);
        assert_eq!((0..10).filter(|_| rates.admit_customer(&sale(0, None), "ann").is_ok()).count(), 1);
    }

    #[test]
    fn without_quotas_nobody_is_remembered() {
        let rates = Rates::new(RateLimits::default(), 1000, FakeRelativeClock::default());
        let drop = sale(0, None);
        for number in 0..1000 {
            assert_eq!(rates.admit_customer(&drop, &number.to_string()), Ok(()));
            assert_eq!((rates.admit_reserve(&drop), rates.admit_key("eu", Some(&drop))), (Ok(()), Ok(())));
        }
        assert_eq!(rates.remembered(), 0);
    }

    /// Ten million customers in an hour. Each has its quota of ten a minute back after six seconds, and is remembered for as
    /// long again.
    #[test]
    fn customers_who_have_gone_leave_memory() {
        const A_SECOND: u64 = 10_000_000 / 3600;
        let clock = FakeRelativeClock::default();
        let rates =
            Rates::new(RateLimits { customer: quota(10, 60), ..RateLimits::default() }, 1_000_000, clock.clone());
        let drop = sale(0, None);
        for second in 0..3600_u64 {
            for number in 0..A_SECOND {
                assert_eq!(rates.admit_customer(&drop, &(second * A_SECOND + number).to_string()), Ok(()));
            }
            rates.forget();
            assert!(rates.remembered() as u64 <= 13 * A_SECOND, "{} are remembered", rates.remembered());
            clock.advance(Duration::from_secs(1));
        }
        clock.advance(Duration::from_secs(60));
        rates.forget();
        assert_eq!(rates.remembered(), 0);
    }

    #[test]
    fn who_has_all_back_is_forgotten_early_and_nobody_else() {
        let clock = FakeRelativeClock::default();
        let rates =
            Rates::new(RateLimits { customer: quota(1, 10), ..RateLimits::default() }, 1_000_000, clock.clone());
        let drop = sale(0, None);
        let come = |customers: std::ops::Range<usize>| {
            customers.filter(|number| rates.admit_customer(&drop, &number.to_string()).is_ok()).count()
        };
        assert_eq!(come(0..FEW_NEW), FEW_NEW);
        clock.advance(Duration::from_secs(11));
        assert_eq!(come(FEW_NEW..2 * FEW_NEW), FEW_NEW);
        clock.advance(Duration::from_secs(9));
        rates.measure();
        assert_eq!(rates.remembered(), FEW_NEW, "the first have gone");
        assert_eq!(come(FEW_NEW..2 * FEW_NEW), 0, "the others have not");
        clock.advance(Duration::from_secs(11));
        rates.forget();
        assert_eq!((rates.remembered(), come(1..FEW_NEW)), (0, FEW_NEW - 1));
        clock.advance(Duration::from_secs(21));
        rates.measure();
        assert_eq!(rates.remembered(), FEW_NEW - 1, "too few to look");
    }

    #[test]
    fn too_many_at_once_share_places_and_none_goes_unlimited() {
        let clock = FakeRelativeClock::default();
        let limits = RateLimits { customer: quota(1, 60), ..RateLimits::default() };
        let rates = Rates::new(limits, 10_000, clock.clone());
        let drop = sale(0, None);
        for number in 0..1_000_000 {
            let _ = rates.admit_customer(&drop, &number.to_string());
            if number % 1000 == 0 {
                rates.measure();
            }
        }
        assert!(rates.remembered() <= 11_000 + SHARED_PLACES as usize, "{} are remembered", rates.remembered());
        assert!(rates.admit_customer(&drop, "999999").is_err());
        clock.advance(Duration::from_secs(121));
        rates.forget();
        assert_eq!((rates.remembered(), rates.admit_customer(&drop, "999999")), (0, Ok(())));
    }
}
