//! The machine's clock is set while the service serves, over a restart, and both: holds last as long as they were promised, and
//! nothing is granted outside its window.

use doorbuster::{
    engine::{Noticed, Settings, Tick},
    journal::files::Survival,
    sale::{
        command::Reserve,
        ids::ReservationId,
        outcome::{Refusal, State, Status},
        settings::SaleSettings,
        time::Timestamp,
        timeline::Uptime,
    },
};

use crate::support::{OPENING, ask, harness::Harness};

const SECOND: i64 = 1000;
const DAY: i64 = 86_400 * SECOND;
/// From `OPENING` to 2038-01-19, the end of 32-bit time.
const TO_2038: i64 = 2_147_483_647_000 - OPENING.millis() as i64;
const JUMPS: [i64; 8] = [SECOND, -SECOND, 3600 * SECOND, -3600 * SECOND, DAY, -DAY, TO_2038, 50 * DAY];

/// A service on a machine with a clock that somebody sets, and one that nobody can.
struct Machine {
    harness: Harness,
    /// Milliseconds since it was switched on.
    up: u64,
    boot: u8,
    /// What its clock says beside the truth.
    wrong_by: i64,
    noticed: Vec<Noticed>,
    /// The steady time's beginning: at this uptime, that time.
    began: (u64, Timestamp),
}

/// The true time when a machine was switched on.
const SWITCHED_ON: Timestamp = Timestamp::from_millis(OPENING.millis() - 1_000_000);

impl Machine {
    fn new() -> Self {
        let harness = Harness::new(Settings { shards: 3, retention_millis: 86_400_000, ..Settings::default() });
        let began = (0, Timestamp::default());
        let mut machine = Self { harness, up: 1_000_000, boot: 1, wrong_by: 0, noticed: Vec::new(), began };
        machine.begin();
        let day = 86_400;
        let (opens_at, closes_at) = (OPENING, OPENING.plus_seconds(30 * 365 * day));
        machine.harness.put(&SaleSettings { opens_at, closes_at, ..ask::sale("drop", &[("tv", 1000)]) });
        machine.pass(1000);
        machine
    }

    fn truth(&self) -> Timestamp {
        SWITCHED_ON.plus_millis(self.up)
    }

    fn wall(&self) -> Timestamp {
        self.truth().shifted(self.wrong_by)
    }

    fn uptime(&self) -> Option<Uptime> {
        Some(Uptime { boot: [self.boot; 16], millis: self.up / 10 * 10 })
    }

    /// What a start does.
    fn begin(&mut self) {
        let at = self.harness.engine.time_at_start(self.wall(), self.uptime());
        self.began = (self.up, at);
        self.harness.now = at;
        self.harness.engine.note_start(at, self.uptime(), "0.1.0");
        self.tick();
    }

    fn tick(&mut self) -> Tick {
        self.harness.now = self.began.1.plus_millis(self.up - self.began.0);
        let (wall, uptime) = (self.wall(), self.uptime());
        self.noticed.extend(self.harness.engine.watch_clock(self.harness.now, wall, || uptime));
        self.harness.tick()
    }

    /// Time passes, and the service ticks.
    fn pass(&mut self, millis: u64) {
        for _ in 0..millis / 20 {
            self.up += 20;
            self.tick();
        }
    }

    fn set_clock(&mut self, by: i64) {
        self.wrong_by += by;
    }

    /// Killed, and started again after a while.
    fn restart(&mut self, after_millis: u64) {
        self.harness.commit();
        self.up += after_millis;
        self.harness.lose_power(Survival::Nothing);
        self.begin();
    }

    fn hold(&mut self, seconds: u32) -> Hold {
        let asked = Reserve { hold_seconds: Some(seconds), ..ask::reserve("drop", "ann", &[("tv", 1)]) };
        let made = self.harness.reserve(&asked).expect("the sale is open").reservation;
        Hold { id: made.id, ends: self.up + u64::from(seconds) * 1000 }
    }

    fn state(&mut self, hold: &Hold) -> State {
        self.harness.look(hold.id).expect("it is known").state
    }

    /// Lets time pass until the hold is to end: not before, and not later than is promised.
    fn see_out(&mut self, hold: &Hold, what: &str) {
        let left = hold.ends.checked_sub(self.up).expect("its end is to come");
        self.pass(left.saturating_sub(40) / 20 * 20);
        assert_eq!(self.state(hold), State::Held, "{what}: it ended early");
        let (_, held, _) = self.harness.counts("tv");
        self.up = hold.ends + 100;
        self.tick();
        let (_, rest, _) = self.harness.counts("tv");
        assert!(rest < held, "{what}: its stock is not back");
        assert_eq!(self.state(hold), State::Expired, "{what}: it has not ended");
        assert!(matches!(self.harness.confirm(hold.id), Err(Refusal::ReservationExpired(_))));
    }

