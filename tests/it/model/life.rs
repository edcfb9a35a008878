//! The commands on reservations that are made, by the service and by its model.

use doorbuster::{
    engine::{CancelMade, ExtensionOfAll},
    sale::{
        audit::Actor,
        command::{self, AskedLine, ExtendAll},
        outcome::Refusal,
        shard::Search,
    },
};

use super::{
    commands::Part,
    naive::{At, Cancel, Extending, Name},
    world::{World, as_compared, summed},
};

type Lines = Vec<(Name, u32)>;

fn asked(lines: &Lines) -> impl Iterator<Item = AskedLine<'static>> {
    lines.iter().map(|&(sku, units)| AskedLine { sku, units })
}

impl World {
    /// The lines that are asked for.
    fn lines(&self, ago: usize, part: Option<&Part>, at: At) -> Option<Lines> {
        let part = part?;
        let lines = summed(&part.lines);
        let known = self.position(ago).filter(|position| part.fits && self.model.reservations.contains_key(position));
        let fitting = known.into_iter().flat_map(|position| {
            let has = move |sku| self.model.has(position, sku, at);
            lines.iter().map(move |&(sku, units)| (sku, units.min(has(sku)))).filter(|line| line.1 > 0)
        });
        let fitting: Lines = fitting.collect();
        Some(if fitting.is_empty() { lines } else { fitting })
    }

    pub(super) fn confirm(&mut self, ago: usize, reference: Option<Name>, part: Option<&Part>) {
        let is_held = |position| self.model.reservations.get(&position).is_some_and(|known| known.has(At::Held));
        let at = if self.position(ago).is_some_and(is_held) { At::Held } else { At::Returned };
        let lines = self.lines(ago, part, at);
        let position = self.position(ago);
        let before = position.and_then(|position| self.model.reservations.get(&position).cloned());
        let outcome = self.change(
            ago,
            |harness, id| {
                let lines = lines.as_ref().map(|lines| asked(lines).collect());
                harness.engine.confirm(harness.now, id, command::Confirm { lines, reference })
            },
            |model, now, position| model.confirm(now, position, reference, &lines).map_err(as_compared),
        );
        let Some((before, position)) = before.zip(position) else { return };
        if let Some(Err(Refusal::CustomerLimitExceeded { .. })) = outcome {
            self.tally.note("refused late for the limit");
        }
        let after = &self.model.reservations[&position];
        if before.state != after.state && after.is_late() {
            self.tally.note("confirmed late");
        }
        if before.state != after.state && after.has(At::Returned) && after.has(At::Confirmed) {
            self.tally.note("partly confirmed");
        }
    }

    pub(super) fn change_lines(&mut self, ago: usize, lines: &[(usize, u32)]) {
        let lines = summed(lines);
        let before = self.position(ago).and_then(|position| self.model.reservations.get(&position).cloned());
        self.change(
            ago,
            |harness, id| harness.engine.change(harness.now, id, &asked(&lines).collect::<Vec<_>>()),
            |model, now, position| model.change_lines(now, position, &lines).map_err(as_compared),
        );
        let Some((before, position)) = before.zip(self.position(ago)) else { return };
        if before.has_other_units_than(&self.model.reservations[&position]) {
            self.tally.note("changed");
        }
    }

    pub(super) fn cancel(&mut self, ago: usize, part: Option<&Part>, restock: bool, key: Option<Name>) {
        let lines = self.lines(ago, part, At::Confirmed);
        // With lines there is always a key.
        let key = key.or(lines.as_ref().map(|_| "key-a"));
        let of_model = Cancel { lines, restock, key };
        let before = self.position(ago).and_then(|position| self.model.reservations.get(&position).cloned());
        self.change(
            ago,
            |harness, id| {
                let lines = of_model.lines.as_ref().map(|lines| asked(lines).collect());
                let cancel = command::Cancel { lines, reason: Some("sent back"), restock, key };
                let answer = harness.engine.cancel(harness.now, id, &cancel);
                answer.map(|made| made.map(|CancelMade { reservation, replayed }| (reservation, replayed)))
            },
            |model, now, position| model.cancel(now, position, &of_model).map_err(as_compared),
        );
        let Some((before, position)) = before.zip(self.position(ago)) else { return };
        let after = &self.model.reservations[&position];
        if before.has_other_units_than(after) && before.has(At::Confirmed) {
            self.tally.note(match (after.has(At::Confirmed), restock) {
                (false, true) => "cancelled",
                (true, true) => "partly cancelled",
                (false, false) => "cancelled, and not restocked",
                (true, false) => "partly cancelled, and not restocked",
            });
        }
    }

    pub(super) fn extend_all(&mut self, sale: Name, seconds: u32, key: Option<Name>) {
        let now = self.harness.now;
        let expected = self.model.extend_all(now, sale, seconds, key);
        let asked = ExtendAll { sale, seconds, reason: Some("no payments"), key };
        let answer = self.harness.engine.extend_all(now, Actor::Anybody, &asked);
        self.assert_pending(&answer, matches!(expected, Ok((_, true))));
        match (answer.value, &expected) {
            (Ok(ExtensionOfAll::Running(extending)), &Ok((Extending::Running(number), new))) => {
                self.tally.note(if new { "all extended" } else { "joined an extension of all" });
                self.waiting.push((extending, number));
                // A hold that is made now is a later one.
                self.harness.wait_millis(1);
            }
            (Ok(ExtensionOfAll::Done { holds, replayed: true }), &Ok((Extending::Done { holds: known }, false))) => {
                self.tally.note("replayed an extension of all");
                assert_eq!(holds, known);
            }
            (Err(refusal), Err(known)) => {
                self.tally.note_refusal(known);
                assert_eq!(refusal, *known);
            }
            (answer, expected) => panic!("{answer:?} is not {expected:?}"),
        }
    }

    /// Who waits for an extension is told when it is done, and what it came to.
    pub(super) fn compare_extensions(&mut self) {
        let (engine, model) = (&self.harness.engine, &self.model);
        self.waiting.retain(|&(extending, number)| {
            let state = engine.extension_of_all(extending).value.expect("it is known");
            match model.holds_of(number) {
                Some(holds) => assert_eq!(state, ExtensionOfAll::Done { holds, replayed: false }),
                None => assert_eq!(state, ExtensionOfAll::Running(extending)),
            }
            model.holds_of(number).is_none()
        });
    }

    /// After a start an extension goes on behind the last bucket in which it extended a hold; how far it came before is not
    /// known. So the two are compared when it is done.
    pub(super) fn finish_extensions(&mut self) {
        self.waiting.clear();
        if self.model.runs.is_empty() {
            return;
        }
        self.tally.note("an extension of all over a restart");
        let (mut extended, mut expected) = (0, 0);
        for _ in 0..8 * self.model.runs.len() {
            expected += self.model.tick(self.harness.now).extended;
            extended += self.harness.tick().extended;
        }
        assert!(self.model.runs.is_empty());
        assert_eq!(extended, expected, "holds that were extended after the start");
    }

    pub(super) fn list(&mut self, sale: Name, customer: Name) {
        let Some(number) = self.harness.engine.catalogue().sale(sale).ok().map(|sale| sale.number) else { return };
        let mut search = Search::new(customer, number, 3);
        while !self.harness.engine.search(&mut search) {}
        let listed = self.harness.engine.of_customer(self.harness.now, &search).value;
        assert_eq!(listed, self.model.of_customer(self.harness.now, customer, sale), "{customer} in {sale}");
    }
}
