//! The demo from first to last: a sale, a crowd, the wait for what was left lying, the checks.

use std::{net::SocketAddr, rc::Rc, sync::Arc, thread, time::Duration};

use anyhow::{Context, bail};
use hyper::Method;
use tokio::sync::{oneshot, watch};

use super::{
    answers::{Problem, Sale},
    audit,
    client::{Ask, Client, Moment, Watch, moment},
    crowd::{self, Share},
    history::History,
    live::Live,
    plan::{Crowd, Offer},
    progress::Progress,
    screen::{Screen, counted},
    street::Town,
    tally::Tally,
};
use crate::{
    cli::DemoOptions,
    clock::{Clock, SystemClock},
    config::Config,
    service::Running,
};

/// Connections of the crowd.
const CONNECTIONS: usize = 128;

/// Connections of the demo itself, which looks at the sale and asks again afterwards.
const OWN_CONNECTIONS: usize = 8;

/// What the demo opens to the service in its own process.
pub const CONNECTIONS_MAX: usize = CONNECTIONS + OWN_CONNECTIONS;

/// Between two looks at the sale.
const LOOK_EVERY: Duration = Duration::from_millis(60);

/// How long holds get to run out after the last of them should have.
const RUN_OUT_MICROS: Moment = 3_000_000;

/// Puts a sale on, sends the crowd, and asks the service about all of it.
pub async fn tell(running: &Running, config: &Config, options: DemoOptions, screen: Screen) -> anyhow::Result<History> {
    let watch = Watch::start();
    let client = Rc::new(Client::new(running.api, OWN_CONNECTIONS.min(config.limits.connections_max), watch));
    let offer = Arc::new(Offer::new(config, options, SystemClock.now()));
    put_sale(&client, &offer).await?;
    let connections = CONNECTIONS.min(config.limits.connections_max.saturating_sub(OWN_CONNECTIONS).max(1));
    introduce(screen, &offer, options, connections);

    let live = Arc::new(Live::default());
    let town = Town { offer: offer.clone(), live: live.clone(), watch, engine: running.engine.clone() };
    let crowd = Crowd::new(config, options, moment(offer.opens_at));
    let (tallies, _cancel) = send_out(&town, crowd, running.api, connections)?;
    let mut show = Show {
        client: client.clone(),
        offer: offer.clone(),
        live,
        watch,
        looks: Vec::new(),
        progress: Progress::new(screen, &offer),
    };
    let tally = show.until_home(tallies).await?;
    show.until_run_out(&tally).await;

    let audit = audit::take(&client, &running.engine, config, &offer, &tally, &watch).await;
    Ok(History { offer: Arc::unwrap_or_clone(offer), tally, looks: show.looks, audit })
}

async fn put_sale(client: &Client, offer: &Offer) -> anyhow::Result<()> {
    let path = format!("/v1/sales/{}", offer.sale);
    let ask = Ask { method: Method::PUT, ..Ask::post(&path, offer.document()) };
    let answer = client.send(ask).await.context("could not create the sale")?;
    if answer.status != 201 {
        let problem = serde_json::from_slice::<Problem>(&answer.body);
        let detail = problem.map_or_else(|_| String::new(), |problem| format!(": {}", problem.detail));
        bail!("could not create the sale; the service answered {}{detail}", answer.status);
    }
    Ok(())
}

fn introduce(screen: Screen, offer: &Offer, options: DemoOptions, connections: usize) {
    let Offer { sale, hold_seconds, durable, .. } = offer;
    screen.line(format!(
        "{} come for {}: sale {sale}, over {}.",
        counted(options.shoppers as usize, "shopper"),
        counted(offer.stock() as usize, "unit"),
        counted(connections, "HTTP connection"),
    ));
    let promise = if *durable { "is on disk before it is answered" } else { "is answered before it is on disk" };
    screen.line(format!("A hold lasts {hold_seconds} s and {promise}; unpaid units are offered again.\n"));
}

type Tallies = Vec<oneshot::Receiver<Tally>>;

/// Starts the threads of the crowd; they end when the sender is dropped.
fn send_out(
    town: &Town,
    crowd: Crowd,
    address: SocketAddr,
    connections: usize,
) -> anyhow::Result<(Tallies, watch::Sender<()>)> {
    // The service runs on the same cores: two threads where there is room, one where there is not.
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = (cores / 2).clamp(1, 2).min(connections);
    let (cancel, cancelled) = watch::channel(());
    let tallies = (0..threads).map(|thread| {
        let share = Share {
            town: town.clone(),
            crowd: crowd.clone(),
            thread: thread as u32,
            threads: threads as u32,
            address,
            connections: connections / threads,
        };
        crowd::send_out(share, cancelled.clone())
    });
    Ok((tallies.collect::<Result<_, _>>().context("could not start a thread")?, cancel))
}

/// Looks at the sale, shows it, and keeps what it saw.
struct Show {
    client: Rc<Client>,
    offer: Arc<Offer>,
    live: Arc<Live>,
    watch: Watch,
    looks: Vec<Sale>,
    progress: Progress,
}

impl Show {
    /// Shows the sale until the last shopper went home, and adds up their tallies.
    async fn until_home(&mut self, tallies: Tallies) -> anyhow::Result<Tally> {
        let mut total = Tally::default();
        for mut tally in tallies {
            let counted = loop {
                tokio::select! {
                    counted = &mut tally => break counted,
                    () = self.look() => {}
                }
            };
            total.absorb(counted.context("a thread of shoppers ended early")?);
        }
        Ok(total)
    }

    /// Shows the sale until no hold is left.
    async fn until_run_out(&mut self, tally: &Tally) {
        let last = tally.grants.iter().map(|grant| moment(grant.last.expires_at)).max().unwrap_or(0);
        loop {
            self.look().await;
            let held = self.looks.last().map_or(0, |sale| sale.items.iter().map(|item| item.held).sum());
            if held == 0 || self.watch.now() > last + RUN_OUT_MICROS {
                return;
            }
        }
    }

    async fn look(&mut self) {
        let sale: Option<Sale> = audit::get(&self.client, &format!("/v1/sales/{}", self.offer.sale)).await;
        if let Some(sale) = sale {
            self.progress.show(self.watch.now(), &sale, self.live.figures());
            self.looks.push(sale);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
