//! Stories of sales, told in scripts that people can read: `tests/scripts/*.script`, run by goldenscript.
//!
//! A script is commands, `---`, and what they answer. `UPDATE_GOLDENFILES=1 cargo nextest run --test it scenarios::`
//! writes what the service answers now into the scripts: read the difference before keeping it.
//!
//! | command | what it does |
//! |---|---|
//! | `at "08:05:00"` | sets the clock on the day of the sale; time alone changes nothing |
//! | `tick` | lets the clock do its work: expire holds, open and end sales |
//! | `phase early from="08:00:00"` | for the next sale; `until=`, `tiers=gold`, `channels=`, `limit=` |
//! | `pool tv members 10` | for the next sale; `tiers=`, `channels=`, `shared="08:30:00"`, `at=berlin`, `cost.eu=90`, `price=9900` |
//! | `sale drop tv=10` | puts a sale; `opens=`, `closes=`, `hold=` (seconds), `limit=`, `extensions=`, `late=` (seconds), `open_holds=`, `expired_per_hour=`, `waitlist=` (entries), `wait=`, `offer=` (seconds), `tv.limit=`, `tv.sourcing=`, `tv.split=`, `tv.low=`, `tv.group=3x600` (members and seconds) |
//! | `check drop tv=10` | as `sale`, without effect; tells the warnings |
//! | `pause`, `resume`, `close` | of the sale |
//! | `adjust tv 5` | puts units in or takes them out; `pool=`, `key=` |
//! | `adjust_all tv.members=5 mug=-2` | several changes of stock, all or none |
//! | `transfer tv members all 5` | moves units from one pool to another |
//! | `reserve ann tv=2` | all lines or none; `key=`, `hold=`, `ref=`, `sale=`, `tier=`, `channel=`, `region=`, `at=berlin`, `partly=yes`, `group=r1` (joins the group of r1) |
//! | `try ann tv=2` | as `reserve`, without effect |
//! | `erase ann` | a customer; tells how many reservations were theirs |
//! | `confirm r1`, `release r1`, `extend r1 60`, `look r1` | of a reservation; confirm takes `ref=`, and `tv=1` for a part |
//! | `change r1 tv=2 mug=1` | gives a hold other lines |
//! | `cancel r1` | of a confirmed one; a part with `tv=1 key=`; `restock=no` |
//! | `join ann tv=2` | waits for units that come back; takes what `reserve` takes but `hold=` and `partly=` |
//! | `entry w1`, `leave w1` | of a waitlist entry; a reservation that it was offered gets a name |
//! | `extend_all 600` | all holds of the sale; `key=`; `ticks=2` goes on for so many ticks only |
//! | `customer ann` | all reservations of a customer in the sale, and limits |
//! | `availability` | where the units of each item are; what is open to whom, with `tier=`, `channel=` |
//! | `commit`, `snapshot`, `restart`, `crash` | make durable; take a snapshot; commit, end and start; end without commit and start; `shards=` |

mod draft;
mod life;
mod waitlist;

use std::{collections::BTreeMap, error::Error, fs, path::Path};

use doorbuster::{
    engine::{Adjustment, Counts, Made, Settings, Tried},
    sale::{
        audit::Actor,
        catalogue::Catalogue,
        command::{Adjust, AdjustAll, AskedLine, Extras, Reserve, Transfer},
        event::PricedPortion,
        expected::Expected,
        ids::{EntryId, GroupId, ItemNumber, ReservationId},
        outcome::{Group, GroupState, Refusal, Reservation, Shortage, State},
        time::Timestamp,
        warnings,
    },
};
use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use smallvec::SmallVec;

use self::draft::Draft;
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
    early_access
    channel_quota
    regional_warehouses
    early_bird_ladder
    one_per_person
    staged_release
    partial_fill
    dry_run
    bulk_adjustment
    changing_a_hold
    part_of_an_order
    cancelled_orders
    late_confirm
    hold_budget
    extending_all_holds
    waitlist
    waitlist_of_families
    waitlist_and_limits
    one_customer
    group_deal
}

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts"))
}

