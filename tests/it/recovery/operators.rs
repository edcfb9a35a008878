//! What operators change is shown once it is durable, and stands in the journal where it happened.

use std::fmt::Debug;

use doorbuster::{
    engine::{Answer, Durable, Epoch, Settings, batch},
    journal::files::{Survival, scan},
    sale::{
        audit::Actor,
        codec::Malformed,
        command::Reserve,
        event::{CatalogueEvent, CustomerEvent, Event},
        ids::SaleNumber,
        outcome::{Refusal, State, Status},
        settings::SaleSettings,
        shard::Search,
        time::Timestamp,
    },
};

use crate::support::{OPENING, a_customer_on_each_of, ask, house::House};

const BY: Actor<'static> = Actor::Anybody;

fn document() -> SaleSettings {
    ask::sale("drop", &[("tv", 10), ("lamp", 10)])
}

/// What an answer says, and the epoch that it waits for.
type Said = (String, Epoch);
type Change = fn(&mut House);
type Question = fn(&mut House) -> Said;

fn say<T, U: Debug>(answer: Answer<T>, what: impl FnOnce(T) -> U) -> Said {
    (format!("{:?}", what(answer.value)), answer.durable_at)
}

fn reserve_of(house: &mut House, customer: &str, units: u32) -> Said {
    let entropy = house.draw();
    let answer = house.engine.reserve(house.now, &ask::reserve("drop", customer, &[("tv", units)]), entropy);
    say(answer, |outcome| outcome.map(|_| "held"))
}

fn reserve(house: &mut House) -> Said {
    reserve_of(house, "ann", 1)
}

fn extend(house: &mut House) -> Said {
    let asked = Reserve { key: Some("bob's"), ..ask::reserve("drop", "bob", &[("lamp", 1)]) };
    let id = house.reserve(&asked).expect("it is known").reservation.id;
    say(house.engine.extend(house.now, id, 600), |outcome| match outcome {
        Ok(_) => "extended",
        Err(Refusal::ExtensionLimitReached(_)) => "as often as may be",
        Err(_) => "something else",
    })
}

fn availability(house: &mut House) -> Said {
    say(house.engine.availability(house.now, "drop"), |view| view.map(|view| (view.status, view.counts)))
}

fn show(house: &mut House) -> Said {
    let asked = house.engine.sale(house.now, "drop");
    say(asked, |view| view.map(|view| (view.status, view.sale.settings.clone(), view.counts)))
}

/// Whether there are sales behind a page of none.
fn list(house: &mut House) -> Said {
    say(house.engine.sales(house.now, "drop", 0, |_| true), |(_, more)| more)
}

fn pause(house: &mut House) -> Said {
    say(house.engine.pause(house.now, BY, "drop"), |outcome| outcome)
}

fn put_again(house: &mut House) -> Said {
    say(house.engine.put_sale(house.now, BY, &document()), |outcome| outcome.map(|(put, _)| put))
}

fn take_out(house: &mut House) -> Said {
    let taken = house.engine.adjust(house.now, BY, &ask::adjust("drop", "tv", -8));
    say(taken, |outcome| outcome.map(|adjustment| adjustment.made.stock))
}

fn close(house: &mut House) {
    house.engine.close(house.now, BY, "drop").value.expect("it is open");
}

