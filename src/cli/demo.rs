//! `doorbuster demo`: serves, creates a sale, sends a crowd of shoppers over HTTP, checks every guarantee against their
//! answers, and keeps serving.
//!
//! The crowd knows the service only by its answers, as any client does. Each thread keeps a `tally` of its answers and their
//! times; afterwards an `audit` asks again, and the `checks` compare the two. Only three things come from inside the service:
//! the durable epoch, the latest epoch, and the contents of the store's file.
//!
//! Invariant: the demo is bounded in requests and time, and uses only the addresses in the configuration.

mod answer_checks;
mod answers;
mod audit;
mod checks;
#[cfg(test)]
mod checks_tests;
mod client;
mod crowd;
mod history;
mod live;
mod plan;
mod progress;
mod report;
#[cfg(test)]
mod sample;
mod screen;
mod shopper;
mod stock_checks;
mod story;
mod street;
mod tally;
mod timeline;

use std::path::Path;

use tokio::task::LocalSet;

use self::{
    checks::Verdict,
    history::History,
    screen::{Paint, Screen},
};
use super::{DemoOptions, complain, exit::ExitCode, say_on_stderr, serve, signals::Signals};
use crate::{
    config::{Auth, Config},
    service::{Running, StartError, descriptors::Purpose},
};

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
    if let Err(code) = serve::prepare(&mut config, Purpose::Demo { connections: story::CONNECTIONS_MAX }) {
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
    match watch_story(&running, &config, options, screen, &mut signals) {
        End::Told(history) => {
            let checks = checks::all(&history);
            report::print(&screen, &history, &checks);
            broken = checks.iter().any(|check| check.verdict == Verdict::Broken);
            point_on(&screen, &running, &config, &history);
            serve::wait(&running, &mut signals, None);
        }
        End::Failed(error) => {
            complain(&format_args!("the demo failed: {error:#}"));
            broken = true;
        }
        End::Stopped => {}
    }
    screen.line("stopping");
    match serve::stop(running) {
        ExitCode::Clean if broken => ExitCode::CheckFailed,
        code => code,
    }
}

/// How the demo ended.
enum End {
    Told(Box<History>),
    Failed(anyhow::Error),
    /// By a signal, or because the journal failed.
    Stopped,
}

fn watch_story(running: &Running, config: &Config, options: DemoOptions, screen: Screen, signals: &mut Signals) -> End {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            told = story::tell(running, config, options, screen) => match told {
                Ok(history) => End::Told(Box::new(history)),
                Err(error) => End::Failed(error),
            },
            _ = signals.end() => End::Stopped,
            () = running.journal_failed() => End::Stopped,
        }
    })
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
fn point_on(screen: &Screen, running: &Running, config: &Config, history: &History) {
    let (api, ops, sale) = (running.api, running.ops, &history.offer.sale);
    screen.line(format!("\n{}", screen.paint(Paint::Bold, "Look for yourself")));
    screen.line(format!("  curl -sw '\\n' http://{api}/v1/sales/{sale}"));
    screen.line(format!("  curl -sw '\\n' http://{api}/v1/sales/{sale}/availability"));
    if let Some(grant) = history.tally.grants.first() {
        screen.line(format!("  curl -sw '\\n' http://{api}/v1/reservations/{}", grant.made.id));
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
