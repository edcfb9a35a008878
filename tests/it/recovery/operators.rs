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

use crate::support::{OPENING, a_customer_on_each_of, ask, harness::Harness};

const BY: Actor<'static> = Actor::Anybody;

fn document() -> SaleSettings {
    ask::sale("drop", &[("tv", 10), ("lamp", 10)])
}

/// What an answer says, and the epoch that it waits for.
type Said = (String, Epoch);
type Change = fn(&mut Harness);
type Question = fn(&mut Harness) -> Said;

fn say<T, U: Debug>(answer: Answer<T>, what: impl FnOnce(T) -> U) -> Said {
    (format!("{:?}", what(answer.value)), answer.durable_at)
}

fn reserve_of(harness: &mut Harness, customer: &str, units: u32) -> Said {
    let entropy = harness.draw();
    let answer = harness.engine.reserve(harness.now, &ask::reserve("drop", customer, &[("tv", units)]), entropy);
    say(answer, |outcome| outcome.map(|_| "held"))
}

fn reserve(harness: &mut Harness) -> Said {
    reserve_of(harness, "ann", 1)
}

fn extend(harness: &mut Harness) -> Said {
    let asked = Reserve { key: Some("bob's"), ..ask::reserve("drop", "bob", &[("lamp", 1)]) };
    let id = harness.reserve(&asked).expect("it is known").reservation.id;
    say(harness.engine.extend(harness.now, id, 600), |outcome| match outcome {
        Ok(_) => "extended",
        Err(Refusal::ExtensionLimitReached(_)) => "as often as may be",
        Err(_) => "something else",
    })
}

fn availability(harness: &mut Harness) -> Said {
    say(harness.engine.availability(harness.now, "drop", None), |view| view.map(|view| (view.status, view.counts)))
}

fn show(harness: &mut Harness) -> Said {
    let asked = harness.engine.sale(harness.now, "drop");
    say(asked, |view| view.map(|view| (view.status, view.sale.settings.clone(), view.counts)))
}

/// Whether there are sales behind a page of none.
fn list(harness: &mut Harness) -> Said {
    say(harness.engine.sales(harness.now, "drop", 0, |_| true), |(_, more)| more)
}

fn pause(harness: &mut Harness) -> Said {
    say(harness.engine.pause(harness.now, BY, "drop"), |outcome| outcome)
}

fn put_again(harness: &mut Harness) -> Said {
    say(harness.engine.put_sale(harness.now, BY, &document()), |outcome| outcome.map(|(put, _)| put))
}

fn take_out(harness: &mut Harness) -> Said {
    let taken = harness.engine.adjust(harness.now, BY, &ask::adjust("drop", "tv", -8));
    say(taken, |outcome| outcome.map(|adjustment| adjustment.made.stock))
}

fn close(harness: &mut Harness) {
    harness.engine.close(harness.now, BY, "drop").value.expect("it is open");
}

