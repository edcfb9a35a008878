//! The machine's clock is set while the service runs, while it does not, and both: no hold ends early or late for it, and
//! nothing is granted outside its window.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::served::{
    Client, PATIENCE,
    clock::MachineClock,
    documents::{address, items, lines, open_sale, rfc3339, with},
    metrics::Scrape,
    process::{Process, serve},
    shapes::check_time,
    wait_until,
};

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;
/// From the end of 2026 to behind the last second that 32 bits can count, in January 2038.
const TO_2038: i64 = 4100 * DAY;

const JUMPS: [i64; 7] = [SECOND, -SECOND, HOUR, -HOUR, DAY, -DAY, TO_2038];

/// What reading two clocks one after the other may differ by, as the service allows it too.
const TOLERANCE_MILLIS: u64 = 50;

/// A machine of its own: a clock, a disk, and the service on it.
struct Machine {
    clock: MachineClock,
    directory: TempDir,
    service: Option<Process>,
}

/// A hold, and what the caller's own stopwatch knows of it.
struct Hold {
    reservation: Value,
    asked: Instant,
    answered: Instant,
    lasts: Duration,
}

impl Machine {
    fn start() -> Self {
        let mut machine =
            Self { clock: MachineClock::new(), directory: tempfile::tempdir().expect("a directory"), service: None };
        machine.boot();
        let mut client = machine.service().client();
        client.put_open_sale("drop", [("tv", 100)]);
        machine
    }

    /// Starts the service, which ended.
    fn boot(&mut self) {
        let settings = [("engine.clock_settle_seconds", "1"), ("engine.shards", "4"), ("server.workers", "1")]
            .map(|(key, value)| (key, value.to_owned()));
        let data = self.directory.path().join("data");
        let mut command = serve(&data, &settings);
        self.clock.give_to(&mut command);
        self.service =
            Some(Process::launch(command, &data).unwrap_or_else(|ended| panic!("does not serve: {ended:?}")));
    }

    fn service(&self) -> &Process {
        self.service.as_ref().expect("it runs")
    }

    /// As it is now. After the clock was set back a hold may end, by its labels, before it was made.
    fn look(&self, hold: &Hold) -> Value {
        Client::unchecked(self.service().api).get(&address(&hold.reservation)).json()
    }

    fn hold(&self, customer: &str, seconds: u64) -> Hold {
        let body = json!({ "customer": customer, "lines": lines([("tv", 1)]), "hold_seconds": seconds });
        let asked = Instant::now();
        let reservation = self.service().client().post("/v1/sales/drop/reservations", &body).reservation(201);
        Hold { reservation, asked, answered: Instant::now(), lasts: Duration::from_secs(seconds) }
    }

    /// The hold's `expires_at` is that much later than now by this machine's clock, or was when it was made.
    fn is_labelled(&self, hold: &Hold) {
        let ends = check_time(&self.look(hold)["expires_at"]);
        let now = self.clock.now_millis();
        let expected = |made: Instant| now - made.elapsed().as_millis() as u64 + hold.lasts.as_millis() as u64;
        let (least, most) = (expected(hold.asked) - TOLERANCE_MILLIS, expected(hold.answered) + TOLERANCE_MILLIS);
        let made = hold.asked.elapsed();
        assert!(
            (least..=most).contains(&ends),
            "it ends at {ends}, and should from {least} to {most}; made {made:?} ago for {:?}: {}",
            hold.lasts,
            self.look(hold)
        );
    }

    /// Waits for the hold's end, which is when it should be by the caller's stopwatch.
    fn ends_in_time(&self, hold: &Hold) {
        wait_until("the hold has ended", || {
            let seen = self.look(hold);
            let lasted = hold.asked.elapsed();
            match seen["state"].as_str() {
                Some("held") => {
                    // Generous: the machine has other things to do.
                    assert!(lasted < hold.lasts + PATIENCE / 2, "held for {lasted:?}: {seen}");
                    false
                }
                Some("expired") => {
                    assert!(lasted >= hold.lasts, "ended after {lasted:?}: {seen}");
                    true
                }
                _ => panic!("{seen}"),
            }
        });
    }

    fn metric(&self, name: &str, direction: Option<&str>) -> f64 {
        let scrape = Scrape::parse(self.service().ops().get("/metrics").text());
        match direction {
            Some(direction) => scrape.value(name, [("direction", direction)]),
            None => scrape.value(name, []),
        }
    }

    fn has_noticed(&self, by: i64) {
        let direction = if by > 0 { "forward" } else { "backward" };
        wait_until("the jump is counted", || self.metric("doorbuster_clock_jumps_total", Some(direction)) == 1.0);
    }

    fn has_settled(&self) {
        wait_until("the clock is believed", || self.metric("doorbuster_clock_offset_seconds", None).abs() < 0.05);
    }
}

