//! The audit trail from below HTTP: no action without its record, no record without its action, through every crash.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use doorbuster::{
    engine::{Engine, RecoverError, Recovered, Settings, batch},
    journal::{
        RecoveryError, Source,
        files::{Survival, scan},
    },
    sale::{
        audit::{Action, Actor, Broken, Head, KeyFacts},
        codec::{Malformed, Write},
        command::Adjust,
        event::{CatalogueEvent, CustomerEvent, Event},
        outcome::Refusal,
        settings::SaleSettings,
    },
};

use crate::support::{
    OPENING, ask,
    dice::Dice,
    harness::{Harness, OpenError},
};

const BY: Actor<'_> = Actor::Key("eu");

/// Action, actor, sale, SKU and detail.
type Told = (Action, String, Option<String>, Option<String>, String);

/// Adds the records of a batch; fails where one stands without its action in the same batch, or an action without its
/// record.
fn take_records(payload: &[u8], records: &mut Vec<Told>) {
    let (mut open, mut erased, mut erasures) = (Vec::new(), 0, 0);
    batch::for_each(payload, |_, _, event| {
        match event {
            Event::Catalogue(CatalogueEvent::SaleDefined(_)) => open.push(Action::SalePut),
            Event::Catalogue(CatalogueEvent::SalePaused { .. }) => open.push(Action::SalePause),
            Event::Catalogue(CatalogueEvent::SaleResumed { .. }) => open.push(Action::SaleResume),
            Event::Catalogue(CatalogueEvent::SaleClosed { .. }) => open.push(Action::SaleClose),
            Event::Catalogue(CatalogueEvent::Adjusted(_)) => open.push(Action::StockAdjust),
            Event::Catalogue(CatalogueEvent::KeysNoted { .. }) => open.push(Action::KeysChange),
            Event::Customer(CustomerEvent::CustomerErased { .. }) => erased += 1,
            Event::Catalogue(CatalogueEvent::Audited(audited)) => {
                let record = audited.record;
                if record.action == Action::CustomerErase {
                    // The event itself is in the lane of the customer's shard, which comes later.
                    erasures += 1;
                } else {
                    assert_eq!(open.pop(), Some(record.action), "a record is of the action right before it");
                }
                let owned = |text: Option<&str>| text.map(str::to_owned);
                let (actor, detail) = (record.actor.to_string(), record.detail.to_owned());
                records.push((record.action, actor, owned(record.sale), owned(record.sku), detail));
            }
            _ => {}
        }
        Ok::<_, Malformed>(())
    })
    .unwrap();
    assert_eq!(open, [], "an action has its record in the same batch");
    assert_eq!(erased, erasures, "and an erasure in the same batch as well");
}

fn records(harness: &Harness) -> Vec<Told> {
    let mut records = Vec::new();
    scan(&harness.storage, 1, 0, |_, payload: &[u8]| {
        take_records(payload, &mut records);
        Ok::<_, Malformed>(())
    })
    .unwrap();
    records
}

