//! The promises under real threads and real locks, with a thread that commits for real.
//!
//! Every checker here is sound: it calls nothing a lie that might have been true. Where that needs an argument, the test
//! gives it.

use std::{
    collections::HashMap,
    hint,
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    thread,
    time::Instant,
};

use doorbuster::{
    engine::{Made, batch},
    journal::files::scan,
    sale::{
        audit::Actor,
        codec::Malformed,
        event::{CustomerEvent, Event},
        ids::ReservationId,
        outcome::{Refusal, State},
        settings::SaleSettings,
    },
};

use crate::support::{
    OPENING, a_customer_on_each_of, ask,
    dice::{Dice, scramble},
    harness::Harness,
    short,
    threads::{Finally, LOOKS, Running, THREADS, TURNS_MOST, together},
};

/// G1, G3: few units, singles, multiples and overlapping orders in opposite orders, releases, confirms and expiries in
/// between; a watcher sees every item conserved at random instants, and the end is exact.
#[test]
fn stock_is_conserved_at_every_instant_and_to_the_unit_at_the_end() {
    const STOCK: [(&str, u64); 3] = [("tv", 5), ("phone", 7), ("lamp", 40)];
    let service = Running::start(8, &SaleSettings { hold_seconds: 1, ..ask::sale("drop", &STOCK) });
    // Milliseconds since the opening; each worker moves it on, so holds expire in between.
    let clock = AtomicU64::new(0);
    let orders: [&[(&str, u32)]; 6] = [
        &[("tv", 1)],
        &[("tv", 1), ("phone", 1), ("lamp", 2)],
        &[("lamp", 3), ("phone", 2), ("tv", 1)],
        &[("phone", 3)],
        &[("lamp", 12)],
        &[("phone", 1), ("tv", 2)],
    ];
    let looks = AtomicU64::new(0);
    let confirmed = together(
        |number| {
            let mut dice = Dice::new(number);
            let mut confirmed = [0_u64; 3];
            let mut held: Vec<(ReservationId, &[(&str, u32)])> = Vec::new();
            for turn in 0_u64.. {
                if turn >= 6000 && looks.load(Ordering::Relaxed) >= LOOKS || turn >= TURNS_MOST {
                    break;
                }
                let now = OPENING.plus_millis(clock.fetch_add(dice.below(3), Ordering::Relaxed));
                match dice.below(8) {
                    0..=3 => {
                        let customer = format!("customer-{}", dice.below(50));
                        let lines = *dice.pick(&orders);
                        held.extend(service.reserve(now, &customer, lines).ok().map(|id| (id, lines)));
                    }
                    4..=5 => {
                        if let Some((id, _)) = held.pop() {
                            let _ = service.release(now, id, None);
                        }
                    }
                    6 if dice.one_in(150) => {
                        if let Some((id, lines)) = held.pop()
                            && service.confirm(now, id, None).value.is_ok()
                        {
                            for &(sku, units) in lines {
                                let item = STOCK.iter().position(|stock| stock.0 == sku).unwrap();
                                confirmed[item] += u64::from(units);
                            }
                        }
                    }
                    _ => drop(service.tick(now)),
                }
            }
            confirmed
        },
        || {
            looks.fetch_add(1, Ordering::Relaxed);
            for ((sku, stock), (total, counts)) in STOCK.iter().zip(service.stock()) {
                assert_eq!(total, *stock);
                assert_eq!(counts.available + counts.held + counts.confirmed, total, "conservation of {sku}");
            }
            let view = service.sale(OPENING, "drop").value.unwrap();
            assert!(view.counts.iter().zip(STOCK).all(|(counts, (_, stock))| counts.confirmed <= stock));
        },
    );
    // Every hold that is left falls due.
    service.tick(OPENING.plus_seconds(3600));
    for (item, (sku, stock)) in STOCK.iter().enumerate() {
        let confirmed: u64 = confirmed.iter().map(|by_thread| by_thread[item]).sum();
        assert_eq!(service.counts(sku), (stock - confirmed, 0, confirmed), "{sku} at the end");
    }
    service.stop();
}

