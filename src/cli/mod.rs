//! The command line: arguments of each command, and its dispatch.
//!
//! Invariant: a command that serves gets a fully checked configuration. Results go to standard output, errors and warnings to
//! standard error; the exit code says which kind of error it was.

mod backup;
mod check_config;
mod check_sale;
pub mod demo;
pub mod exit;
mod health;
pub mod inspect;
mod keys;
mod logging;
mod openapi;
mod paper;
mod pseudonym;
mod reconcile;
mod reload;
mod runbook;
pub mod serve;
mod signals;
mod table;
mod webhooks;

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand};

pub use self::signals::Signals;
use self::{exit::ExitCode, health::HealthOptions};
use crate::{
    config::{Config, ConfigErrors, Flag, Loaded, Sources},
    sale::rule::Rule,
    telemetry::output,
};

const EXIT_CODES: &str = "Exit codes: 0 clean, 1 a check failed (the demo found a guarantee broken, the service is \
                          not healthy, the store differs from the journal), 2 bad configuration or arguments, 3 \
                          journal damage, 4 storage failed, 5 the data directory is in use.";

/// Flash-sale inventory reservations: answered from memory, never oversold, never lost once acknowledged.
#[derive(Debug, Parser)]
#[command(name = "doorbuster", version, max_term_width = 120, after_long_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Serve(Settings),
    /// Serve, open a sale, send a burst of shoppers at it over HTTP, check the guarantees, and keep serving.
    Demo {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        options: DemoOptions,
    },
    /// Print the configuration in force as TOML, with the source of each value that is not a default; or print every error in
    /// it.
    CheckConfig(Settings),
    /// Check a sale document without a service. Prints what PUT with dry_run=true would answer. Exit code 0: valid; 1: valid, with
    /// warnings; 2: invalid.
    CheckSale {
        /// Configuration file that sets the limits.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The document, in JSON; - reads standard input.
        #[arg(value_name = "FILE")]
        document: PathBuf,
    },
    /// Make API keys, the key for customers' pseudonyms, and secrets of webhooks.
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Read customer ids from standard input, one per line, and print the pseudonym of each, or the id itself if
    /// privacy.customer_ids is "plain".
    Pseudonym {
        /// Configuration file with the privacy settings.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print the OpenAPI document of the HTTP API, with the limits of the configuration in it.
    Openapi {
        /// Configuration file that sets the limits.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print what to do about an alert, or the whole runbook. Needs neither the service nor its data.
    Runbook {
        /// The alert's name, such as DoorbusterDown.
        alert: Option<String>,
    },
    /// Show the contents of journal and snapshots. Changes nothing, and may run while the service runs.
    Inspect {
        /// Configuration file that names the data directory.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Data directory; overrides data.dir.
        #[arg(long, value_name = "DIR")]
        data: Option<String>,
        #[command(flatten)]
        options: InspectOptions,
    },
    /// Compare the store with the journal. Exit code 0: they agree to the unit. 1: something differs, nothing was compared, or
    /// batches are pending and no service is running to apply them. 2: the data directory or the store is missing. 3: the
    /// journal is damaged or older than the store. 4: something could not be read. Without --repair it changes nothing, and may
    /// run while the service runs.
    Reconcile {
        /// Configuration file that names data directory and store.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Data directory; overrides data.dir.
        #[arg(long, value_name = "DIR")]
        data: Option<String>,
        /// Print JSON: one document.
        #[arg(long)]
        json: bool,
        /// Repair the store to match the journal up to its end, in one transaction. The service must not be running: exit code
        /// 5 if it is.
        #[arg(long)]
        repair: bool,
    },
    /// Fill an empty or missing store from snapshot and journal, up to the journal's end. Exit codes as for reconcile, and 2 if
    /// the store is not empty. The service must not be running: exit code 5 if it is.
    Rebuild {
        /// Configuration file that names data directory and store.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Data directory; overrides data.dir.
        #[arg(long, value_name = "DIR")]
        data: Option<String>,
        /// Print JSON: one document.
        #[arg(long)]
        json: bool,
    },
    /// Copy the data directory, with the store if it is a file, into a new directory that can be served like the original. The
    /// service may be running. Exit code 1: the copy has no store, because the store's file cannot be read.
    Backup {
        /// Configuration file that names data directory and store.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Data directory; overrides data.dir.
        #[arg(long, value_name = "DIR")]
        data: Option<String>,
        /// The directory to make.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Print JSON: one document.
        #[arg(long)]
        json: bool,
    },
    /// Ask a running service on this machine whether it takes requests: exit code 0 if it does, 1 if not.
    Health {
        /// Configuration file that names the ops address.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Address of probes and metrics; overrides server.ops_listen.
        #[arg(long, value_name = "ADDR")]
        ops_listen: Option<String>,
        #[command(flatten)]
        options: HealthOptions,
    },
    /// Try the webhooks of the configuration.
    Webhooks {
        #[command(subcommand)]
        command: WebhooksCommand,
    },
    /// Print completions of this command line for a shell.
    Completions { shell: clap_complete::Shell },
    /// Print the manual page.
    Man {
        /// Write it, and one page per command, into this directory instead.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make an API key. Prints the key, only this once, and its line for the configuration under [auth.keys].
    New(keys::New),
    /// Print a new key for privacy.customer_key_file, for customers' pseudonyms.
    Customer,
    /// Print a new secret for the secret_file of a webhook.
    Webhook,
}

#[derive(Debug, Subcommand)]
enum WebhooksCommand {
    /// Send a signed test event to a webhook, and print what came of it. The service need not be running. Exit code 0: it
    /// arrived; 1: it did not; 2: there is no such webhook, or it cannot be used as it is configured.
    Test {
        /// Configuration file with the webhook.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The webhook's name.
        name: String,
    },
}

/// Where the configuration comes from, besides the environment.
#[derive(Debug, Args)]
struct Settings {
    /// Configuration file, in TOML.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory; overrides data.dir.
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Address of the HTTP API; overrides server.listen.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address of probes and metrics; overrides server.ops_listen.
    #[arg(long, value_name = "ADDR")]
    ops_listen: Option<String>,
}

/// Shoppers or units of a demo.
fn count(text: &str) -> Result<u32, String> {
    let rule = Rule::Whole { least: 1, most: 10_000_000, example: 1000 };
    let number = text.parse::<u32>().ok().filter(|number| rule.allows_number((*number).into()));
    number.ok_or_else(|| rule.to_string())
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DemoOptions {
    /// Rehearse this sale document instead, in simulated time and in memory: what would sell out when, who would be refused why.
    /// - reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "units")]
    pub sale: Option<PathBuf>,
    /// Tiers of the shoppers of a rehearsal, separated by commas. Default: those of the document, and none.
    #[arg(long, value_name = "TIERS", value_delimiter = ',', requires = "sale")]
    pub tiers: Vec<String>,
    /// Shoppers, with one to three units in their baskets.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = count)]
    pub shoppers: u32,
    /// Units on sale.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = count)]
    pub units: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub struct InspectOptions {
    /// Print JSON: one document; with --events one object per line, the last of which is that document.
    #[arg(long)]
    pub json: bool,
    /// Also print every event of the journal.
    #[arg(long)]
    pub events: bool,
}

/// Does what the process's arguments say. `signals`: those of a process that serves.
pub fn run(signals: Option<Signals>) -> std::process::ExitCode {
    let taken = || signals.unwrap_or_else(Signals::take);
    let code = match Cli::parse().command {
        Command::Serve(settings) => {
            let sources = settings.sources();
            with_sources(&sources, |loaded| serve::run(loaded.config, sources.clone(), taken()))
        }
        Command::Demo { settings, options } => with_config(settings, |loaded| match &options.sale {
            Some(document) => rehearse(document, &options, &loaded.config),
            None => demo::run(loaded.config, options, taken()),
        }),
        Command::CheckSale { config, document } => {
            let settings = Settings { config, data: None, listen: None, ops_listen: None };
            with_config(settings, |loaded| match check_sale::run(&document, &loaded.config) {
                Err(error) if !is_broken_pipe(&error) => {
                    complain(&format_args!("{error:#}"));
                    ExitCode::BadConfig
                }
                result => finish(result),
            })
        }
        Command::CheckConfig(settings) => with_config(settings, |loaded| finish(check_config::run(&loaded))),
        Command::Keys { command: KeysCommand::New(new) } => finish(keys::run(new)),
        Command::Keys { command: KeysCommand::Customer } => finish(keys::customer()),
        Command::Keys { command: KeysCommand::Webhook } => finish(keys::webhook()),
        Command::Webhooks { command: WebhooksCommand::Test { config, name } } => {
            let settings = Settings { config, data: None, listen: None, ops_listen: None };
            with_loaded(settings.sources().load_again(), |loaded| webhooks::test(&loaded.config, &name))
        }
        Command::Pseudonym { config } => {
            let settings = Settings { config, data: None, listen: None, ops_listen: None };
            with_config(settings, |loaded| finish(pseudonym::run(&loaded.config)))
        }
        Command::Openapi { config } => {
            let settings = Settings { config, data: None, listen: None, ops_listen: None };
            with_config(settings, |loaded| finish(openapi::run(&loaded.config)))
        }
        Command::Runbook { alert } => finish(runbook::run(alert.as_deref())),
        Command::Inspect { config, data, options } => {
            let settings = Settings { config, data, listen: None, ops_listen: None };
            with_config(settings, |loaded| finish(inspect::run(&loaded.config, options)))
        }
        Command::Reconcile { config, data, json, repair } => {
            let settings = Settings { config, data, listen: None, ops_listen: None };
            let run = if repair { reconcile::repair } else { reconcile::run };
            // As the running service reads it: keys may have been removed since its start.
            with_loaded(settings.sources().load_again(), |loaded| finish(run(&loaded.config, json)))
        }
        Command::Rebuild { config, data, json } => {
            let settings = Settings { config, data, listen: None, ops_listen: None };
            with_loaded(settings.sources().load_again(), |loaded| finish(reconcile::rebuild(&loaded.config, json)))
        }
        Command::Backup { config, data, to, json } => {
            let settings = Settings { config, data, listen: None, ops_listen: None };
            with_loaded(settings.sources().load_again(), |loaded| finish(backup::run(&loaded.config, &to, json)))
        }
        Command::Health { config, ops_listen, options } => {
            let settings = Settings { config, data: None, listen: None, ops_listen };
            // As the running service reads it: keys may have been removed since its start.
            let loaded = settings.sources().load_again();
            with_loaded(loaded, |loaded| health::run(loaded.config.server.ops_listen, options))
        }
        Command::Completions { shell } => finish(paper::completions(shell)),
        Command::Man { dir } => finish(paper::man(dir.as_deref())),
    };
    output::finish();
    code.into()
}

/// Plays a crowd against a sale document.
fn rehearse(document: &std::path::Path, options: &DemoOptions, config: &Config) -> ExitCode {
    // What it prints goes through the same threads as that of a demo that serves.
    if let Err(error) = logging::start(&config.log) {
        complain(&format_args!("could not start the log's thread: {error}"));
        return ExitCode::StorageFailed;
    }
    match check_sale::read(document, config) {
        Ok(Ok(settings)) => demo::rehearse(config, &settings, options.shoppers, &options.tiers),
        Ok(Err(errors)) => {
            errors.iter().for_each(|error| complain(&format_args!("{}: {}", error.pointer, error.detail)));
            ExitCode::BadConfig
        }
        Err(error) => {
            complain(&format_args!("{error:#}"));
            ExitCode::BadConfig
        }
    }
}

fn with_config(settings: Settings, run: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    with_sources(&settings.sources(), run)
}

fn with_sources(sources: &Sources, run: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    with_loaded(sources.load(), run)
}

fn with_loaded(loaded: Result<Loaded, ConfigErrors>, run: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    match loaded {
        Ok(loaded) => run(loaded),
        Err(errors) => {
            for error in errors.0 {
                complain(&error);
            }
            ExitCode::BadConfig
        }
    }
}

impl Settings {
    fn sources(self) -> Sources {
        let flags = [
            ("--data", "data", "dir", self.data),
            ("--listen", "server", "listen", self.listen),
            ("--ops-listen", "server", "ops_listen", self.ops_listen),
        ];
        let given = flags.into_iter().filter_map(|(name, section, key, value)| {
            let value = value?;
            Some(Flag { name, section, key, value })
        });
        Sources { file: self.config, environment: std::env::vars_os().collect(), flags: given.collect() }
    }
}

/// The end of a command that only prints. A reader that stops early, such as `head`, is not an error.
fn finish(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::Clean,
        Err(error) => {
            complain(&format_args!("{error:#}"));
            ExitCode::StorageFailed
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.into_iter().any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints the error on standard error. If that fails, the exit code still tells.
pub(crate) fn complain(error: &dyn std::fmt::Display) {
    say_on_stderr(&format!("error: {error}\n"));
}

/// A server does not wait for the reader of its output.
fn say_on_stderr(line: &str) {
    match output::stderr() {
        Some(lines) => lines.push(line.as_bytes()),
        None => drop(io::stderr().write_all(line.as_bytes())),
    }
}

/// Like the standard panic hook, but without waiting for the reader of standard error.
pub fn tell_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let trace = std::backtrace::Backtrace::capture();
    let trace = match trace.status() {
        std::backtrace::BacktraceStatus::Captured => format!("stack backtrace:\n{trace}\n"),
        _ => "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n".to_owned(),
    };
    output::last_words(&format!("\nthread '{name}' {panic}\n{trace}"));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_become_settings() {
        let cli =
            Cli::try_parse_from(["doorbuster", "serve", "--config", "x.toml", "--listen", "127.0.0.1:1"]).unwrap();
        let Command::Serve(settings) = cli.command else { panic!("serve was asked for") };
        let sources = settings.sources();
        assert_eq!(sources.file, Some("x.toml".into()));
        let [flag] = sources.flags.as_slice() else { panic!("one option was given") };
        assert_eq!(
            (flag.name, flag.section, flag.key, flag.value.as_str()),
            ("--listen", "server", "listen", "127.0.0.1:1")
        );
    }

    #[test]
    fn every_option_names_a_key() {
        let settings = |data: &str, listen: &str| Settings {
            config: None,
            data: Some(data.to_owned()),
            listen: Some(listen.to_owned()),
            ops_listen: Some("127.0.0.1:2".to_owned()),
        };
        let sources = settings("/x", "127.0.0.1:1").sources();
        let loaded = Sources { environment: Vec::new(), ..sources }.load().unwrap();
        assert_eq!(loaded.origins.len(), 3);
        assert!(Sources { environment: Vec::new(), ..settings("", "0.0.0.0:1").sources() }.load().is_err());
    }

    #[test]
    fn a_value_that_is_wrong_is_told_with_its_rule() {
        for (option, value) in
            [("--shoppers", "many"), ("--shoppers", "0"), ("--units", "1.5"), ("--units", "10000001")]
        {
            let error = Cli::try_parse_from(["doorbuster", "demo", option, value]).unwrap_err().to_string();
            assert!(error.contains("must be a whole number from 1 to 10000000, such as 1000"), "{error}");
            assert!(error.contains(option) && !error.contains("digit"), "{error}");
        }
    }

    #[test]
    fn the_demo_has_its_defaults() {
        let cli = Cli::try_parse_from(["doorbuster", "demo"]).unwrap();
        let Command::Demo { options, .. } = cli.command else { panic!("the demo was asked for") };
        assert_eq!(options, DemoOptions { sale: None, tiers: Vec::new(), shoppers: 20_000, units: 1000 });
    }
}