/// An operator's change, and a question whose answer rests on it.
const CASES: &[(&str, Change, Question)] = &[
    ("a pause refuses", |harness| drop(pause(harness)), reserve),
    ("a pause shows", |harness| drop(pause(harness)), show),
    ("a pause shows beside availability", |harness| drop(pause(harness)), availability),
    ("a closing refuses", close, reserve),
    ("a closing refuses a pause", close, pause),
    ("a closing refuses a document", close, put_again),
    (
        "an earlier end refuses",
        |harness| {
            let closes_at = harness.now;
            harness.put(&SaleSettings { closes_at, ..document() });
        },
        reserve,
    ),
    (
        "a later beginning refuses",
        |harness| {
            let opens_at = harness.now.plus_seconds(60);
            harness.put(&SaleSettings { opens_at, ..document() });
        },
        reserve,
    ),
    (
        "a limit refuses",
        |harness| harness.put(&SaleSettings { customer_limit: Some(2), ..document() }),
        |harness| reserve_of(harness, "cleo", 1),
    ),
    (
        "a limit on extensions refuses",
        |harness| harness.put(&SaleSettings { max_extensions: Some(0), ..document() }),
        extend,
    ),
    (
        "stock that was taken out is sold out",
        |harness| drop(take_out(harness)),
        |harness| reserve_of(harness, "ann", 1),
    ),
    (
        "stock that was taken out is sold out, by its bound",
        |harness| {
            take_out(harness);
            reserve(harness);
        },
        reserve,
    ),
    ("stock that was taken out is not available", |harness| drop(take_out(harness)), availability),
    ("stock that was taken out is not taken out twice", |harness| drop(take_out(harness)), take_out),
    (
        "stock that was put in is available",
        |harness| drop(harness.adjust(&ask::adjust("drop", "tv", 5)).expect("there is room")),
        availability,
    ),
    ("a sale is there", |harness| harness.put(&ask::sale("later", &[("tv", 1)])), list),
    (
        "the clock's closing refuses, wherever it is set then",
        |harness| {
            let now = harness.now;
            harness.now = document().closes_at;
            assert_eq!(harness.tick().status_changes, 1);
            harness.now = now;
        },
        reserve,
    ),
];

fn harness() -> Harness {
    let mut harness = Harness::new(Settings { shards: 3, ..Settings::default() });
    harness.put(&document());
    harness.wait_seconds(1);
    let asked = Reserve { key: Some("bob's"), ..ask::reserve("drop", "bob", &[("lamp", 1)]) };
    harness.reserve(&asked).expect("it is open");
    harness.hold("cleo", "tv", 2);
    harness.commit();
    harness
}

#[test]
fn no_answer_rests_on_a_change_that_power_loss_may_undo() {
    for &(name, change, question) in CASES {
        let (before, _) = question(&mut harness());
        let mut harness = harness();
        change(&mut harness);
        let (shown, epoch) = question(&mut harness);
        assert_ne!(shown, before, "{name}: the answer rests on the change");
        assert_eq!(harness.engine.durability().of(epoch), Durable::NotYet, "{name}: shown before it is durable");
        let storage = harness.storage.crash(Survival::Nothing);
        let mut undone = Harness::open(storage, harness.settings(), harness.now).unwrap();
        assert_eq!(question(&mut undone).0, before, "{name}: what nobody was shown may be undone");

        harness.commit();
        assert_eq!(harness.engine.durability().of(epoch), Durable::Yes, "{name}");
        let (again, epoch) = question(&mut harness);
        if again == shown && !again.starts_with("Ok") {
            assert_eq!(harness.engine.durability().of(epoch), Durable::Yes, "{name}: nobody waits any more");
        }
        let storage = harness.storage.crash(Survival::Nothing);
        let mut kept = Harness::open(storage, harness.settings(), harness.now).unwrap();
        assert_eq!(question(&mut kept).0, again, "{name}: what was shown is there after a power loss");
    }
}

/// Reserves that are decided in bulk were planned by an older catalogue: those that meet a pause say so, and wait for it.
#[test]
fn reserves_that_came_together_wait_for_the_pause_that_they_met() {
    let mut harness = harness();
    let engine = harness.engine.clone();
    let asked = ask::reserve("drop", "dan", &[("tv", 1)]);
    let mut bulk = engine.bulk(1);
    bulk.push(harness.now, &asked, harness.draw());
    pause(&mut harness);
    while bulk.decide_some(harness.now, 8) {}
    assert!(bulk.next_outcome().is_none(), "it is to be asked anew");
    let (refused, epoch) = reserve(&mut harness);
    assert_eq!(refused, "Err(SalePaused)");
    assert_eq!(engine.durability().of(epoch), Durable::NotYet);
}