/// G3: an order is there with all of its lines or with none. Both items are only ever taken together and unit by unit, so
/// their counts are equal at every instant at which they are looked at together.
#[test]
fn lines_are_taken_together_whatever_their_order() {
    let service = Running::start(8, &ask::sale("drop", &[("tv", 6), ("phone", 6)]));
    let (looks, partial) = (AtomicU64::new(0), AtomicU64::new(0));
    together(
        |number| {
            let mut dice = Dice::new(50 + number);
            let lines: [(&str, u32); 2] =
                if number % 2 == 0 { [("tv", 1), ("phone", 1)] } else { [("phone", 1), ("tv", 1)] };
            for turn in 0_u64.. {
                if turn >= 8000 && looks.load(Ordering::Relaxed) >= LOOKS || turn >= TURNS_MOST {
                    break;
                }
                let customer = format!("customer-{}", dice.below(40));
                if let Ok(id) = service.reserve(OPENING, &customer, &lines) {
                    service.release(OPENING, id, None).value.unwrap();
                }
            }
        },
        || {
            let view = service.sale(OPENING, "drop").value.unwrap();
            looks.fetch_add(1, Ordering::Relaxed);
            partial.fetch_add(u64::from(view.counts[0] != view.counts[1]), Ordering::Relaxed);
        },
    );
    assert_eq!(partial.into_inner(), 0);
    assert_eq!((service.counts("tv"), service.counts("phone")), ((6, 0, 0), (6, 0, 0)));
    service.stop();
}

/// G5. Each thread holds at most `QUOTA` units at any instant and asks for no more than that at once, and the stock is the
/// sum of all quotas. So whenever a thread that holds nothing asks, the others hold at most `QUOTA` × (threads - 1), and at
/// least `QUOTA` units are available from its request to its answer: any refusal for stock is a lie. Slices are far smaller
/// than a request, so nearly every one has to gather.
#[test]
fn no_request_is_told_sold_out_while_there_is_enough() {
    const QUOTA: u32 = 6;
    let stock = u64::from(QUOTA) * THREADS;
    let service = Running::start(16, &ask::sale("drop", &[("tv", stock), ("phone", stock)]));
    let asked = together(
        |number| {
            let mut dice = Dice::new(100 + number);
            let mut asked = 0_u64;
            for turn in 0..8000_u64 {
                let customer = format!("customer-{number}-{}", dice.below(64));
                let units = 1 + dice.below(QUOTA.into()) as u32;
                let lines = [("tv", units), ("phone", QUOTA)];
                let lines = if turn % 3 == 0 { &lines[..] } else { &lines[..1] };
                let id = match service.reserve(OPENING, &customer, lines) {
                    Ok(id) => id,
                    Err(refusal) => panic!("{lines:?} of {stock} units refused by {refusal:?}"),
                };
                asked += 1;
                // Refused rightly: more than there is. Such refusals tighten the bounds that others are judged by.
                if dice.one_in(4) {
                    let too_many = service.reserve(OPENING, &customer, &[("tv", stock as u32 + 1)]);
                    assert!(matches!(too_many, Err(Refusal::Short(_))));
                }
                service.release(OPENING, id, None).value.unwrap();
            }
            asked
        },
        || {},
    );
    assert_eq!(asked.iter().sum::<u64>(), 8000 * THREADS);
    assert_eq!(service.counts("tv"), (stock, 0, 0));
    service.stop();
}

