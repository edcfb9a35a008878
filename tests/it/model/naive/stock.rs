//! Stock that operators put in, take out and move.

use doorbuster::sale::{
    command::{Adjust, AdjustAll, Transfer},
    outcome::{Refusal, Shortage},
    settings::Invalid,
    time::Timestamp,
};

use super::{Model, Name};

/// What idempotency keys of operators stand for.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    single: Vec<Known<Name, Adjusted>>,
    together: Vec<Known<(), Vec<Adjusted>>>,
    transfers: Vec<Known<Name, Transferred>>,
    /// How many holds were extended.
    extensions: Vec<Known<(), u64>>,
}

/// `P`: the place within the sale that the key counts for.
#[derive(Debug, Clone)]
struct Known<P, A> {
    sale: Name,
    place: P,
    key: String,
    /// What was asked, in words.
    request: String,
    at: Timestamp,
    answer: A,
}

/// Stock and available units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    pub stock: u64,
    pub available: u64,
}

/// What an adjustment comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjusted {
    pub pool: usize,
    pub at: Timestamp,
    pub delta: i64,
    pub reference: Option<String>,
    /// The item's.
    pub level: Level,
    /// The pool's, where the item has others.
    pub of_pool: Option<Level>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transferred {
    pub at: Timestamp,
    pub units: u64,
    pub pools: [usize; 2],
    pub after: [Level; 2],
}

/// An answer, and whether it is an earlier one again.
type Answered<A> = Result<(A, bool), Refusal>;

fn recall<P: PartialEq, A: Clone>(
    memory: &[Known<P, A>],
    sale: Name,
    place: &P,
    key: Option<&str>,
    request: &str,
) -> Option<Answered<A>> {
    let is_it = |known: &&Known<P, A>| Some(known.key.as_str()) == key && known.sale == sale && known.place == *place;
    let known = memory.iter().find(is_it)?;
    let same = known.request == request;
    Some(same.then(|| (known.answer.clone(), true)).ok_or(Refusal::IdempotencyKeyReused))
}

impl Model {
    fn remember<P, A>(retention_millis: u64, memory: &mut Vec<Known<P, A>>, new: Known<P, A>) {
        memory.retain(|known| new.at.millis_since(known.at) <= retention_millis);
        memory.push(new);
    }

    fn level_of_pool(&self, pool: usize) -> Level {
        Level { stock: self.pools[pool].stock, available: self.available(pool) }
    }

    fn find_sku(&self, sale: Name, sku: &str) -> Result<Name, Refusal> {
        if !self.sales.contains_key(sale) {
            return Err(Refusal::SaleNotFound);
        }
        let found = self.items.iter().find(|item| item.0 == sale && item.1 == sku);
        found.map(|item| item.1).ok_or_else(|| Refusal::ItemNotFound { sku: sku.into() })
    }

    /// The number of the pool that an adjustment is of.
    fn find_pool(&self, sale: Name, asked: &Adjust<'_>) -> Result<usize, Refusal> {
        let sku = self.find_sku(sale, asked.sku)?;
        let pools = self.pools_of(sale, sku);
        let found = match asked.pool {
            None => (pools.len() == 1).then(|| pools[0]),
            Some(id) => self.pool(sale, sku, id),
        };
        found.ok_or_else(|| Refusal::Invalid(vec![Invalid::new("/pool", "")]))
    }

    /// Changes the stock of a pool.
    fn change(&mut self, now: Timestamp, sale: Name, asked: &Adjust<'_>, pool: usize) -> Result<Adjusted, Refusal> {
        let sku = self.pools[pool].sku;
        let before = self.counts_of_pool(pool);
        if before.available.checked_add_signed(asked.delta).is_none() {
            let (requested, available, held) = (asked.delta.unsigned_abs(), before.available, before.held);
            let line = Shortage { sku: sku.into(), requested, available, held, next_release_at: None, waitlist: false };
            return Err(Refusal::Short(vec![line]));
        }
        let stock = self.stock(sale, sku).checked_add_signed(asked.delta).expect("no less than what is available");
        if stock > self.stock_max {
            return Err(Refusal::Invalid(vec![Invalid::new("/delta", "")]));
        }
        let of_pool = &mut self.pools[pool].stock;
        *of_pool = of_pool.checked_add_signed(asked.delta).expect("no less than what is available");
        let has_others = self.pools_of(sale, sku).len() > 1;
        Ok(Adjusted {
            pool,
            at: now,
            delta: asked.delta,
            reference: asked.reference.map(String::from),
            level: Level { stock, available: self.counts(sale, sku).available },
            of_pool: has_others.then(|| self.level_of_pool(pool)),
        })
    }

