//! Commands on reservations that are made.

use std::error::Error;

use doorbuster::{
    engine::{CancelMade, ExtensionOfAll},
    sale::{
        audit::Actor,
        command::{Cancel, Confirm, ExtendAll},
        ids::ReservationId,
        shard::Search,
    },
};
use goldenscript::ArgumentConsumer;

use super::{Outcome, Stage, lines, positional};

impl Stage {
    pub(super) fn of_one(&mut self, verb: &str, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let id = self.named(args)?;
        let (engine, now) = (&self.harness.engine, self.harness.now);
        let outcome = match verb {
            "confirm" => {
                let (reference, lines) = (args.take_key("ref"), lines(args)?);
                let asked = Confirm { lines: (!lines.is_empty()).then_some(lines), reference };
                engine.confirm(now, id, asked).value
            }
            "release" => engine.release(now, id, None).value,
            "extend" => engine.extend(now, id, positional(args)?.parse()?).value.map(|extension| extension.reservation),
            _ => {
                let looked = engine.look(now, id).value;
                return Ok(looked.map_or_else(|refusal| self.refused(&refusal), |found| self.full(&found)));
            }
        };
        Ok(outcome.map_or_else(|refusal| self.refused(&refusal), |changed| self.state(&changed)))
    }

    fn named(&self, args: &mut ArgumentConsumer<'_>) -> Result<ReservationId, Box<dyn Error>> {
        let name = positional(args)?;
        self.names.get(name).copied().ok_or_else(|| format!("no reservation {name} in this script").into())
    }

    pub(super) fn change(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let (id, lines) = (self.named(args)?, lines(args)?);
        let changed = self.harness.engine.change(self.harness.now, id, &lines).value;
        Ok(changed.map_or_else(|refusal| self.refused(&refusal), |changed| self.full(&changed)))
    }

    pub(super) fn cancel(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let (id, key) = (self.named(args)?, args.take_key("key"));
        let restock = args.take_key("restock") != Some("no");
        let lines = lines(args)?;
        let asked = Cancel { lines: (!lines.is_empty()).then_some(lines), reason: None, restock, key };
        Ok(match self.harness.engine.cancel(self.harness.now, id, &asked).value {
            Ok(CancelMade { reservation, replayed }) => {
                let again = if replayed { ", as answered before" } else { "" };
                format!("{}{again}", self.full(&reservation))
            }
            Err(refusal) => self.refused(&refusal),
        })
    }

    pub(super) fn extend_all(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let (sale, key, seconds) = (self.sale.clone(), args.take_key("key"), positional(args)?.parse()?);
        let ticks = args.take_key("ticks").map(str::parse::<u32>).transpose()?;
        let asked = ExtendAll { sale: &sale, seconds, reason: None, key };
        let mut state = match self.harness.engine.extend_all(self.harness.now, Actor::Anybody, &asked).value {
            Ok(state) => state,
            Err(refusal) => return Ok(self.refused(&refusal)),
        };
        for _ in 0..ticks.unwrap_or(100) {
            let ExtensionOfAll::Running(run) = state else { break };
            self.harness.tick();
            state = self.harness.engine.extension_of_all(run).value.expect("it is known");
        }
        Ok(match state {
            ExtensionOfAll::Running(_) => "under way".into(),
            ExtensionOfAll::Done { holds, replayed: true } => format!("{holds} holds, as answered before"),
            ExtensionOfAll::Done { holds, replayed: false } => format!("{holds} holds"),
        })
    }

    pub(super) fn customer(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let (customer, catalogue) = (positional(args)?, self.harness.engine.catalogue());
        let sale = catalogue.sale(&self.sale).expect("it was put").clone();
        let mut search = Search::new(customer, sale.number, 100);
        while !self.harness.engine.search(&mut search) {}
        let found = self.harness.engine.of_customer(self.harness.now, &search).value;
        let mut told: Vec<String> = found.reservations.iter().map(|reservation| self.full(reservation)).collect();
        for item in sale.items.iter() {
            let Some(limit) = sale.customer_limit(item) else { continue };
            let already = found.units.iter().find(|(known, _)| *known == item.number).map_or(0, |(_, units)| *units);
            told.push(format!("{}: limit {limit}, already {already}", item.settings.sku));
        }
        Ok(told.join("\n"))
    }
}
