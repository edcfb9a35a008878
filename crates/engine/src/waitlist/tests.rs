//! Waitlists by themselves: order, nobody in between, restarts, storms.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use super::EntryView;
use crate::{Engine, Recovered, Settings};
use journal::{Epoch, Source};
use sale::{
    audit::Actor,
    command::{Adjust, AskedLine, Cancel, Extras, Reserve},
    ids::{EntryId, ReservationId},
    outcome::{Refusal, Reservation, State, WaitState},
    settings::SaleSettings,
    time::Timestamp,
};

const OPENING: Timestamp = Timestamp::from_millis(1_795_766_400_000);

fn document(members: &str) -> SaleSettings {
    let text = format!(
        r#"{{"id":"drop","name":"Drop","opens_at":"2026-11-27T08:00:00Z","closes_at":"2026-11-28T08:00:00Z",
            "hold_seconds":60,"waitlist":{{"entries_max":1000000,"entry_seconds":3600,"hold_seconds":120}},{members}}}"#
    );
    serde_json::from_str(&text).expect("a document")
}

/// An engine with a sale, whose journal is kept.
struct Scene {
    engine: Engine,
    batches: Vec<(Epoch, Vec<u8>)>,
    now: Timestamp,
    drawn: AtomicU64,
}

fn settings(shards: usize) -> Settings {
    Settings { shards, ..Settings::default() }
}

impl Scene {
    fn new(shards: usize, members: &str) -> Self {
        let engine = Engine::new(settings(shards));
        let scene = Self { engine, batches: Vec::new(), now: OPENING.plus_seconds(1), drawn: AtomicU64::new(0) };
        scene.put(members);
        scene.engine.tick(scene.now);
        scene
    }

    fn put(&self, members: &str) {
        self.engine.put_sale(self.now, Actor::Anybody, &document(members)).value.expect("a valid document");
    }