fn restock(key: Option<&'static str>) -> Adjust<'static> {
    Adjust { reason: Some("a truck came"), reference: Some("wh-1"), key, ..ask::adjust("drop", "tv", 10) }
}

#[test]
fn each_action_is_recorded_once_with_who_what_and_why() {
    let mut harness = Harness::with_shards(3);
    let (engine, now) = (harness.engine.clone(), harness.now);
    let document = ask::sale("drop", &[("tv", 30)]);
    engine.put_sale(now, BY, &document).value.unwrap();
    engine.pause(now, BY, "drop").value.unwrap();
    engine.resume(now, Actor::Anybody, "drop").value.unwrap();
    engine.adjust(now, BY, &restock(Some("truck-1"))).value.unwrap();
    let later = SaleSettings { hold_seconds: 60, ..document.clone() };
    engine.put_sale(now, BY, &later).value.unwrap();
    // Putting the same again is an action: it is journaled and told, and so it is recorded.
    engine.put_sale(now, BY, &later).value.unwrap();
    engine.close(now, BY, "drop").value.unwrap();
    harness.commit();

    let told = records(&harness);
    let short: Vec<_> = told.iter().map(|(action, actor, ..)| (*action, actor.as_str())).collect();
    assert_eq!(
        short,
        [
            (Action::SalePut, "key:eu"),
            (Action::SalePause, "key:eu"),
            (Action::SaleResume, "anybody"),
            (Action::StockAdjust, "key:eu"),
            (Action::SalePut, "key:eu"),
            (Action::SalePut, "key:eu"),
            (Action::SaleClose, "key:eu"),
        ]
    );
    assert!(told.iter().all(|(_, _, sale, ..)| sale.as_deref() == Some("drop")));
    let (_, _, _, sku, detail) = &told[3];
    assert_eq!(sku.as_deref(), Some("tv"));
    assert_eq!(detail, r#"{"delta":10,"reason":"a truck came","reference":"wh-1","stock":40,"available":40}"#);
    assert!(told[4].4.contains(r#""changed":{"hold_seconds":{"from":300,"to":60}}"#), "{}", told[4].4);
    assert!(!told[5].4.contains("changed"), "{}", told[5].4);
    assert_eq!(engine.audit_head().value.sequence, 7);
}

#[test]
fn what_is_refused_or_repeated_leaves_no_record() {
    let mut harness = Harness::with_shards(3);
    let (engine, now) = (harness.engine.clone(), harness.now);
    let document = ask::sale("drop", &[("tv", 30)]);
    engine.put_sale(now, BY, &document).value.unwrap();
    engine.adjust(now, BY, &restock(Some("truck-1"))).value.unwrap();
    engine.pause(now, BY, "drop").value.unwrap();
    let before = engine.audit_head().value;

    engine.pause(now, BY, "drop").value.unwrap();
    assert!(engine.adjust(now, BY, &restock(Some("truck-1"))).value.unwrap().replayed);
    let other = Adjust { delta: 11, ..restock(Some("truck-1")) };
    assert_eq!(engine.adjust(now, BY, &other).value.unwrap_err(), Refusal::IdempotencyKeyReused);
    engine.adjust(now, BY, &ask::adjust("drop", "tv", -41)).value.unwrap_err();
    engine.adjust(now, BY, &ask::adjust("drop", "pad", 1)).value.unwrap_err();
    engine.adjust(now, BY, &ask::adjust("none", "tv", 1)).value.unwrap_err();
    engine.put_sale(now, BY, &SaleSettings { hold_seconds: 0, ..document.clone() }).value.unwrap_err();
    engine.put_sale(now, BY, &ask::sale("drop", &[("tv", 31)])).value.unwrap_err();
    for turn in [Engine::pause, Engine::resume, Engine::close] {
        turn(&engine, now, BY, "none").value.unwrap_err();
    }
    assert_eq!(engine.audit_head().value, before);
    engine.close(now, BY, "drop").value.unwrap();
    engine.close(now, BY, "drop").value.unwrap();
    engine.resume(now, BY, "drop").value.unwrap_err();
    engine.put_sale(now, BY, &document).value.unwrap_err();
    assert_eq!(engine.audit_head().value.sequence, before.sequence + 1);
    // Nor does what nobody did: the clock's turns.
    engine
        .put_sale(now, BY, &SaleSettings { id: "next".into(), opens_at: now.plus_seconds(5), ..document })
        .value
        .unwrap();
    let before = engine.audit_head().value;
    assert!(engine.tick(now.plus_seconds(6)).status_changes > 0);
    assert_eq!(engine.audit_head().value, before);
    harness.commit();
    records(&harness);
}

fn keys<'a>(keys: &[(&'a str, u8)]) -> Vec<KeyFacts<'a>> {
    keys.iter()
        .map(|&(name, print)| KeyFacts { name, role: "operator", sales: vec![], channels: vec![], print: [print; 16] })
        .collect()
}