/// An operator's change, and a question whose answer rests on it.
const CASES: &[(&str, Change, Question)] = &[
    ("a pause refuses", |house| drop(pause(house)), reserve),
    ("a pause shows", |house| drop(pause(house)), show),
    ("a pause shows beside availability", |house| drop(pause(house)), availability),
    ("a closing refuses", close, reserve),
    ("a closing refuses a pause", close, pause),
    ("a closing refuses a document", close, put_again),
    (
        "an earlier end refuses",
        |house| {
            let closes_at = house.now;
            house.put(&SaleSettings { closes_at, ..document() });
        },
        reserve,
    ),
    (
        "a later beginning refuses",
        |house| {
            let opens_at = house.now.plus_seconds(60);
            house.put(&SaleSettings { opens_at, ..document() });
        },
        reserve,
    ),
    (
        "a limit refuses",
        |house| house.put(&SaleSettings { customer_limit: Some(2), ..document() }),
        |house| reserve_of(house, "cleo", 1),
    ),
    (
        "a limit on extensions refuses",
        |house| house.put(&SaleSettings { max_extensions: Some(0), ..document() }),
        extend,
    ),
    ("stock that was taken out is sold out", |house| drop(take_out(house)), |house| reserve_of(house, "ann", 1)),
    (
        "stock that was taken out is sold out, by its bound",
        |house| {
            take_out(house);
            reserve(house);
        },
        reserve,
    ),
    ("stock that was taken out is not available", |house| drop(take_out(house)), availability),
    ("stock that was taken out is not taken out twice", |house| drop(take_out(house)), take_out),
    (
        "stock that was put in is available",
        |house| drop(house.adjust(&ask::adjust("drop", "tv", 5)).expect("there is room")),
        availability,
    ),
    ("a sale is there", |house| house.put(&ask::sale("later", &[("tv", 1)])), list),
    (
        "the clock's closing refuses, wherever it is set then",
        |house| {
            let now = house.now;
            house.now = document().closes_at;
            assert_eq!(house.tick().status_changes, 1);
            house.now = now;
        },
        reserve,
    ),
];

fn house() -> House {
    let mut house = House::new(Settings { shards: 3, ..Settings::default() });
    house.put(&document());
    house.wait_seconds(1);
    let asked = Reserve { key: Some("bob's"), ..ask::reserve("drop", "bob", &[("lamp", 1)]) };
    house.reserve(&asked).expect("it is open");
    house.hold("cleo", "tv", 2);
    house.commit();
    house
}

#[test]
fn no_answer_rests_on_a_change_that_power_loss_may_undo() {
    for &(name, change, question) in CASES {
        let (before, _) = question(&mut house());
        let mut house = house();
        change(&mut house);
        let (shown, epoch) = question(&mut house);
        assert_ne!(shown, before, "{name}: the answer rests on the change");
        assert_eq!(house.engine.durability().of(epoch), Durable::NotYet, "{name}: shown before it is durable");
        let storage = house.storage.crash(Survival::Nothing);
        let mut undone = House::open(storage, house.settings(), house.now).unwrap();
        assert_eq!(question(&mut undone).0, before, "{name}: what nobody was shown may be undone");

        house.commit();
        assert_eq!(house.engine.durability().of(epoch), Durable::Yes, "{name}");
        let (again, epoch) = question(&mut house);
        if again == shown && !again.starts_with("Ok") {
            assert_eq!(house.engine.durability().of(epoch), Durable::Yes, "{name}: nobody waits any more");
        }
        let storage = house.storage.crash(Survival::Nothing);
        let mut kept = House::open(storage, house.settings(), house.now).unwrap();
        assert_eq!(question(&mut kept).0, again, "{name}: what was shown is there after a power loss");
    }
}

/// Reserves that are decided together were planned by an older catalogue: those that meet a pause say so, and wait for it.
#[test]
fn reserves_that_came_together_wait_for_the_pause_that_they_met() {
    let mut house = house();
    let engine = house.engine.clone();
    let asked = ask::reserve("drop", "dan", &[("tv", 1)]);
    let mut together = engine.together(1);
    together.push(house.now, &asked, house.draw());
    pause(&mut house);
    while together.decide_some(house.now, 8) {}
    assert!(together.tell_next().is_none(), "it is to be asked anew");
    let (refused, epoch) = reserve(&mut house);
    assert_eq!(refused, "Err(SalePaused)");
    assert_eq!(engine.durability().of(epoch), Durable::NotYet);
}

/// The kinds of the journal's events, in its order.
fn journaled(house: &House) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    scan(&house.storage, 1, 0, |_, payload| {
        batch::for_each::<Malformed>(payload, |_, _, event| {
            kinds.push(match event {
                Event::Customer(CustomerEvent::Held(_)) => "held",
                Event::Customer(CustomerEvent::Released(_)) => "released",
                Event::Catalogue(CatalogueEvent::SalePaused { .. }) => "paused",
                Event::Catalogue(CatalogueEvent::SaleResumed { .. }) => "resumed",
                Event::Catalogue(CatalogueEvent::SaleClosed { .. })
                | Event::Catalogue(CatalogueEvent::StatusReached { status: Status::Closed, .. }) => "closed",
                Event::Catalogue(CatalogueEvent::StatusReached { status: Status::Open, .. }) => "opened",
                Event::Catalogue(CatalogueEvent::SaleDefined(_)) => "put",
                Event::Catalogue(CatalogueEvent::Audited(_)) => return Ok(()),
                _ => "other",
            });
            Ok(())
        })
        .map_err(|error| error.to_string())
    })
    .expect("nothing is damaged");
    kinds
}

