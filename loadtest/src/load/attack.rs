//! The load itself: goose starts the users, runs them and writes its report.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use goose::{
    GooseAttack,
    client::GooseClientBuilder,
    config::GooseConfiguration,
    goose::{GooseUser, Scenario as GooseScenario, Transaction, TransactionResult},
};

use crate::{run::Run, settle, visitor::Visitor};

/// Intervals of progress lines and of checks of the sale.
const PROGRESS_AFTER: Duration = Duration::from_secs(2);
const LOOK_AFTER: Duration = Duration::from_millis(250);

pub async fn run(run: &Arc<Run>, host: &str, users: usize, time: Duration, report: &Path) -> anyhow::Result<()> {
    let shared = run.clone();
    let visits = Transaction::new(Arc::new(move |user| Box::pin(visit(shared.clone(), user)))).set_name("visit");
    let name = run.scenario.name();
    let scenario = GooseScenario::new(&name).register_transaction(visits);
    let time = time + run.plan.opens_after;
    let mut configuration = GooseConfiguration::default();
    configuration.host = Some(host.to_owned());
    configuration.users = Some(users);
    // All of them within a second.
    configuration.increase_rate = Some(users.to_string());
    configuration.run_time = Some(time.as_secs().max(1).to_string());
    configuration.report_file = vec![report.join("report.html").display().to_string()];
    configuration.notes = Some(format!("Doorbuster, {name}, {users} users"));
    configuration.quiet = 1;
    configuration.no_print_metrics = true;
    configuration.no_reset_metrics = true;
    configuration.no_telnet = true;
    // Users ask through the run's client; goose's own is made once and not for each of them.
    let attack = GooseAttack::initialize_with_config(configuration)?
        .set_client_builder_without_cookies(GooseClientBuilder::new().without_cookies())?
        .register_scenario(scenario);
    let watching = [tokio::spawn(tell_progress(run.clone())), tokio::spawn(look(run.clone()))];
    let ended = attack.execute().await.context("goose");
    watching.iter().for_each(tokio::task::JoinHandle::abort);
    ended?;
    Ok(())
}

async fn visit(run: Arc<Run>, user: &mut GooseUser) -> TransactionResult {
    run.scenario.visit(&mut Visitor { run: &run, user }).await;
    Ok(())
}

async fn tell_progress(run: Arc<Run>) {
    let mut last = 0;
    loop {
        tokio::time::sleep(PROGRESS_AFTER).await;
        let so_far = run.samples.so_far();
        let answers = so_far.granted + so_far.refused + so_far.other;
        eprintln!(
            "{} {:>4.0} s  {answers} answers, {:.0}/s now; {} granted, {} refused, {} unanswered; {} findings",
            run.scenario.name(),
            so_far.at,
            (answers - last) as f64 / PROGRESS_AFTER.as_secs_f64(),
            so_far.granted,
            so_far.refused,
            so_far.unanswered,
            run.findings.count(),
        );
        last = answers;
    }
}

/// Conservation holds at every instant, so it is checked throughout the run.
async fn look(run: Arc<Run>) {
    loop {
        if let Ok(items) = settle::look_at_sale(&run).await {
            let sum = |of: fn(&crate::wire::Item) -> i64| items.iter().map(of).sum();
            run.samples.look(sum(|item| item.available), sum(|item| item.held), sum(|item| item.confirmed));
        }
        tokio::time::sleep(LOOK_AFTER).await;
    }
}