#[test]
fn keys_are_recorded_where_they_are_others_than_before_also_after_a_restart() {
    for with_snapshot in [false, true] {
        let mut harness = Harness::with_shards(2);
        let note =
            |harness: &Harness, ring: &[(&str, u8)]| harness.engine.note_keys(harness.now, "start", &keys(ring)).value;
        assert!(!note(&harness, &[]), "no keys at first are no change");
        assert!(note(&harness, &[("eu", 1), ("us", 2)]));
        assert!(!note(&harness, &[("eu", 1), ("us", 2)]));
        if with_snapshot {
            harness.snapshot();
        }
        harness.commit();
        harness.kill_and_start_with(5);
        assert!(!note(&harness, &[("eu", 1), ("us", 2)]));
        for ring in [&[("eu", 1), ("us", 3)][..], &[("eu", 1)], &[("us", 1)], &[("us", 1), ("eu", 1)], &[]] {
            assert!(note(&harness, ring), "{ring:?}");
            assert!(!note(&harness, ring), "{ring:?}");
        }
        harness.commit();
        let told = records(&harness);
        assert_eq!(told.len(), 6);
        assert!(told.iter().all(|(action, actor, ..)| (*action, actor.as_str()) == (Action::KeysChange, "process")));
        assert!(told[3].4.contains(r#""added":{"count":1,"first":[{"name":"us""#), "{}", told[3].4);
        assert!(told[3].4.contains(r#""removed":{"count":1,"first":["eu"]}"#), "{}", told[3].4);
    }
}

/// Random actions, snapshots, restarts and power loss in the middle of a commit: whatever is there has its record, the
/// chain holds from the first record on, and it goes on where it was.
#[test]
fn no_crash_parts_an_action_from_its_record() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..60 {
        let mut dice = Dice::new(seed);
        let mut harness = Harness::with_shards(3);
        harness.put(&ask::sale("drop", &[("tv", 30), ("pad", 5)]));
        harness.commit();
        for _ in 0..40 {
            act(&mut harness, &mut dice);
            match dice.below(8) {
                0 => harness.commit(),
                1 => drop(harness.snapshot()),
                2 => harness.kill_and_start_with(1 + dice.below(5) as usize),
                3 => {
                    harness.commit();
                    let acknowledged = harness.engine.audit_head().value.sequence;
                    (0..3).for_each(|_| act(&mut harness, &mut dice));
                    harness.adjust(&ask::adjust("drop", "pad", 1)).unwrap();
                    let latest = harness.engine.audit_head().value.sequence;
                    harness.storage.die_after(1);
                    harness.committer.step().expect_err("the machine died");
                    harness.lose_power(Survival::Sectors { seed, sector_bytes: 512 });
                    let found = harness.engine.audit_head().value.sequence;
                    assert!(found == acknowledged || found == latest, "all of the last batch or nothing of it");
                    *(if found == latest { &mut kept } else { &mut lost }) += 1;
                }
                _ => {}
            }
        }
        harness.commit();
        let head = harness.engine.audit_head().value;
        assert_eq!(records(&harness).len() as u64, head.sequence);
        assert_eq!(walk(&harness), Ok(head));
        harness.restart();
        assert_eq!(harness.engine.audit_head().value, head);
    }
    assert!(kept > 0 && lost > 0, "{kept} times with the last batch, {lost} times without");
}

/// Cuts at any instant, while operators are at work: no batch has one without the other.
#[test]
fn no_cut_parts_an_action_from_its_record() {
    const CUTS: usize = 300;
    let engine = Engine::new(Settings { shards: 4, ..Settings::default() });
    for sale in ["one", "two", "three"] {
        engine.put_sale(OPENING, BY, &ask::sale(sale, &[("tv", 30)])).value.unwrap();
    }
    let enough = AtomicBool::new(false);
    let mut cuts = Vec::new();
    thread::scope(|scope| {
        let operators = ["one", "two", "three"].into_iter().zip(0..).map(|(sale, seed)| {
            let (engine, enough) = (&engine, &enough);
            scope.spawn(move || {
                let mut dice = Dice::new(seed);
                while !enough.load(Ordering::Relaxed) {
                    match dice.below(5) {
                        4 => drop(engine.erase_customer(OPENING, BY, sale)),
                        0 => drop(engine.put_sale(OPENING, BY, &ask::sale(sale, &[("tv", 30)])).value.unwrap()),
                        1 => engine.pause(OPENING, BY, sale).value.unwrap(),
                        2 => engine.resume(OPENING, BY, sale).value.unwrap(),
                        _ => drop(engine.adjust(OPENING, BY, &ask::adjust(sale, "tv", 1)).value.unwrap()),
                    }
                }
            })
        });
        let operators: Vec<_> = operators.collect();
        loop {
            let done = operators.iter().all(|operator| operator.is_finished());
            let mut payload = Vec::new();
            if engine.cut(&mut payload).is_some() {
                cuts.push(payload);
                enough.store(cuts.len() >= CUTS, Ordering::Relaxed);
            } else if done {
                break;
            }
        }
    });
    let mut told = Vec::new();
    cuts.iter().for_each(|payload| take_records(payload, &mut told));
    assert_eq!(told.len() as u64, engine.audit_head().value.sequence);
}

fn act(harness: &mut Harness, dice: &mut Dice) {
    harness.wait_millis(dice.below(500));
    let (engine, now) = (harness.engine.clone(), harness.now);
    match dice.below(7) {
        6 => drop(engine.erase_customer(now, BY, "ann")),
        0 => drop(engine.pause(now, BY, "drop")),
        1 => drop(engine.resume(now, Actor::Anybody, "drop")),
        2 => {
            let settings =
                SaleSettings { hold_seconds: 1 + dice.below(90), ..ask::sale("drop", &[("tv", 30), ("pad", 5)]) };
            harness.put(&settings);
        }
        3 => drop(engine.note_keys(now, "reload", &keys(&[("eu", dice.below(4) as u8)]))),
        _ => drop(engine.adjust(now, BY, &ask::adjust("drop", "tv", dice.below(9) as i64 - 4))),
    }
}

/// Follows the chain through the journal from its beginning.
fn walk(harness: &Harness) -> Result<Head, Broken> {
    let (mut head, mut broken) = (Head::default(), None);
    scan(&harness.storage, 1, 0, |_, payload: &[u8]| {
        batch::for_each(payload, |_, _, event| {
            if let Event::Catalogue(CatalogueEvent::Audited(audited)) = event
                && broken.is_none()
            {
                broken = head.follow(&audited).err();
            }
            Ok::<_, Malformed>(())
        })
    })
    .unwrap();
    broken.map_or(Ok(head), Err)
}

/// Frames that read well, of a trail that does not follow: put together of two journals, or written by somebody else.
#[test]
fn a_start_is_refused_where_the_chain_does_not_hold() {
    let live = |detail: &'static str| {
        let engine = Engine::new(Settings { shards: 1, ..Settings::default() });
        engine.put_sale(OPENING, BY, &ask::sale("drop", &[("tv", 30)])).value.unwrap();
        let mut payloads = Vec::new();
        for delta in 1..4 {
            let asked = Adjust { reason: Some(detail), ..ask::adjust("drop", "tv", delta) };
            engine.adjust(OPENING, BY, &asked).value.unwrap();
            let mut payload = Vec::new();
            engine.cut(&mut payload).unwrap();
            payloads.push(payload);
        }
        payloads
    };
    let (ours, others) = (live("ours"), live("others"));
    let recover = |payloads: &[&Vec<u8>]| {
        let mut recovered = Recovered::new(Settings { shards: 1, ..Settings::default() });
        let mut batches = (1..).zip(payloads);
        batches.try_for_each(|(epoch, payload)| recovered.batch(epoch, payload)).map(|()| recovered)
    };
    assert!(recover(&[&ours[0], &ours[1], &ours[2]]).is_ok());
    let broken = |payloads: &[&Vec<u8>]| match recover(payloads).err().expect("refused") {
        RecoverError::Trail(broken) => broken,
        other => panic!("{other}"),
    };
    assert_eq!(broken(&[&ours[0], &others[1]]), Broken::Changed { sequence: 3 });
    assert_eq!(broken(&[&ours[0], &ours[2]]), Broken::Missing { first: 3, last: 3 });
    assert_eq!(broken(&[&ours[0], &ours[1], &ours[1]]), Broken::Foreign { number: "3".into() });

    // As a start meets it, with the place in the journal named.
    let mut harness = Harness::with_shards(1);
    harness.engine.put_sale(OPENING, BY, &ask::sale("drop", &[("tv", 30)])).value.unwrap();
    harness.commit();
    let storage = harness.storage.clone();
    harness.log.append(harness.log.tail(), &ours[1]).unwrap();
    match Harness::open(storage, Settings { shards: 1, ..Settings::default() }, OPENING).err() {
        Some(OpenError::Journal(error @ RecoveryError::Refused { .. })) => {
            assert!(error.to_string().contains("audit record 2 is missing"), "{error}");
        }
        other => panic!("{:?}", other.map(|error| error.to_string())),
    }
}

/// An audited event as no version writes it yet is refused by name, not skipped.
#[test]
fn a_record_of_a_newer_version_is_no_record_of_ours() {
    let mut lane = Vec::new();
    let mut fields = vec![71];
    fields.u64(1);
    fields.u64(OPENING.millis());
    fields.text("anybody");
    fields.u8(200);
    fields.text("");
    fields.text("");
    fields.block(b"{}");
    fields.put(&[0; 32]);
    lane.block(&fields);
    let mut payload = Vec::new();
    batch::put_section(&mut payload, batch::CATALOGUE_LANE, &lane);
    let mut recovered = Recovered::new(Settings { shards: 1, ..Settings::default() });
    let error = recovered.batch(1, &payload).unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
}