    fn entropy(&self) -> u64 {
        (self.drawn.fetch_add(1, Ordering::Relaxed) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn reserve(&self, customer: &str, lines: &[(&str, u32)]) -> Result<Reservation, Refusal> {
        let made = self.engine.reserve(self.now, &asked(customer, lines, None), self.entropy());
        made.value.map(|made| made.reservation)
    }

    fn join(&self, customer: &str, lines: &[(&str, u32)]) -> Result<EntryView, Refusal> {
        self.engine.join_waitlist(self.now, &asked(customer, lines, None), self.entropy()).value
    }

    fn joins(&self, customer: &str, units: u32) -> EntryId {
        self.join(customer, &[("tv", units)]).expect("there is room").entry.id
    }

    fn state(&self, id: EntryId) -> WaitState {
        self.look(id).entry.state
    }

    fn look(&self, id: EntryId) -> EntryView {
        self.engine.waitlist_entry(self.now, id).value.expect("it is in memory")
    }

    fn cancel(&self, id: ReservationId) {
        let cancel = Cancel { lines: None, reason: None, restock: true, key: None };
        self.engine.cancel(self.now, id, &cancel).value.expect("it is confirmed");
    }

    fn release(&self, id: ReservationId) {
        self.engine.release(self.now, id, None).value.expect("it is held");
    }

    fn tick(&mut self, seconds: u64) {
        self.now = self.now.plus_seconds(seconds).plus_millis(20);
        self.engine.tick(self.now);
    }

    /// What was offered to an entry.
    fn offered(&self, id: EntryId) -> Reservation {
        let entry = self.look(id).entry;
        let reservation = self.engine.look(self.now, entry.reservation.expect("it was offered")).value.expect("a hold");
        assert_eq!(reservation.entry, Some(id));
        reservation
    }

    /// Ends without a word, and starts with what is in the journal.
    fn restart(&mut self, shards: usize) {
        let mut payload = Vec::new();
        if let Some(epoch) = self.engine.cut(&mut payload) {
            self.batches.push((epoch, payload));
        }
        let before = self.engine.digest();
        let mut recovered = Recovered::new(settings(shards));
        for (epoch, payload) in &self.batches {
            recovered.batch(*epoch, payload).expect("the journal is sound");
        }
        self.engine = recovered.finish(self.batches.last().map_or(0, |batch| batch.0)).expect("stock is conserved");
        assert_eq!(self.engine.digest(), before, "a restart changes nothing");
    }

    fn counts(&self) -> (u64, u64, u64) {
        let counts = self.engine.sale(self.now, "drop").value.expect("the sale").counts[0];
        (counts.available, counts.held, counts.confirmed)
    }
}

fn asked<'a>(customer: &'a str, lines: &[(&'a str, u32)], extras: Option<&'a Extras<'a>>) -> Reserve<'a> {
    let lines = lines.iter().map(|&(sku, units)| AskedLine { sku, units }).collect();
    Reserve { sale: "drop", customer, lines, hold_seconds: None, reference: None, key: None, extras }
}

const TWO: &str = r#""items":[{"sku":"tv","initial_stock":2}]"#;

#[test]
fn units_go_to_whoever_waits_first_and_fits() {
    for shards in [1, 2, 8] {
        let mut scene = Scene::new(shards, TWO);
        let [one, two] = ["ann", "bob"].map(|customer| scene.reserve(customer, &[("tv", 1)]).unwrap().id);
        let [both, first, second] =
            [("carl", 2), ("dora", 1), ("eve", 1)].map(|(name, units)| scene.joins(name, units));
        let positions = [both, first, second].map(|id| scene.look(id).position);
        assert_eq!(positions, [Some(1), Some(2), Some(3)]);
        scene.release(one);
        scene.tick(0);
        let states = [both, first, second].map(|id| scene.state(id));
        assert_eq!(states, [WaitState::Waiting, WaitState::Offered, WaitState::Waiting]);
        let hold = scene.offered(first);
        assert_eq!((hold.customer.as_str(), hold.state), ("dora", State::Held));
        assert_eq!(hold.expires_at, hold.id.created_at().plus_seconds(120), "as long as the waitlist says");
        assert_eq!(scene.look(second).position, Some(2));
        scene.release(two);
        scene.release(hold.id);
        scene.tick(0);
        let states = [both, second].map(|id| scene.state(id));
        assert_eq!(states, [WaitState::Offered, WaitState::Waiting], "two units at once are for who came first");
        assert_eq!(scene.counts(), (0, 2, 0));
    }
}

#[test]
fn nobody_slips_in_between() {
    for shards in [1, 8] {
        let mut scene = Scene::new(shards, TWO);
        let holds = ["ann", "bob"].map(|customer| scene.reserve(customer, &[("tv", 1)]).unwrap().id);
        let entry = scene.joins("carl", 1);
        scene.release(holds[0]);
        // The clock has not ticked since: the reserve itself finds out whose the unit is.
        assert!(matches!(scene.reserve("dora", &[("tv", 1)]), Err(Refusal::Short(_))));
        assert_eq!(scene.state(entry), WaitState::Offered);
        // Nobody waits any more, so the next unit is anybody's.
        scene.release(holds[1]);
        scene.reserve("dora", &[("tv", 1)]).expect("nobody waits");
        scene.tick(0);
        scene.release(scene.offered(entry).id);
        scene.reserve("eve", &[("tv", 1)]).expect("nobody waits");
    }
}

#[test]
fn what_nobody_who_waits_can_take_is_for_everybody_at_once() {
    let scene = Scene::new(8, TWO);
    let hold = scene.reserve("ann", &[("tv", 1)]).unwrap().id;
    scene.reserve("bob", &[("tv", 1)]).unwrap();
    let entry = scene.joins("carl", 2);
    scene.release(hold);
    let taken = scene.reserve("dora", &[("tv", 1)]).expect("carl wants two").id;
    assert_eq!(scene.state(entry), WaitState::Waiting);
    // One that nobody took and one that comes back are two.
    scene.release(taken);
    let other = scene.reserve("eve", &[("tv", 1)]).expect("carl wants two").id;
    scene.release(other);
    assert_eq!(scene.state(entry), WaitState::Waiting);
}

#[test]
fn a_unit_that_was_left_and_one_that_comes_back_are_offered_together() {
    for shards in [1, 8] {
        let mut scene = Scene::new(shards, TWO);
        let holds = ["ann", "bob"].map(|customer| scene.reserve(customer, &[("tv", 1)]).unwrap().id);
        let entry = scene.joins("carl", 2);
        scene.release(holds[0]);
        scene.tick(0);
        assert_eq!(scene.counts(), (1, 1, 0));
        scene.release(holds[1]);
        assert!(scene.reserve("dora", &[("tv", 1)]).is_err(), "both are carl's");
        assert_eq!(scene.state(entry), WaitState::Offered);
    }
}

#[test]
fn who_waits_for_several_items_gets_those_that_were_left_with_those_that_come_back() {
    for shards in [1, 8] {
        let scene = Scene::new(shards, r#""items":[{"sku":"tv","initial_stock":1},{"sku":"mug","initial_stock":1}]"#);
        let mug = scene.reserve("ann", &[("mug", 1)]).unwrap().id;
        let entry = scene.join("bob", &[("tv", 1), ("mug", 1)]).unwrap().entry.id;
        scene.release(mug);
        assert!(scene.reserve("carl", &[("tv", 1)]).is_err(), "both are bob's since the mug came back");
        assert_eq!(scene.state(entry), WaitState::Offered);
    }
}

#[test]
fn a_group_that_is_opened_from_the_waitlist_is_like_any_other() {
    let mut scene = Scene::new(4, r#""items":[{"sku":"tv","initial_stock":2,"group":{"size":2,"seconds":50}}]"#);
    let (first, second) = (scene.reserve("ann", &[("tv", 1)]).unwrap(), scene.reserve("bob", &[("tv", 1)]).unwrap());
    let [carl, dora] = ["carl", "dora"].map(|customer| scene.joins(customer, 1));
    assert!(first.group.is_some() && second.group.is_some());
    // Their groups fail, so the units come back.
    scene.tick(51);
    let holds = [carl, dora].map(|id| scene.offered(id));
    let groups = holds.clone().map(|hold| hold.group.expect("it opened one"));
    assert!(groups[0].id != groups[1].id && groups.iter().all(|group| (group.members, group.size) == (1, 2)));
    assert!(matches!(scene.engine.confirm(scene.now, holds[0].id, None).value, Err(Refusal::GroupIncomplete(_))));
    scene.restart(3);
    scene.tick(51);
    assert_eq!(scene.counts(), (2, 0, 0));
}

#[test]
fn every_way_back_leads_to_the_waitlist() {
    let mut scene = Scene::new(4, r#""items":[{"sku":"tv","initial_stock":8}]"#);
    let hold = |customer: &str, units| scene.reserve(customer, &[("tv", units)]).unwrap().id;
    let [released, expired, changed, parted, cancelled] = [1, 1, 2, 2, 1].map(|units| hold("ann", units));
    hold("bob", 1);
    let entries: Vec<EntryId> = (0..6).map(|number| scene.joins(&format!("waits-{number}"), 1)).collect();
    let served = |scene: &Scene| entries.iter().filter(|&&id| scene.state(id) == WaitState::Offered).count();
    scene.engine.confirm(scene.now, cancelled, None).value.unwrap();
    let one = [AskedLine { sku: "tv", units: 1 }];
    scene.release(released);
    scene.tick(0);
    assert_eq!(served(&scene), 1);
    scene.engine.change(scene.now, changed, &one).value.unwrap();
    scene.tick(0);
    assert_eq!(served(&scene), 2);
    let part = sale::command::Confirm { lines: Some(one.into_iter().collect()), reference: None };
    scene.engine.confirm(scene.now, parted, part).value.unwrap();
    scene.tick(0);
    assert_eq!(served(&scene), 3);
    scene.cancel(cancelled);
    scene.tick(0);
    assert_eq!(served(&scene), 4);
    let adjust = Adjust { sale: "drop", sku: "tv", pool: None, delta: 1, reason: None, reference: None, key: None };
    scene.engine.adjust(scene.now, Actor::Anybody, &adjust).value.unwrap();
    assert!(scene.reserve("dora", &[("tv", 1)]).is_err(), "the new unit is for who waits");
    assert_eq!(served(&scene), 5);
    scene.engine.look(scene.now, expired).value.unwrap();
    scene.tick(60);
    assert_eq!(served(&scene), 6, "expired");
}

#[test]
fn who_could_hold_it_now_or_waits_already_does_not_join() {
    let scene = Scene::new(4, TWO);
    assert_eq!(scene.join("ann", &[("tv", 2)]), Err(Refusal::StockAvailable));
    scene.reserve("bob", &[("tv", 1)]).unwrap();
    let entry = scene.joins("ann", 2);
    assert_eq!(scene.join("carl", &[("tv", 1)]), Err(Refusal::StockAvailable));
    let Err(Refusal::AlreadyWaiting(waits)) = scene.join("ann", &[("tv", 1)]) else { panic!("once is enough") };
    assert_eq!(waits.id, entry);
    let keyed = Reserve { key: Some("k"), ..asked("dora", &[("tv", 2)], None) };
    let first = scene.engine.join_waitlist(scene.now, &keyed, 77 << 8).value.unwrap();
    let again = scene.engine.join_waitlist(scene.now, &keyed, 78 << 8).value.unwrap();
    assert_eq!((again.entry.id, first.replayed, again.replayed), (first.entry.id, false, true));
    let other = Reserve { key: Some("k"), ..asked("dora", &[("tv", 9)], None) };
    assert_eq!(scene.engine.join_waitlist(scene.now, &other, 79 << 8).value, Err(Refusal::IdempotencyKeyReused));
}

#[test]
fn who_leaves_or_is_late_waits_no_longer() {
    let mut scene = Scene::new(4, TWO);
    let hold = scene.reserve("ann", &[("tv", 2)]).unwrap().id;
    let [leaves, stays] = ["bob", "carl"].map(|customer| scene.joins(customer, 2));
    let left = scene.engine.leave_waitlist(scene.now, leaves).value.unwrap();
    assert_eq!((left.entry.state, left.position), (WaitState::Left, None));
    assert_eq!(scene.engine.leave_waitlist(scene.now, leaves).value.unwrap(), left, "twice is once");
    assert_eq!(scene.look(stays).position, Some(1));
    let again = scene.joins("bob", 1);
    assert_eq!(scene.look(again).position, Some(2), "who comes back is last");
    assert_eq!(scene.engine.waiting_in(scene.engine.catalogue().sale("drop").unwrap().number), 2);
    scene.release(hold);
    scene.tick(0);
    assert_eq!([stays, again].map(|id| scene.state(id)), [WaitState::Offered, WaitState::Waiting]);
    let Err(Refusal::NotWaiting(entry)) = scene.engine.leave_waitlist(scene.now, stays).value else {
        panic!("offered")
    };
    assert!(entry.reservation.is_some());
    scene.tick(100);
    scene.engine.confirm(scene.now, scene.offered(stays).id, None).value.unwrap();
    scene.tick(3600);
    assert_eq!(scene.state(again), WaitState::Expired);
    // With retention over nothing is left of them.
    scene.tick(24 * 3600 + 2);
    assert_eq!(scene.engine.waitlist_entry(scene.now, again).value, Err(Refusal::EntryNotFound));
    assert_eq!(scene.engine.customers(), 0);
    assert_eq!(scene.engine.memory_bytes(), 24, "units that were sold are remembered");
}

#[test]
fn whose_time_is_over_waits_no_longer_though_the_clock_was_not_there_yet() {
    let mut scene = Scene::new(4, TWO);
    let sold = scene.reserve("ann", &[("tv", 2)]).unwrap().id;
    scene.engine.confirm(scene.now, sold, None).value.unwrap();
    let [bob, carl] = ["bob", "carl"].map(|customer| scene.joins(customer, 1));
    scene.now = scene.now.plus_seconds(3599);
    scene.engine.leave_waitlist(scene.now, bob).value.unwrap();
    let [bob, dora] = ["bob", "dora"].map(|customer| scene.joins(customer, 1));
    scene.now = scene.now.plus_seconds(1);
    assert_ne!(scene.joins("carl", 1), carl, "carl's first entry is over");
    assert_eq!(scene.engine.waiting_in(scene.engine.catalogue().sale("drop").unwrap().number), 3);
    assert_eq!(scene.state(carl), WaitState::Expired);
    scene.now = scene.now.plus_seconds(3599);
    scene.cancel(sold);
    let passer = scene.reserve("eve", &[("tv", 1)]);
    assert!(passer.is_ok(), "nobody but carl waits any more");
    assert_eq!([bob, dora].map(|id| scene.state(id)), [WaitState::Expired; 2]);
}

#[test]
fn nothing_is_offered_while_the_sale_is_paused_or_when_its_end_is_near() {
    let mut scene = Scene::new(4, TWO);
    let holds = ["ann", "bob"].map(|customer| scene.reserve(customer, &[("tv", 1)]).unwrap().id);
    let [one, two] = ["carl", "dora"].map(|customer| scene.joins(customer, 1));
    scene.engine.pause(scene.now, Actor::Anybody, "drop").value.unwrap();
    scene.release(holds[0]);
    scene.tick(0);
    assert_eq!((scene.state(one), scene.counts()), (WaitState::Waiting, (1, 1, 0)));
    scene.engine.resume(scene.now, Actor::Anybody, "drop").value.unwrap();
    assert!(scene.reserve("eve", &[("tv", 1)]).is_err());
    assert_eq!(scene.state(one), WaitState::Offered);
    // What is held from here on lasts until the sale is over.
    let closes_at = document(TWO).closes_at;
    scene.now = Timestamp::from_millis(closes_at.millis() - 120_000);
    scene.engine.tick(scene.now);
    assert!(scene.state(two) != WaitState::Waiting, "its entry ended after an hour");
    let mut scene = Scene::new(4, TWO);
    scene.now = Timestamp::from_millis(closes_at.millis() - 200_000);
    let hold = scene.reserve("ann", &[("tv", 2)]).unwrap().id;
    scene.engine.confirm(scene.now, hold, None).value.unwrap();
    let entry = scene.joins("bob", 1);
    assert_eq!(scene.look(entry).entry.expires_at, Timestamp::from_millis(closes_at.millis() - 120_000));
    scene.tick(80);
    scene.cancel(hold);
    scene.tick(0);
    assert_eq!((scene.state(entry), scene.counts()), (WaitState::Expired, (2, 0, 0)));
    assert_eq!(scene.join("carl", &[("tv", 3)]), Err(Refusal::OffersEnded));
    scene.reserve("dora", &[("tv", 2)]).expect("nobody waits");
}

#[test]
fn who_has_no_room_is_passed_over_and_keeps_the_place() {
    let mut scene = Scene::new(4, r#""customer_limit":2,"items":[{"sku":"tv","initial_stock":3}]"#);
    let hold = scene.reserve("ann", &[("tv", 2)]).unwrap().id;
    let bobs = scene.reserve("bob", &[("tv", 1)]).unwrap().id;
    let bob = scene.joins("bob", 1);
    let carl = scene.joins("carl", 1);
    scene.release(hold);
    scene.tick(0);
    assert_eq!([bob, carl].map(|id| scene.state(id)), [WaitState::Offered, WaitState::Offered]);
    assert!(matches!(
        scene.join("bob", &[("tv", 1)]),
        Err(Refusal::CustomerLimitExceeded { limit: 2, already: 2, .. })
    ));
    // A limit that was lowered meanwhile counts when the units are there.
    let dora = scene.joins("dora", 2);
    let eve = scene.joins("eve", 1);
    scene.put(r#""customer_limit":1,"items":[{"sku":"tv","initial_stock":3}]"#);
    scene.release(bobs);
    scene.release(scene.offered(carl).id);
    scene.tick(0);
    assert_eq!([dora, eve].map(|id| scene.state(id)), [WaitState::Waiting, WaitState::Offered]);
    let passed = scene.look(dora);
    assert_eq!(
        (passed.position, passed.entry.passed_over.map(|(_, cause)| cause.code().as_str())),
        (Some(1), Some("customer_limit_exceeded"))
    );
    // Once more there is a unit and no room: that is told already.
    scene.release(scene.offered(eve).id);
    scene.tick(0);
    assert_eq!(
        (scene.engine.waitlist_totals().passed_over, scene.look(dora).entry.passed_over),
        (1, passed.entry.passed_over)
    );
    scene.put(r#""customer_limit":5,"items":[{"sku":"tv","initial_stock":3}]"#);
    scene.tick(0);
    assert_eq!(scene.state(dora), WaitState::Offered);
}

#[test]
fn however_many_have_no_room_whoever_is_behind_them_is_served() {
    let many = 3000;
    let mut scene = Scene::new(
        4,
        r#""hold_budget":{"open_holds":1},"items":[{"sku":"tv","initial_stock":1},{"sku":"cable","initial_stock":3000}]"#,
    );
    let hold = scene.reserve("ann", &[("tv", 1)]).unwrap().id;
    let entries: Vec<_> = (0..many).map(|number| scene.joins(&format!("many-{number}"), 1)).collect();
    (0..many).for_each(|number| _ = scene.reserve(&format!("many-{number}"), &[("cable", 1)]).unwrap());
    let last = scene.joins("last", 1);
    scene.release(hold);
    for _ in 0..10 {
        scene.tick(0);
    }
    assert_eq!(scene.state(last), WaitState::Offered);
    assert!(entries.iter().all(|&id| scene.state(id) == WaitState::Waiting));
}

#[test]
fn a_phase_that_opens_and_a_pool_that_is_shared_count() {
    let mut scene = Scene::new(
        4,
        r#""phases":[{"name":"gold","opens_at":"2026-11-27T08:00:00Z","tiers":["gold"]},
            {"name":"all","opens_at":"2026-11-27T08:10:00Z"}],
           "items":[{"sku":"tv","initial_stock":3,"pools":[
                {"id":"vip","initial_stock":1,"tiers":["gold"],"shared_at":"2026-11-27T08:20:00Z"},
                {"id":"rest","initial_stock":2}]}]"#,
    );
    let mut gold = Extras::default();
    gold.attributes.tier = Some("gold".into());
    let hold = |customer, units| {
        scene.engine.reserve(scene.now, &asked(customer, &[("tv", units)], Some(&gold)), scene.entropy()).value.unwrap()
    };
    // In the order of pools: one of vip and one of rest; the other of rest.
    let [two, one] = [hold("ann", 2), hold("bob", 1)].map(|made| made.reservation.id);
    for id in [two, one] {
        scene.engine.confirm(scene.now, id, None).value.unwrap();
    }
    let first = scene.engine.join_waitlist(scene.now, &asked("carl", &[("tv", 1)], Some(&gold)), scene.entropy());
    let first = first.value.unwrap().entry.id;
    assert!(matches!(scene.join("dora", &[("tv", 1)]), Err(Refusal::SaleNotStarted { .. })));
    scene.tick(600);
    let plain = scene.joins("dora", 2);
    scene.cancel(two);
    scene.tick(0);
    assert_eq!([first, plain].map(|id| scene.state(id)), [WaitState::Offered, WaitState::Waiting], "carl is of vip");
    scene.cancel(one);
    scene.tick(0);
    assert_eq!(scene.state(plain), WaitState::Offered, "both of rest");
    // A unit of vip comes back, which is not open to who waits: until the pool is shared.
    let late = scene.joins("eve", 1);
    scene.release(scene.offered(first).id);
    scene.engine.confirm(scene.now, scene.offered(plain).id, None).value.unwrap();
    scene.tick(300);
    assert_eq!((scene.state(late), scene.counts().0), (WaitState::Waiting, 1));
    scene.tick(300);
    assert_eq!(scene.state(late), WaitState::Offered);
}

#[test]
fn one_time_after_another_lets_in_who_waits() {
    let mut scene = Scene::new(
        4,
        r#""phases":[{"name":"first","opens_at":"2026-11-27T08:00:00Z","closes_at":"2026-11-27T08:10:00Z"},
            {"name":"members","opens_at":"2026-11-27T08:10:00Z","tiers":["gold"]},
            {"name":"all","opens_at":"2026-11-27T08:30:00Z"}],
           "items":[{"sku":"tv","initial_stock":2,"pools":[
                {"id":"vip","initial_stock":1,"tiers":["gold"],"shared_at":"2026-11-27T08:20:00Z"},
                {"id":"late","initial_stock":1,"tiers":["gold"],"shared_at":"2026-11-27T08:40:00Z"}]}]"#,
    );
    let mut gold = Extras::default();
    gold.attributes.tier = Some("gold".into());
    let made = scene.engine.reserve(scene.now, &asked("ann", &[("tv", 2)], Some(&gold)), scene.entropy());
    let sold = made.value.unwrap().reservation.id;
    scene.engine.confirm(scene.now, sold, None).value.unwrap();
    let [first, second] = ["bob", "carl"].map(|customer| scene.joins(customer, 1));
    scene.cancel(sold);
    // At 08:10 and 08:20 nobody of them may buy, at 08:30 one pool is shared, at 08:40 the other.
    for minute in 1..=40 {
        scene.now = OPENING.plus_seconds(60 * minute);
        // Nobody is faster than they are, however early in that millisecond.
        assert!(scene.reserve("eve", &[("tv", 1)]).is_err());
        scene.engine.tick(scene.now);
        let offered = [first, second].map(|id| scene.state(id) == WaitState::Offered);
        assert_eq!(offered, [minute >= 30, minute >= 40], "{minute} minutes after the opening");
        if minute == 30 {
            scene.engine.confirm(scene.now, scene.offered(first).id, None).value.unwrap();
        }
    }
}

#[test]
fn a_pool_that_is_shared_is_for_whoever_waits_though_nothing_came_back() {
    let mut scene = Scene::new(
        4,
        r#""items":[{"sku":"tv","initial_stock":2,"pools":[
            {"id":"vip","initial_stock":1,"tiers":["gold"],"shared_at":"2026-11-27T08:20:00Z"},{"id":"rest","initial_stock":1}]}]"#,
    );
    let sold = scene.reserve("ann", &[("tv", 1)]).unwrap().id;
    scene.engine.confirm(scene.now, sold, None).value.unwrap();
    let bob = scene.joins("bob", 1);
    scene.now = OPENING.plus_seconds(1200);
    assert!(scene.reserve("eve", &[("tv", 1)]).is_err());
    assert_eq!(scene.state(bob), WaitState::Offered);
}

#[test]
fn a_late_confirm_in_a_paused_sale_hands_out_nothing() {
    let mut scene = Scene::new(4, r#""late_confirm_seconds":600,"items":[{"sku":"tv","initial_stock":2}]"#);
    let late = scene.reserve("ann", &[("tv", 1)]).unwrap().id;
    let held = scene.reserve("bob", &[("tv", 1)]).unwrap().id;
    scene.engine.confirm(scene.now, held, None).value.unwrap();
    let entry = scene.joins("carl", 2);
    let next = scene.joins("dora", 1);
    scene.engine.pause(scene.now, Actor::Anybody, "drop").value.unwrap();
    scene.tick(60);
    scene.cancel(held);
    let confirmed = scene.engine.confirm(scene.now, late, None).value.map(|confirmed| confirmed.state);
    assert!(confirmed.is_err(), "the units are for those who wait");
    assert_eq!([entry, next].map(|id| scene.state(id)), [WaitState::Waiting; 2]);
    scene.engine.resume(scene.now, Actor::Anybody, "drop").value.unwrap();
    scene.tick(0);
    assert_eq!((scene.state(entry), scene.counts()), (WaitState::Offered, (0, 2, 0)));
}

#[test]
fn what_a_changed_sale_allows_is_for_whoever_waits() {
    let pools = |tiers: &str| {
        format!(
            r#""items":[{{"sku":"tv","initial_stock":2,"pools":[
                {{"id":"vip","initial_stock":1{tiers}}},{{"id":"rest","initial_stock":1}}]}}]"#
        )
    };
    let scene = Scene::new(4, &pools(r#","tiers":["gold"]"#));
    let sold = scene.reserve("ann", &[("tv", 1)]).unwrap().id;
    scene.engine.confirm(scene.now, sold, None).value.unwrap();
    let [bob, carl] = ["bob", "carl"].map(|customer| scene.joins(customer, 1));
    scene.put(&pools(r#","tiers":["gold","silver"]"#));
    assert!(scene.reserve("eve", &[("tv", 1)]).is_err());
    scene.put(&pools(""));
    assert!(scene.reserve("eve", &[("tv", 1)]).is_err());
    assert_eq!([bob, carl].map(|id| scene.state(id)), [WaitState::Offered, WaitState::Waiting]);
}

#[test]
fn more_than_those_who_wait_ask_for_is_for_everybody_at_once() {
    let scene = Scene::new(4, TWO);
    let sold = scene.reserve("ann", &[("tv", 2)]).unwrap().id;
    scene.engine.confirm(scene.now, sold, None).value.unwrap();
    let waiting: Vec<_> = (0..1000).map(|number| scene.joins(&format!("many-{number}"), 1)).collect();
    let adjust = |delta| {
        let adjust = Adjust { sale: "drop", sku: "tv", pool: None, delta, reason: None, reference: None, key: None };
        scene.engine.adjust(scene.now, Actor::Anybody, &adjust).value
    };
    adjust(1003).unwrap();
    for _ in 0..3 {
        scene.reserve("eve", &[("tv", 1)]).expect("nobody who waits could take it");
    }
    assert!(waiting.iter().any(|&id| scene.state(id) == WaitState::Waiting), "they are not through yet");
    assert!(scene.reserve("eve", &[("tv", 1)]).is_err());
}

#[test]
fn an_operator_takes_out_what_is_left_when_whoever_waits_has_theirs() {
    let scene = Scene::new(4, TWO);
    let hold = scene.reserve("ann", &[("tv", 2)]).unwrap().id;
    let entry = scene.joins("bob", 1);
    scene.release(hold);
    let adjust = |delta| {
        let adjust = Adjust { sale: "drop", sku: "tv", pool: None, delta, reason: None, reference: None, key: None };
        scene.engine.adjust(scene.now, Actor::Anybody, &adjust).value
    };
    assert!(adjust(-2).is_err());
    assert_eq!(scene.state(entry), WaitState::Offered);
    adjust(-1).unwrap();
    assert_eq!(scene.counts(), (0, 1, 0));
}

#[test]
fn a_late_confirm_in_a_paused_sale_gets_what_nobody_who_waits_can_take() {
    let mut scene = Scene::new(4, r#""late_confirm_seconds":600,"items":[{"sku":"tv","initial_stock":2}]"#);
    let late = scene.reserve("ann", &[("tv", 1)]).unwrap().id;
    let sold = scene.reserve("bob", &[("tv", 1)]).unwrap().id;
    scene.engine.confirm(scene.now, sold, None).value.unwrap();
    let entry = scene.joins("carl", 2);
    scene.engine.pause(scene.now, Actor::Anybody, "drop").value.unwrap();
    scene.tick(60);
    scene.engine.confirm(scene.now, late, None).value.expect("carl wants two");
    assert_eq!(scene.state(entry), WaitState::Waiting);
}

#[test]
fn who_joins_is_judged_by_what_is_left_when_all_before_were_looked_at() {
    let mut scene = Scene::new(4, TWO);
    let holds = ["ann", "bob"].map(|customer| scene.reserve(customer, &[("tv", 1)]).unwrap().id);
    // Everybody knows from here on that nothing is left.
    assert!(scene.reserve("carl", &[("tv", 1)]).is_err());
    let two = scene.joins("carl", 2);
    scene.release(holds[0]);
    assert_eq!(scene.join("dora", &[("tv", 1)]), Err(Refusal::StockAvailable), "carl wants two");
    scene.release(holds[1]);
    assert!(scene.reserve("eve", &[("tv", 2)]).is_err());
    assert_eq!(scene.state(two), WaitState::Offered);
    scene.restart(3);
    let places = ["dora", "eve"].map(|customer| scene.look(scene.joins(customer, 1)).position);
    assert_eq!(places, [Some(1), Some(2)]);
    scene.restart(2);
    let last = scene.joins("frank", 1);
    assert_eq!(scene.look(last).position, Some(3), "a restart puts nobody in front");
}

#[test]
fn a_restart_in_the_middle_of_a_handover_changes_nothing() {
    for (before, after) in [(1, 8), (8, 1), (4, 4), (8, 3)] {
        let mut scene = Scene::new(before, TWO);
        let holds = ["ann", "bob"].map(|customer| scene.reserve(customer, &[("tv", 1)]).unwrap().id);
        let entries = ["carl", "dora", "eve"].map(|customer| scene.joins(customer, 1));
        scene.engine.leave_waitlist(scene.now, entries[1]).value.unwrap();
        scene.release(holds[0]);
        scene.restart(after);
        let (carl, eve) = (scene.look(entries[0]), scene.look(entries[2]));
        assert_eq!((carl.position, eve.position), (Some(1), Some(2)));
        assert!(scene.reserve("frank", &[("tv", 1)]).is_err(), "the unit is carl's");
        assert_eq!(scene.state(entries[0]), WaitState::Offered);
        scene.restart(before);
        assert_eq!(scene.state(entries[0]), WaitState::Offered);
        scene.release(holds[1]);
        scene.tick(0);
        assert_eq!(scene.state(entries[2]), WaitState::Offered);
        let next = scene.joins("gus", 2);
        scene.restart(after);
        assert_eq!(scene.look(next).position, Some(1));
        assert_eq!(scene.counts(), (0, 2, 0));
    }
}

#[test]
fn an_erased_customer_waits_for_nothing() {
    let mut scene = Scene::new(4, TWO);
    let hold = scene.reserve("ann", &[("tv", 2)]).unwrap().id;
    let [bob, carl] = ["bob", "carl"].map(|customer| scene.joins(customer, 2));
    scene.engine.erase_customer(scene.now, Actor::Anybody, "bob");
    assert_eq!(scene.engine.waitlist_entry(scene.now, bob).value, Err(Refusal::EntryNotFound));
    assert_eq!(scene.look(carl).position, Some(1));
    scene.restart(2);
    scene.release(hold);
    scene.tick(0);
    assert_eq!(scene.state(carl), WaitState::Offered);
}

/// There is always somebody who waits for one unit, so whoever asks for one in passing never gets it, by whatever way units come
/// back; and offers are made in the order of joining.
#[test]
fn in_a_storm_only_those_who_wait_are_served_in_their_order() {
    const UNITS: u64 = 24;
    const WAITING: usize = 3000;
    for shards in [1, 8] {
        let scene = Scene::new(shards, &format!(r#""items":[{{"sku":"tv","initial_stock":{UNITS}}}]"#));
        let first: Vec<ReservationId> =
            (0..UNITS).map(|number| scene.reserve(&format!("first-{number}"), &[("tv", 1)]).unwrap().id).collect();
        let entries: Vec<EntryId> = (0..WAITING).map(|number| scene.joins(&format!("waits-{number}"), 1)).collect();
        let over = AtomicBool::new(false);
        thread::scope(|threads| {
            for number in 0..2 {
                let (scene, over) = (&scene, &over);
                threads.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let tried = scene.reserve(&format!("passes-{number}"), &[("tv", 1)]);
                        assert!(matches!(tried, Err(Refusal::Short(_))), "{tried:?}");
                    }
                });
            }
            let (scene, over) = (&scene, &over);
            threads.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    scene.engine.tick(scene.now);
                }
            });
            let mut held = first;
            let mut next = 0;
            // Each that was offered gives it back, in turn. In the end there are still more who wait than units.
            while next < WAITING - 4 * UNITS as usize {
                held.drain(..).for_each(|id| scene.release(id));
                while next < WAITING - 3 * UNITS as usize
                    && let Some(reservation) = scene.look(entries[next]).entry.reservation
                {
                    if next % 3 == 0 {
                        scene.engine.confirm(scene.now, reservation, None).value.unwrap();
                        scene.cancel(reservation);
                    } else {
                        held.push(reservation);
                    }
                    next += 1;
                }
                thread::yield_now();
            }
            over.store(true, Ordering::Relaxed);
        });
        scene.engine.tick(scene.now);
        let states: Vec<bool> = entries.iter().map(|&id| scene.state(id) == WaitState::Offered).collect();
        assert!(states.is_sorted_by(|earlier, later| earlier >= later), "nobody overtook another");
        let (available, held, confirmed) = scene.counts();
        assert_eq!((available + held, confirmed), (UNITS, 0));
    }
}
