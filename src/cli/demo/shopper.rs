//! One shopper's visit, from the first click to the payment or the lack of it.

use std::{rc::Rc, time::Duration};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    client::moment,
    plan::{Basket, CUSTOMER_LIMIT, Fate, Manner, Shopper, customer},
    street::{Made, Street, Tried},
    tally::{DoubleClick, End, Grant, Span},
};

/// Patient shoppers come back over so many microseconds from when the first holds run out.
const SECOND_WAVE: f64 = 1.8e6;

/// Late payers come so many microseconds before the end of their hold at the earliest, and this after it at the latest.
const LATE_FROM: f64 = -40e3;
const LATE_TO: f64 = 150e3;

/// Before the sale opens.
pub async fn come_early(street: Rc<Street>, shopper: Shopper, _inside: OwnedSemaphorePermit) {
    try_for(&street, &shopper, "0", &shopper.basket).await;
}

/// `door`: given back once the first answers are here, so that thinking shoppers do not keep others out.
pub async fn visit(street: Rc<Street>, shopper: Shopper, door: OwnedSemaphorePermit, _inside: OwnedSemaphorePermit) {
    let mut grants = match shopper.manner {
        Manner::Once => Vec::from_iter(try_for(&street, &shopper, "0", &shopper.basket).await),
        Manner::DoubleClick => double_click(&street, &shopper).await,
        Manner::Greedy => {
            let click = |key| try_for(&street, &shopper, key, &shopper.basket);
            let (one, two, three) = tokio::join!(click("0"), click("1"), click("2"));
            [one, two, three].into_iter().flatten().collect()
        }
    };
    if shopper.comes_back && !grants.is_empty() {
        let more = vec![(shopper.basket[0].0, CUSTOMER_LIMIT)];
        grants.extend(try_for(&street, &shopper, "more", &more).await);
    }
    drop(door);
    let mut fate = shopper.fate;
    if grants.is_empty() && shopper.patient {
        let back_from = moment(street.town.offer.opens_at.plus_seconds(street.town.offer.hold_seconds));
        street.town.watch.sleep_until(back_from + (shopper.chance * SECOND_WAVE) as u64).await;
        grants.extend(try_for(&street, &shopper, "0", &shopper.basket).await);
        // Who waited so long does not let go, or the demo would have to wait for that hold again.
        fate = Fate::Pays;
    }
    for grant in grants {
        conclude(&street, &shopper, fate, grant).await;
    }
}

async fn conclude(street: &Street, shopper: &Shopper, fate: Fate, grant: usize) {
    match fate {
        Fate::WalksAway => {}
        Fate::Pays => {
            tokio::time::sleep(Duration::from_millis(shopper.think)).await;
            street.confirm(grant).await;
        }
        Fate::LetsGo => {
            tokio::time::sleep(Duration::from_millis(shopper.think)).await;
            street.release(grant).await;
        }
        Fate::PaysLate => {
            let expires_at = moment(street.tally.borrow().grants[grant].made.expires_at);
            let late = LATE_FROM + shopper.chance * (LATE_TO - LATE_FROM);
            street.town.watch.sleep_until(expires_at.saturating_add_signed(late as i64)).await;
            street.confirm(grant).await;
        }
    }
}

/// The key of a shopper's click.
fn key(shopper: &Shopper, click: &str) -> String {
    format!("{}-{click}", customer(shopper.number))
}

/// Reserves; the number of the grant in the tally when there is one.
async fn try_for(street: &Street, shopper: &Shopper, click: &str, basket: &Basket) -> Option<usize> {
    match street.reserve(shopper, &key(shopper, click), basket).await {
        Tried::Granted(made) => Some(keep(street, shopper, basket, *made)),
        Tried::Refused | Tried::Unknown => None,
    }
}

async fn double_click(street: &Street, shopper: &Shopper) -> Vec<usize> {
    let key = key(shopper, "0");
    let click = || street.reserve(shopper, &key, &shopper.basket);
    let (one, other) = tokio::join!(click(), click());
    let made: Vec<_> = [one, other].into_iter().filter_map(granted).collect();
    let Some(first) = made.first() else { return Vec::new() };
    street.tally.borrow_mut().double_clicks.push(DoubleClick {
        key,
        shopper: shopper.number,
        basket: shopper.basket.clone(),
        granted: made.iter().map(|made| (made.reservation.id.clone(), made.replayed)).collect(),
        made: first.reservation.clone(),
    });
    let mut kept: Vec<usize> = Vec::new();
    for made in made {
        let known = kept.iter().find(|&&grant| street.tally.borrow().grants[grant].made.id == made.reservation.id);
        match known {
            // The units left the stock once, for whichever of the two came first.
            Some(&grant) => {
                let span = &mut street.tally.borrow_mut().grants[grant].span;
                *span = Span { sent: span.sent.min(made.span.sent), got: span.got.min(made.span.got) };
            }
            None => kept.push(keep(street, shopper, &shopper.basket, made)),
        }
    }
    kept
}

fn granted(tried: Tried) -> Option<Made> {
    match tried {
        Tried::Granted(made) => Some(*made),
        Tried::Refused | Tried::Unknown => None,
    }
}

fn keep(street: &Street, shopper: &Shopper, basket: &Basket, made: Made) -> usize {
    let grants = &mut street.tally.borrow_mut().grants;
    let last = made.reservation.clone();
    let (made, span) = (made.reservation, made.span);
    grants.push(Grant { shopper: shopper.number, basket: basket.clone(), span, made, last, end: End::Open });
    grants.len() - 1
}