/// G5, the other way round: the figures in a refusal were true at some instant between request and answer. `at_least` is
/// always at most what is held, and `at_most` at least: a worker counts its units into `at_most` before it asks and out
/// after they are back, into `at_least` once they are held and out before they go. What a refusal says was held then is
/// between the least that `at_least` and the most that `at_most` can have been meanwhile.
#[test]
fn what_a_refusal_says_was_available_was_so() {
    const STOCK: i64 = 9;
    let service = Running::start(8, &ask::sale("drop", &[("tv", STOCK as u64)]));
    let (at_least, at_most) = (AtomicI64::new(0), AtomicI64::new(0));
    // Turns that have begun or ended: two equal readings mean that nothing moved in between.
    let moves = AtomicU64::new(0);
    let checked: u64 = together(
        |number| {
            let mut dice = Dice::new(200 + number);
            let mut checked = 0;
            for _ in 0..20_000 {
                let customer = format!("customer-{}", dice.below(200));
                let units = 1 + dice.below(5) as i64;
                let before =
                    (moves.load(Ordering::SeqCst), at_least.load(Ordering::SeqCst), at_most.load(Ordering::SeqCst));
                if number == 0 {
                    let refused = service.reserve(OPENING, &customer, &[("tv", STOCK as u32 + 1)]);
                    let Err(Refusal::Short(lines)) = refused else { panic!("more than there is: {refused:?}") };
                    let held = STOCK - lines[0].available as i64;
                    assert!((0..=STOCK).contains(&held), "{lines:?}");
                    let after = moves.load(Ordering::SeqCst);
                    if before.0 == after {
                        checked += 1;
                        assert!((before.1..=before.2).contains(&held), "{held} held, but {before:?}");
                    }
                    continue;
                }
                moves.fetch_add(1, Ordering::SeqCst);
                at_most.fetch_add(units, Ordering::SeqCst);
                let outcome = service.reserve(OPENING, &customer, &[("tv", units as u32)]);
                if let Ok(id) = outcome {
                    at_least.fetch_add(units, Ordering::SeqCst);
                    moves.fetch_add(1, Ordering::SeqCst);
                    thread::yield_now();
                    moves.fetch_add(1, Ordering::SeqCst);
                    at_least.fetch_sub(units, Ordering::SeqCst);
                    service.release(OPENING, id, None).value.unwrap();
                } else if let Err(Refusal::Short(lines)) = outcome {
                    assert!(lines[0].available < units as u64 && lines[0].requested == units as u64, "{lines:?}");
                }
                at_most.fetch_sub(units, Ordering::SeqCst);
                moves.fetch_add(1, Ordering::SeqCst);
            }
            checked
        },
        || {},
    )
    .iter()
    .sum();
    assert!(checked > 100, "only {checked} refusals met a quiet moment");
    assert_eq!(service.counts("tv"), (STOCK as u64, 0, 0));
    service.stop();
}

