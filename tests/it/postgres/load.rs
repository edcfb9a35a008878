//! Callers that reserve, confirm and release at a steady pace, and remember what they were answered.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::served::{Ask, Client};

pub const SALE: &str = "drop";
const CALLERS: u64 = 3;
/// Between two requests of a caller: far from what the service can do, so that only a stall makes it slower.
const PACE: Duration = Duration::from_millis(30);
/// Rates are medians over slices of this length: a machine that pauses for a moment says nothing about the service.
const SLICE: Duration = Duration::from_millis(200);

/// Reservations by id as they were last answered, and when reserves were answered.
#[derive(Default)]
struct Told {
    reservations: BTreeMap<String, Value>,
    reserved: Vec<Instant>,
    refused: Vec<String>,
}

pub struct Load {
    told: Arc<Mutex<Told>>,
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(address: SocketAddr) -> Self {
        let (told, stop) = (Arc::<Mutex<Told>>::default(), Arc::<AtomicBool>::default());
        let callers = (0..CALLERS).map(|caller| {
            let (told, stop) = (told.clone(), stop.clone());
            thread::spawn(move || call(caller, address, &told, &stop))
        });
        let callers = callers.collect();
        Self { told, stop, callers }
    }

    /// How many reserves a slice of this time saw, in the middle.
    pub fn rate_within(&self, from: Instant, until: Instant) -> f64 {
        let slices = (until - from).as_millis() / SLICE.as_millis();
        let mut counts = vec![0_u32; usize::try_from(slices).unwrap().max(1)];
        for at in &self.told.lock().unwrap().reserved {
            let place = at.checked_duration_since(from).map(|since| (since.as_millis() / SLICE.as_millis()) as usize);
            if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
                *count += 1;
            }
        }
        counts.sort_unstable();
        f64::from(counts[counts.len() / 2])
    }

    /// What was refused since the last time this was asked.
    pub fn refused(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock().unwrap().refused)
    }

    /// Ends the callers, and says what became of every reservation.
    pub fn stop(&mut self) -> BTreeMap<String, Value> {
        self.stop.store(true, Ordering::Relaxed);
        self.callers.drain(..).for_each(|caller| caller.join().expect("a caller does not fail"));
        self.told.lock().unwrap().reservations.clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn call(caller: u64, address: SocketAddr, told: &Mutex<Told>, stop: &AtomicBool) {
    // Answers are held against the contract elsewhere; here there are many.
    let mut client = Client::unchecked(address);
    let (mut last, mut next) = (None, Instant::now());
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let customer = format!("customer-{caller}-{}", number / 3);
        let body = json!({ "customer": customer, "lines": [{ "sku": "tv", "quantity": 1 + number % 2 }] });
        let answer = client.send(&Ask::new("POST", &format!("/v1/sales/{SALE}/reservations")).json(&body));
        if answer.status == 201 {
            last = Some(remember(told, answer.json(), true));
        } else {
            told.lock().unwrap().refused.push(answer.text().to_owned());
        }
        act(told, &mut client, number, last.as_deref());
        // What was late is made up for.
        next += PACE;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn remember(told: &Mutex<Told>, reservation: Value, is_new: bool) -> String {
    let mut told = told.lock().unwrap();
    if is_new {
        told.reserved.push(Instant::now());
    }
    let id = reservation["id"].as_str().expect("an id").to_owned();
    told.reservations.insert(id.clone(), reservation);
    id
}

/// Of three reservations one is confirmed, one released, one left.
fn act(told: &Mutex<Told>, client: &mut Client, number: u64, id: Option<&str>) {
    let (verb, body) = match number % 3 {
        0 => ("confirm", json!({ "reference": format!("order-{number}") })),
        1 => ("release", json!({ "reason": "changed my mind" })),
        _ => return,
    };
    let Some(id) = id else { return };
    let answer = client.send(&Ask::new("POST", &format!("/v1/reservations/{id}/{verb}")).json(&body));
    // The last one may have been acted on already, when this reserve was refused.
    if answer.status == 200 {
        remember(told, answer.json(), false);
    } else {
        assert_eq!(answer.status, 409, "confirm and release always work: {}", answer.text());
    }
}
