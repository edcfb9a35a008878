//! `doorbuster demo`: serves, creates a sale, sends a crowd of shoppers over HTTP, checks every guarantee against their
//! answers, and keeps serving.
//!
//! The crowd knows the service only by its answers, as any client does. Only three things come from inside the service: the
//! durable epoch, the latest epoch, and a comparison of the store with the journal.
//!
//! Invariant: the demo is bounded in requests and time, and uses only the addresses in the configuration.

mod checks;
#[cfg(test)]
mod checks_tests;
mod crowd;
mod plan;
mod rehearsal;
mod report;
mod screen;

use std::{
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use hyper::Method;
use serde_json::Value;
use tokio::task::LocalSet;

use self::{
    checks::{Story, Verdict},
    crowd::{Client, Crowd, moment, time_in},
    plan::Plan,
    screen::{Paint, Screen, counted},
};
use super::{DemoOptions, complain, exit::ExitCode, inspect::report::grouped, say_on_stderr, serve, signals::Signals};
use crate::{
    clock::{Clock, SystemClock},
    config::{Ack, Auth, Config},
    reconcile,
    service::{Running, StartError, descriptors::Purpose},
    store::{SqliteStore, StoreReader},
};

/// Connections of the crowd, and those that look at the sale meanwhile.
const CONNECTIONS: usize = 128;
const OWN_CONNECTIONS: usize = 8;

/// Between two looks at the sale.
const LOOK_EVERY: Duration = Duration::from_millis(60);

/// How long holds, and then the store, may take longer than they should.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reservations and double clicks asked for again; of more, evenly chosen ones.
const SEEN_MAX: usize = 5_000;

pub(super) use self::rehearsal::run as rehearse;

pub fn run(mut config: Config, options: DemoOptions, mut signals: Signals) -> ExitCode {
    // The shoppers have no keys. Without keys, the service accepts only this machine.
    config.auth = Auth::default();
    // A made-up sale must not touch the configured database.
    config.store.url.clear();
    if let Some(wrong) = config.check_start() {
        complain(&format_args!("the demo serves this machine only: {} = {}", wrong.key, wrong.value));
        return ExitCode::BadConfig;
    }
    // The demo prints its own progress, so the log shows only warnings and errors.
    config.log.level = "warn".to_owned();
    if let Err(code) = serve::prepare(&mut config, Purpose::Demo { connections: CONNECTIONS + OWN_CONNECTIONS }) {
        return code;
    }
    let screen = Screen::of_stdout();
    let running = match Running::start_then(&config, || signals.serving()) {
        Ok(running) => running,
        Err(error) => {
            let code = serve::refuse_start(&error);
            advise(&error);
            return code;
        }
    };
    // First of all, so that the reader can watch the whole sale.
    screen.line(screen.paint(Paint::Bold, format!("Watch it on the console: http://{}/console", running.api)));
    let mut broken = false;
    match watch(&running, &config, options, screen, &mut signals) {
        Some(Ok(story)) => {
            let checks = checks::all(&story);
            report::print(screen, &story, &checks);
            broken = checks.iter().any(|check| check.verdict == Verdict::Broken);
            point_on(screen, &running, &config, &story);
            serve::wait(&running, &mut signals, None);
        }
        Some(Err(error)) => {
            complain(&format_args!("the demo failed: {error:#}"));
            broken = true;
        }
        // Stopped by a signal, or because the journal failed.
        None => {}
    }
    screen.line("stopping");
    match serve::stop(running) {
        ExitCode::Clean if broken => ExitCode::CheckFailed,
        code => code,
    }
}

fn watch(
    running: &Running,
    config: &Config,
    options: DemoOptions,
    screen: Screen,
    signals: &mut Signals,
) -> Option<anyhow::Result<Story>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            story = perform(running, config, options, screen) => Some(story),
            _ = signals.end() => None,
            () = running.journal_failed() => None,
        }
    })
}

