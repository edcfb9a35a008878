//! Commands on waitlists.

use doorbuster::{
    engine::EntryView,
    sale::{ids::EntryId, outcome::WaitState},
};
use goldenscript::ArgumentConsumer;

use super::{Outcome, Stage, asked, clock, positional, who};

impl Stage {
    pub(super) fn join(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let (sale, extras) = (self.sale.clone(), who(args));
        let asked = asked(&sale, &extras, args)?;
        Ok(match self.harness.join(&asked) {
            Ok(view) => {
                if !view.replayed {
                    self.entries.insert(format!("w{}", self.entries.len() + 1), view.entry.id);
                }
                let again = if view.replayed { ", as joined before" } else { "" };
                format!("{}{again}", self.waits(&view))
            }
            Err(refusal) => self.refused(&refusal),
        })
    }

    pub(super) fn of_entry(&mut self, verb: &str, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let name = positional(args)?;
        let id = *self.entries.get(name).ok_or_else(|| format!("no entry {name} in this script"))?;
        let (engine, now) = (&self.harness.engine, self.harness.now);
        let outcome = match verb {
            "leave" => engine.leave_waitlist(now, id).value,
            _ => engine.waitlist_entry(now, id).value,
        };
        Ok(match outcome {
            Ok(view) => self.waits(&view),
            Err(refusal) => self.refused(&refusal),
        })
    }

    /// `w1: ann waits for tv=1, position 1, until 09:00:00`, or what came of it.
    fn waits(&mut self, EntryView { entry, position, .. }: &EntryView) -> String {
        let catalogue = self.harness.engine.catalogue();
        let lines = entry.lines.iter().map(|line| format!("{}={}", catalogue.sku(line.item), line.units));
        let lines = lines.collect::<Vec<_>>().join(" ");
        drop(catalogue);
        let name = self.entry_name(entry.id).to_owned();
        let customer = if entry.customer.starts_with("erased-") { "nobody" } else { entry.customer.as_str() };
        let at = entry.ended_at.map(clock).unwrap_or_default();
        let mut text = match entry.state {
            WaitState::Waiting => {
                let position = position.expect("who waits has a position");
                format!("{name}: {customer} waits for {lines}, position {position}, until {}", clock(entry.expires_at))
            }
            WaitState::Offered => {
                let id = entry.reservation.expect("it was offered something");
                if !self.names.values().any(|known| *known == id) {
                    self.names.insert(format!("r{}", self.names.len() + 1), id);
                }
                format!("{name}: {customer} was offered {lines} at {at}: {}", self.name(id))
            }
            WaitState::Left => format!("{name}: {customer} left at {at}"),
            WaitState::Expired => format!("{name}: {customer} waited until {at}"),
        };
        if let Some((at, cause)) = entry.passed_over {
            text += &format!(", passed over at {}: {}", clock(at), cause.code().as_str().replace('_', " "));
        }
        text
    }

    pub(super) fn entry_name(&self, id: EntryId) -> &str {
        let known = self.entries.iter().find(|(_, known)| **known == id);
        known.map(|(name, _)| name.as_str()).expect("an entry of this script")
    }
}