/// G7: one customer from all threads at once never has more than the limit, and gets all of it.
#[test]
fn a_customer_limit_holds_from_all_threads_at_once() {
    const LIMIT: u32 = 5;
    let service = Running::start(
        8,
        &SaleSettings { customer_limit: Some(LIMIT), ..ask::sale("drop", &[("tv", 1000), ("phone", 9)]) },
    );
    for round in 0..300 {
        let customer = format!("customer-{round}");
        let held: u32 = together(
            |number| {
                let mut units = 0;
                for _ in 0..4 {
                    let asked = 1 + (number as u32) % 2;
                    match service.reserve(OPENING, &customer, &[("tv", asked)]) {
                        Ok(id) if round % 3 == 0 => drop(service.release(OPENING, id, None)),
                        Ok(_) => units += asked,
                        Err(Refusal::CustomerLimitExceeded { limit, already, .. }) => {
                            assert_eq!(limit, LIMIT);
                            assert!(already <= LIMIT.into() && already + u64::from(asked) > LIMIT.into());
                        }
                        Err(Refusal::Short(_)) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
                units
            },
            || {},
        )
        .iter()
        .sum();
        assert!(held <= LIMIT, "{customer} got {held} units");
        let (available, all_held, _) = service.counts("tv");
        // Sixteen requests, half of them for one unit: while stock lasts the limit is used up.
        if round % 3 != 0 && available > 0 {
            assert_eq!(held, LIMIT, "{customer}; {all_held} held in all");
        }
    }
    service.stop();
}

/// G4: the same key from all threads at once is one reservation, and all are told the same one.
#[test]
fn the_same_key_from_all_threads_at_once_is_one_reservation() {
    // Little stock, so that about half of the rounds go the way through all shards.
    let service = Running::start(16, &ask::sale("drop", &[("tv", 400), ("lamp", 40)]));
    for round in 0..400_u64 {
        let (key, customer) = (format!("key-{round}"), format!("customer-{}", round % 7));
        let sku = if round % 2 == 0 { "tv" } else { "lamp" };
        let mut asked = ask::reserve("drop", &customer, &[(sku, 2)]);
        asked.key = Some(&key);
        let answers = together(|_| service.ask(OPENING, &asked), || {});
        let made: Vec<&Made> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
        let Some(first) = made.first() else {
            assert!(answers.iter().all(|answer| matches!(answer, Err(Refusal::Short(_)))), "{answers:?}");
            continue;
        };
        assert_eq!(made.len() as u64, THREADS, "{answers:?}");
        assert!(made.iter().all(|made| made.reservation == first.reservation));
        assert_eq!(
            made.iter().filter(|made| made.replayed_of.is_none()).count(),
            1,
            "made once, and replayed to the others"
        );
        if round % 3 == 0 {
            service.release(OPENING, first.reservation.id, None).value.unwrap();
        }
    }
    service.stop();
}

/// G4, the narrow place: two tries of one request meet when their shard cannot serve them and all locks are about to be
/// taken. Stock has gone back to another shard in each round, so that every try goes this way.
#[test]
fn two_tries_that_meet_while_units_are_gathered_are_one_reservation() {
    const ROUNDS: u64 = 20_000;
    let service = Running::start(64, &ask::sale("drop", &[("tv", 10)]));
    let customers = a_customer_on_each_of(64);
    let arrived = AtomicU64::new(0);
    // A barrier that spins: who waits on a kernel's barrier wakes too late to meet anybody.
    let meet = |count: u64| {
        arrived.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0;
        while arrived.load(Ordering::Acquire) < 2 * count {
            spins += 1;
            if spins % 1000 == 0 { thread::yield_now() } else { hint::spin_loop() }
        }
    };
    let race = |releases: bool| {
        let mut made = Vec::new();
        for round in 0..ROUNDS {
            let key = format!("key-{round}");
            let mut asked = ask::reserve("drop", &customers[round as usize % customers.len()], &[("tv", 4)]);
            asked.key = Some(&key);
            meet(2 * round + 1);
            let outcome = service.ask(OPENING, &asked).map(|made| made.reservation.id);
            meet(2 * round + 2);
            if let (true, Ok(id)) = (releases, &outcome) {
                service.release(OPENING, *id, None).value.expect("it is held");
            }
            made.push(outcome);
        }
        made
    };
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| race(true));
        let second = scope.spawn(|| race(false));
        (first.join().unwrap(), second.join().unwrap())
    });
    let apart = first.iter().zip(&second).position(|(first, second)| first.is_err() || first != second);
    assert_eq!(apart, None, "two answers to one request");
    assert_eq!(service.counts("tv"), (10, 0, 0));
    service.stop();
}