/// All in one batch, and over all shards.
#[test]
fn the_journal_tells_changes_and_holds_in_the_order_in_which_they_happened() {
    let mut house = House::with_shards(3);
    let customers = a_customer_on_each_of(3);
    house.put(&document());
    house.wait_seconds(1);
    let made: Vec<_> = customers.iter().map(|customer| house.hold(customer, "tv", 1).id).collect();
    pause(&mut house);
    house.release(made[0]).unwrap();
    house.engine.resume(house.now, BY, "drop").value.unwrap();
    house.hold(&customers[2], "tv", 1);
    house.hold(&customers[0], "tv", 1);
    // The tick and the look expire nothing: the sale's end alone is reached.
    let longer = Reserve { hold_seconds: Some(86_400), ..ask::reserve("drop", &customers[1], &[("tv", 1)]) };
    house.now = Timestamp::from_millis(document().closes_at.millis() - 1);
    house.reserve(&longer).unwrap();
    house.now = document().closes_at;
    house.engine.tick(house.now);
    house.commit();
    assert_eq!(house.engine.durability().epoch(), 1, "it is one batch");
    let kinds = journaled(&house);
    let told: Vec<_> = kinds.into_iter().filter(|&kind| kind != "other").collect();
    let before = ["put", "opened", "held", "held", "held", "paused", "released", "resumed", "held", "held", "held"];
    assert_eq!(told[..before.len()], before);
    assert_eq!(told[before.len()..], ["closed"]);
    let digest = house.engine.digest();
    house.kill_and_start_with(2);
    assert_eq!(house.engine.digest(), digest);
}

/// A part of a snapshot that was taken between two sections of a batch goes on behind its own place.
#[test]
fn a_snapshot_taken_between_two_changes_of_one_batch_is_whole() {
    let mut house = house();
    house.hold("ann", "tv", 1);
    pause(&mut house);
    house.engine.resume(house.now, BY, "drop").value.unwrap();
    house.hold("ann", "tv", 1);
    let engine = house.engine.clone();
    let mut snapshot = engine.begin_snapshot(&house.snapshots()).unwrap();
    for _ in 0..2000 {
        assert!(snapshot.step().unwrap());
    }
    pause(&mut house);
    house.engine.resume(house.now, BY, "drop").value.unwrap();
    for customer in a_customer_on_each_of(16) {
        if customer != "ann" {
            house.adjust(&ask::adjust("drop", "tv", 1)).unwrap();
            house.hold(&customer, "tv", 1);
        }
    }
    while snapshot.step().unwrap() {}
    snapshot.finish(|_| house.commit()).unwrap();
    let digest = house.engine.digest();
    for shards in [1, 3, 5] {
        house.kill_and_start_with(shards);
        assert_eq!(house.engine.digest(), digest, "{shards} shards");
    }
}