    /// The service's time is what the machine's clock says.
    fn assert_follows(&self, what: &str) {
        let ahead = self.wall().signed_since(self.harness.engine.time(self.harness.now));
        assert!(ahead.abs() <= 100, "{what}: the time is {ahead} ms behind the clock");
    }
}

struct Hold {
    id: ReservationId,
    /// The uptime at its end.
    ends: u64,
}

/// Set and left so: holds from before, from the time of doubt and from afterwards.
#[test]
fn holds_last_as_long_as_promised_when_the_clock_is_set_for_good() {
    for by in JUMPS {
        for restart in [None, Some(0), Some(2_000)] {
            let what = format!("set by {by} ms, restart {restart:?}");
            let mut machine = Machine::new();
            let before = machine.hold(60);
            machine.pass(1000);
            let millis = match restart {
                None => 0,
                Some(millis) => {
                    machine.restart(500);
                    millis
                }
            };
            machine.set_clock(by);
            machine.pass(100);
            let during = machine.hold(60);
            machine.pass(millis);
            if restart.is_some() {
                machine.restart(3_000);
            }
            machine.pass(10_000);
            let believed = machine.noticed.iter().filter(|noticed| matches!(noticed, Noticed::Believed { .. })).count();
            assert_eq!(believed, 1, "{what}: {:?}", machine.noticed);
            machine.assert_follows(&what);
            let after = machine.hold(60);
            let told = machine.harness.look(after.id).unwrap();
            assert!(told.expires_at.signed_since(machine.wall()).abs_diff(60_000) <= 100, "{what}: {told:?}");
            machine.restart(10);
            machine.see_out(&before, &what);
            machine.see_out(&during, &what);
            machine.see_out(&after, &what);
        }
    }
}

/// Set, and put right while nobody knows which is right, with and without a restart in between: nothing has happened.
#[test]
fn a_moments_wrong_clock_leaves_nothing_behind() {
    for by in JUMPS {
        for restart in [false, true] {
            let what = format!("set by {by} ms for two seconds, restart {restart}");
            let mut machine = Machine::new();
            let before = machine.hold(30);
            machine.set_clock(by);
            machine.pass(1000);
            let during = machine.hold(30);
            if restart {
                machine.restart(200);
            }
            machine.pass(1000);
            machine.set_clock(-by);
            machine.pass(1000);
            let after = machine.hold(30);
            let told = machine.harness.look(after.id).unwrap();
            assert!(told.expires_at.signed_since(machine.truth()).abs_diff(30_000) <= 100, "{what}: {told:?}");
            machine.pass(8000);
            for hold in [before, during, after] {
                machine.see_out(&hold, &what);
            }
            let is_believed = |noticed: &Noticed| matches!(noticed, Noticed::Believed { .. });
            assert!(!machine.noticed.iter().any(is_believed), "{what}: {:?}", machine.noticed);
            assert!(machine.noticed.len() <= 2 + usize::from(restart), "a jump is noticed once: {:?}", machine.noticed);
        }
    }
}

/// Long enough to be believed, and then put right.
#[test]
fn a_wrong_clock_that_was_believed_is_followed_back() {
    for by in JUMPS {
        for restart in [false, true] {
            let what = format!("set by {by} ms and back, restart {restart}");
            let mut machine = Machine::new();
            let before = machine.hold(120);
            machine.set_clock(by);
            machine.pass(8000);
            machine.assert_follows(&what);
            let during = machine.hold(120);
            machine.harness.snapshot();
            if restart {
                machine.restart(1000);
            }
            machine.set_clock(-by);
            machine.pass(8000);
            machine.assert_follows(&what);
            if restart {
                machine.restart(1000);
                machine.assert_follows(&what);
            }
            let after = machine.hold(120);
            for hold in [before, during, after] {
                machine.see_out(&hold, &what);
            }
        }
    }
}

