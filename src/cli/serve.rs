//! `doorbuster serve`: runs until it is told to stop, or the disk fails.

use tokio::signal::unix::{SignalKind, signal};

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
    // On standard output and in one line: whoever started the process with port 0 reads the ports here.
    println!("listening on http://{} (API) and http://{} (ops)", running.api, running.ops);
    wait_for_end(&running);
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be watched");
        let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be watched");
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            () = running.journal_failed() => tracing::error!("the journal failed: stopping"),
        }
    });
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