#[test]
fn a_sale_that_has_opened_is_open_and_one_that_has_ended_stays_so_wherever_the_clock_is_set() {
    let mut house = House::with_shards(2);
    house.now = Timestamp::from_millis(OPENING.millis() - 10_000);
    house.put(&document());
    assert_eq!(reserve(&mut house).0, format!("Err(SaleNotStarted {{ opens_at: {OPENING:?} }})"));
    house.now = OPENING;
    assert_eq!(house.tick().status_changes, 1);
    house.now = Timestamp::from_millis(OPENING.millis() - 5000);
    assert_eq!((house.tick().status_changes, reserve(&mut house).0.as_str()), (0, "Ok(\"held\")"), "it was open");
    pause(&mut house);
    house.snapshot();
    house.restart();
    house.engine.resume(house.now, BY, "drop").value.unwrap();
    assert_eq!(reserve(&mut house).0, "Ok(\"held\")", "it was open before it was paused and written down");

    house.now = document().closes_at;
    assert_eq!(house.tick().status_changes, 1);
    house.now = OPENING.plus_seconds(60);
    for round in 0..3 {
        assert_eq!((house.tick().status_changes, reserve(&mut house).0.as_str()), (0, "Err(SaleEnded)"), "{round}");
        assert_eq!(house.engine.sale(house.now, "drop").value.unwrap().status, Status::Closed);
        assert!(pause(&mut house).0.contains("SaleEnded"));
        match round {
            0 => house.restart(),
            _ => drop(house.snapshot()),
        }
        house.restart();
    }
    house.put(&SaleSettings { closes_at: house.now, ..document() });
    assert_eq!(reserve(&mut house).0, "Err(SaleEnded)", "a window that is over opens nothing");
    house.put(&SaleSettings { closes_at: document().closes_at.plus_seconds(60), ..document() });
    assert_eq!(reserve(&mut house).0, "Ok(\"held\")", "its operator gave it another end");
}

/// Between the moment that a reserve reads and its decision time goes on.
#[test]
fn a_reserve_is_judged_by_the_window_at_its_decision() {
    let mut house = House::with_shards(1);
    let (opens_at, closes_at) = (OPENING, OPENING.plus_seconds(100));
    house.put(&SaleSettings { opens_at, closes_at, ..document() });
    let made = house.hold("ann", "tv", 1);
    let just_before = OPENING.plus_millis(99_999);
    // Somebody else's request has shown the shard a later moment.
    house.now = closes_at.plus_millis(2);
    house.look(made.id).unwrap();
    house.now = just_before;
    assert_eq!(reserve(&mut house).0, "Err(SaleEnded)");

    let mut house = House::with_shards(2);
    house.put(&SaleSettings { opens_at, closes_at, ..document() });
    house.now = just_before;
    let engine = house.engine.clone();
    let asked: Vec<_> = ["ann", "bob", "cleo"].map(|customer| ask::reserve("drop", customer, &[("tv", 1)])).into();
    let mut together = engine.together(asked.len());
    asked.iter().for_each(|asked| together.push(house.now, asked, house.draw()));
    house.now = closes_at.plus_millis(2);
    while together.decide_some(house.now, 8) {}
    for _ in &asked {
        let told = together.tell_next().map(|answer| answer.value);
        assert!(told.is_none_or(|told| told == Err(Refusal::SaleEnded)), "held behind the sale's end");
    }
    assert_eq!(house.counts("tv"), (10, 0, 0));

    // The slow way in: units of another shard are gathered.
    let mut house = House::with_shards(8);
    house.put(&SaleSettings { opens_at, closes_at, ..document() });
    let made = house.hold("ann", "lamp", 1);
    house.now = closes_at.plus_millis(2);
    house.look(made.id).unwrap();
    house.now = just_before;
    assert_eq!(reserve_of(&mut house, "ann", 9).0, "Err(SaleEnded)");
}

/// Also a hold that expires by being looked at.
#[test]
fn what_a_customer_has_is_shown_once_it_is_durable() {
    let mut house = House::with_shards(3);
    house.put(&document());
    house.reserve(&ask::reserve("drop", "ann", &[("tv", 2)])).expect("there is stock");
    let look = |house: &House| {
        let mut search = Search::new("ann", SaleNumber(0), 9);
        while !house.engine.search(&mut search) {}
        let Answer { value, durable_at } = house.engine.of_customer(house.now, &search);
        let units = value.units.iter().map(|(_, units)| *units).collect::<Vec<_>>();
        (value.reservations[0].state, units, house.engine.durability().of(durable_at) == Durable::Yes)
    };
    assert_eq!(look(&house), (State::Held, vec![2], false));
    house.commit();
    assert_eq!(look(&house), (State::Held, vec![2], true));
    house.now = house.now.plus_seconds(100_000);
    assert_eq!(look(&house), (State::Expired, vec![], false));
    house.commit();
    assert_eq!(look(&house), (State::Expired, vec![], true));
}
