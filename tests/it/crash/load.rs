//! One client's load: a bit of everything a checkout does, each request with a key, until the service is gone.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::ledger::{Known, Ledger, Open};
use crate::{
    served::{Answer, Ask, Client, documents::address},
    support::dice::Dice,
};

pub const SALE: &str = "drop";

/// SKU, initial stock, and the limit of a customer. The first is scarce: sold out most of the time.
pub const ITEMS: [(&str, u64, Option<u64>); 4] =
    [("scarce", 20, None), ("limited", 20_000, Some(4)), ("plenty", 100_000, None), ("some", 300, Some(9))];

/// Customers of one client at a time; nobody else reserves for them.
const CUSTOMERS: u64 = 40;

pub struct Load {
    pub number: usize,
    pub dice: Dice,
    pub ledger: Ledger,
    next_key: u64,
}

/// Why a client stopped.
enum Gone {
    /// The connection broke: what was asked is open.
    Broken,
    /// The service said that it is stopping and did nothing.
    Stopping,
}

impl Load {
    pub fn new(number: usize, seed: u64) -> Self {
        Self { number, dice: Dice::new(seed), ledger: Ledger::default(), next_key: 0 }
    }

    /// Goes on until the service is gone, `stop` is set or `most` requests were sent.
    pub fn run(&mut self, mut client: Client, mut second: Client, stop: &AtomicBool, most: usize) {
        for _ in 0..most {
            if stop.load(Ordering::Relaxed) || self.step(&mut client, &mut second).is_err() {
                return;
            }
        }
    }

    fn step(&mut self, client: &mut Client, second: &mut Client) -> Result<(), Gone> {
        match self.dice.below(100) {
            0..38 => self.reserve(client),
            38..44 => self.reserve_twice(client, second),
            44..62 => self.act(client, "confirm", Open::Confirm),
            62..82 => self.act(client, "release", Open::Release),
            82..88 => self.act(client, "extend", Open::Extend),
            88..94 => self.adjust(client),
            _ => self.look(client),
        }
    }

    fn key(&mut self) -> String {
        self.next_key += 1;
        format!("client-{}-{}", self.number, self.next_key)
    }

    fn ask_to_reserve(&mut self) -> Ask {
        let lines: Vec<Value> = (0..1 + self.dice.below(3))
            .map(|_| {
                // Half of all lines are of the item that never sells out, so that there is always something to lose.
                let (sku, ..) = if self.dice.one_in(2) { ITEMS[2] } else { *self.dice.pick(&ITEMS) };
                json!({ "sku": sku, "quantity": 1 + self.dice.below(2) })
            })
            .collect();
        // New customers keep coming, and the last ones come again: to their limits, for instance.
        let customer = self.next_key / 20 + self.dice.below(CUSTOMERS);
        let customer = format!("customer-{}-{customer}", self.number);
        let mut body = json!({ "customer": customer, "lines": lines });
        if self.dice.one_in(6) {
            body["hold_seconds"] = json!(1);
        }
        if self.dice.one_in(2) {
            body["reference"] = json!(format!("cart-{}", self.next_key));
        }
        Ask::new("POST", &format!("/v1/sales/{SALE}/reservations")).key(&self.key()).json(&body)
    }

    fn reserve(&mut self, client: &mut Client) -> Result<(), Gone> {
        let ask = self.ask_to_reserve();
        match attempt(client, &ask) {
            Ok(answer) => self.judge_reserve(&ask, &answer),
            Err(gone) => {
                if matches!(gone, Gone::Broken) {
                    self.ledger.open_reserves.push(ask);
                }
                return Err(gone);
            }
        }
        Ok(())
    }

    /// The same request over two connections at once.
    fn reserve_twice(&mut self, client: &mut Client, second: &mut Client) -> Result<(), Gone> {
        let ask = self.ask_to_reserve();
        let (one, two) = std::thread::scope(|scope| {
            let two = scope.spawn(|| attempt(second, &ask));
            (attempt(client, &ask), two.join().expect("the second try does not fail"))
        });
        let answers: Vec<&Answer> = [&one, &two].into_iter().filter_map(|answer| answer.as_ref().ok()).collect();
        for answer in &answers {
            self.judge_reserve(&ask, answer);
        }
        if answers.len() == 2 && answers.iter().all(|answer| answer.status == 201) {
            assert_ne!(answers[0].is_replayed(), answers[1].is_replayed(), "one of two is the first");
        }
        let broken = [&one, &two].iter().any(|answer| matches!(answer, Err(Gone::Broken)));
        if broken {
            self.ledger.open_reserves.push(ask.clone());
        }
        one.and(two).map(|_| ())
    }

