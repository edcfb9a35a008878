//! A sale document as a script writes it, line by line.

use std::error::Error;

use doorbuster::sale::settings::{
    GroupSettings, HoldBudget, ItemSettings, Phase, PoolSettings, SaleSettings, Sourcing, Waitlist,
};
use goldenscript::ArgumentConsumer;

use super::{Outcome, moment, positional};
use crate::support::ask;

/// Phases and pools of the next document.
#[derive(Default, Clone)]
pub struct Draft {
    phases: Vec<Phase>,
    items: Vec<ItemSettings>,
}

/// `gold,silver`.
fn names(args: &mut ArgumentConsumer<'_>, member: &str) -> Option<Vec<String>> {
    Some(args.take_key(member)?.split(',').map(str::to_owned).collect())
}

impl Draft {
    pub fn phase(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let name = positional(args)?;
        let opens_at = moment(args.take_key("from").ok_or("from= is missing")?)?;
        self.phases.push(Phase {
            closes_at: args.take_key("until").map(moment).transpose()?,
            tiers: names(args, "tiers"),
            channels: names(args, "channels"),
            customer_limit: args.take_key("limit").map(str::parse).transpose()?,
            ..ask::phase(name, opens_at)
        });
        Ok(String::new())
    }

    pub fn pool(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let (sku, id, units) = (positional(args)?, positional(args)?, positional(args)?.parse()?);
        let mut pool = PoolSettings {
            tiers: names(args, "tiers"),
            channels: names(args, "channels"),
            shared_at: args.take_key("shared").map(moment).transpose()?,
            location: args.take_key("at").map(str::to_owned),
            price: args.take_key("price").map(str::parse).transpose()?.and_then(ask::cents),
            ..ask::pool(id, units)
        };
        while let Some((member, cost)) = args.next_key() {
            let region = member.strip_prefix("cost.").ok_or("an unknown member of a pool")?;
            pool.costs.get_or_insert_default().insert(region.to_owned(), cost.parse()?);
        }
        if self.items.last().is_none_or(|item| item.sku != sku) {
            self.items.push(ask::item(sku, 0));
        }
        let item = self.items.last_mut().expect("just seen");
        item.initial_stock += units;
        item.pools.push(pool);
        Ok(String::new())
    }

    pub fn document(self, args: &mut ArgumentConsumer<'_>) -> Result<SaleSettings, Box<dyn Error>> {
        let mut settings = ask::sale(positional(args)?, &[]);
        (settings.phases, settings.items) = (self.phases, self.items);
        if let Some(opens) = args.take_key("opens") {
            settings.opens_at = moment(opens)?;
        }
        if let Some(closes) = args.take_key("closes") {
            settings.closes_at = moment(closes)?;
        }
        if let Some(seconds) = args.take_key("hold") {
            settings.hold_seconds = seconds.parse()?;
        }
        settings.customer_limit = args.take_key("limit").map(str::parse).transpose()?;
        settings.max_extensions = args.take_key("extensions").map(str::parse).transpose()?;
        settings.late_confirm_seconds = args.take_key("late").map(str::parse).transpose()?.unwrap_or(0);
        let open_holds = args.take_key("open_holds").map(str::parse).transpose()?;
        let expired_per_hour = args.take_key("expired_per_hour").map(str::parse).transpose()?;
        let budget = HoldBudget { open_holds, expired_per_hour };
        settings.hold_budget = (budget != HoldBudget::default()).then_some(budget);
        let entry_seconds = args.take_key("wait").map(str::parse).transpose()?.unwrap_or(3600);
        let hold_seconds = args.take_key("offer").map(str::parse).transpose()?;
        let entries_max = args.take_key("waitlist").map(str::parse).transpose()?;
        settings.waitlist = entries_max.map(|entries_max| Waitlist { entries_max, entry_seconds, hold_seconds });
        while let Some((member, value)) = args.next_key() {
            let Some((sku, member)) = member.split_once('.') else {
                settings.items.push(ask::item(member, value.parse()?));
                continue;
            };
            let item = settings.items.iter_mut().find(|item| item.sku == sku).ok_or("a member of no item")?;
            match member {
                "limit" => item.customer_limit = Some(value.parse()?),
                "group" => item.group = Some(group(value)?),
                "split" => item.split = Some(value.parse()?),
                "low" => item.low_stock_at = Some(value.parse()?),
                "sourcing" => item.sourcing = Some(sourcing(value)?),
                _ => return Err(format!("unknown member {sku}.{member}").into()),
            }
        }
        Ok(settings)
    }
}

/// `3x600`: members and seconds.
fn group(text: &str) -> Result<GroupSettings, Box<dyn Error>> {
    let (size, seconds) = text.split_once('x').ok_or("a group is written as 3x600")?;
    Ok(GroupSettings { size: size.parse()?, seconds: seconds.parse()? })
}

fn sourcing(word: &str) -> Result<Sourcing, Box<dyn Error>> {
    match word {
        "in_order" => Ok(Sourcing::InOrder),
        "cheapest" => Ok(Sourcing::Cheapest),
        "most_available" => Ok(Sourcing::MostAvailable),
        _ => Err(format!("unknown sourcing {word}").into()),
    }
}