/// Creates the sale, sends the crowd, and asks the service about all of it.
async fn perform(running: &Running, config: &Config, options: DemoOptions, screen: Screen) -> anyhow::Result<Story> {
    let limit = config.limits.connections_max;
    let client = Client::new(running.api, OWN_CONNECTIONS.min(limit));
    let plan = Plan::new(config, options, SystemClock.now());
    let durable = config.journal.ack == Ack::Durable;
    let document = plan.document().to_string();
    let put = client.send(Method::PUT, &format!("/v1/sales/{}", plan.sale), None, document).await;
    let put = put.context("could not create the sale")?;
    if put.status != 201 {
        bail!("could not create the sale; the service answered {}: {}", put.status, put.body["detail"]);
    }
    let connections = CONNECTIONS.min(limit.saturating_sub(OWN_CONNECTIONS).max(1));
    introduce(screen, &plan, durable, connections);

    let (engine, shoppers) = (running.engine.clone(), Client::new(running.api, connections));
    let crowd = Rc::new(Crowd { plan: plan.clone(), client: shoppers, engine, ledger: Default::default() });
    let mut looks = Looks { client: &client, crowd: &crowd, screen, drawn: 0, printed: None, seen: Vec::new() };
    let visits = crowd.visit(connections);
    tokio::pin!(visits);
    while tokio::time::timeout(LOOK_EVERY, &mut visits).await.is_err() {
        looks.look().await;
    }
    let ledger = crowd.ledger.take();
    let last = ledger.grants.iter().map(|grant| time_in(&grant.shown, "expires_at")).max().unwrap_or(0);
    while looks.look().await > 0 && client.now() < last + PATIENCE.as_micros() as u64 {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let mut story = Story {
        plan,
        durable,
        ledger,
        looks: looks.seen,
        at: client.now(),
        seen: Vec::new(),
        repeats: Vec::new(),
        latest_epoch: 0,
        store: Err("the store was not compared".to_owned()),
        too_large: None,
    };
    ask_again(running, config, &mut story, &client).await?;
    Ok(story)
}

/// Asks for everything again that was acknowledged, and compares the store with the journal.
async fn ask_again(running: &Running, config: &Config, story: &mut Story, client: &Client) -> anyhow::Result<()> {
    let path = format!("/v1/sales/{}", story.plan.sale);
    for index in chosen(story.ledger.grants.len()) {
        let id = story.ledger.grants[index].shown["id"].as_str().unwrap_or_default();
        let answer = client.get(&format!("/v1/reservations/{id}")).await.ok();
        story.seen.push((index, answer.filter(|answer| answer.status == 200).map(|answer| answer.body)));
    }
    for index in chosen(story.ledger.double_clicks.len()) {
        let click = &story.ledger.double_clicks[index];
        let answer = client.post(&format!("{path}/reservations"), Some(&click.key), &click.body).await;
        story.repeats.push((index, answer.ok()));
    }
    let body = " ".repeat(config.limits.body_bytes_max + 1);
    let answer = client.send(Method::POST, &format!("{path}/reservations"), None, body).await;
    story.too_large = answer.ok().map(|answer| answer.status);
    // Last, so that whatever the requests above changed against their promise shows in it.
    story.looks.push(client.get(&path).await.context("the service does not show the sale")?.body);
    story.latest_epoch = running.engine.levels().latest_epoch;
    let (began, store) = (Instant::now(), config.store_path());
    let cursor = || SqliteStore::open_read_only(&store)?.cursor();
    while cursor().is_ok_and(|cursor| cursor < story.latest_epoch) && began.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let compared = reconcile::run(&config.data.dir, &config.engine_settings(rand::random()), &config.store_target());
    story.store = compared.map_err(|error| error.to_string());
    Ok(())
}

/// Up to [`SEEN_MAX`] of the numbers below `count`, evenly spread.
fn chosen(count: usize) -> impl Iterator<Item = usize> {
    (0..count).step_by(count.div_ceil(SEEN_MAX).max(1))
}

fn introduce(screen: Screen, plan: &Plan, durable: bool, connections: usize) {
    let (shoppers, units) = (counted(plan.shoppers as usize, "shopper"), counted(plan.stock() as usize, "unit"));
    let (sale, connections) = (&plan.sale, counted(connections, "HTTP connection"));
    screen.line(format_args!("{shoppers} come for {units}: sale {sale}, over {connections}."));
    let promise = if durable { "is on disk before it is answered" } else { "is answered before it is on disk" };
    let seconds = plan.hold_seconds;
    screen.line(format_args!("A hold lasts {seconds} s and {promise}; unpaid units are offered again.\n"));
}

/// The sale while it is on: on a terminal bars and one line of figures, drawn over; elsewhere one line a second.
struct Looks<'a> {
    client: &'a Client,
    crowd: &'a Crowd,
    screen: Screen,
    /// Lines that are drawn over next.
    drawn: usize,
    /// The second of the last plain line.
    printed: Option<u64>,
    seen: Vec<Value>,
}

