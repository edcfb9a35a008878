//! `doorbuster serve`: runs until it is told to stop, or the disk fails.

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use super::{complain, exit::ExitCode, logging};
use crate::{
    config::Config,
    journal::{RecoveryError, SnapshotError},
    service::{Running, StartError},
};

pub fn run(config: Config) -> ExitCode {
    logging::start(&config.log);
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let running = match Running::start(&config) {
        Ok(running) => running,
        Err(error) => return refuse_start(&error),
    };
    let signals = EndSignals::watch();
    // On standard output and in one line: whoever started the process with port 0 reads the ports here.
    println!("listening on http://{} (API) and http://{} (ops)", running.api, running.ops);
    signals.wait(&running);
    stop(running)
}

/// Says why the service did not start, and which exit code that is.
pub fn refuse_start(error: &StartError) -> ExitCode {
    complain(error);
    match error {
        StartError::Listen { .. } | StartError::Directory { .. } => ExitCode::BadConfig,
        StartError::InUse { .. } => ExitCode::DataDirectoryInUse,
        // The disk would not be read: what is on it may well be in order.
        StartError::Journal(RecoveryError::Storage(_)) | StartError::Snapshot(SnapshotError::Storage(_)) => {
            ExitCode::StorageFailed
        }
        StartError::Journal(_) | StartError::Snapshot(_) | StartError::State(_) | StartError::Store(_) => {
            ExitCode::JournalDamaged
        }
        StartError::Write(_) | StartError::Thread(_) => ExitCode::StorageFailed,
    }
}

/// Returns at SIGTERM, at Ctrl-C, and when the journal has failed.
pub fn wait_for_end(running: &Running) {
    EndSignals::watch().wait(running);
}

/// SIGTERM and SIGINT, watched from the moment this is made: a signal that comes before the wait is not lost.
struct EndSignals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    fn watch() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        let entered = runtime.enter();
        let terminate = signal(SignalKind::terminate()).expect("SIGTERM can be watched");
        let interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be watched");
        drop(entered);
        Self { runtime, terminate, interrupt }
    }

    fn wait(mut self, running: &Running) {
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.terminate.recv() => tracing::info!("SIGTERM: stopping"),
                _ = self.interrupt.recv() => tracing::info!("SIGINT: stopping"),
                () = running.journal_failed() => tracing::error!("the journal failed: stopping"),
            }
        });
    }
}

/// Stops in order, and says how that went.
pub fn stop(running: Running) -> ExitCode {
    match running.stop() {
        Ok(()) => ExitCode::Clean,
        Err(error) => {
            complain(&error);
            ExitCode::StorageFailed
        }
    }
}
