//! Measures Doorbuster, an upper bound, and alternatives, on one machine and in one run.

mod attacks;
mod batch;
mod beside;
mod bout;
mod ceiling;
mod compare;
mod contenders;
mod front;
mod generator;
mod growth;
mod overload;
mod postgres;
mod rate;
mod redis;
mod service;
mod soak;
mod targets;
mod traffic;
mod workers;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand, builder::RangedU64ValueParser};
use doorbuster_loadtest::{children, machine, plot};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Measures Doorbuster and its peers; starts and stops all of them, on loopback only.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Clone)]
pub struct Common {
    /// The service's binary. Default: built from this checkout.
    #[arg(long, global = true)]
    doorbuster: Option<PathBuf>,
    /// Measurements of each side of a ratio.
    #[arg(long, default_value_t = 5, global = true, value_parser = at_least_one::<usize>())]
    pairs: usize,
    /// Seconds of each measurement, after one second of warm-up.
    #[arg(long, default_value_t = 4, global = true, value_parser = at_least_one::<u64>())]
    seconds: u64,
    /// Directory for plots. Default: no plots.
    #[arg(long, global = true)]
    plots: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Ratios against the design's targets: all of them, or those given, such as P2.
    Targets {
        names: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Compare two builds of the service, alternating: the cost of a change.
    Compare {
        /// The binary from before.
        old: PathBuf,
        /// The binary with the change.
        new: PathBuf,
        /// What to measure, such as P2 P10. Default: everything.
        #[arg(long, num_args = 1..)]
        only: Vec<String>,
        /// The executables of benches/core of both builds, for P7: `cargo bench --bench core --no-run` prints their paths.
        #[arg(long, num_args = 2, value_names = ["OLD", "NEW"])]
        benches: Vec<PathBuf>,
        /// Live holds of the large service, for P8, P9 and P10.
        #[arg(long, default_value_t = 1_000_000, value_parser = at_least_one::<u64>())]
        holds: u64,
        #[command(flatten)]
        common: Common,
    },
    /// One table of all peers: the ceiling, Redis, PostgreSQL, TigerBeetle if it is on the PATH, Doorbuster.
    Peers {
        #[arg(long, default_value_t = 64, value_parser = at_least_one::<usize>())]
        connections: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Single reserves at a constant rate: how long callers wait, counted from when each request was due.
    Rate {
        /// Reserves per second.
        #[arg(value_parser = at_least_one::<u32>())]
        per_second: u32,
        #[arg(long, default_value_t = 256, value_parser = at_least_one::<usize>())]
        connections: usize,
        /// Answers do not wait for the disk.
        #[arg(long)]
        buffered: bool,
        /// Check each grant against its request; costs as much as the rest of the load.
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Serves the ceiling, a bare hyper with the bytes of a grant, until it is stopped: for other tools to measure.
    Ceiling {
        #[arg(default_value = "127.0.0.1:8090")]
        address: SocketAddr,
    },
    /// Rate and latency at 0.5 to 10 times the sustainable rate.
    Overload {
        #[arg(long, default_value_t = 1024, value_parser = at_least_one::<usize>())]
        connections: usize,
        #[command(flatten)]
        common: Common,
    },
    /// The batch call: reservations per second, and its effect on concurrent single requests.
    Batch {
        #[arg(long, default_value_t = 10_000, value_parser = at_least_one::<usize>())]
        entries: usize,
        #[command(flatten)]
        common: Common,
    },
    /// The same load with more and more live holds; memory, scrapes and recovery.
    Growth {
        #[arg(default_values_t = [1_000, 1_000_000, 10_000_000])]
        holds: Vec<u64>,
        #[arg(long, default_value_t = 10_000, value_parser = at_least_one::<u64>())]
        items: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Mixed load at a steady rate for so many minutes, and the memory that it takes.
    Soak {
        #[arg(long, default_value_t = 30, value_parser = at_least_one::<u64>())]
        minutes: u64,
        #[command(flatten)]
        common: Common,
    },
    /// P14, P15 and P18: batches with rules and without; and p99 of reserves alone, while a sale of 10,000 items is put again,
    /// while all holds are extended, and while units come back to many who wait.
    Beside {
        /// Reserves per second.
        #[arg(long, default_value_t = 10_000, value_parser = at_least_one::<u32>())]
        per_second: u32,
        /// Live holds that are extended.
        #[arg(long, default_value_t = 1_000_000, value_parser = at_least_one::<u64>())]
        holds: u64,
        /// Customers on the waitlist of another sale to which units come back.
        #[arg(long, default_value_t = 100_000, value_parser = at_least_one::<u64>())]
        waiting: u64,
        #[command(flatten)]
        common: Common,
    },
    /// A good client's latency, alone and beside each attack, or those named.
    Attacks {
        names: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    #[command(hide = true)]
    ServeRedis { address: SocketAddr, redis: SocketAddr },
    #[command(hide = true)]
    ServePostgres { address: SocketAddr, url: String },
}

/// A number of which there must be some.
fn at_least_one<N: TryFrom<u64>>() -> RangedU64ValueParser<N> {
    RangedU64ValueParser::new().range(1..)
}

impl Common {
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    // A part is stopped by whoever started it.
    if !matches!(command, Command::Ceiling { .. } | Command::ServeRedis { .. } | Command::ServePostgres { .. }) {
        children::end_with_us()?;
    }
    match command {
        Command::Ceiling { address } => ceiling::serve(address),
        Command::ServeRedis { address, redis } => front::serve_redis(address, redis),
        Command::ServePostgres { address, url } => front::serve_postgres(address, &url),
        Command::Targets { names, common } => targets::run(&names, &common),
        Command::Compare { old, new, only, benches, holds, common } => {
            let mut benches = benches.into_iter();
            let builds = [old, new].map(|binary| compare::Build { binary, benches: benches.next() });
            compare::run(&builds, &only, holds, &common)
        }
        Command::Peers { connections, common } => targets::peers(connections, &common),
        Command::Rate { per_second, connections, buffered, check, common } => {
            let setup = service::Setup { durable: !buffered, ..service::Setup::DURABLE };
            rate::run(per_second, connections, setup, check, &common)
        }
        Command::Overload { connections, common } => overload::run(connections, &common),
        Command::Growth { holds, items, common } => growth::run(&holds, items, &common),
        Command::Soak { minutes, common } => soak::run(minutes, &common),
        Command::Beside { per_second, holds, waiting, common } => beside::run(per_second, holds, waiting, &common),
        Command::Attacks { names, common } => attacks::run(&names, &common),
        Command::Batch { entries, common } => batch::run(entries, &common),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    #[test]
    fn nothing_is_measured_with_none_of_what_it_takes() {
        Arguments::command().debug_assert();
        for wrong in [
            "rate 0",
            "rate 100 --connections 0",
            "targets --pairs 0",
            "peers --seconds 0",
            "overload --connections 0",
            "batch --entries 0",
            "growth --items 0",
            "compare old new --holds 0",
            "soak --minutes 0",
            "beside --holds 0",
        ] {
            let told = Arguments::try_parse_from(["measure"].into_iter().chain(wrong.split(' ')));
            assert_eq!(told.err().map(|error| error.kind()), Some(ErrorKind::ValueValidation), "{wrong}");
            let right = wrong.replace(" 0", " 1");
            assert!(Arguments::try_parse_from(["measure"].into_iter().chain(right.split(' '))).is_ok(), "{right}");
        }
    }
}
