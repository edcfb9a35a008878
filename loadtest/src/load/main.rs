//! Runs named load scenarios against Doorbuster, and checks every answer against the service's guarantees.

mod attack;
mod groups;
mod guarantees;
mod http;
mod judge;
mod ledger;
mod report;
mod run;
mod samples;
mod scenarios;
mod settle;
mod store;
mod truth;
mod visitor;
mod waitlist;
mod watch;
mod wire;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use doorbuster_loadtest::{
    children::{self, Directory},
    machine,
    service::{Service, binary},
};
use reqwest::Url;

use crate::{http::Http, run::Run, scenarios::Scenario, store::Store, watch::Watch};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RUN_TIME_MAX: Duration = Duration::from_secs(3600);

/// Exit codes: a guarantee was broken or an outcome is unknown; the run failed.
const BROKEN: u8 = 1;
const NOT_RUN: u8 = 2;

#[derive(Parser)]
#[command(
    name = "load",
    about = "Runs load scenarios against Doorbuster, and checks every answer against the service's guarantees.",
    long_about = "Runs load scenarios against Doorbuster, and checks every answer against the service's guarantees. \
                  Without --host it builds the service for release, starts it on loopback with a directory of its \
                  own, and stops it again. With --host it uses a running service, creates a sale in it, and leaves \
                  that sale behind: you decide how much load to put on another machine. Exit code 0: every checked \
                  guarantee holds. 1: one was broken, or an outcome is unknown. 2: the run failed."
)]
struct Arguments {
    /// Scenarios to run, one after the other. Default: all.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// A running service, such as http://127.0.0.1:8080.
    #[arg(long, value_name = "URL")]
    host: Option<Url>,
    /// The service's ops listener, which says when its store has everything.
    #[arg(long, value_name = "URL", requires = "host")]
    ops: Option<Url>,
    /// The service's store: the path of the SQLite file, or postgres://user@host/database. Default: not checked.
    #[arg(long, value_name = "PATH or URL", requires = "host")]
    store: Option<String>,
    /// A file whose first line is the password of a PostgreSQL store.
    #[arg(long, value_name = "FILE", env = "DOORBUSTER_STORE_PASSWORD_FILE")]
    store_password_file: Option<PathBuf>,
    /// The service's API key, with the role operator: each scenario creates a sale of its own.
    #[arg(long, env = "DOORBUSTER_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Users of each scenario, 2 to 10000.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(2..=10_000))]
    users: u16,
    /// How long each scenario runs after all users have started, such as 20s or 5m; at most an hour.
    #[arg(long, default_value = "20s", value_parser = run_time)]
    run_time: Duration,
    /// Directory for reports, summaries and plots, in a subdirectory per scenario.
    #[arg(long, default_value = "target/load", value_name = "DIRECTORY")]
    report: PathBuf,
    /// The service's binary. Default: built from this checkout.
    #[arg(long, value_name = "PATH", conflicts_with = "host")]
    doorbuster: Option<PathBuf>,
}

fn run_time(text: &str) -> anyhow::Result<Duration> {
    let time: jiff::SignedDuration = text.parse().context("must be a time such as 20s, 5m or 1h")?;
    let time = Duration::try_from(time).context("must not be negative")?;
    ensure!((Duration::from_secs(1)..=RUN_TIME_MAX).contains(&time), "must be from 1s to 1h, such as 20s");
    Ok(time)
}

/// The service under load.
struct Target {
    host: Url,
    ops: Option<Url>,
    store: Option<Store>,
    key: Option<String>,
    elsewhere: bool,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.scenarios.is_empty() {
        arguments.scenarios = Scenario::value_variants().to_vec();
    }
    // An empty one is none: compose passes it on as it is.
    arguments.key = arguments.key.filter(|key| !key.is_empty());
    match load(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(BROKEN),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(NOT_RUN)
        }
    }
}

fn load(arguments: &Arguments) -> anyhow::Result<bool> {
    children::end_with_us()?;
    let directory = Directory::new()?;
    // Stopped when this returns, whichever way.
    let mut service = None;
    let target = match &arguments.host {
        Some(host) => Target {
            host: host.clone(),
            ops: arguments.ops.clone(),
            store: arguments
                .store
                .as_deref()
                .map(|it| Store::parse(it, arguments.store_password_file.as_deref()))
                .transpose()?,
            key: arguments.key.clone(),
            elsewhere: true,
        },
        None => {
            let binary = binary(arguments.doorbuster.as_deref())?;
            let service = service.insert(Service::start(&binary, directory.path(), &[])?);
            Target {
                host: format!("http://{}", service.address).parse()?,
                ops: Some(format!("http://{}", service.ops).parse()?),
                store: Some(Store::Sqlite(directory.path().join("data/store.db"))),
                key: None,
                elsewhere: false,
            }
        }
    };
    println!("{}", machine::describe());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut holds = true;
    for scenario in &arguments.scenarios {
        holds &= runtime.block_on(run_scenario(*scenario, arguments, &target))?;
    }
    Ok(holds)
}

/// Whether every checked guarantee holds.
async fn run_scenario(scenario: Scenario, arguments: &Arguments, target: &Target) -> anyhow::Result<bool> {
    let users = usize::from(arguments.users);
    let directory = arguments.report.join(scenario.name());
    std::fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    let watch = Arc::new(Watch::start());
    let http = Http::new(&target.host, target.key.clone(), users, watch.clone())?;
    let run = Arc::new(Run::new(scenario, users, http, watch, target.elsewhere));
    run.put_sale().await?;
    eprintln!("starting {}: {users} users for {:?}", scenario.name(), arguments.run_time);
    attack::run(&run, target.host.as_str(), users, arguments.run_time, &directory).await?;

    eprintln!("{} has ended; checking", scenario.name());
    settle::settle(&run).await;
    settle::look_at_each(&run).await;
    settle::expire(&run);
    settle::hold_against_books(&run).await;
    truth::judge(&run);
    let unchecked = check_store(&run, target).await;
    if run.ledger.books().grants.is_empty() {
        run.ledger.books().undecided.push("no reserve was granted, so the run shows nothing".to_owned());
    }

    let summary = report::summary(&run, users, &unchecked);
    println!("\n{summary}");
    report::write(&run, &directory, &summary)?;
    report::complete(&directory)?;
    println!("report: {}", shown(&directory.join("report.html")));
    let undecided = run.ledger.books().undecided.len();
    Ok(run.findings.count() == 0 && undecided == 0)
}

/// What was not checked of the store, and why.
async fn check_store(run: &Run, target: &Target) -> Vec<String> {
    let Some(store) = &target.store else {
        return vec!["the SQL store: pass --store to check it".to_owned()];
    };
    if let Err(error) = store::hold_against_books(run, store, target.ops.as_ref()).await {
        run.ledger.books().undecided.push(format!("could not compare the SQL store with the answers: {error:#}"));
    }
    Vec::new()
}

fn shown(path: &Path) -> String {
    path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string()
}
