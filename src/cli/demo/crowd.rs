//! The threads that shop: each with its own runtime, connections and share of the shoppers.
//!
//! Invariant: bounded. At most one shopper for each connection is at the door, at most [`INSIDE_MAX`] are anywhere on a
//! thread, and nobody new comes after [`RUSH_MAX`].

use std::{rc::Rc, sync::Arc, thread, time::Duration};

use tokio::{
    sync::{Semaphore, oneshot, watch},
    task::LocalSet,
};

use super::{
    client::{Client, moment},
    plan::Crowd,
    shopper,
    street::{Street, Town},
    tally::{Rush, Tally},
};

/// Shoppers of one thread who are thinking or waiting.
const INSIDE_MAX: usize = 1 << 15;

/// After the opening nobody new comes later than this.
const RUSH_MAX: Duration = Duration::from_secs(30);

/// Early birds come this long before the opening at the latest, to be answered before it.
const EARLY_UNTIL_MICROS: u64 = 60_000;

/// What a thread of the crowd is to do.
pub struct Share {
    pub town: Town,
    pub crowd: Crowd,
    pub thread: u32,
    pub threads: u32,
    pub address: std::net::SocketAddr,
    pub connections: usize,
}

/// The thread's count, once all its shoppers went home; no count when `cancelled` is dropped before.
pub fn send_out(share: Share, mut cancelled: watch::Receiver<()>) -> std::io::Result<oneshot::Receiver<Tally>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (give, take) = oneshot::channel();
    thread::Builder::new().name(format!("shoppers-{}", share.thread)).spawn(move || {
        LocalSet::new().block_on(&runtime, async {
            tokio::select! {
                tally = shop(share) => { let _ = give.send(tally); }
                _ = cancelled.changed() => {}
            }
        });
    })?;
    Ok(take)
}

async fn shop(share: Share) -> Tally {
    let Share { town, crowd, thread, threads, address, connections } = share;
    let client = Client::new(address, connections, town.watch);
    let opened = client.open().await;
    let street = Rc::new(Street { town, client, tally: Tally::default().into() });
    if let Err(error) = opened {
        let mut tally = street.tally.borrow_mut();
        tally.unanswered += 1;
        tally.complain(error.to_string());
    }
    let inside = Arc::new(Semaphore::new(INSIDE_MAX));
    let numbers = || (thread..crowd.shoppers).step_by(threads as usize);
    early_birds(&street, &crowd, numbers(), &inside).await;
    street.town.watch.sleep_until(moment(street.town.offer.opens_at)).await;
    rush(&street, &crowd, numbers(), connections, &inside).await;
    // Everybody is gone.
    let _all = inside.acquire_many(INSIDE_MAX as u32).await.expect("never closed");
    street.tally.take()
}

/// Spread over what is left until the opening.
async fn early_birds(street: &Rc<Street>, crowd: &Crowd, numbers: impl Iterator<Item = u32>, inside: &Arc<Semaphore>) {
    let Town { offer, watch, .. } = &street.town;
    let birds: Vec<_> =
        numbers.map(|number| crowd.shopper(number, offer)).take_while(|shopper| shopper.early).collect();
    let (from, until) = (watch.now(), moment(offer.opens_at).saturating_sub(EARLY_UNTIL_MICROS));
    let step = until.saturating_sub(from) / (birds.len() as u64 + 1);
    for (shopper, place) in birds.into_iter().zip(1..) {
        watch.sleep_until(from + place * step).await;
        if watch.now() > until {
            return;
        }
        let permit = inside.clone().acquire_owned().await.expect("never closed");
        tokio::task::spawn_local(shopper::come_early(street.clone(), shopper, permit));
    }
}

/// All who come for the opening, as fast as the connections take them.
async fn rush(
    street: &Rc<Street>,
    crowd: &Crowd,
    numbers: impl Iterator<Item = u32>,
    connections: usize,
    inside: &Arc<Semaphore>,
) {
    let Town { offer, watch, .. } = &street.town;
    let before = street.tally.borrow().requests;
    let last_entry = moment(offer.opens_at) + RUSH_MAX.as_micros() as u64;
    let doors = Arc::new(Semaphore::new(connections));
    for number in numbers {
        let door = doors.clone().acquire_owned().await.expect("never closed");
        let place = inside.clone().acquire_owned().await.expect("never closed");
        if watch.now() > last_entry {
            break;
        }
        street.tally.borrow_mut().shoppers += 1;
        tokio::task::spawn_local(shopper::visit(street.clone(), crowd.shopper(number, offer), door, place));
    }
    let _all = doors.acquire_many(connections as u32).await.expect("never closed");
    let mut tally = street.tally.borrow_mut();
    tally.rush = Rush { requests: tally.requests - before, over: watch.now() };
}