fn run(name: &str) {
    let settings = Settings { shards: 4, retention_millis: 24 * 3600 * 1000, ..Settings::default() };
    let harness = Harness::new(settings);
    let mut stage = Stage {
        harness,
        names: BTreeMap::new(),
        groups: BTreeMap::new(),
        entries: BTreeMap::new(),
        sale: "drop".into(),
        draft: Draft::default(),
    };
    let path = directory().join(format!("{name}.script"));
    goldenscript::run(&mut stage, &path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

struct Stage {
    harness: Harness,
    /// Reservations by the name that the script gives them: r1, r2, …
    names: BTreeMap<String, ReservationId>,
    groups: BTreeMap<ReservationId, GroupId>,
    /// Waitlist entries by name: w1, w2, …
    entries: BTreeMap<String, EntryId>,
    /// The sale that was put last.
    sale: String,
    draft: Draft,
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
                "phase" => self.draft.phase(&mut args),
                "pool" => self.draft.pool(&mut args),
                "sale" => self.put(&mut args),
                "check" => self.check(&mut args),
                "pause" => Ok(self
                    .turned("paused", self.harness.engine.pause(self.harness.now, Actor::Anybody, &self.sale).value)),
                "resume" => Ok(self
                    .turned("resumed", self.harness.engine.resume(self.harness.now, Actor::Anybody, &self.sale).value)),
                "close" => Ok(self
                    .turned("closed", self.harness.engine.close(self.harness.now, Actor::Anybody, &self.sale).value)),
                "adjust" => self.adjust(&mut args),
                "adjust_all" => self.adjust_all(&mut args),
                "transfer" => self.transfer(&mut args),
                "reserve" => self.reserve(&mut args),
                "try" => self.try_out(&mut args),
                "confirm" | "release" | "extend" | "look" => self.of_one(&command.name, &mut args),
                "change" => self.change(&mut args),
                "cancel" => self.cancel(&mut args),
                "join" => self.join(&mut args),
                "entry" | "leave" => self.of_entry(&command.name, &mut args),
                "extend_all" => self.extend_all(&mut args),
                "customer" => self.customer(&mut args),
                "erase" => {
                    let customer = positional(&mut args)?;
                    Ok(format!(
                        "{} erased",
                        self.harness.engine.erase_customer(self.harness.now, Actor::Anybody, customer).value
                    ))
                }
                "availability" => self.availability(&mut args),
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
        let settings = std::mem::take(&mut self.draft).document(args)?;
        self.sale.clone_from(&settings.id);
        Ok(match self.harness.engine.put_sale(self.harness.now, Actor::Anybody, &settings).value {
            Ok((put, sale)) => format!("{put:?}, {}", sale.status(self.harness.now).as_str()).to_lowercase(),
            Err(refusal) => self.refused(&refusal),
        })
    }

    fn check(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let settings = self.draft.clone().document(args)?;
        let put = match self.harness.engine.try_put(&Expected::default(), &settings).value {
            Ok(put) => put,
            Err(refusal) => return Ok(self.refused(&refusal)),
        };
        let warnings = warnings::of(&settings, self.harness.now);
        let warnings = warnings.iter().map(|warning| format!("warning at {}: {}", warning.pointer, warning.code));
        Ok([format!("would be {put:?}").to_lowercase()].into_iter().chain(warnings).collect::<Vec<_>>().join("\n"))
    }

    fn turned(&self, done: &str, outcome: Result<(), Refusal>) -> String {
        outcome.map_or_else(|refusal| self.refused(&refusal), |()| done.to_owned())
    }

    fn adjust(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let (sku, delta, key) = (positional(args)?, positional(args)?.parse()?, args.take_key("key"));
        let sale = self.sale.clone();
        let asked = Adjust { key, pool: args.take_key("pool"), ..ask::adjust(&sale, sku, delta) };
        Ok(match self.harness.adjust(&asked) {
            Ok(adjustment) => {
                let again = if adjustment.replayed { ", as answered before" } else { "" };
                format!("{}{again}", adjusted(sku, asked.pool, &adjustment))
            }
            Err(refusal) => self.refused(&refusal),
        })
    }

    fn adjust_all(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let (sale, mut changes) = (self.sale.clone(), Vec::new());
        while let Some((place, delta)) = args.next_key() {
            let (sku, pool) = place.split_once('.').map_or((place, None), |(sku, pool)| (sku, Some(pool)));
            changes.push(Adjust { pool, ..ask::adjust(&sale, sku, delta.parse()?) });
        }
        let asked = AdjustAll { sale: &sale, changes, key: None };
        Ok(match self.harness.engine.adjust_all(self.harness.now, Actor::Anybody, &asked).value {
            Ok(made) => {
                let made = asked.changes.iter().zip(&made);
                let lines = made.map(|(change, made)| adjusted(change.sku, change.pool, &made.adjustment));
                lines.collect::<Vec<_>>().join("\n")
            }
            Err(refusal) => self.refused(&refusal),
        })
    }

    fn transfer(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let [sku, from, to] = [positional(args)?, positional(args)?, positional(args)?];
        let (units, sale) = (positional(args)?.parse()?, self.sale.clone());
        let asked = Transfer { sale: &sale, sku, from, to, units, reason: None, reference: None, key: None };
        Ok(match self.harness.engine.transfer(self.harness.now, Actor::Anybody, &asked).value {
            Ok(transfer) => {
                let [given, got] = transfer.made.after;
                format!("{sku}: {from} available {}, {to} available {}", given.available, got.available)
            }
            Err(refusal) => self.refused(&refusal),
        })
    }

    fn reserve(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let sale = args.take_key("sale").unwrap_or(&self.sale).to_owned();
        let extras = self.who(args)?;
        let asked = asked(&sale, &extras, args)?;
        Ok(match self.harness.reserve(&asked) {
            Ok(Made { reservation, replayed_of }) => {
                if replayed_of.is_none() {
                    self.groups.extend(reservation.group.as_ref().map(|group| (reservation.id, group.id)));
                    self.names.insert(format!("r{}", self.names.len() + 1), reservation.id);
                }
                let again = if replayed_of.is_some() { ", as answered before" } else { "" };
                let catalogue = self.harness.engine.catalogue();
                let portions = reservation.lines.iter().map(|line| PricedPortion {
                    item: line.item,
                    pool: line.pool,
                    units: line.amounts.sum(),
                    price: line.price,
                });
                let short = reservation.short.iter().map(|short| (short.item, short.units));
                let from = places(&catalogue, portions) + &missing(&catalogue, short);
                format!("{}{from}{again}", self.state(&reservation))
            }
            Err(refusal) => self.refused(&refusal),
        })
    }

    /// As `who`, and whose group is joined.
    fn who<'a>(&self, args: &mut ArgumentConsumer<'a>) -> Result<Extras<'a>, Box<dyn Error>> {
        let mut extras = who(args);
        if let Some(name) = args.take_key("group") {
            let group = self.names.get(name).and_then(|id| self.groups.get(id));
            extras.group = Some(*group.ok_or_else(|| format!("{name} is of no group"))?);
        }
        Ok(extras)
    }

    fn try_out(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let (sale, extras) = (self.sale.clone(), self.who(args)?);
        let asked = asked(&sale, &extras, args)?;
        Ok(match self.harness.engine.try_out(self.harness.now, &asked).value {
            Ok(Tried { grant, expires_at }) => {
                let catalogue = self.harness.engine.catalogue();
                let short = grant.short.iter().map(|short| (short.item, short.requested));
                let from = places(&catalogue, grant.portions.iter().copied()) + &missing(&catalogue, short);
                format!("would hold until {}{from}", clock(expires_at))
            }
            Err(refusal) => self.refused(&refusal),
        })
    }

    fn availability(&self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let (engine, extras) = (&self.harness.engine, who(args));
        let for_somebody = !extras.attributes.is_empty();
        let view = match for_somebody {
            true => engine.availability(self.harness.now, &self.sale, Some(&extras)).value,
            false => engine.sale(self.harness.now, &self.sale).value,
        };
        let view = match view {
            Ok(view) => view,
            Err(refusal) => return Ok(self.refused(&refusal)),
        };
        let mut lines = vec![view.status.as_str().to_owned()];
        for ((item, counts), pools) in view.sale.items.iter().zip(&view.counts).zip(&view.pools) {
            let of = |counts: &Counts| {
                format!("{} available, {} held, {} confirmed", counts.available, counts.held, counts.confirmed)
            };
            lines.push(format!("{}: {}", item.settings.sku, of(counts)));
            for (index, counts) in pools.iter().enumerate().filter(|_| !for_somebody) {
                lines.push(format!("  {}: {}", item.settings.pool_id(index), of(counts)));
            }
        }
        Ok(lines.join("\n"))
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
        let state = match reservation.state {
            State::Held => format!("held {name} until {}", clock(reservation.expires_at)),
            over => {
                let at = reservation.ended_at.expect("it is over");
                let late = if reservation.late { ", late" } else { "" };
                format!("{} {name} at {}{late}", over.as_str(), clock(at))
            }
        };
        state + &reservation.group.as_deref().map_or(String::new(), |group| self.group(group))
    }

    /// `, group 1 of 3, open until 08:10:00`.
    fn group(&self, group: &Group) -> String {
        let Group { size, members, state, expires_at, .. } = *group;
        let until = if state == GroupState::Open { format!(" until {}", clock(expires_at)) } else { String::new() };
        format!(", group {members} of {size}, {}{until}", state.as_str())
    }

    /// The state, for whom, and what of: `held r1 until 08:05:00: ann, tv=2`.
    fn full(&self, reservation: &Reservation) -> String {
        let catalogue = self.harness.engine.catalogue();
        let mut text = format!("{}: {}", self.state(reservation), reservation.customer);
        for line in reservation.shown_lines().iter() {
            text += &format!(", {}={}", catalogue.sku(line.item), line.amounts.sum());
        }
        if reservation.state == State::Confirmed {
            for line in &reservation.lines {
                for (what, units) in [("returned", line.amounts.returned), ("cancelled", line.amounts.cancelled)] {
                    if units > 0 {
                        text += &format!(", {what} {}={units}", catalogue.sku(line.item));
                    }
                }
            }
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
                let word = if short.iter().any(|line| line.available == 0) { "sold out" } else { "insufficient stock" };
                format!("{word}: {}", lacking(short))
            }
            Refusal::CustomerLimitExceeded { sku, limit, already } => {
                format!("customer limit exceeded: {sku} limit {limit}, already {already}")
            }
            Refusal::SaleNotStarted { opens_at } => format!("sale not started: opens at {}", clock(*opens_at)),
            Refusal::NotEligible => "not eligible".into(),
            Refusal::SaleEnded | Refusal::OffersEnded => "sale ended".into(),
            Refusal::SalePaused => "sale paused".into(),
            Refusal::SaleNotFound => "sale not found".into(),
            Refusal::ItemNotFound { sku } => format!("item not found: {sku}"),
            Refusal::PreconditionFailed { .. } => "precondition failed".into(),
            Refusal::ReservationNotFound => "reservation not found".into(),
            Refusal::EntryNotFound => "waitlist entry not found".into(),
            Refusal::NoWaitlist => "no waitlist".into(),
            Refusal::StockAvailable => "stock available".into(),
            Refusal::AlreadyWaiting(entry) => format!("already waiting: {}", self.entry_name(entry.id)),
            Refusal::WaitlistFull { limit } => format!("waitlist full: limit {limit}"),
            Refusal::NotWaiting(entry) => {
                format!("not waiting: {} is {}", self.entry_name(entry.id), entry.state.as_str())
            }
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
            Refusal::ExpiredAndShort { reservation, short } => {
                format!("reservation expired: {}; {}", self.state(reservation), lacking(short))
            }
            Refusal::NotConfirmed(reservation) => format!("not confirmed: {}", self.state(reservation)),
            Refusal::AlreadyCancelled(reservation) => format!("already cancelled: {}", self.state(reservation)),
            Refusal::TooManyHolds { limit, open } => format!("too many holds: limit {limit}, open {open}"),
            Refusal::CoolingDown { limit, expired, retry_after_seconds } => {
                format!("cooling down: limit {limit}, expired {expired}, try again in {retry_after_seconds} s")
            }
            Refusal::AlreadyInGroup(reservation) => format!("already in the group: {}", self.state(reservation)),
            Refusal::GroupFull => "group full".into(),
            Refusal::GroupClosed => "group closed".into(),
            Refusal::GroupIncomplete(reservation) => format!("group incomplete: {}", self.state(reservation)),
            Refusal::Full(limit) => format!("full: {limit}"),
            Refusal::BacklogFull => "backlog full".into(),
            Refusal::DiskLow => "disk low".into(),
        }
    }
}

