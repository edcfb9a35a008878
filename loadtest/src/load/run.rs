//! One run of one scenario: everything that its users share.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;
use serde_json::json;

use crate::{
    guarantees::Findings,
    http::{Call, Http},
    ledger::{Ledger, Wanted},
    samples::Samples,
    scenarios::{Plan, Scenario, group_deals},
    watch::{Moment, Watch},
};

pub struct Run {
    pub scenario: Scenario,
    pub plan: Plan,
    /// A sale of this run's own: what is counted in it is this run's.
    pub sale: String,
    pub opens_at: Moment,
    pub http: Http,
    pub watch: Arc<Watch>,
    pub ledger: Ledger,
    pub findings: Findings,
    pub samples: Samples,
    /// The service is somebody's: its limits may refuse.
    pub elsewhere: bool,
    next: AtomicU64,
}

/// The tier of those who may buy first on a ladder, and the channels that shoppers come through.
pub const MEMBERS: &str = "members";
pub const CHANNELS: [&str; 3] = ["app", "web", "livestream"];

/// Steps of a ladder, the prices of a unit at each, in cents, and its share of the stock, in percent.
pub const LADDER: [(&str, u64, u64); 3] = [("early", 100, 20), ("regular", 200, 30), ("late", 300, 50)];

/// Customers who may wait at once: no user does so twice. An entry lasts longer than any run.
const ENTRIES_MAX: usize = 20_000;
const ENTRY_SECONDS: u64 = 7200;

/// From the opening to members until that to everybody.
const MEMBERS_FIRST: Moment = 500_000;

impl Run {
    /// When the sale opens to whoever wants this.
    pub fn opens_to(&self, wanted: &Wanted) -> Moment {
        let later = self.plan.ladder && wanted.tier != Some(MEMBERS);
        self.opens_at + if later { MEMBERS_FIRST } else { 0 }
    }

    /// Units that each step of an item's ladder has; the rest of the division is the last one's.
    pub fn steps(&self) -> [u64; LADDER.len()] {
        let mut units = LADDER.map(|(.., percent)| self.plan.stock * percent / 100);
        units[LADDER.len() - 1] += self.plan.stock - units.iter().sum::<u64>();
        units
    }

    pub fn new(scenario: Scenario, users: usize, http: Http, watch: Arc<Watch>, elsewhere: bool) -> Self {
        let (plan, now) = (scenario.plan(users), watch.now());
        Self {
            scenario,
            sale: format!("load-{}-{now}", scenario.name()),
            // The service keeps milliseconds.
            opens_at: (now + plan.opens_after.as_micros() as Moment) / 1000 * 1000,
            plan,
            http,
            watch,
            ledger: Ledger::default(),
            findings: Findings::default(),
            samples: Samples::default(),
            elsewhere,
            next: AtomicU64::new(0),
        }
    }

    /// A number that this run did not have before.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub fn sku(&self, number: usize) -> String {
        format!("sku-{number}")
    }

    pub fn skus(&self) -> impl Iterator<Item = String> {
        (0..self.plan.items).map(|number| self.sku(number))
    }

    pub fn sale_path(&self) -> String {
        format!("/v1/sales/{}", self.sale)
    }

    /// Puts the sale. It is closed by nobody: what is held in it runs out by itself.
    pub async fn put_sale(&self) -> anyhow::Result<()> {
        let items: Vec<_> = self
            .skus()
            .map(|sku| json!({"sku": sku, "initial_stock": self.plan.stock, "price": {"amount": 19900, "currency": "EUR"}}))
            .collect();
        let time = |moment: Moment| Timestamp::from_microsecond(moment).map(|time| format!("{time:.3}"));
        let mut document = json!({
            "name": format!("Load test: {}", self.scenario.name()),
            "opens_at": time(self.opens_at)?,
            "closes_at": time(self.opens_at + 24 * 3600 * 1_000_000)?,
            "hold_seconds": self.plan.hold_seconds,
            "items": items,
        });
        if self.plan.ladder {
            let pools: Vec<_> = LADDER
                .iter()
                .zip(self.steps())
                .map(|((id, price, _), units)| {
                    json!({"id": id, "initial_stock": units, "price": {"amount": price, "currency": "EUR"}})
                })
                .collect();
            let items = document["items"].as_array_mut().expect("it was made above");
            items.iter_mut().for_each(|item| item["pools"] = json!(pools));
            let everybody = time(self.opens_at + MEMBERS_FIRST)?;
            document["phases"] = json!([
                {"name": "members", "opens_at": time(self.opens_at)?, "closes_at": everybody, "tiers": [MEMBERS]},
                {"name": "everybody", "opens_at": everybody},
            ]);
        }
        if self.plan.group_deals {
            let items = document["items"].as_array_mut().expect("it was made above");
            let group = json!({"size": group_deals::SIZE, "seconds": group_deals::SECONDS});
            items.iter_mut().for_each(|item| item["group"] = group.clone());
        }
        if self.plan.waitlist {
            document["waitlist"] = json!({"entries_max": ENTRIES_MAX, "entry_seconds": ENTRY_SECONDS});
        }
        if self.plan.late_confirm_seconds > 0 {
            document["late_confirm_seconds"] = json!(self.plan.late_confirm_seconds);
        }
        if let Some(limit) = self.plan.customer_limit {
            document["customer_limit"] = json!(limit);
        }
        let call = Call {
            method: reqwest::Method::PUT,
            ..Call::post("put sale", self.sale_path(), Some(document.to_string()))
        };
        let answer = self.http.send(&call).await.answer.map_err(anyhow::Error::msg)?;
        anyhow::ensure!(
            answer.status == 201,
            "the service refused the sale of the load test: {} (if it has keys, set DOORBUSTER_KEY to one with the \
             role operator)",
            answer.told()
        );
        Ok(())
    }
}
