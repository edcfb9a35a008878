//! Every check passes on a right story, and fails on each that is wrong where it looks.

use serde_json::{Value, json};

use super::{
    checks::{self, Story, Verdict},
    crowd::{Answer, DoubleClick, End, Grant, Ledger, Moment, Shortage, moment},
    plan::{Basket, Plan},
};
use crate::{
    cli::DemoOptions,
    config::Config,
    reconcile::{Compared, Difference, Report},
    sale::time::Timestamp,
};

const MADE: Timestamp = Timestamp::from_millis(1_000_000_000_000);

/// So many milliseconds after the opening.
fn after(millis: u64) -> Timestamp {
    MADE.plus_millis(1200 + millis)
}

fn at(millis: u64) -> Moment {
    moment(after(millis))
}

/// Asked for at the opening, and answered ten milliseconds later.
fn grant(plan: &Plan, shopper: u32, basket: Basket, end: End) -> Grant {
    let (id, lines) = (format!("r{shopper}"), plan.lines(&basket));
    let mut shown = json!({ "id": id, "state": "held", "lines": lines, "expires_at": after(4001) });
    if end != End::Open {
        (shown["state"], shown["confirmed_at"]) = ("confirmed".into(), json!(after(101)));
    }
    Grant { shopper, basket, sent: at(0), got: at(10), shown, end }
}

fn sale(plan: &Plan, confirmed: [u64; 4]) -> Value {
    let item = |(item, confirmed): (&super::plan::Item, u64)| {
        let (sku, stock) = (item.sku, item.stock);
        json!({ "sku": sku, "stock": stock, "available": stock - confirmed, "held": 0, "confirmed": confirmed })
    };
    json!({ "items": plan.items.iter().zip(confirmed).map(item).collect::<Vec<_>>() })
}

/// One console and two televisions are sold; a hold of three pairs of buds expired.
fn right() -> Story {
    let plan =
        Plan::new(&Config::default(), DemoOptions { sale: None, tiers: Vec::new(), shoppers: 100, units: 20 }, MADE);
    let confirmed = End::Confirmed { sent: at(100) };
    let grants = vec![
        grant(&plan, 1, vec![(0, 1), (1, 1)], confirmed),
        grant(&plan, 2, vec![(1, 2)], confirmed),
        grant(&plan, 3, vec![(2, 2)], End::Open),
    ];
    let click = Answer { status: 201, replayed: false, body: grants[0].shown.clone(), sent: at(0), got: at(10) };
    let again = Answer { replayed: true, ..click.clone() };
    let mut seen: Vec<_> = grants.iter().map(|grant| grant.shown.clone()).enumerate().collect();
    (seen[2].1["state"], seen[2].1["expired_at"]) = ("expired".into(), json!(after(4013)));
    let ledger = Ledger {
        requests: 9,
        grants,
        shortages: vec![Shortage { item: 0, requested: 1, available: 0, sent: at(50), got: at(60) }],
        over_limit: vec![json!({ "sku": "oled-tv-55", "limit": 2, "already": 2 })],
        double_clicks: vec![DoubleClick { key: "k".to_owned(), body: json!({}), answers: vec![click, again.clone()] }],
        too_early: vec![at(0) - 500_000],
        too_late: vec![(at(4002), at(4001))],
        committed: 4,
        ..Ledger::default()
    };
    let compared = Compared { reservations: 3, ..Compared::default() };
    Story {
        looks: vec![sale(&plan, [0, 0, 0, 0]), sale(&plan, [1, 3, 0, 0])],
        plan,
        durable: true,
        ledger,
        at: at(6000),
        seen: seen.into_iter().map(|(index, shown)| (index, Some(shown))).collect(),
        repeats: vec![(0, Some(again))],
        latest_epoch: 7,
        store: Ok(Report { epoch: 7, compared, ..Report::default() }),
        too_large: Some(413),
    }
}

fn verdict(story: &Story, guarantee: &str) -> Verdict {
    checks::all(story).iter().find(|check| check.guarantee == guarantee).unwrap().verdict
}

#[test]
fn a_right_story_passes_every_check() {
    for check in checks::all(&right()) {
        assert_eq!(check.verdict, Verdict::Holds, "{} {}", check.guarantee, check.evidence);
    }
}

#[test]
fn a_story_of_nothing_passes_no_check() {
    let mut story = right();
    (story.ledger, story.looks, story.store) =
        (Ledger::default(), Vec::new(), Ok(Report { epoch: 7, ..Report::default() }));
    story.seen.clear();
    story.repeats.clear();
    for check in checks::all(&story) {
        assert_eq!(check.verdict, Verdict::NotSeen, "{} {}", check.guarantee, check.evidence);
    }
    assert_eq!(verdict(&Story { durable: false, ..right() }, "G8"), Verdict::NotSeen, "nothing is promised");
}