/// Who asks, and for what beside items and units.
fn who<'a>(args: &mut ArgumentConsumer<'a>) -> Extras<'a> {
    let mut extras = Extras::default();
    extras.attributes.tier = args.take_key("tier").map(Into::into);
    extras.attributes.channel = args.take_key("channel").map(Into::into);
    extras.attributes.region = args.take_key("region").map(Into::into);
    extras.attributes.locations = args.take_key("at").map(Into::into).into_iter().collect();
    extras.allow_partial = args.take_key("partly").is_some();
    extras
}

fn asked<'a, 'b: 'a>(
    sale: &'a str,
    extras: &'a Extras<'a>,
    args: &mut ArgumentConsumer<'b>,
) -> Result<Reserve<'a>, Box<dyn Error>> {
    let mut asked = ask::reserve(sale, positional(args)?, &[]);
    (asked.key, asked.reference) = (args.take_key("key"), args.take_key("ref"));
    asked.hold_seconds = args.take_key("hold").map(str::parse).transpose()?;
    asked.extras = Some(extras);
    for line in lines(args)? {
        asked.lines.push(line);
    }
    Ok(asked)
}

/// `tv=2 mug=1`: whatever keys are left.
fn lines<'a>(args: &mut ArgumentConsumer<'a>) -> Result<SmallVec<[AskedLine<'a>; 2]>, Box<dyn Error>> {
    let mut lines = SmallVec::new();
    while let Some((sku, units)) = args.next_key() {
        lines.push(AskedLine { sku, units: units.parse()? });
    }
    Ok(lines)
}