/// G1 through crashes, and G8: whatever prefix of batches a crash leaves, no more is held in it than there is; and each
/// hold is in the batch whose number its answer waits for. Units wander between shards as fast as they can meanwhile.
#[test]
fn every_prefix_of_the_journal_is_a_state_that_was_and_answers_wait_for_theirs() {
    const STOCK: u64 = 3;
    const COMMITS: u64 = 6000;
    let mut harness = Harness::with_shards(64);
    harness.put(&ask::sale("drop", &[("tv", STOCK)]));
    harness.commit();
    let (engine, customers) = (harness.engine.clone(), a_customer_on_each_of(64));
    let (committing, drawn) = (AtomicBool::new(true), AtomicU64::new(1 << 59));
    let waited_for: HashMap<ReservationId, u64> = thread::scope(|scope| {
        let _done = Finally(|| committing.store(false, Ordering::Release));
        let holders: Vec<_> = (0..3_u64)
            .map(|number| {
                let (engine, customers, committing, drawn) = (&engine, &customers, &committing, &drawn);
                scope.spawn(move || {
                    let (mut dice, mut waited_for) = (Dice::new(300 + number), Vec::new());
                    while committing.load(Ordering::Acquire) {
                        let customer = dice.pick(customers);
                        let entropy = scramble(drawn.fetch_add(1, Ordering::Relaxed));
                        let answer = engine.reserve(OPENING, &ask::reserve("drop", customer, &[("tv", 1)]), entropy);
                        if let Ok(made) = answer.value {
                            waited_for.push((made.reservation.id, answer.durable_at));
                            engine.release(OPENING, made.reservation.id, None).value.expect("it is held");
                        }
                    }
                    waited_for
                })
            })
            .collect();
        for _ in 0..COMMITS {
            harness.committer.step().expect("the storage works");
        }
        committing.store(false, Ordering::Release);
        holders.into_iter().flat_map(|holder| holder.join().unwrap()).collect()
    });
    harness.commit();

    let (mut held, mut seen) = (0, 0);
    scan(&harness.storage, 1, 0, |epoch, payload| {
        batch::for_each::<Malformed>(payload, |_, _, event| {
            match event {
                Event::Customer(CustomerEvent::Held(new)) => {
                    held += 1;
                    seen += 1;
                    assert!(epoch <= waited_for[&new.id], "an answer did not wait for epoch {epoch}");
                }
                Event::Customer(CustomerEvent::Released(_)) => held -= 1,
                _ => {}
            }
            // At each event, and not at the batch's end alone: lanes stand in an order in which it happened.
            assert!((0..=STOCK as i64).contains(&held), "{held} of {STOCK} units are held within epoch {epoch}");
            Ok(())
        })?;
        Ok::<_, Malformed>(())
    })
    .expect("the journal is sound");
    assert_eq!((held, seen), (0, waited_for.len()));
}

/// A refusal must not stick: after each release or restock that came after it, the units can be had at once, by whoever
/// asks first, on whatever shard. All other threads keep asking meanwhile, which keeps the bound tight.
#[test]
fn sold_out_does_not_stick_after_units_come_back() {
    let service = Running::start(8, &ask::sale("drop", &[("tv", 1)]));
    let customers = a_customer_on_each_of(8);
    let done = AtomicBool::new(false);
    together(
        |number| {
            if number > 0 {
                // Asks for more than there will ever be: always refused, always tightening.
                while !done.load(Ordering::Acquire) {
                    let refused = service.reserve(OPENING, &customers[number as usize], &[("tv", 1_000_000)]);
                    assert!(matches!(refused, Err(Refusal::Short(_))));
                }
                return;
            }
            let _done = Finally(|| done.store(true, Ordering::Release));
            let mut stock = 1;
            for round in 0..4000 {
                let customer = &customers[round % customers.len()];
                let id = service.reserve(OPENING, customer, &[("tv", stock)]).expect("all of it is free");
                let next = &customers[(round * 3 + 1) % customers.len()];
                assert_eq!(service.reserve(OPENING, next, &[("tv", 1)]), Err(short("tv", 1, 0)));
                if round % 100 == 0 {
                    service.adjust(OPENING, Actor::Anybody, &ask::adjust("drop", "tv", 1)).value.unwrap();
                    let restocked = service.reserve(OPENING, next, &[("tv", 1)]).expect("it was just restocked");
                    service.release(OPENING, restocked, None).value.unwrap();
                    stock += 1;
                }
                service.release(OPENING, id, None).value.unwrap();
            }
        },
        || {},
    );
    service.stop();
}

