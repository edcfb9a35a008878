//! A made-up history in which everything is right, for tests that make it wrong.

use super::{
    answers::{Item, Line, Price, Reservation, Sale},
    client::moment,
    history::{Audit, History, LimitTried, Repeat, Stored},
    plan::{Basket, Offer, customer},
    tally::{DoubleClick, End, Grant, OverLimit, Shortage, Span, Tally},
};
use crate::{
    cli::DemoOptions,
    config::Config,
    sale::{outcome::State, time::Timestamp},
    store::{Counts, ItemTotals, StoredLine, StoredReservation},
};

pub const MADE: Timestamp = Timestamp::from_millis(1_000_000_000_000);

/// So many milliseconds after the opening.
pub fn after(millis: u64) -> Timestamp {
    MADE.plus_millis(1200 + millis)
}

pub fn span(sent: u64, got: u64) -> Span {
    Span { sent: moment(after(sent)), got: moment(after(got)) }
}

fn reservation(offer: &Offer, shopper: u32, basket: &Basket, made: u64) -> Reservation {
    let lines = basket.iter().map(|&(item, units)| {
        let price = Price { amount: offer.items[item].price as i64, currency: "EUR".to_owned() };
        Line { sku: offer.items[item].sku.to_owned(), quantity: units.into(), price: Some(price) }
    });
    Reservation {
        id: format!("reservation-of-{shopper}"),
        sale: offer.sale.clone(),
        customer: customer(shopper),
        state: "held".to_owned(),
        lines: lines.collect(),
        reference: None,
        created_at: after(made),
        expires_at: after(made + 4000),
        confirmed_at: None,
        released_at: None,
        expired_at: None,
        extensions: 0,
    }
}

fn grant(offer: &Offer, shopper: u32, basket: Basket, sent: u64, end: End) -> Grant {
    let made = reservation(offer, shopper, &basket, sent + 1);
    let mut last = made.clone();
    match end {
        End::Confirmed(span) => {
            last.state = "confirmed".to_owned();
            last.reference = Some("order".to_owned());
            last.confirmed_at = Some(Timestamp::from_millis(span.sent / 1000 + 1));
        }
        End::Released(span) => {
            last.state = "released".to_owned();
            last.released_at = Some(Timestamp::from_millis(span.sent / 1000 + 1));
        }
        End::Open | End::Unknown(_) => {}
    }
    Grant { shopper, basket, span: span(sent, sent + 10), made, last, end }
}

fn stored(shown: &Reservation) -> StoredReservation {
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let states = [State::Held, State::Confirmed, State::Released, State::Expired];
    let mut lines: Vec<_> = shown
        .lines
        .iter()
        .map(|line| StoredLine {
            sku: line.sku.clone(),
            quantity: line.quantity as u32,
            price: line.price.clone().map(|price| (price.amount, price.currency)),
        })
        .collect();
    lines.sort_by(|one, other| one.sku.cmp(&other.sku));
    StoredReservation {
        id: shown.id.clone(),
        sale: shown.sale.clone(),
        customer: shown.customer.clone(),
        state: states.into_iter().find(|state| state.as_str() == shown.state).unwrap(),
        reference: shown.reference.clone(),
        created_at: shown.created_at.to_string(),
        expires_at: shown.expires_at.to_string(),
        extensions: shown.extensions,
        confirmed_at: text(shown.confirmed_at),
        released_at: text(shown.released_at),
        expired_at: text(shown.expired_at),
        release_reason: None,
        lines,
    }
}

pub fn sale(offer: &Offer, confirmed: [u64; 4]) -> Sale {
    let items = offer.items.iter().zip(confirmed).map(|(item, confirmed)| Item {
        sku: item.sku.to_owned(),
        stock: item.stock,
        available: item.stock - confirmed,
        held: 0,
        confirmed,
    });
    Sale { id: offer.sale.clone(), status: "open".to_owned(), items: items.collect() }
}

fn audit(offer: &Offer, tally: &Tally) -> Audit {
    let mut shown: Vec<_> = tally.grants.iter().map(|grant| grant.last.clone()).collect();
    shown[2].state = "expired".to_owned();
    shown[2].expired_at = Some(shown[2].expires_at.plus_millis(12));
    let sale = sale(offer, [1, 3, 0, 0]);
    let items = sale.items.iter().map(|item| {
        let [stock, available, confirmed] = [item.stock, item.available, item.confirmed].map(|units| units as i64);
        let counts = Counts { stock, available, held: 0, confirmed };
        ItemTotals { sale: offer.sale.clone(), sku: item.sku.clone(), stored: counts, recomputed: counts }
    });
    let first = tally.double_clicks[0].made.clone();
    Audit {
        at: moment(after(6000)),
        repeats: vec![(0, Some(Repeat { status: 201, replayed: true, reservation: Some(first) }))],
        latest_epoch: 40,
        durable_epoch: 40,
        store: Ok(Stored {
            cursor: 40,
            items: items.collect(),
            reservations: shown.iter().map(stored).map(Some).collect(),
        }),
        limits: vec![LimitTried { what: "too much".to_owned(), expected: 413, status: Some(413) }],
        seen: shown.into_iter().map(Some).enumerate().collect(),
        sale: Some(sale),
    }
}

/// Four holds, one of each end, of 20 units: 1, 3, 6 and 10 of the items.
pub fn right() -> History {
    let offer = Offer::new(&Config::default(), DemoOptions { shoppers: 9, units: 20 }, MADE);
    let mut tally = Tally { requests: 9, synced: 7, slowest: 10_000, ..Tally::default() };
    tally.grants = vec![
        grant(&offer, 1, vec![(0, 1), (1, 1)], 100, End::Confirmed(span(300, 310))),
        grant(&offer, 2, vec![(1, 2)], 120, End::Confirmed(span(400, 410))),
        grant(&offer, 3, vec![(2, 1)], 130, End::Open),
        grant(&offer, 4, vec![(3, 2)], 140, End::Released(span(500, 510))),
    ];
    let made = tally.grants[1].made.clone();
    tally.double_clicks = vec![DoubleClick {
        key: "key".to_owned(),
        shopper: 2,
        basket: vec![(1, 2)],
        granted: vec![(made.id.clone(), true), (made.id.clone(), false)],
        made,
    }];
    tally.shortages = vec![Shortage { item: 0, asked: 1, requested: 1, available: 0, span: span(200, 210) }];
    tally.over_limit = vec![OverLimit { asked: 1, already: 2, limit: 2 }];
    tally.too_early = vec![Span { sent: moment(MADE), got: moment(MADE) + 1000 }];
    tally.too_late = vec![(moment(after(4200)), moment(after(4131)))];
    let audit = audit(&offer, &tally);
    let looks = vec![sale(&offer, [0, 0, 0, 0]), sale(&offer, [1, 2, 0, 0])];
    History { offer, tally, looks, audit }
}