/// Each jump on a machine of its own, all at once: they mostly wait.
fn each_jump(scene: impl Fn(i64) + Sync) {
    thread::scope(|scope| {
        let scenes: Vec<_> = JUMPS
            .map(|by| {
                (
                    by,
                    scope.spawn({
                        let scene = &scene;
                        move || scene(by)
                    }),
                )
            })
            .into();
        for (by, scene) in scenes {
            assert!(scene.join().is_ok(), "the clock was set by {by} ms");
        }
    });
}

#[test]
fn holds_last_as_promised_when_the_clock_is_set_while_serving() {
    each_jump(|by| {
        let mut machine = Machine::start();
        let before = machine.hold("before", 5);
        machine.clock.set_by(by);
        let in_doubt = machine.hold("in-doubt", 5);
        machine.has_noticed(by);
        machine.has_settled();
        let after = machine.hold("after", 2);
        for hold in [&before, &in_doubt, &after] {
            machine.is_labelled(hold);
        }
        for hold in [&after, &before, &in_doubt] {
            machine.ends_in_time(hold);
        }
    });
}

#[test]
fn holds_last_as_promised_when_the_clock_is_wrong_for_a_moment() {
    each_jump(|by| {
        let mut machine = Machine::start();
        let before = machine.hold("before", 4);
        machine.clock.set_by(by);
        let within = machine.hold("within", 4);
        machine.has_noticed(by);
        machine.clock.set_by(-by);
        machine.has_noticed(-by);
        let after = machine.hold("after", 2);
        for hold in [&before, &within, &after] {
            machine.is_labelled(hold);
        }
        for hold in [&after, &before, &within] {
            machine.ends_in_time(hold);
        }
    });
}

#[test]
fn holds_last_as_promised_when_the_clock_is_set_over_a_restart_and_again() {
    each_jump(|by| {
        let mut machine = Machine::start();
        // Long enough to be live when the clock is believed for the second time, also on a busy machine.
        let before = machine.hold("before", 16);
        machine.service.take().expect("it runs").kill();
        machine.clock.set_by(by);
        machine.boot();
        let after = machine.hold("after", 11);
        machine.has_noticed(by);
        machine.has_settled();
        machine.is_labelled(&before);
        machine.is_labelled(&after);
        machine.clock.set_by(-by);
        let later = machine.hold("later", 6);
        machine.has_noticed(-by);
        machine.has_settled();
        for hold in [&before, &after, &later] {
            machine.is_labelled(hold);
        }
        for hold in [&later, &after, &before] {
            machine.ends_in_time(hold);
        }
    });
}

#[test]
fn nothing_is_granted_outside_its_window_however_the_clock_is_set() {
    let by_clock = |machine: &Machine, millis: i64| {
        rfc3339(machine.clock.now_millis().checked_add_signed(millis).expect("after 1970"))
    };
    let mut machine = Machine::start();
    let mut client = machine.service().client();
    let mut put = |id: &str, opens: i64, closes: i64| {
        let times = json!({ "opens_at": by_clock(&machine, opens), "closes_at": by_clock(&machine, closes) });
        client.put(&format!("/v1/sales/{id}"), &with(open_sale(items([("tv", 5)])), times)).success(201);
    };
    put("ended", -2 * HOUR, -HOUR / 2);
    put("open", -2 * HOUR, HOUR / 2);
    put("later", HOUR / 2, 2 * HOUR);
    let refusals = |machine: &Machine| {
        ["ended", "open", "later"].map(|sale| {
            let answer = machine.service().client().reserve(sale, "bob", [("tv", 1)]);
            if answer.status == 201 { "granted".to_owned() } else { answer.json()["code"].as_str().unwrap().to_owned() }
        })
    };
    assert_eq!(refusals(&machine), ["sale_ended", "granted", "sale_not_started"]);
    // Back: what ended stays so, also once the clock is believed and over a restart.
    machine.clock.set_by(-HOUR);
    machine.has_noticed(-HOUR);
    assert_eq!(refusals(&machine)[0], "sale_ended");
    machine.has_settled();
    assert_eq!(refusals(&machine), ["sale_ended", "granted", "sale_not_started"]);
    machine.service.take().expect("it runs").kill();
    machine.boot();
    assert_eq!(refusals(&machine), ["sale_ended", "granted", "sale_not_started"]);
    // Forward, while it is in doubt: nothing opens early, and what is over by either clock is.
    machine.clock.set_by(2 * HOUR);
    machine.has_noticed(HOUR);
    assert_eq!(refusals(&machine), ["sale_ended", "sale_ended", "sale_not_started"]);
    machine.has_settled();
    assert_eq!(refusals(&machine), ["sale_ended", "sale_ended", "granted"]);
}
