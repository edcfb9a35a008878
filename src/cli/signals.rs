//! Signals of a process that serves: SIGTERM and SIGINT end it in order, SIGHUP has keys and certificates read anew.
//!
//! Invariant: they are taken from the first line of `main` on, so none kills, and none is lost even where this is process 1,
//! for which the kernel drops what it has no handler for. Until the service takes requests, SIGTERM and SIGINT end the process
//! at once, with exit code 0: a start leaves a data directory that the next start reads, wherever it is cut off.

use std::{env, ffi::OsStr, process, sync::Arc, thread};

use parking_lot::Mutex;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator,
};
use tokio::sync::mpsc;

use crate::telemetry::output;

/// The commands that serve. All others keep what signals do by default.
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

/// Signals as they come.
pub struct Signals {
    phase: Arc<Mutex<Phase>>,
    queue: mpsc::UnboundedReceiver<Signal>,
}

impl Signals {
    /// Takes signals from now on, where the command line asks for a server. Looks at no more of it than that.
    pub fn take_if_serving() -> Option<Self> {
        let command = env::args_os().nth(1)?;
        SERVERS.iter().any(|server| command == OsStr::new(server)).then(Self::take)
    }

    pub fn take() -> Self {
        let mut signals = iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]).expect("these signals can be taken");
        let phase = Arc::new(Mutex::new(Phase::Starting));
        // Unbounded, and yet small: the kernel folds equal signals that wait.
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

    /// From here on requests may be under way: the end is the service's to make.
    pub fn serving(&self) {
        *self.phase.lock() = Phase::Serving;
    }

    /// The next signal; one that came before this was asked is not lost.
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
    tracing::info!("{} while starting: ending", signal.name());
    output::finish();
    process::exit(0)
}
