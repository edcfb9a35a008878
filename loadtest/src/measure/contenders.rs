//! The measured systems, and how to start each.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::{
    children::{Directory, Process, free_address, this_program},
    generator::{self, Load, Pace, Seen},
    machine, postgres, redis,
    redis::Sync,
    service::{self, SALE, Service, Setup},
    traffic::{Reserves, Scripted},
};

#[derive(Debug, Clone, Copy)]
pub enum Contender {
    /// A bare hyper that answers the same bytes.
    Ceiling,
    Doorbuster(Setup),
    /// Asked in its own protocol, one request a round trip.
    Redis(Sync),
    /// Behind the same HTTP front.
    RedisBehindHttp(Sync),
    PostgresBehindHttp,
}

/// One of them, running.
pub struct Running {
    service: Option<Service>,
    /// How the service was set up.
    setup: Option<Setup>,
    processes: Vec<Process>,
    address: SocketAddr,
    script: Option<String>,
    items: u64,
    directory: Directory,
}

impl Contender {
    pub fn start(&self, doorbuster: &Path) -> anyhow::Result<Running> {
        let directory = Directory::new()?;
        let mut running = Running {
            service: None,
            setup: None,
            processes: Vec::new(),
            address: free_address()?,
            script: None,
            items: 1,
            directory,
        };
        let path = running.directory.path().to_owned();
        let address = running.address.to_string();
        match self {
            Self::Ceiling => {
                let mut command = this_program("ceiling")?;
                command.arg(&address);
                running.processes.push(Process::start("the ceiling", command, running.address)?);
            }
            Self::Doorbuster(setup) => {
                let service = service::start(doorbuster, &path, setup)?;
                (running.address, running.items) = (service.address, setup.items);
                (running.service, running.setup) = (Some(service), Some(*setup));
            }
            Self::Redis(sync) => {
                let (process, address, script) = redis::start(&path, *sync)?;
                running.processes.push(process);
                (running.address, running.script) = (address, Some(script));
            }
            Self::RedisBehindHttp(sync) => {
                let (process, redis, _) = redis::start(&path, *sync)?;
                let mut command = this_program("serve-redis")?;
                command.args([&address, &redis.to_string()]);
                let front = Process::start("the front of Redis", command, running.address)?;
                running.processes.extend([front, process]);
            }
            Self::PostgresBehindHttp => {
                let (process, url) = postgres::start(&path)?;
                let mut command = this_program("serve-postgres")?;
                command.args([&address, &url]);
                let front = Process::start("the front of PostgreSQL", command, running.address)?;
                running.processes.extend([front, process]);
            }
        }
        Ok(running)
    }
}

/// How it is asked.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    pub connections: usize,
    pub pace: Pace,
    pub warm_up: Duration,
    pub time: Duration,
    /// Hold each grant against its request.
    pub check: bool,
}

/// What one measurement gave.
#[derive(Debug, Clone)]
pub struct Figures {
    pub seen: Seen,
    /// Microseconds of processor time that the contender took for each answer.
    pub cpu_micros: f64,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct JournalBytes {
    pub snapshot: u64,
    pub journal: u64,
}

impl Running {
    /// Asks, and lets the store catch up, so that the next measurement does not pay for this one.
    pub fn measure(&self, ask: &Ask) -> anyhow::Result<Figures> {
        let figures = self.ask(ask)?;
        self.settle()?;
        Ok(figures)
    }

    /// Lets the store catch up.
    pub fn settle(&self) -> anyhow::Result<()> {
        match (&self.service, self.setup) {
            (Some(service), Some(setup)) if !setup.store_away => service.settle(),
            _ => Ok(()),
        }
    }

    pub fn ask(&self, ask: &Ask) -> anyhow::Result<Figures> {
        let load = Load {
            address: self.address,
            connections: ask.connections,
            threads: std::thread::available_parallelism()?.get().min(ask.connections),
            pace: ask.pace,
            warm_up: ask.warm_up,
            time: ask.time,
            give_up: Duration::from_secs(1),
        };
        let processes = self.processes();
        let mut before = 0.0;
        let at_start = || before = machine::cpu_seconds(&processes);
        let host = self.address.to_string();
        let seen = match &self.script {
            Some(sha) => generator::run(&load, |thread| Scripted::new(sha, thread), at_start)?,
            None => {
                let reserves = |thread| Reserves::new(&host, SALE, self.items, thread, ask.check);
                generator::run(&load, reserves, at_start)?
            }
        };
        let cpu = machine::cpu_seconds(&processes) - before;
        anyhow::ensure!(seen.wrong == 0, "{} answers were not of their requests", seen.wrong);
        if let Some(service) = &self.service {
            service::check_conservation(service)?;
        }
        Ok(Figures { cpu_micros: cpu * 1e6 / seen.answers() as f64, seen })
    }

    /// The service; there is one where the contender is Doorbuster.
    pub fn service(&self) -> &Service {
        self.service.as_ref().expect("Doorbuster is measured")
    }

    /// Bytes of the newest snapshot and of the journal behind it.
    pub fn journal_bytes(&self) -> anyhow::Result<JournalBytes> {
        let mut bytes = JournalBytes::default();
        for entry in std::fs::read_dir(self.directory.path().join("data/journal"))? {
            let entry = entry?;
            let (name, length) = (entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len());
            if name.ends_with(".snap") {
                bytes.snapshot = bytes.snapshot.max(length);
            } else if name.ends_with(".seg") {
                bytes.journal += length;
            }
        }
        Ok(bytes)
    }

    /// Kills the service and starts it on what it left; how long it took to be ready.
    pub fn crash_and_recover(&mut self, doorbuster: &Path) -> anyhow::Result<Duration> {
        let setup = self.setup.context("Doorbuster is measured")?;
        if let Some(mut service) = self.service.take() {
            service.process.kill()?;
        }
        let begin = Instant::now();
        let service = service::start_again(doorbuster, self.directory.path(), &setup)?;
        let took = begin.elapsed();
        self.address = service.address;
        self.service = Some(service);
        Ok(took)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Postgres works in children of its own, which are counted once they are there.
    pub fn processes(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.processes.iter().map(Process::id).collect();
        all.extend(self.service.iter().map(|service| service.process.id()));
        let parents = all.clone();
        all.extend(parents.into_iter().flat_map(machine::children));
        all
    }
}
