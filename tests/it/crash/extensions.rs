//! A kill in the middle of an extension of all holds: the call is repeated with its key, and each hold was extended exactly once.

use std::{collections::BTreeMap, path::Path, process::Command, thread, time::Duration};

use serde_json::{Value, json};

use crate::{
    served::{
        Ask, Client,
        batches::{batch, results},
        documents::{reserve_body, with},
        now_millis,
        process::Process,
        shapes,
    },
    support::dice::Dice,
};

/// Spread over the buckets in which an extension runs, so that it takes many steps.
const CUSTOMERS: usize = 2_000;
const HOLDS_OF_EACH: usize = 10;
const HOLDS: usize = CUSTOMERS * HOLDS_OF_EACH;
const ENTRIES: usize = 5_000;
const SECONDS: u64 = 600;
const ROUNDS: usize = 6;
/// There are more rounds, up to so many, until enough kills hit an extension that was under way.
const ROUNDS_MAX: usize = 24;
const INTERRUPTED: usize = 3;

fn settings(dice: &mut Dice) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("engine.shards", (1 + dice.below(8)).to_string()),
        ("server.workers", (1 + dice.below(2)).to_string()),
        // Few steps of the clock, so that an extension lasts.
        ("engine.tick_ms", "25".to_owned()),
    ];
    if dice.one_in(3) {
        settings.push(("snapshot.journal_bytes", (256 << 10).to_string()));
    }
    settings
}

fn customer(number: usize) -> String {
    format!("customer-{number}")
}

/// Makes the holds, and tells when each ends.
fn hold(client: &mut Client) -> BTreeMap<String, u64> {
    let sale = with(
        crate::served::open_sale(json!([{ "sku": "tv", "initial_stock": HOLDS }])),
        json!({ "hold_seconds": 3600 }),
    );
    client.put("/v1/sales/drop", &sale).success(201);
    let entries: Vec<Value> =
        (0..HOLDS).map(|number| reserve_body(&customer(number % CUSTOMERS), [("tv", 1)])).collect();
    let answers = entries.chunks(ENTRIES).flat_map(|entries| results(&client.send(&batch("drop", entries))));
    let ends = answers.map(|result| end_of(&result["reservation"])).collect::<BTreeMap<_, _>>();
    assert_eq!(ends.len(), HOLDS);
    ends
}

fn end_of(reservation: &Value) -> (String, u64) {
    assert_eq!((&reservation["state"], &reservation["extensions"]), (&json!("held"), &json!(0)), "{reservation}");
    (reservation["id"].as_str().unwrap().to_owned(), shapes::check_time(&reservation["expires_at"]))
}

fn ask(round: usize) -> Ask {
    let body = json!({ "seconds": SECONDS, "reason": "no payments" });
    Ask::new("POST", "/v1/sales/drop/holds/extend").key(&format!("outage-{round}")).json(&body)
}

/// When each hold of the sale ends now.
fn look(process: &Process) -> BTreeMap<String, u64> {
    const READERS: usize = 4;
    thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let mut client = process.client();
                scope.spawn(move || {
                    let of_customer = |number| {
                        let path = format!("/v1/sales/drop/reservations?customer={}", customer(number));
                        let known = client.get(&path).success(200)["reservations"].as_array().unwrap().clone();
                        assert_eq!(known.len(), HOLDS_OF_EACH);
                        known
                    };
                    let known = (reader..CUSTOMERS).step_by(READERS).flat_map(of_customer);
                    known.map(|reservation| end_of(&reservation)).collect::<Vec<_>>()
                })
            })
            .collect();
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
    })
}

/// Extensions of all holds that the journal or its snapshot has as begun and not as ended.
fn under_way(data: &Path) -> bool {
    let inspected = Command::new(env!("CARGO_BIN_EXE_doorbuster"))
        .args(["inspect", "--events", "--json", "--data"])
        .arg(data)
        .output()
        .expect("the binary");
    let text = String::from_utf8(inspected.stdout).expect("lines of JSON");
    let kinds = text.lines().filter_map(|line| {
        let event: Value = serde_json::from_str(line).expect("a line of JSON");
        Some(event["event"].as_str()?.to_owned())
    });
    // A snapshot's events come before the journal's.
    let mut of_runs = kinds.filter(|kind| ["holds_extending", "holds_extended"].contains(&&**kind));
    of_runs.next_back().is_some_and(|kind| kind == "holds_extending")
}

#[test]
fn a_kill_in_the_middle_of_an_extension_extends_each_hold_once() {
    let seed = now_millis();
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut process = Process::start(&data, &settings(&mut dice));
    let mut expected = hold(&mut process.client());
    let mut interrupted = 0;
    for round in 0..ROUNDS_MAX {
        if round >= ROUNDS && interrupted >= INTERRUPTED {
            break;
        }
        let delay = Duration::from_millis(dice.below(180));
        let answered = thread::scope(|scope| {
            let mut client = process.client();
            let call = scope.spawn(move || client.try_send(&ask(round)).is_ok());
            thread::sleep(delay);
            process.signal("KILL");
            call.join().unwrap()
        });
        process.kill();
        let middle = under_way(&data);
        assert!(!(answered && middle), "it was answered before its end was durable");
        interrupted += usize::from(middle);
        println!("round {round}: killed after {delay:?}, answered {answered}, under way {middle}");
        process = Process::start(&data, &settings(&mut dice));
        let again = process.client().send(&ask(round));
        assert_eq!(again.success(200), json!({ "holds": HOLDS }), "round {round}");
        assert!(again.is_replayed() || !answered, "round {round}: what was answered is known");
        expected.values_mut().for_each(|end| *end += SECONDS * 1000);
        let found = look(&process);
        let wrong = expected.iter().filter(|(id, end)| found.get(*id) != Some(end)).count();
        assert_eq!((found.len(), wrong), (HOLDS, 0), "round {round}: holds, and those that do not end when they must");
    }
    assert!(interrupted >= INTERRUPTED, "hardly a kill hit an extension: this says little");
}
