//! Signals of a process that serves: SIGTERM and SIGINT stop it in order, SIGHUP reloads keys and certificates.
//!
//! Invariant: the process handles them from the first line of `main` on, so none kills it and none is lost, even if it is
//! process 1, for which the kernel drops signals without a handler. Until the service takes requests, SIGTERM and SIGINT end
//! the process at once, with exit code 0: a start that is cut off anywhere leaves a data directory that the next start can
//! read.

use std::{env, ffi::OsStr, process, sync::Arc, thread};

use parking_lot::Mutex;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator,
};
use tokio::sync::mpsc;

use crate::telemetry::output;

/// The commands that serve. All others keep the default actions of signals.
const SERVERS: [&str; 2] = ["serve", "demo"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Terminate,
    Interrupt,
    HangUp,
}

impl Signal {
    fn of(number: i32) -> Self {
        match number {
            SIGTERM => Self::Terminate,
            SIGINT => Self::Interrupt,
            SIGHUP => Self::HangUp,
            other => unreachable!("signal {other} is not watched"),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::HangUp => "SIGHUP",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Serving,
}

/// Signals in the order of arrival.
pub struct Signals {
    phase: Arc<Mutex<Phase>>,
    queue: mpsc::UnboundedReceiver<Signal>,
}

impl Signals {
    /// Handles signals from now on, if the command line is for a server. Looks at nothing else on it.
    pub fn take_if_serving() -> Option<Self> {
        let command = env::args_os().nth(1)?;
        SERVERS.iter().any(|server| command == OsStr::new(server)).then(Self::take)
    }

    pub fn take() -> Self {
        let mut signals = iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]).expect("these signals can be taken");
        let phase = Arc::new(Mutex::new(Phase::Starting));
        // Unbounded but small: the kernel merges equal pending signals.
        let (sender, queue) = mpsc::unbounded_channel();
        let seen = phase.clone();
        let run = move || {
            for signal in signals.forever().map(Signal::of) {
                let phase = seen.lock();
                match (*phase, signal) {
                    (Phase::Starting, Signal::Terminate | Signal::Interrupt) => end_the_start(signal),
                    (Phase::Serving, _) | (Phase::Starting, Signal::HangUp) => drop(sender.send(signal)),
                }
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(run).expect("a thread can be started");
        Self { phase, queue }
    }

    /// From here on requests may be in flight, so the service itself stops in order.
    pub fn serving(&self) {
        *self.phase.lock() = Phase::Serving;
    }

    /// The next signal, including one that came before this call.
    pub async fn next(&mut self) -> Signal {
        self.queue.recv().await.expect("the thread of signals does not end")
    }

    /// Resolves when the process is to end.
    pub async fn end(&mut self) -> Signal {
        loop {
            match self.next().await {
                end @ (Signal::Terminate | Signal::Interrupt) => return end,
                Signal::HangUp => {}
            }
        }
    }
}

fn end_the_start(signal: Signal) -> ! {
    tracing::info!("{} while starting: stopping", signal.name());
    output::finish();
    process::exit(0)
}