/// The kinds of the journal's events, in its order.
fn journaled(harness: &Harness) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    scan(&harness.storage, 1, 0, |_, payload| {
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
    let mut harness = Harness::with_shards(3);
    let customers = a_customer_on_each_of(3);
    harness.put(&document());
    harness.wait_seconds(1);
    let made: Vec<_> = customers.iter().map(|customer| harness.hold(customer, "tv", 1).id).collect();
    pause(&mut harness);
    harness.release(made[0]).unwrap();
    harness.engine.resume(harness.now, BY, "drop").value.unwrap();
    harness.hold(&customers[2], "tv", 1);
    harness.hold(&customers[0], "tv", 1);
    // The tick and the look expire nothing: the sale's end alone is reached.
    let longer = Reserve { hold_seconds: Some(86_400), ..ask::reserve("drop", &customers[1], &[("tv", 1)]) };
    harness.now = Timestamp::from_millis(document().closes_at.millis() - 1);
    harness.reserve(&longer).unwrap();
    harness.now = document().closes_at;
    harness.engine.tick(harness.now);
    harness.commit();
    assert_eq!(harness.engine.durability().epoch(), 1, "it is one batch");
    let kinds = journaled(&harness);
    let told: Vec<_> = kinds.into_iter().filter(|&kind| kind != "other").collect();
    let before = ["put", "opened", "held", "held", "held", "paused", "released", "resumed", "held", "held", "held"];
    assert_eq!(told[..before.len()], before);
    assert_eq!(told[before.len()..], ["closed"]);
    let digest = harness.engine.digest();
    harness.kill_and_start_with(2);
    assert_eq!(harness.engine.digest(), digest);
}

/// A part of a snapshot that was taken between two sections of a batch goes on behind its own place.
#[test]
fn a_snapshot_taken_between_two_changes_of_one_batch_is_whole() {
    let mut harness = harness();
    harness.hold("ann", "tv", 1);
    pause(&mut harness);
    harness.engine.resume(harness.now, BY, "drop").value.unwrap();
    harness.hold("ann", "tv", 1);
    let engine = harness.engine.clone();
    let mut snapshot = engine.begin_snapshot(&harness.snapshots()).unwrap();
    for _ in 0..2000 {
        assert!(snapshot.step().unwrap());
    }
    pause(&mut harness);
    harness.engine.resume(harness.now, BY, "drop").value.unwrap();
    for customer in a_customer_on_each_of(16) {
        if customer != "ann" {
            harness.adjust(&ask::adjust("drop", "tv", 1)).unwrap();
            harness.hold(&customer, "tv", 1);
        }
    }
    while snapshot.step().unwrap() {}
    snapshot.finish(|_| harness.commit()).unwrap();
    let digest = harness.engine.digest();
    for shards in [1, 3, 5] {
        harness.kill_and_start_with(shards);
        assert_eq!(harness.engine.digest(), digest, "{shards} shards");
    }
}

#[test]
fn a_sale_that_has_opened_is_open_and_one_that_has_ended_stays_so_wherever_the_clock_is_set() {
    let mut harness = Harness::with_shards(2);
    harness.now = Timestamp::from_millis(OPENING.millis() - 10_000);
    harness.put(&document());
    assert_eq!(reserve(&mut harness).0, format!("Err(SaleNotStarted {{ opens_at: {OPENING:?} }})"));
    harness.now = OPENING;
    assert_eq!(harness.tick().status_changes, 1);
    harness.now = Timestamp::from_millis(OPENING.millis() - 5000);
    assert_eq!((harness.tick().status_changes, reserve(&mut harness).0.as_str()), (0, "Ok(\"held\")"), "it was open");
    pause(&mut harness);
    harness.snapshot();
    harness.restart();
    harness.engine.resume(harness.now, BY, "drop").value.unwrap();
    assert_eq!(reserve(&mut harness).0, "Ok(\"held\")", "it was open before it was paused and written down");

    harness.now = document().closes_at;
    assert_eq!(harness.tick().status_changes, 1);
    harness.now = OPENING.plus_seconds(60);
    for round in 0..3 {
        assert_eq!((harness.tick().status_changes, reserve(&mut harness).0.as_str()), (0, "Err(SaleEnded)"), "{round}");
        assert_eq!(harness.engine.sale(harness.now, "drop").value.unwrap().status, Status::Closed);
        assert!(pause(&mut harness).0.contains("SaleEnded"));
        match round {
            0 => harness.restart(),
            _ => drop(harness.snapshot()),
        }
        harness.restart();
    }
    harness.put(&SaleSettings { closes_at: harness.now, ..document() });
    assert_eq!(reserve(&mut harness).0, "Err(SaleEnded)", "a window that is over opens nothing");
    harness.put(&SaleSettings { closes_at: document().closes_at.plus_seconds(60), ..document() });
    assert_eq!(reserve(&mut harness).0, "Ok(\"held\")", "its operator gave it another end");
}

/// Between the moment that a reserve reads and its decision time goes on.
#[test]
fn a_reserve_is_judged_by_the_window_at_its_decision() {
    let mut harness = Harness::with_shards(1);
    let (opens_at, closes_at) = (OPENING, OPENING.plus_seconds(100));
    harness.put(&SaleSettings { opens_at, closes_at, ..document() });
    let made = harness.hold("ann", "tv", 1);
    let just_before = OPENING.plus_millis(99_999);
    // Somebody else's request has shown the shard a later moment.
    harness.now = closes_at.plus_millis(2);
    harness.look(made.id).unwrap();
    harness.now = just_before;
    assert_eq!(reserve(&mut harness).0, "Err(SaleEnded)");

    let mut harness = Harness::with_shards(2);
    harness.put(&SaleSettings { opens_at, closes_at, ..document() });
    harness.now = just_before;
    let engine = harness.engine.clone();
    let asked: Vec<_> = ["ann", "bob", "cleo"].map(|customer| ask::reserve("drop", customer, &[("tv", 1)])).into();
    let mut bulk = engine.bulk(asked.len());
    asked.iter().for_each(|asked| bulk.push(harness.now, asked, harness.draw()));
    harness.now = closes_at.plus_millis(2);
    while bulk.decide_some(harness.now, 8) {}
    for _ in &asked {
        let told = bulk.next_outcome().map(|answer| answer.value);
        assert!(told.is_none_or(|told| told == Err(Refusal::SaleEnded)), "held behind the sale's end");
    }
    assert_eq!(harness.counts("tv"), (10, 0, 0));

    // The slow way in: units of another shard are gathered.
    let mut harness = Harness::with_shards(8);
    harness.put(&SaleSettings { opens_at, closes_at, ..document() });
    let made = harness.hold("ann", "lamp", 1);
    harness.now = closes_at.plus_millis(2);
    harness.look(made.id).unwrap();
    harness.now = just_before;
    assert_eq!(reserve_of(&mut harness, "ann", 9).0, "Err(SaleEnded)");
}

/// Also a hold that expires by being looked at.
#[test]
fn what_a_customer_has_is_shown_once_it_is_durable() {
    let mut harness = Harness::with_shards(3);
    harness.put(&document());
    harness.reserve(&ask::reserve("drop", "ann", &[("tv", 2)])).expect("there is stock");
    let look = |harness: &Harness| {
        let mut search = Search::new("ann", SaleNumber(0), 9);
        while !harness.engine.search(&mut search) {}
        let Answer { value, durable_at } = harness.engine.of_customer(harness.now, &search);
        let units = value.units.iter().map(|(_, units)| *units).collect::<Vec<_>>();
        (value.reservations[0].state, units, harness.engine.durability().of(durable_at) == Durable::Yes)
    };
    assert_eq!(look(&harness), (State::Held, vec![2], false));
    harness.commit();
    assert_eq!(look(&harness), (State::Held, vec![2], true));
    harness.now = harness.now.plus_seconds(100_000);
    assert_eq!(look(&harness), (State::Expired, vec![], false));
    harness.commit();
    assert_eq!(look(&harness), (State::Expired, vec![], true));
}