#[test]
fn whatever_is_wrong_breaks_its_guarantee() {
    type Wrong = fn(&mut Story);
    let ways: [(&str, &str, Wrong); 33] = [
        ("G1", "a unit is nowhere in a look", |it| it.looks[0]["items"][3]["available"] = 9.into()),
        ("G1", "a unit was made up", |it| {
            (it.looks[1]["items"][0]["stock"], it.looks[1]["items"][0]["available"]) = (2.into(), 1.into());
        }),
        ("G1", "an acknowledged sale is not counted", |it| it.looks[1] = sale(&it.plan, [1, 2, 0, 0])),
        ("G1", "a hold stays that expired", |it| {
            (it.looks[1]["items"][2]["available"], it.looks[1]["items"][2]["held"]) = (5.into(), 1.into());
        }),
        ("G1", "an item is missing", |it| it.looks[1]["items"][0]["sku"] = "other".into()),
        ("G2", "a reservation is gone", |it| it.seen[0].1 = None),
        ("G2", "a confirm is gone", |it| it.seen[0].1.as_mut().unwrap()["state"] = "held".into()),
        ("G2", "an abandoned hold is confirmed", |it| it.seen[2].1.as_mut().unwrap()["state"] = "confirmed".into()),
        ("G3", "a line is missing", |it| drop(it.ledger.grants[0].shown["lines"].as_array_mut().unwrap().pop())),
        ("G3", "a line has fewer units", |it| it.ledger.grants[1].shown["lines"][0]["quantity"] = 1.into()),
        ("G4", "two ids", |it| it.ledger.double_clicks[0].answers[1].body["id"] = "other".into()),
        ("G4", "two originals", |it| it.ledger.double_clicks[0].answers[1].replayed = false),
        ("G4", "no original", |it| it.ledger.double_clicks[0].answers[0].replayed = true),
        ("G4", "a repeat without an answer", |it| it.repeats[0].1 = None),
        ("G4", "a repeat that is not marked", |it| it.repeats[0].1.as_mut().unwrap().replayed = false),
        ("G4", "a repeat with another answer", |it| it.repeats[0].1.as_mut().unwrap().body["state"] = "held".into()),
        ("G5", "there was enough", |it| it.ledger.shortages[0].available = 1),
        ("G5", "before anything was sold", |it| {
            (it.ledger.shortages[0].sent, it.ledger.shortages[0].got) = (at(0) - 60, at(0) - 50);
        }),
        ("G5", "of an item with stock", |it| it.ledger.shortages[0].item = 3),
        ("G5", "after the hold was back", |it| {
            it.ledger.shortages[0] = Shortage { item: 2, requested: 5, available: 4, sent: at(4500), got: at(4510) };
        }),
        ("G6", "a hold expired early", |it| it.seen[2].1.as_mut().unwrap()["expired_at"] = json!(after(4000))),
        ("G6", "a hold came back late", |it| it.seen[2].1.as_mut().unwrap()["expired_at"] = json!(after(4102))),
        ("G6", "a confirm after the end", |it| it.seen[0].1.as_mut().unwrap()["confirmed_at"] = json!(after(4001))),
        ("G6", "a confirm sent after the end", |it| it.ledger.grants[0].end = End::Confirmed { sent: at(4010) }),
        ("G6", "a confirm refused before the end", |it| it.ledger.too_late[0].0 = at(3990)),
        ("G6", "a reserve refused after the opening", |it| it.ledger.too_early[0] = at(10)),
        ("G6", "a grant before the opening", |it| it.ledger.grants[0].got = at(0) - 5_000),
        ("G7", "one more than the limit", |it| it.ledger.grants[0].shopper = 2),
        ("G8", "an answer without a commit", |it| it.ledger.uncommitted = 1),
        ("G9", "the store differs", |it| {
            let (key, column) = ("r1".to_owned(), "state");
            let difference = Difference { table: "reservations", key, column, journal: None, store: None };
            it.store.as_mut().unwrap().note(difference);
        }),
        ("G9", "the store lags", |it| it.latest_epoch = 8),
        ("G10", "an answer is missing", |it| it.ledger.failures = (1, "no answer".to_owned())),
        ("G10", "a limit is not kept", |it| it.too_large = Some(201)),
    ];
    for (guarantee, what, make_wrong) in ways {
        let mut story = right();
        make_wrong(&mut story);
        assert_eq!(verdict(&story, guarantee), Verdict::Broken, "{guarantee}: {what}");
    }
}
