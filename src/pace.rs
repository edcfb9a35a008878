//! How fast each item sells, and what follows from it: when it sells out, and how many units would last.
//!
//! A step every second compares the units that are held or confirmed with those of the last look: no request counts anything. Units
//! that come back count as less, so in the end the pace is that of units that leave. Only time in which the item could be bought
//! counts; so an item that is sold out, or whose sale is paused, keeps the pace that it had. `docs/kpi.md` has the formulas.
//!
//! Invariant: what is kept of an item has a fixed size, and a reader waits for nobody.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{
    engine::Counts,
    sale::{catalogue::Catalogue, ids::ItemNumber, outcome::Status, settings::SaleSettings, time::Timestamp},
};

/// Minutes in which an item could be bought that are kept of it; the last one may not be over.
const MINUTES: usize = 5;

const MINUTE_MILLIS: u64 = 60_000;

/// Units that were taken in less time count as taken in so much: the first orders are no rush yet.
const MEASURED_MILLIS_MIN: u64 = 10_000;

/// The pace of every item, by number, for readers.
#[derive(Default)]
pub struct Paces(ArcSwap<Vec<Pace>>);

impl Paces {
    /// As of the last look.
    pub fn get(&self) -> Arc<Vec<Pace>> {
        self.0.load_full()
    }
}

/// Units that an item sold in the minutes that are kept of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// Below 0 if more units came back than were taken.
    units: i64,
    /// The time in which it could be bought; 0: nothing is known.
    millis: u64,
}

impl Pace {
    /// Hundredths of a unit per minute, rounded.
    pub fn hundredths_per_minute(self) -> u64 {
        let millis = self.millis.max(MEASURED_MILLIS_MIN);
        let units = u128::from(u64::try_from(self.units).unwrap_or(0));
        let hundredths = (units * u128::from(100 * MINUTE_MILLIS) + u128::from(millis / 2)) / u128::from(millis);
        u64::try_from(hundredths).unwrap_or(u64::MAX)
    }

    /// The time that it was measured over.
    pub fn measured_seconds(self) -> u64 {
        self.millis / 1000
    }
}

/// Measures paces, look by look.
#[derive(Default)]
pub struct Pacer {
    items: Vec<Measured>,
    looked_at: Option<Timestamp>,
}

/// What is kept of an item.
#[derive(Clone, Copy, Default)]
struct Measured {
    units: [i64; MINUTES],
    millis: [u32; MINUTES],
    /// The minute that is under way.
    minute: u8,
    /// Whether it could be bought at the last look.
    on_sale: bool,
    /// Units held or confirmed at the last look.
    taken: u64,
}

impl Measured {
    fn look(&mut self, millis: u64, taken: u64, on_sale: bool) {
        let units = taken as i64 - self.taken as i64;
        // Also if it came and went between two looks.
        if self.on_sale || on_sale || units > 0 {
            let minute = self.minute_to_fill();
            let millis = u32::try_from(millis).unwrap_or(u32::MAX);
            self.millis[minute] = self.millis[minute].saturating_add(millis);
        }
        self.units[usize::from(self.minute)] += units;
        (self.taken, self.on_sale) = (taken, on_sale);
    }

    /// The minute that is under way; the oldest one makes room for a new one.
    fn minute_to_fill(&mut self) -> usize {
        if u64::from(self.millis[usize::from(self.minute)]) >= MINUTE_MILLIS {
            self.minute = (self.minute + 1) % MINUTES as u8;
            let minute = usize::from(self.minute);
            (self.units[minute], self.millis[minute]) = (0, 0);
        }
        usize::from(self.minute)
    }

    fn pace(&self) -> Pace {
        Pace { units: self.units.iter().sum(), millis: self.millis.iter().copied().map(u64::from).sum() }
    }
}

impl Pacer {
    /// Looks at the stock of every item, by number. `steady`: a time that nobody sets; `now`: by which sales open and close. The
    /// first look after a start knows nothing of what was sold before.
    pub fn look(
        &mut self,
        (steady, now): (Timestamp, Timestamp),
        stock: &[(u64, Counts)],
        catalogue: &Catalogue,
        paces: &Paces,
    ) {
        let is_first = self.looked_at.is_none();
        let millis = steady.millis() - self.looked_at.unwrap_or(steady).millis().min(steady.millis());
        // A new item starts with no unit taken.
        self.items.resize(stock.len(), Measured::default());
        for sale in catalogue.sales() {
            let is_open = sale.status(now) == Status::Open;
            for ItemNumber(number) in sale.items.iter().map(|item| item.number) {
                let Some((_, counts)) = stock.get(number as usize) else { continue };
                let item = &mut self.items[number as usize];
                let taken = counts.held + counts.confirmed;
                if is_first {
                    item.taken = taken;
                }
                item.look(millis, taken, is_open && counts.available > 0);
            }
        }
        self.looked_at = Some(steady);
        paces.0.store(Arc::new(self.items.iter().map(Measured::pace).collect()));
    }
}

/// What an item's pace leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    pub hundredths_per_minute: u64,
    /// The time that the pace was measured over; 0: it is not known.
    pub measured_seconds: u64,
    /// When nothing is available any more. None: the item is not on sale, or its units last.
    pub sells_out_at: Option<Timestamp>,
    /// Confirmed units of ten thousand in stock, rounded.
    pub turnover: u64,
    /// Units to add so that the item lasts until the sale closes.
    pub suggested_restock: u64,
}

impl Outlook {
    /// `stock_max`: units that an item may have.
    pub fn of(
        pace: Pace,
        counts: &Counts,
        (sale, status): (&SaleSettings, Status),
        now: Timestamp,
        stock_max: u64,
    ) -> Self {
        let hundredths_per_minute = pace.hundredths_per_minute();
        let (available, stock) = (counts.available, counts.stock());
        let last = (status == Status::Open && available > 0 && hundredths_per_minute > 0).then(|| {
            let millis = u128::from(available) * u128::from(100 * MINUTE_MILLIS) / u128::from(hundredths_per_minute);
            now.plus_millis(u64::try_from(millis).unwrap_or(u64::MAX))
        });
        let left = match status {
            Status::Closed => 0,
            Status::Scheduled | Status::Open | Status::Paused => {
                sale.closes_at.millis().saturating_sub(now.max(sale.opens_at).millis())
            }
        };
        let wanted = (u128::from(hundredths_per_minute) * u128::from(left)).div_ceil(u128::from(100 * MINUTE_MILLIS));
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
        Self {
            hundredths_per_minute,
            measured_seconds: pace.measured_seconds(),
            sells_out_at: last.filter(|&last| last < sale.closes_at),
            turnover: share(counts.confirmed, stock),
            suggested_restock: wanted.saturating_sub(available).min(stock_max.saturating_sub(stock)),
        }
    }
}

/// Ten thousandths, rounded half up; 0 of nothing.
fn share(part: u64, whole: u64) -> u64 {
    let whole = u128::from(whole.max(1));
    ((u128::from(part) * 20_000 + whole) / (2 * whole)) as u64
}
