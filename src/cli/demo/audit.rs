//! After the sale: the service is asked for everything it acknowledged, and the store for the same.
//!
//! Invariant: bounded in count and time, however many reservations there are.

use std::{future::Future, rc::Rc, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::json;

use super::{
    answers::{Reservation, Reserved, Sale},
    client::{Ask, Client, Watch},
    history::{Audit, LimitTried, Repeat, Stored},
    plan::Offer,
    screen::{counted, number},
    tally::Tally,
};
use crate::{
    config::Config,
    engine::Engine,
    sale::ids::ReservationId,
    store::{SqliteStore, StoreError, StoreReader},
};

/// Reservations asked for again; of more, evenly chosen ones.
const SEEN_MAX: usize = 20_000;

/// Double clicks sent once more.
const REPEATS_MAX: usize = 5_000;

/// Requests under way at a time.
const ABREAST: usize = 16;

/// How long the journal and the store get to catch up.
const CATCH_UP: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

pub async fn take(
    client: &Rc<Client>,
    engine: &Engine,
    config: &Config,
    offer: &Offer,
    tally: &Tally,
    watch: &Watch,
) -> Audit {
    let seen = chosen(tally.grants.len(), SEEN_MAX);
    let paths = seen.iter().map(|&grant| format!("/v1/reservations/{}", tally.grants[grant].made.id)).collect();
    let at = watch.now();
    let shown = each(client, paths, |client, path| async move { get::<Reservation>(&client, &path).await }).await;

    let clicks = chosen(tally.double_clicks.len(), REPEATS_MAX);
    let requests = clicks.iter().map(|&click| repeat_of(offer, tally, click)).collect();
    let repeats = each(client, requests, |client, request| async move { repeat(&client, request).await }).await;

    let limits = try_limits(client, config, offer).await;
    // Last, so that whatever the requests above changed against their promise shows in it.
    let sale = get::<Sale>(client, &format!("/v1/sales/{}", offer.sale)).await;
    let latest_epoch = engine.levels().latest_epoch;
    let durable_epoch = wait_for(latest_epoch, || Some(engine.durability().epoch())).await.unwrap_or(0);
    let store = read_store(config, offer, tally, &seen, latest_epoch).await.map_err(|error| error.to_string());
    Audit {
        at,
        sale,
        seen: seen.into_iter().zip(shown).collect(),
        repeats: clicks.into_iter().zip(repeats).collect(),
        latest_epoch,
        durable_epoch,
        store,
        limits,
    }
}

/// The document at a path; None when the answer is something else.
pub async fn get<T: DeserializeOwned>(client: &Client, path: &str) -> Option<T> {
    let answer = client.send(Ask::get(path)).await.ok()?;
    serde_json::from_slice(&answer.body).ok().filter(|_| answer.status == 200)
}

/// Up to `most` of the numbers below `count`, evenly spread.
fn chosen(count: usize, most: usize) -> Vec<usize> {
    (0..count).step_by(count.div_ceil(most).max(1)).collect()
}

/// Asks for each input, several at a time; the outputs in the order of the inputs.
async fn each<I, O, F>(client: &Rc<Client>, inputs: Vec<I>, ask: fn(Rc<Client>, I) -> F) -> Vec<O>
where
    I: 'static,
    O: 'static,
    F: Future<Output = O> + 'static,
{
    let mut shares: Vec<Vec<I>> = (0..ABREAST).map(|_| Vec::new()).collect();
    let count = inputs.len();
    inputs.into_iter().enumerate().for_each(|(index, input)| shares[index % ABREAST].push(input));
    let tasks = shares.into_iter().map(|share| {
        let client = client.clone();
        tokio::task::spawn_local(async move {
            let mut outputs = Vec::with_capacity(share.len());
            for input in share {
                outputs.push(ask(client.clone(), input).await);
            }
            outputs.into_iter()
        })
    });
    let mut shares = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        shares.push(task.await.expect("asking does not panic"));
    }
    (0..count).map(|index| shares[index % ABREAST].next().expect("every input has its output")).collect()
}

/// Path, key and body of a double click.
fn repeat_of(offer: &Offer, tally: &Tally, click: usize) -> (String, String, String) {
    let click = &tally.double_clicks[click];
    let path = format!("/v1/sales/{}/reservations", offer.sale);
    (path, click.key.clone(), offer.request(click.shopper, &click.basket))
}

async fn repeat(client: &Client, (path, key, body): (String, String, String)) -> Option<Repeat> {
    let answer = client.send(Ask::post(&path, body).with_key(&key)).await.ok()?;
    let reservation = serde_json::from_slice(&answer.body).ok().map(|Reserved(reservation)| reservation);
    Some(Repeat { status: answer.status, replayed: answer.replayed, reservation })
}

/// Goes past limits that are configured.
async fn try_limits(client: &Client, config: &Config, offer: &Offer) -> Vec<LimitTried> {
    let limits = &config.limits;
    let path = format!("/v1/sales/{}/reservations", offer.sale);
    let line = |number: usize| json!({ "sku": format!("sku-{number}"), "quantity": 1 });
    let lines: Vec<_> = (0..=limits.lines_max).map(line).collect();
    let too_many = json!({ "customer": "limits", "lines": lines }).to_string();
    let long = format!("/v1/reservations/{}", "x".repeat(limits.path_bytes_max));
    let asks = [
        (
            format!("{} bytes", number(limits.body_bytes_max as u64 + 1)),
            Ask::post(&path, vec![b' '; limits.body_bytes_max + 1]),
            413,
        ),
        (counted(limits.lines_max + 1, "line"), Ask::post(&path, too_many), 400),
        ("a long path".to_owned(), Ask::get(&long), 414),
    ];
    let mut tried = Vec::new();
    for (what, ask, expected) in asks {
        // With small bodies configured, so many lines do not even arrive.
        if expected != 413 && ask.body.len() > limits.body_bytes_max {
            continue;
        }
        let status = client.send(ask).await.ok().map(|answer| answer.status);
        tried.push(LimitTried { what, expected, status });
    }
    tried
}

/// Waits until the epoch is reached, for a while; gives the one that is.
async fn wait_for(epoch: u64, reached: impl Fn() -> Option<u64>) -> Option<u64> {
    let waited = tokio::time::timeout(CATCH_UP, async {
        while reached().is_none_or(|reached| reached < epoch) {
            tokio::time::sleep(PAUSE).await;
        }
    });
    let _ = waited.await;
    reached()
}

async fn read_store(
    config: &Config,
    offer: &Offer,
    tally: &Tally,
    seen: &[usize],
    latest_epoch: u64,
) -> Result<Stored, StoreError> {
    let reader = SqliteStore::open_read_only(config.store_path())?;
    wait_for(latest_epoch, || reader.cursor().ok()).await;
    let mut items = reader.totals()?;
    items.retain(|item| item.sale == offer.sale);
    let reservations = seen.iter().map(|&grant| {
        let id = ReservationId::parse(&tally.grants[grant].made.id);
        id.map_or(Ok(None), |id| reader.reservation(&id))
    });
    Ok(Stored { cursor: reader.cursor()?, items, reservations: reservations.collect::<Result<_, _>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_evenly_spread_ones_are_chosen() {
        assert_eq!(chosen(0, 10), Vec::<usize>::new());
        assert_eq!(chosen(3, 10), [0, 1, 2]);
        assert_eq!(chosen(10, 3), [0, 4, 8]);
    }
}