/// The way without a lock tells exactly what the way with all locks would: after each step the figure in a refusal is the
/// truth, for one thread.
#[test]
fn refusals_without_a_lock_are_exact() {
    let mut harness = Harness::with_shards(8);
    harness.put(&ask::sale("drop", &[("tv", 20), ("phone", 50)]));
    let customers = a_customer_on_each_of(8);
    let mut dice = Dice::new(9);
    let mut held = Vec::new();
    for _ in 0..3000 {
        let customer = dice.pick(&customers).clone();
        match dice.below(6) {
            0..=2 => {
                let lines = [("tv", 1 + dice.below(4) as u32), ("phone", 1 + dice.below(3) as u32)];
                let taken = harness.reserve(&ask::reserve("drop", &customer, &lines[..1 + dice.below(2) as usize]));
                held.extend(taken.ok().map(|made| made.reservation.id));
            }
            3 if !held.is_empty() => {
                let id = held.swap_remove(dice.below(held.len() as u64) as usize);
                let _ = harness.release(id);
            }
            4 => {
                harness.wait_seconds(20);
                harness.tick();
            }
            _ if dice.one_in(8) => {
                let _ = harness.adjust(&ask::adjust("drop", "tv", dice.below(5) as i64 - 2));
            }
            _ => {}
        }
        let (tv, ..) = harness.counts("tv");
        let refused = harness.reserve(&ask::reserve("drop", &customer, &[("tv", tv as u32 + 1)]));
        assert_eq!(refused, Err(short("tv", tv + 1, tv)));
    }
}

/// The figures of several lines are of one instant. Of two items with one unit each, the one or the other is free at every
/// instant, and both never are gone.
#[test]
fn lines_that_are_short_together_were_so_at_one_instant() {
    const TURNS: u64 = 4000;
    let service = Running::start(8, &ask::sale("drop", &[("tv", 1), ("phone", 1)]));
    let customers = a_customer_on_each_of(8);
    let moving = AtomicBool::new(true);
    let told = together(
        |number| {
            let customer = &customers[number as usize];
            if number == 0 {
                let _done = Finally(|| moving.store(false, Ordering::Release));
                let take = |sku| service.reserve(OPENING, customer, &[(sku, 1)]).expect("nobody else takes it");
                for _ in 0..TURNS {
                    for sku in ["tv", "phone"] {
                        let held = take(sku);
                        service.release(OPENING, held, None).value.unwrap();
                    }
                }
                return 0;
            }
            let mut told = 0;
            while moving.load(Ordering::Acquire) {
                let refused = service.reserve(OPENING, customer, &[("tv", 2), ("phone", 2)]);
                let Err(Refusal::Short(lines)) = refused else { panic!("there is one of each: {refused:?}") };
                let available: Vec<_> = lines.iter().map(|line| line.available).collect();
                assert!(available.iter().sum::<u64>() >= 1, "{lines:?} were never short together");
                told += 1;
            }
            told
        },
        || {},
    );
    assert!(told.iter().sum::<u64>() > 100, "{told:?}");
    service.stop();
}

/// A pause that was answered is in force: no hold slips in behind it that was judged by the sale as it was before.
#[test]
fn no_hold_is_made_after_a_pause_was_answered() {
    let service = Running::start(8, &ask::sale("drop", &[("tv", 100_000_000)]));
    let done = AtomicBool::new(false);
    together(
        |number| {
            if number > 0 {
                let mut turn = 0_u64;
                while !done.load(Ordering::Acquire) {
                    turn += 1;
                    let customer = format!("customer-{number}-{}", turn % 50);
                    match service.reserve(OPENING, &customer, &[("tv", 1)]) {
                        // Not let go of: a hold that comes and goes could hide from who counts.
                        Ok(_) => {}
                        Err(refusal) => {
                            assert_eq!(refusal, Refusal::SalePaused);
                            thread::yield_now();
                        }
                    }
                }
                return;
            }
            let _done = Finally(|| done.store(true, Ordering::Release));
            for _ in 0..300 {
                service.pause(OPENING, Actor::Anybody, "drop").value.expect("the sale is on");
                let before = service.counts("tv");
                for _ in 0..20 {
                    thread::yield_now();
                }
                assert_eq!(service.counts("tv"), before, "the sale is paused");
                service.resume(OPENING, Actor::Anybody, "drop").value.expect("the sale is on");
                thread::yield_now();
            }
        },
        thread::yield_now,
    );
    service.stop();
}