/// `, tv: 2 of members, 1 of all at 9900`; nothing of items that declare no pools.
fn places(catalogue: &Catalogue, portions: impl Iterator<Item = PricedPortion>) -> String {
    let mut items: Vec<(ItemNumber, Vec<String>)> = Vec::new();
    for PricedPortion { item, pool, units, price } in portions {
        let known = catalogue.item_numbered(item);
        if !known.settings.has_pools() {
            continue;
        }
        let price = price.map_or(String::new(), |price| format!(" at {}", price.amount));
        let text = format!("{units} of {}{price}", known.pool_id(pool));
        match items.last_mut().filter(|last| last.0 == item) {
            Some((_, texts)) => texts.push(text),
            None => items.push((item, vec![text])),
        }
    }
    items.iter().map(|(item, texts)| format!(", {}: {}", catalogue.sku(*item), texts.join(" + "))).collect()
}

/// `, asked tv=4`: items of which there was less, and what was asked.
fn missing(catalogue: &Catalogue, short: impl Iterator<Item = (ItemNumber, u32)>) -> String {
    short.map(|(item, units)| format!(", asked {}={units}", catalogue.sku(item))).collect()
}

/// `tv asked 2, available 1; mug asked 1, available 0`.
fn lacking(short: &[Shortage]) -> String {
    let lines = short.iter().map(|line| format!("{} asked {}, available {}", line.sku, line.requested, line.available));
    lines.collect::<Vec<_>>().join("; ")
}

fn adjusted(sku: &str, pool: Option<&str>, adjustment: &Adjustment) -> String {
    let made = &adjustment.made;
    let pool = made.of_pool.zip(pool).map_or(String::new(), |(levels, id)| {
        format!("; {id}: stock {}, available {}", levels.stock, levels.available)
    });
    format!("{sku}: stock {}, available {}{pool}", made.stock, made.available)
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