impl Looks<'_> {
    /// Shows the sale, and returns how many units are held.
    async fn look(&mut self) -> u64 {
        let (plan, screen) = (&self.crowd.plan, self.screen);
        let answer = self.client.get(&format!("/v1/sales/{}", plan.sale)).await;
        let Some(sale) = answer.ok().filter(|answer| answer.status == 200).map(|answer| answer.body) else { return 1 };
        let units = |item: &Value, member: &str| item[member].as_u64().unwrap_or(0);
        let items: Vec<_> = sale["items"].as_array().into_iter().flatten().collect();
        let sum = |member| items.iter().map(|item| units(item, member)).sum::<u64>();
        let (left, stock, held) = (sum("available"), sum("stock"), sum("held"));
        let (now, opens_at) = (self.client.now(), moment(plan.opens_at));
        let figures = {
            let ledger = self.crowd.ledger.borrow();
            let refused: u64 = ledger.refusals.values().sum();
            let (requests, granted) = (grouped(ledger.requests), grouped(ledger.grants.len() as u64));
            let seconds = (now as i64 - opens_at as i64) as f64 / 1e6;
            format!("  {seconds:>5.1} s  {requests} requests  {granted} granted  {} refused", grouped(refused))
        };
        if screen.redraws {
            let bar = |item: &&Value| {
                let sku = item["sku"].as_str().unwrap_or_default();
                screen.bar(sku, units(item, "available"), units(item, "stock"))
            };
            let lines: Vec<_> = items.iter().map(bar).chain([screen.paint(Paint::Dim, figures)]).collect();
            screen.redraw(self.drawn, &lines);
            self.drawn = lines.len();
        } else if self.printed.replace(now / 1_000_000) != Some(now / 1_000_000) {
            screen.line(format_args!("{figures}  {} of {} left", grouped(left), grouped(stock)));
        }
        self.seen.push(sale);
        held
    }
}

/// Advice for the most frequent errors of a demo.
fn advise(error: &StartError) {
    let advice = match error {
        StartError::Listen { .. } => "to use any free ports: --listen 127.0.0.1:0 --ops-listen 127.0.0.1:0",
        StartError::InUse { .. } => {
            "stop that process, or use another directory and ports: --data ./data-2 --listen 127.0.0.1:0 --ops-listen \
             127.0.0.1:0"
        }
        _ => return,
    };
    say_on_stderr(&format!("hint: {advice}\n"));
}

/// Where to look next: commands that work when pasted.
fn point_on(screen: Screen, running: &Running, config: &Config, story: &Story) {
    let (api, ops, sale) = (running.api, running.ops, &story.plan.sale);
    screen.heading("Look for yourself");
    screen.line(format!("  curl -sw '\\n' http://{api}/v1/sales/{sale}"));
    screen.line(format!("  curl -sw '\\n' http://{api}/v1/sales/{sale}/availability"));
    if let Some(id) = story.ledger.grants.first().and_then(|grant| grant.shown["id"].as_str()) {
        screen.line(format!("  curl -sw '\\n' http://{api}/v1/reservations/{id}"));
    }
    screen.line(format!("  curl -s http://{ops}/metrics | grep '^doorbuster_reservation'"));
    let store = quoted(&config.store_path());
    screen.line(format!("  sqlite3 -header -column {store} \"SELECT * FROM stock_per_item WHERE sale = '{sale}'\""));
    screen.line(
        "  README.md lists what the service promises and what it does not; ARCHITECTURE.md explains how it works.",
    );
    screen.line(format!("\nServing at http://{api} until Ctrl-C."));
}

/// For a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+".contains(character);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_can_be_pasted() {
        assert_eq!(quoted(Path::new("./data/store.db")), "./data/store.db");
        assert_eq!(quoted(Path::new("/my data/it's.db")), r"'/my data/it'\''s.db'");
    }
}