    fn judge_reserve(&mut self, ask: &Ask, answer: &Answer) {
        if answer.status == 201 {
            self.ledger.granted(ask, answer);
        } else {
            let code = answer.json()["code"].clone();
            let expected = ["sold_out", "insufficient_stock", "customer_limit_exceeded"];
            assert!(expected.iter().any(|known| code == *known), "{}", answer.text());
        }
    }

    /// A reservation that is held as far as this client knows.
    fn pick_held(&mut self) -> Option<&mut Known> {
        let held = self.ledger.reservations.values_mut().filter(|known| known.latest["state"] == "held");
        let mut held: Vec<&mut Known> = held.collect();
        let place = self.dice.below(held.len().max(1) as u64) as usize;
        (place < held.len()).then(|| held.swap_remove(place))
    }

    fn act(&mut self, client: &mut Client, verb: &str, open: Open) -> Result<(), Gone> {
        let order = format!("order-{}", self.next_key);
        let Some(known) = self.pick_held() else { return Ok(()) };
        let body = match open {
            Open::Confirm => json!({ "reference": order }),
            Open::Extend => json!({ "hold_seconds": 900 }),
            _ => json!({ "reason": "changed my mind" }),
        };
        let ask = Ask::new("POST", &format!("{}/{verb}", address(&known.latest))).json(&body);
        known.touched = true;
        known.open = open;
        match attempt(client, &ask) {
            Ok(answer) if answer.status == 200 => {
                known.accept(&answer.reservation(200));
                Ok(())
            }
            Ok(answer) if answer.json()["code"] == "extension_limit_reached" => {
                known.open = Open::Nothing;
                Ok(())
            }
            Ok(answer) => {
                // Nobody else acts on it, so only the clock can have come first.
                known.open = Open::Nothing;
                known.accept(&answer.refused("reservation_expired")["reservation"]);
                Ok(())
            }
            Err(gone) => {
                if matches!(gone, Gone::Stopping) {
                    known.open = Open::Nothing;
                }
                Err(gone)
            }
        }
    }

    fn adjust(&mut self, client: &mut Client) -> Result<(), Gone> {
        let (sku, ..) = *self.dice.pick(&ITEMS);
        let delta = if self.dice.one_in(3) { -(self.dice.below(8) as i64 + 1) } else { self.dice.below(16) as i64 + 1 };
        let ask = Ask::new("POST", &format!("/v1/sales/{SALE}/items/{sku}/adjustments"));
        let ask = ask.key(&self.key()).json(&json!({ "delta": delta, "reason": "count" }));
        match attempt(client, &ask) {
            Ok(answer) if answer.status == 201 => {
                *self.ledger.adjusted.entry(sku.to_owned()).or_default() += delta;
                Ok(())
            }
            Ok(answer) => {
                answer.refused("insufficient_stock");
                Ok(())
            }
            Err(gone) => {
                if matches!(gone, Gone::Broken) {
                    self.ledger.open_adjustments.push((ask, sku.to_owned(), delta));
                }
                Err(gone)
            }
        }
    }

    fn look(&mut self, client: &mut Client) -> Result<(), Gone> {
        let Some(known) = self.pick_held() else { return Ok(()) };
        let answer = attempt(client, &Ask::new("GET", &address(&known.latest)))?;
        known.accept(&answer.reservation(200));
        Ok(())
    }
}

fn attempt(client: &mut Client, ask: &Ask) -> Result<Answer, Gone> {
    let answer = client.try_send(ask).map_err(|_| Gone::Broken)?;
    if answer.status != 503 {
        return Ok(answer);
    }
    answer.refused("draining");
    Err(Gone::Stopping)
}
