//! Stories of sales, told in scripts that people can read: `tests/scripts/*.script`, run by goldenscript.
//!
//! A script is commands, `---`, and what they answer. `UPDATE_GOLDENFILES=1 cargo nextest run --test it scenarios::`
//! writes what the service answers now into the scripts: read the difference before keeping it.
//!
//! | command | what it does |
//! |---|---|
//! | `at "08:05:00"` | sets the clock on the day of the sale; time alone changes nothing |
//! | `tick` | lets the clock do its work: expire holds, open and end sales |
//! | `sale drop tv=10` | puts a sale; `opens=`, `closes=`, `hold=` (seconds), `limit=`, `extensions=`, `tv.limit=` |
//! | `pause`, `resume`, `close` | of the sale |
//! | `adjust tv 5` | puts units in or takes them out; `key=` |
//! | `reserve ann tv=2` | all lines or none; `key=`, `hold=`, `ref=`, `sale=` |
//! | `erase ann` | a customer; tells how many reservations were theirs |
//! | `confirm r1`, `release r1`, `extend r1 60`, `look r1` | of a reservation; confirm takes `ref=` |
//! | `availability` | where the units of each item are |
//! | `commit`, `snapshot`, `restart`, `crash` | make durable; take a snapshot; commit, end and start; end without commit and start; `shards=` |

use std::{collections::BTreeMap, error::Error, fs, path::Path};

use doorbuster::{
    engine::{Made, Settings},
    sale::{
        audit::Actor,
        ids::ReservationId,
        outcome::{Refusal, Reservation, State},
        settings::SaleSettings,
        time::Timestamp,
    },
};
use goldenscript::{ArgumentConsumer, Command, Context, Runner};

use crate::support::{OPENING, ask, harness::Harness};

macro_rules! scripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_script_is_run() {
            let known = [$(stringify!($name)),*];
            for entry in fs::read_dir(directory()).unwrap() {
                let path = entry.unwrap().path();
                let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
                assert!(known.contains(&stem.as_str()), "{} is not named in scenarios.rs", path.display());
            }
        }
    };
}

scripts! {
    opening_bell
    all_or_nothing
    double_click
    late_payment
    extension
    customer_limit
    pause_and_resume
    restock_after_sold_out
    two_payments
    expired_holds_come_back
    multi_line_overlap
    changed_shard_count
    closing_a_sale
    crash_before_commit
    changing_a_sale
    erasing_a_customer
}

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts"))
}

