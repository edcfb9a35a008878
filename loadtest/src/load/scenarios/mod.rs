//! The scenarios.

mod abandoned_carts;
mod baskets;
mod double_clickers;
pub mod group_deals;
mod ladder;
mod opening_bell;
mod operator;
mod second_thoughts;
mod steady_day;
mod waitlist;

use std::time::Duration;

use clap::ValueEnum;

use crate::visitor::Visitor;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// All users come in the second in which the sale opens, and ask for many times the stock.
    OpeningBell,
    /// Customers look, reserve, extend, confirm and release, with time to think; limits of customers are met.
    SteadyDay,
    /// Most holds expire and their units come back; some customers pay too late.
    AbandonedCarts,
    /// Many lines per basket, of scarce items: all of a basket or none of it.
    Baskets,
    /// Every request is sent twice at once with the same key, and once more later.
    DoubleClickers,
    /// Members first, then everybody, at prices that rise with each unit sold.
    Ladder,
    /// Shoppers, while an operator adds and removes stock, pauses and resumes.
    Operator,
    /// Holds are changed, confirmed in part and late, and cancelled in parts.
    SecondThoughts,
    /// Units that come back go to those who wait, in order, and to nobody else.
    Waitlist,
    /// Customers open and join groups, pay too early, leave, and come too late.
    GroupDeals,
}

/// The sale of a scenario, and the refusals allowed in it.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub items: usize,
    /// Initial units of each item.
    pub stock: u64,
    pub hold_seconds: u64,
    pub customer_limit: Option<u64>,
    /// For how long holds may be confirmed after their end.
    pub late_confirm_seconds: u64,
    /// The items have pools in order, with prices that rise, and the sale has phases.
    pub ladder: bool,
    pub waitlist: bool,
    /// The items are sold to groups.
    pub group_deals: bool,
    /// From the start of the run until the sale opens.
    pub opens_after: Duration,
    /// Codes that a reserve may be refused with. No others may come.
    pub refusals: &'static [&'static str],
}

/// Longer than any run: such holds are there at the end.
const LONG_HOLD: u64 = 7200;

impl Scenario {
    pub fn name(self) -> String {
        self.to_possible_value().expect("none is hidden").get_name().to_owned()
    }

    pub fn plan(self, users: usize) -> Plan {
        let users = users as u64;
        let plan = Plan {
            items: 3,
            stock: 2 * users,
            hold_seconds: LONG_HOLD,
            customer_limit: None,
            late_confirm_seconds: 0,
            ladder: false,
            waitlist: false,
            group_deals: false,
            opens_after: Duration::ZERO,
            refusals: &["sold_out", "insufficient_stock"],
        };
        match self {
            // Users come within a second, and then all of them wait for the bell.
            Self::OpeningBell => Plan {
                opens_after: Duration::from_millis(2000),
                refusals: &["sold_out", "insufficient_stock", "sale_not_started"],
                ..plan
            },
            Self::SteadyDay => Plan {
                items: 20,
                stock: 10_000_000,
                customer_limit: Some(4),
                refusals: &["customer_limit_exceeded"],
                ..plan
            },
            Self::AbandonedCarts => Plan { stock: users / 4 + 1, hold_seconds: 1, ..plan },
            Self::Baskets => Plan { items: 30, stock: 3 * users, ..plan },
            Self::DoubleClickers => Plan { stock: 10 * users, ..plan },
            Self::Ladder => Plan {
                stock: 6 * users,
                ladder: true,
                refusals: &["sold_out", "insufficient_stock", "sale_not_started"],
                ..plan
            },
            Self::Operator => Plan { refusals: &["sold_out", "insufficient_stock", "sale_paused"], ..plan },
            Self::SecondThoughts => Plan {
                stock: 10_000_000,
                hold_seconds: 1,
                late_confirm_seconds: second_thoughts::LATE_CONFIRM_SECONDS,
                refusals: &[],
                ..plan
            },
            Self::Waitlist => Plan { items: 1, stock: users / 4 + 1, hold_seconds: 1, waitlist: true, ..plan },
            Self::GroupDeals => Plan {
                stock: 12 * users,
                group_deals: true,
                refusals: &["sold_out", "insufficient_stock", "group_full", "group_closed"],
                ..plan
            },
        }
    }

    /// One visit of one user.
    pub async fn visit(self, visitor: &mut Visitor<'_>) {
        match self {
            Self::OpeningBell => opening_bell::visit(visitor).await,
            Self::SteadyDay => steady_day::visit(visitor).await,
            Self::AbandonedCarts => abandoned_carts::visit(visitor).await,
            Self::Baskets => baskets::visit(visitor).await,
            Self::DoubleClickers => double_clickers::visit(visitor).await,
            Self::Ladder => ladder::visit(visitor).await,
            Self::Operator => operator::visit(visitor).await,
            Self::SecondThoughts => second_thoughts::visit(visitor).await,
            Self::Waitlist => waitlist::visit(visitor).await,
            Self::GroupDeals => group_deals::visit(visitor).await,
        }
    }
}

/// An item, any as likely as any other.
fn any_sku(visitor: &Visitor<'_>) -> String {
    visitor.run.sku(rand::random_range(0..visitor.run.plan.items))
}
