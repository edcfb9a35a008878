//! Every check passes on a history that is right, and fails on each that is wrong where it looks.

use super::{
    answers::Reservation,
    checks::{self, Verdict},
    client::moment,
    history::{History, Stored},
    sample::{MADE, after, right, sale, span},
    tally::{End, Shortage, Span, Tally},
    timeline::{Match, Timeline},
};
use crate::sale::{outcome::State, time::Timestamp};

fn verdict(history: &History, guarantee: &str) -> Verdict {
    let checks = checks::all(history);
    checks.iter().find(|check| check.guarantee == guarantee).unwrap().verdict
}

/// A way to make a history wrong, and what it is called.
type Way = (&'static str, fn(&mut History));

/// Each way to be wrong breaks the check of its guarantee.
fn breaks(guarantee: &str, ways: &[Way]) {
    for (what, make_wrong) in ways {
        let mut history = right();
        make_wrong(&mut history);
        assert_eq!(verdict(&history, guarantee), Verdict::Broken, "{guarantee}: {what}");
    }
}

fn shown(history: &mut History, grant: usize) -> &mut Reservation {
    history.audit.seen[grant].1.as_mut().unwrap()
}

fn in_store(history: &mut History) -> &mut Stored {
    history.audit.store.as_mut().unwrap()
}

#[test]
fn a_right_history_passes_every_check() {
    for check in checks::all(&right()) {
        assert_eq!(check.verdict, Verdict::Holds, "{} {}", check.guarantee, check.evidence);
    }
}

#[test]
fn what_was_not_seen_does_not_pass() {
    let mut history = right();
    history.tally = Tally::default();
    history.audit.seen.clear();
    history.audit.repeats.clear();
    history.audit.limits.clear();
    history.audit.sale = Some(sale(&history.offer, [0; 4]));
    in_store(&mut history).reservations.clear();
    for guarantee in ["G2", "G3", "G4", "G5", "G6", "G7", "G8", "G10"] {
        assert_eq!(verdict(&history, guarantee), Verdict::NotSeen, "{guarantee}");
    }
    history.audit.sale = None;
    assert_eq!(verdict(&history, "G1"), Verdict::Broken);
}

#[test]
fn overselling_is_noticed() {
    breaks(
        "G1",
        &[
            ("a unit is nowhere in a look", |history| history.looks[0].items[3].available -= 1),
            ("a unit was made up", |history| {
                let item = &mut history.audit.sale.as_mut().unwrap().items[0];
                (item.stock, item.available) = (2, 1);
            }),
            ("an acknowledged sale is not counted", |history| {
                let item = &mut history.audit.sale.as_mut().unwrap().items[1];
                (item.available, item.confirmed) = (1, 2);
            }),
            ("a hold stays that ran out", |history| {
                let item = &mut history.audit.sale.as_mut().unwrap().items[2];
                (item.available, item.held) = (5, 1);
            }),
        ],
    );
}

#[test]
fn a_lost_or_changed_answer_is_noticed() {
    breaks(
        "G2",
        &[
            ("a reservation is gone", |history| history.audit.seen[0].1 = None),
            ("a confirm is gone", |history| {
                let made = history.tally.grants[0].made.clone();
                history.audit.seen[0].1 = Some(made);
            }),
            ("a reference is another", |history| shown(history, 1).reference = Some("other".to_owned())),
            ("an abandoned hold is confirmed", |history| shown(history, 2).state = "confirmed".to_owned()),
        ],
    );
}

#[test]
fn half_a_basket_is_noticed() {
    breaks(
        "G3",
        &[
            ("a line is missing", |history| {
                history.tally.grants[0].made.lines.pop();
            }),
            ("a line has fewer units", |history| history.tally.grants[1].made.lines[0].quantity = 1),
            ("a refused basket kept a unit", |history| {
                let item = &mut history.audit.sale.as_mut().unwrap().items[3];
                (item.available, item.held) = (9, 1);
            }),
        ],
    );
}

#[test]
fn a_key_that_counts_twice_is_noticed() {
    breaks(
        "G4",
        &[
            ("two ids", |history| history.tally.double_clicks[0].granted[0].0 = "another".to_owned()),
            ("two originals", |history| history.tally.double_clicks[0].granted[0].1 = false),
            ("no original", |history| history.tally.double_clicks[0].granted[1].1 = true),
            ("a repeat without an answer", |history| history.audit.repeats[0].1 = None),
            ("a repeat that is not marked", |history| history.audit.repeats[0].1.as_mut().unwrap().replayed = false),
            ("a repeat that is answered differently", |history| {
                let last = history.tally.grants[1].last.clone();
                history.audit.repeats[0].1.as_mut().unwrap().reservation = Some(last);
            }),
        ],
    );
}

#[test]
fn a_false_sold_out_is_noticed() {
    breaks(
        "G5",
        &[
            ("there was enough", |history| history.tally.shortages[0].available = 1),
            ("another quantity was refused", |history| history.tally.shortages[0].requested = 2),
            ("before anything was sold", |history| history.tally.shortages[0].span = span(50, 60)),
            ("of an item with stock", |history| history.tally.shortages[0].item = 3),
            ("after the hold had run out", |history| {
                history.tally.shortages[0] =
                    Shortage { item: 2, asked: 6, requested: 6, available: 5, span: span(4500, 4510) };
            }),
            ("more is said to be left than can be", |history| {
                history.tally.shortages[0] =
                    Shortage { item: 1, asked: 2, requested: 2, available: 1, span: span(1000, 1010) };
            }),
        ],
    );
}

#[test]
fn a_refusal_is_exact_when_nothing_is_under_way() {
    let history = right();
    let timeline = Timeline::of(&history, 1);
    let shortage =
        |available, sent, got| Shortage { item: 1, asked: 4, requested: 4, available, span: span(sent, got) };
    assert_eq!(timeline.judge(&shortage(3, 20, 30)), Match::Exact);
    assert_eq!(timeline.judge(&shortage(0, 200, 210)), Match::Exact);
    // While both holds are being made, anything from none of them to both may be seen.
    for available in 0..=3 {
        assert_eq!(timeline.judge(&shortage(available, 105, 125)), Match::Possible);
    }
    assert_eq!(timeline.judge(&shortage(3, 111, 119)), Match::Impossible);
}

#[test]
fn wrong_times_are_noticed() {
    breaks(
        "G6",
        &[
            ("expired early", |history| {
                let shown = shown(history, 2);
                shown.expired_at = Some(Timestamp::from_millis(shown.expires_at.millis() - 1));
            }),
            ("came back late", |history| {
                let shown = shown(history, 2);
                shown.expired_at = Some(shown.expires_at.plus_millis(101));
            }),
            ("held after its end", |history| {
                let shown = shown(history, 2);
                (shown.expired_at, shown.state) = (None, "held".to_owned());
            }),
            ("confirmed at its end", |history| {
                let shown = shown(history, 0);
                shown.confirmed_at = Some(shown.expires_at);
            }),
            ("took a late confirm", |history| history.tally.grants[0].end = End::Confirmed(span(4200, 4210))),
            ("refused a timely confirm", |history| history.tally.too_late[0].0 = moment(after(4000))),
            ("refused as too early after the opening", |history| history.tally.too_early[0] = span(10, 20)),
            ("granted before the opening", |history| {
                history.tally.grants[0].span = Span { sent: moment(MADE), got: moment(MADE) + 500 };
            }),
        ],
    );
}

#[test]
fn a_limit_that_does_not_hold_is_noticed() {
    breaks(
        "G7",
        &[
            ("one customer has three", |history| history.tally.grants[0].shopper = 2),
            ("refused below the limit", |history| history.tally.over_limit[0].already = 1),
            ("another limit", |history| history.tally.over_limit[0].limit = 1),
        ],
    );
}

#[test]
fn an_answer_ahead_of_the_disk_is_noticed() {
    breaks(
        "G8",
        &[
            ("no commit since the request", |history| history.tally.unsynced = 1),
            ("the last batch is not on disk", |history| history.audit.durable_epoch = 39),
        ],
    );
    let mut history = right();
    history.offer.durable = false;
    assert_eq!(verdict(&history, "G8"), Verdict::NotSeen);
}

#[test]
fn a_store_that_lies_is_noticed() {
    breaks(
        "G9",
        &[
            ("it cannot be read", |history| history.audit.store = Err("no such file".to_owned())),
            ("it did not catch up", |history| in_store(history).cursor = 39),
            ("a count is another", |history| in_store(history).items[0].stored.available = 1),
            ("its reservations add up to something else", |history| in_store(history).items[1].recomputed.held = 1),
            ("a reservation is missing", |history| in_store(history).reservations[0] = None),
            ("a state is another", |history| in_store(history).reservations[2].as_mut().unwrap().state = State::Held),
            ("a line is missing", |history| {
                in_store(history).reservations[0].as_mut().unwrap().lines.pop();
            }),
        ],
    );
}

#[test]
fn a_request_without_an_answer_is_noticed() {
    breaks(
        "G10",
        &[
            ("no answer", |history| history.tally.unanswered = 1),
            ("an answer outside the contract", |history| history.tally.unexpected = 1),
            ("an answer after six seconds", |history| history.tally.slowest = 6_000_000),
            ("a limit that is none", |history| history.audit.limits[0].status = Some(201)),
            ("a limit that hangs", |history| history.audit.limits[0].status = None),
        ],
    );
}