/// G6 under threads: who confirms and the clock race for each hold at its very end, and exactly one wins.
#[test]
fn a_hold_is_either_confirmed_in_time_or_expired() {
    let service = Running::start(4, &SaleSettings { hold_seconds: 1, ..ask::sale("drop", &[("tv", 500)]) });
    let due = OPENING.plus_seconds(1);
    let held: Vec<ReservationId> =
        (0..500).map(|number| service.reserve(OPENING, &format!("customer-{number}"), &[("tv", 1)]).unwrap()).collect();
    let confirmed = together(
        |number| {
            let mut confirmed = 0_u64;
            for (place, &id) in held.iter().enumerate() {
                // Two threads confirm at the last moment and at the first that is too late, one looks, one is the clock.
                match number {
                    0 => {
                        confirmed +=
                            u64::from(service.confirm(due.plus_millis(place as u64 % 2), id, None).value.is_ok())
                    }
                    1 => {
                        confirmed += u64::from(service.confirm(OPENING.plus_millis(999), id, None).value.is_ok()) << 32
                    }
                    2 => drop(service.look(OPENING.plus_millis(998 + place as u64 % 3), id)),
                    _ => drop(service.tick(OPENING.plus_millis(900 + place as u64 / 3))),
                }
            }
            confirmed
        },
        || {},
    );
    service.tick(OPENING.plus_seconds(10));
    let states: Vec<State> =
        held.iter().map(|&id| service.look(OPENING.plus_seconds(10), id).value.unwrap().state).collect();
    let bought = states.iter().filter(|state| **state == State::Confirmed).count() as u64;
    assert!(states.iter().all(|state| matches!(state, State::Confirmed | State::Expired)));
    assert!(confirmed[1] >> 32 <= bought, "whoever was told of a confirmation has it");
    assert_eq!(service.counts("tv"), (500 - bought, 0, bought));
    service.stop();
}

#[test]
fn reserves_go_on_while_a_large_sale_is_put_again() {
    const PUTS_MAX: usize = 60;
    const SHARE: f64 = 0.15;
    let small = ask::sale("drop", &[("tv", 1_000_000_000)]);
    let service = Running::start(8, &small);
    let skus: Vec<String> = (0..10_000).map(|number| format!("sku-{number}")).collect();
    let stock: Vec<(&str, u64)> = skus.iter().map(|sku| (sku.as_str(), 5)).collect();
    let mut large = ask::sale("large", &stock);
    let put = |large: &SaleSettings| service.put_sale(OPENING, Actor::Anybody, large).value.unwrap();
    put(&large);
    let stop = AtomicBool::new(false);
    let longest = AtomicU64::new(0);
    let mut shares = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = Instant::now();
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                service.reserve(OPENING, &format!("customer-{number}"), &[("tv", 1)]).unwrap();
                let now = Instant::now();
                longest.fetch_max((now - last).as_micros() as u64, Ordering::Relaxed);
                last = now;
            }
        });
        // A machine with other things to do holds a thread up by itself, but not each time.
        for number in 0..PUTS_MAX {
            large.name = format!("number {number}");
            longest.store(0, Ordering::Relaxed);
            let begun = Instant::now();
            put(&large);
            let whole = begun.elapsed().as_micros() as u64;
            shares.push(longest.load(Ordering::Relaxed) as f64 / whole as f64);
            let view = service.sale(OPENING, "large").value.unwrap();
            assert!(view.counts.iter().all(|counts| counts.available == 5), "nothing moved");
            if shares.last().is_some_and(|share| *share < SHARE) {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(
        shares.last().is_some_and(|share| *share < SHARE),
        "the longest wait of a reserve was these shares of a put: {shares:?}"
    );
    service.stop();
}