    pub fn adjust(&mut self, now: Timestamp, sale: Name, asked: &Adjust<'_>) -> Answered<Adjusted> {
        let pool = self.find_pool(sale, asked)?;
        let (sku, request) = (self.pools[pool].sku, in_words(asked));
        if let Some(known) = recall(&self.memory.single, sale, &sku, asked.key, &request) {
            return known;
        }
        let answer = self.change(now, sale, asked, pool)?;
        if let Some(key) = asked.key {
            let known = Known { sale, place: sku, key: key.into(), request, at: now, answer: answer.clone() };
            Self::remember(self.retention_millis, &mut self.memory.single, known);
        }
        Ok((answer, false))
    }

    /// All of the changes, one after the other, or none.
    pub fn adjust_all(&mut self, now: Timestamp, sale: Name, asked: &AdjustAll<'_>) -> Answered<Vec<Adjusted>> {
        if !self.sales.contains_key(sale) {
            return Err(Refusal::SaleNotFound);
        }
        let request = asked.changes.iter().map(in_words).collect::<Vec<_>>().join(", then ");
        if let Some(known) = recall(&self.memory.together, sale, &(), asked.key, &request) {
            return known;
        }
        let (mut pools, mut wrong) = (Vec::new(), Vec::new());
        for (index, change) in asked.changes.iter().enumerate() {
            match self.find_pool(sale, change) {
                Ok(pool) => pools.push(pool),
                Err(Refusal::Invalid(_)) => wrong.push(Invalid::new(format!("/adjustments/{index}/pool"), "")),
                Err(refusal) => return Err(refusal),
            }
        }
        if !wrong.is_empty() {
            return Err(Refusal::Invalid(wrong));
        }
        let (mut after, mut answer, mut short) = (self.clone(), Vec::new(), Vec::new());
        for (index, (change, &pool)) in asked.changes.iter().zip(&pools).enumerate() {
            match after.change(now, sale, change, pool) {
                Ok(adjusted) => answer.push(adjusted),
                Err(Refusal::Short(lines)) => short.extend(lines),
                Err(Refusal::Invalid(_)) => wrong.push(Invalid::new(format!("/adjustments/{index}/delta"), "")),
                Err(refusal) => return Err(refusal),
            }
        }
        if !wrong.is_empty() {
            return Err(Refusal::Invalid(wrong));
        }
        if !short.is_empty() {
            return Err(Refusal::Short(short));
        }
        *self = after;
        if let Some(key) = asked.key {
            let known = Known { sale, place: (), key: key.into(), request, at: now, answer: answer.clone() };
            Self::remember(self.retention_millis, &mut self.memory.together, known);
        }
        Ok((answer, false))
    }

    pub fn transfer(&mut self, now: Timestamp, sale: Name, asked: &Transfer<'_>) -> Answered<Transferred> {
        let sku = self.find_sku(sale, asked.sku)?;
        let find =
            |pointer, id| self.pool(sale, sku, id).ok_or_else(|| Refusal::Invalid(vec![Invalid::new(pointer, "")]));
        let pools = [find("/from", asked.from)?, find("/to", asked.to)?];
        if pools[0] == pools[1] {
            return Err(Refusal::Invalid(vec![Invalid::new("/to", "")]));
        }
        let request = format!("{} from {} to {} for {:?}", asked.units, asked.from, asked.to, asked.reference);
        if let Some(known) = recall(&self.memory.transfers, sale, &sku, asked.key, &request) {
            return known;
        }
        let before = self.counts_of_pool(pools[0]);
        if before.available < asked.units {
            let (requested, available, held) = (asked.units, before.available, before.held);
            let line = Shortage { sku: sku.into(), requested, available, held, next_release_at: None, waitlist: false };
            return Err(Refusal::Short(vec![line]));
        }
        self.pools[pools[0]].stock -= asked.units;
        self.pools[pools[1]].stock += asked.units;
        let after = pools.map(|pool| self.level_of_pool(pool));
        let answer = Transferred { at: now, units: asked.units, pools, after };
        if let Some(key) = asked.key {
            let known = Known { sale, place: sku, key: key.into(), request, at: now, answer };
            Self::remember(self.retention_millis, &mut self.memory.transfers, known);
        }
        Ok((answer, false))
    }
}

impl Model {
    /// The answer to an extension of all holds that was done before.
    pub(super) fn known_extension(&self, sale: Name, key: Option<Name>, seconds: u32) -> Option<Answered<u64>> {
        recall(&self.memory.extensions, sale, &(), key, &seconds.to_string())
    }

    pub(super) fn remember_extension(
        &mut self,
        now: Timestamp,
        sale: Name,
        key: Option<Name>,
        seconds: u32,
        holds: u64,
    ) {
        if let Some(key) = key {
            let (key, request) = (key.into(), seconds.to_string());
            let known = Known { sale, place: (), key, request, at: now, answer: holds };
            Self::remember(self.retention_millis, &mut self.memory.extensions, known);
        }
    }
}

fn in_words(asked: &Adjust<'_>) -> String {
    format!("{} {:?} by {} for {:?}", asked.sku, asked.pool, asked.delta, asked.reference)
}