fn run(name: &str) {
    let settings = Settings { shards: 4, retention_millis: 24 * 3600 * 1000, ..Settings::default() };
    let mut stage = Stage { harness: Harness::new(settings), names: BTreeMap::new(), sale: "drop".into() };
    let path = directory().join(format!("{name}.script"));
    goldenscript::run(&mut stage, &path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

struct Stage {
    harness: Harness,
    /// Reservations by the name that the script gives them: r1, r2, …
    names: BTreeMap<String, ReservationId>,
    /// The sale that was put last.
    sale: String,
}

type Outcome = Result<String, Box<dyn Error>>;

impl Runner for Stage {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Outcome {
        let mut args = command.consume_args();
        let output =
            match command.name.as_str() {
                "at" => self.at(&mut args),
                "tick" => {
                    self.harness.tick();
                    Ok(String::new())
                }
                "sale" => self.put(&mut args),
                "pause" => Ok(self
                    .turned("paused", self.harness.engine.pause(self.harness.now, Actor::Anybody, &self.sale).value)),
                "resume" => Ok(self
                    .turned("resumed", self.harness.engine.resume(self.harness.now, Actor::Anybody, &self.sale).value)),
                "close" => Ok(self
                    .turned("closed", self.harness.engine.close(self.harness.now, Actor::Anybody, &self.sale).value)),
                "adjust" => self.adjust(&mut args),
                "reserve" => self.reserve(&mut args),
                "confirm" | "release" | "extend" | "look" => self.change(&command.name, &mut args),
                "erase" => {
                    let customer = positional(&mut args)?;
                    Ok(format!(
                        "{} erased",
                        self.harness.engine.erase_customer(self.harness.now, Actor::Anybody, customer).value
                    ))
                }
                "availability" => Ok(self.availability()),
                "commit" => {
                    self.harness.commit();
                    Ok(String::new())
                }
                "snapshot" => {
                    let taken = self.harness.snapshot();
                    self.harness.prune(taken);
                    Ok(String::new())
                }
                "restart" | "crash" => self.start_again(command.name == "restart", &mut args),
                other => Err(format!("unknown command {other}").into()),
            }?;
        args.reject_next()?;
        Ok(output)
    }
}

impl Stage {
    fn at(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        self.harness.now = moment(positional(args)?)?;
        Ok(String::new())
    }

    fn put(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let id = positional(args)?;
        let mut settings = SaleSettings { id: id.into(), ..ask::sale(id, &[]) };
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
        while let Some((member, value)) = args.next_key() {
            match member.split_once('.') {
                Some((sku, "limit")) => {
                    let item = settings.items.iter_mut().find(|item| item.sku == sku);
                    item.ok_or("a limit of no item")?.customer_limit = Some(value.parse()?);
                }
                Some(_) => return Err(format!("unknown member {member}").into()),
                None => settings.items.push(ask::item(member, value.parse()?)),
            }
        }
        self.sale = id.to_owned();
        Ok(match self.harness.engine.put_sale(self.harness.now, Actor::Anybody, &settings).value {
            Ok((put, sale)) => format!("{put:?}, {}", sale.status(self.harness.now).as_str()).to_lowercase(),
            Err(refusal) => self.refused(&refusal),
        })
    }

    fn turned(&self, done: &str, outcome: Result<(), Refusal>) -> String {
        outcome.map_or_else(|refusal| self.refused(&refusal), |()| done.to_owned())
    }

    fn adjust(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let (sku, delta, key) = (positional(args)?, positional(args)?.parse()?, args.take_key("key"));
        let sale = self.sale.clone();
        let asked = doorbuster::sale::command::Adjust { key, ..ask::adjust(&sale, sku, delta) };
        Ok(match self.harness.adjust(&asked) {
            Ok(adjustment) => {
                let again = if adjustment.replayed { ", as answered before" } else { "" };
                format!("{sku}: stock {}, available {}{again}", adjustment.made.stock, adjustment.made.available)
            }
            Err(refusal) => self.refused(&refusal),
        })
    }

    fn reserve(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let sale = args.take_key("sale").unwrap_or(&self.sale).to_owned();
        let customer = positional(args)?;
        let mut asked = ask::reserve(&sale, customer, &[]);
        asked.key = args.take_key("key");
        asked.reference = args.take_key("ref");
        asked.hold_seconds = args.take_key("hold").map(str::parse).transpose()?;
        while let Some((sku, units)) = args.next_key() {
            asked.lines.push(doorbuster::sale::command::AskedLine { sku, units: units.parse()? });
        }
        Ok(match self.harness.reserve(&asked) {
            Ok(Made { reservation, replayed_of }) => {
                if replayed_of.is_none() {
                    self.names.insert(format!("r{}", self.names.len() + 1), reservation.id);
                }
                let again = if replayed_of.is_some() { ", as answered before" } else { "" };
                format!("{}{again}", self.state(&reservation))
            }
            Err(refusal) => self.refused(&refusal),
        })
    }

    fn change(&mut self, verb: &str, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let name = positional(args)?;
        let id = *self.names.get(name).ok_or_else(|| format!("no reservation {name} in this script"))?;
        let (engine, now) = (&self.harness.engine, self.harness.now);
        let outcome = match verb {
            "confirm" => engine.confirm(now, id, args.take_key("ref")).value,
            "release" => engine.release(now, id, None).value,
            "extend" => engine.extend(now, id, positional(args)?.parse()?).value.map(|extension| extension.reservation),
            _ => {
                let looked = engine.look(now, id).value;
                return Ok(looked.map_or_else(|refusal| self.refused(&refusal), |found| self.full(&found)));
            }
        };
        Ok(outcome.map_or_else(|refusal| self.refused(&refusal), |changed| self.state(&changed)))
    }

    fn availability(&self) -> String {
        let view = match self.harness.engine.sale(self.harness.now, &self.sale).value {
            Ok(view) => view,
            Err(refusal) => return self.refused(&refusal),
        };
        let mut lines = vec![view.status.as_str().to_owned()];
        for (item, counts) in view.sale.items.iter().zip(&view.counts) {
            lines.push(format!(
                "{}: {} available, {} held, {} confirmed",
                item.settings.sku, counts.available, counts.held, counts.confirmed
            ));
        }
        lines.join("\n")
    }

    fn start_again(&mut self, commit: bool, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let shards = match args.take_key("shards") {
            Some(shards) => shards.parse()?,
            None => self.harness.settings().shards,
        };
        if commit {
            self.harness.commit();
        }
        self.harness.kill_and_start_with(shards);
        Ok(String::new())
    }

    /// `held r1 until 08:05:00`.
    fn state(&self, reservation: &Reservation) -> String {
        let name = self.name(reservation.id);
        match reservation.state {
            State::Held => format!("held {name} until {}", clock(reservation.expires_at)),
            over => {
                let at = reservation.ended_at.expect("it is over");
                format!("{} {name} at {}", over.as_str(), clock(at))
            }
        }
    }

    /// The state, for whom, and what of: `held r1 until 08:05:00: ann, tv=2`.
    fn full(&self, reservation: &Reservation) -> String {
        let catalogue = self.harness.engine.catalogue();
        let mut text = format!("{}: {}", self.state(reservation), reservation.customer);
        for line in &reservation.lines {
            text += &format!(", {}={}", catalogue.sku(line.item), line.amounts.sum());
        }
        if let Some(reference) = &reservation.reference {
            text += &format!(", ref={reference}");
        }
        text
    }

    fn name(&self, id: ReservationId) -> &str {
        let known = self.names.iter().find(|(_, known)| **known == id);
        known.map(|(name, _)| name.as_str()).expect("a reservation of this script")
    }

    fn refused(&self, refusal: &Refusal) -> String {
        match refusal {
            Refusal::Short(short) => {
                let lines = short
                    .iter()
                    .map(|line| format!("{} asked {}, available {}", line.sku, line.requested, line.available));
                let word = if short.iter().any(|line| line.available == 0) { "sold out" } else { "insufficient stock" };
                format!("{word}: {}", lines.collect::<Vec<_>>().join("; "))
            }
            Refusal::CustomerLimitExceeded { sku, limit, already } => {
                format!("customer limit exceeded: {sku} limit {limit}, already {already}")
            }
            Refusal::SaleNotStarted { opens_at } => format!("sale not started: opens at {}", clock(*opens_at)),
            Refusal::NotEligible => "not eligible".into(),
            Refusal::SaleEnded => "sale ended".into(),
            Refusal::SalePaused => "sale paused".into(),
            Refusal::SaleNotFound => "sale not found".into(),
            Refusal::ItemNotFound { sku } => format!("item not found: {sku}"),
            Refusal::PreconditionFailed { .. } => "precondition failed".into(),
            Refusal::ReservationNotFound => "reservation not found".into(),
            Refusal::IdempotencyKeyReused => "idempotency key reused".into(),
            Refusal::ReservationExpired(reservation) => format!("reservation expired: {}", self.state(reservation)),
            Refusal::AlreadyConfirmed(reservation) => format!("already confirmed: {}", self.state(reservation)),
            Refusal::AlreadyReleased(reservation) => format!("already released: {}", self.state(reservation)),
            Refusal::ExtensionLimitReached(reservation) => {
                format!("extension limit reached: {}", self.state(reservation))
            }
            Refusal::InitialStockImmutable { sku, pool, initial_stock } => {
                let pool = pool.as_ref().map_or(String::new(), |pool| format!("/{pool}"));
                format!("initial stock immutable: {sku}{pool} began with {initial_stock}")
            }
            Refusal::Invalid(wrong) => {
                let pointers: Vec<_> = wrong.iter().map(|wrong| wrong.pointer.as_str()).collect();
                format!("invalid: {}", pointers.join(", "))
            }
            Refusal::Full(limit) => format!("full: {limit}"),
            Refusal::BacklogFull => "backlog full".into(),
            Refusal::DiskLow => "disk low".into(),
        }
    }
}

fn positional<'a>(args: &mut ArgumentConsumer<'a>) -> Result<&'a str, Box<dyn Error>> {
    args.next_pos().ok_or_else(|| "an argument is missing".into())
}

/// `08:05:00` or `08:05:00.016` on the day of the sale.
fn moment(text: &str) -> Result<Timestamp, Box<dyn Error>> {
    let day = OPENING.to_string();
    let day = day.split('T').next().expect("a date");
    Timestamp::parse(&format!("{day}T{text}Z")).ok_or_else(|| format!("{text} is not a time such as 08:05:00").into())
}

/// As scripts write it: without the day, and without milliseconds where there are none.
fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    let time = text.split('T').nth(1).expect("a time").trim_end_matches('Z');
    time.strip_suffix(".000").unwrap_or(time).to_owned()
}