/// A machine that was switched off knows no uptime from before. Its clock may be behind; it does not turn time back, in no shard.
#[test]
fn after_a_reboot_no_shard_is_behind_the_newest_event() {
    let mut machine = Machine::new();
    let holds: Vec<Hold> = (0..12)
        .map(|number| {
            let customer = format!("customer-{number}");
            let asked = Reserve { hold_seconds: Some(600), ..ask::reserve("drop", "", &[("tv", 1)]) };
            let made = machine.harness.reserve(&Reserve { customer: &customer, ..asked }).unwrap().reservation;
            machine.pass(200);
            Hold { id: made.id, ends: machine.up - 200 + 600_000 }
        })
        .collect();
    machine.set_clock(-3600 * SECOND);
    machine.boot = 2;
    for with_snapshot in [false, true] {
        if with_snapshot {
            machine.harness.snapshot();
        }
        let newest = machine.harness.engine.time(machine.harness.now);
        machine.harness.commit();
        machine.harness.kill();
        let at = machine.harness.engine.time_at_start(machine.wall(), None);
        assert!(newest.millis_since(at) <= 250, "time starts at {at}, the newest event was at {newest}");
        machine.begin();
        for number in 0..12 {
            let customer = format!("new-{with_snapshot}-{number}");
            let made = machine.harness.hold(&customer, "tv", 1);
            assert!(made.id.created_at() >= at, "a shard is behind the others");
        }
    }
    // The clock is put right: no hold ends for it.
    machine.set_clock(3600 * SECOND);
    machine.pass(10_000);
    for hold in &holds {
        assert_eq!(machine.state(hold), State::Held);
    }
}

#[test]
fn nothing_is_granted_outside_its_window_by_either_clock() {
    let mut machine = Machine::new();
    let closes_at = machine.truth().plus_seconds(600);
    let sale = SaleSettings { closes_at, ..ask::sale("short", &[("tv", 100)]) };
    machine.harness.put(&sale);
    let reserve = |machine: &mut Machine| {
        machine.harness.reserve(&ask::reserve("short", "ann", &[("tv", 1)])).map(|made| made.reservation.state)
    };
    assert_eq!(reserve(&mut machine), Ok(State::Held));
    machine.set_clock(3600 * SECOND);
    machine.pass(100);
    assert_eq!(reserve(&mut machine), Err(Refusal::SaleEnded), "by the machine's clock it is over");
    let status = |machine: &Machine| machine.harness.engine.sale(machine.harness.now, "short").value.unwrap().status;
    assert_eq!(status(&machine), Status::Closed, "and so it is shown");
    machine.set_clock(-3600 * SECOND);
    machine.pass(100);
    assert_eq!((reserve(&mut machine), status(&machine)), (Ok(State::Held), Status::Open), "nothing has happened");

    machine.set_clock(3600 * SECOND);
    machine.pass(8000);
    assert_eq!(reserve(&mut machine), Err(Refusal::SaleEnded));
    machine.set_clock(-3600 * SECOND);
    machine.pass(8000);
    machine.assert_follows("set back");
    assert_eq!(reserve(&mut machine), Err(Refusal::SaleEnded), "what the clock closed stays closed");
    machine.harness.put(&SaleSettings { closes_at: machine.truth().plus_seconds(60), ..sale.clone() });
    assert_eq!(reserve(&mut machine), Ok(State::Held), "its operator gave it another end");

    // Ahead of the opening by the one clock only.
    let opens_at = machine.truth().plus_seconds(600);
    let later = SaleSettings { opens_at, ..ask::sale("later", &[("tv", 100)]) };
    machine.harness.put(&later);
    machine.set_clock(3600 * SECOND);
    machine.pass(100);
    let early = machine.harness.reserve(&ask::reserve("later", "ann", &[("tv", 1)]));
    assert_eq!(early.map(|_| ()), Err(Refusal::SaleNotStarted { opens_at }));
}

/// An idempotency key is known for the retention, also when the clock is set a day ahead meanwhile.
#[test]
fn keys_are_known_for_the_whole_retention_when_the_clock_is_set_forward() {
    let mut machine = Machine::new();
    let asked = Reserve { key: Some("click"), hold_seconds: Some(5), ..ask::reserve("drop", "ann", &[("tv", 1)]) };
    let first = machine.harness.reserve(&asked).unwrap();
    machine.harness.release(first.reservation.id).unwrap();
    machine.set_clock(2 * DAY);
    machine.pass(8000);
    machine.assert_follows("set forward");
    for _ in 0..2 {
        let again = machine.harness.reserve(&asked).unwrap();
        assert_eq!((again.replayed_of.is_some(), again.reservation.id), (true, first.reservation.id));
        machine.restart(1000);
        machine.harness.snapshot();
    }
    machine.up += 86_400_000;
    machine.tick();
    let again = machine.harness.reserve(&asked).unwrap();
    assert!(again.replayed_of.is_none(), "and not for longer");
}
