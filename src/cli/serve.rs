//! `doorbuster serve`: runs until it is told to stop, or the disk fails.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use super::{complain, exit::ExitCode, logging, reload::Reload};
use crate::{
    config::{Config, Sources},
    journal::{RecoveryError, SnapshotError},
    service::{Running, StartError, descriptors, pages},
    store::StoreError,
    traces::Unusable,
};

/// How often the configuration's file is looked at: a key that was removed from it must stop working within a second.
const FILE_LOOK_INTERVAL: Duration = Duration::from_millis(250);

pub fn run(config: Config, sources: Sources) -> ExitCode {
    // From before anything starts: what changes meanwhile is noticed.
    let mut reload = Reload::new(sources, config.clone());
    logging::start(&config.log);
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    pages::keep_small();
    if let Some(shortage) = descriptors::make_room(&config) {
        tracing::warn!("{shortage}");
    }
    let running = match Running::start(&config) {
        Ok(running) => running,
        Err(error) => return refuse_start(&error),
    };
    let signals = EndSignals::watch();
    // On standard output and in one line: whoever started the process with port 0 reads the ports here.
    let scheme = if config.tls.files().is_some() { "https" } else { "http" };
    println!("listening on {scheme}://{} (API) and http://{} (ops)", running.api, running.ops);
    if config.auth.keys.is_empty() {
        tracing::warn!("no keys are configured: whoever reaches {} may do everything", running.api);
    }
    tell_systemd(NotifyState::Ready);
    signals.wait(&running, Some(&mut reload));
    tell_systemd(NotifyState::Stopping);
    stop(running)
}

/// For a unit of `Type=notify`, which counts as started once requests are taken. Without one nobody is told.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd could not be told how far the service is");
    }
}

/// Says why the service did not start, and which exit code that is.
pub fn refuse_start(error: &StartError) -> ExitCode {
    complain(error);
    match error {
        StartError::Listen { .. } | StartError::Directory { .. } | StartError::Tls(_) => ExitCode::BadConfig,
        StartError::CustomerKey(_) | StartError::OtherCustomers { .. } => ExitCode::BadConfig,
        StartError::Traces(Unusable::Endpoint(_)) => ExitCode::BadConfig,
        StartError::InUse { .. } => ExitCode::DataDirectoryInUse,
        // The disk would not be read: what is on it may well be in order.
        StartError::Journal(RecoveryError::Storage(_)) | StartError::Snapshot(SnapshotError::Storage(_)) => {
            ExitCode::StorageFailed
        }
        StartError::Store(StoreError::OtherOwner { .. }) => ExitCode::BadConfig,
        StartError::Journal(_) | StartError::Snapshot(_) | StartError::State(_) => ExitCode::JournalDamaged,
        // The journal is older than its store, or makes no sense to it.
        StartError::Store(error) if error.ends_following() || matches!(error, StoreError::Ahead { .. }) => {
            ExitCode::JournalDamaged
        }
        StartError::Store(_) => ExitCode::StorageFailed,
        StartError::Write(_) | StartError::Thread(_) | StartError::Traces(_) => ExitCode::StorageFailed,
    }
}

/// Returns at SIGTERM, at Ctrl-C, and when the journal has failed.
pub fn wait_for_end(running: &Running) {
    EndSignals::watch().wait(running, None);
}

/// SIGTERM, SIGINT and SIGHUP, watched from the moment this is made: a signal that comes before the wait is not lost.
struct EndSignals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl EndSignals {
    fn watch() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        let entered = runtime.enter();
        let terminate = signal(SignalKind::terminate()).expect("SIGTERM can be watched");
        let interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be watched");
        let hang_up = signal(SignalKind::hangup()).expect("SIGHUP can be watched");
        drop(entered);
        Self { runtime, terminate, interrupt, hang_up }
    }

    /// Waits for the end; meanwhile reads keys anew at SIGHUP and when the configuration's file changes.
    fn wait(mut self, running: &Running, mut reload: Option<&mut Reload>) {
        self.runtime.block_on(async {
            let mut look = tokio::time::interval(FILE_LOOK_INTERVAL);
            loop {
                let asked = tokio::select! {
                    _ = self.terminate.recv() => return tracing::info!("SIGTERM: stopping"),
                    _ = self.interrupt.recv() => return tracing::info!("SIGINT: stopping"),
                    () = running.journal_failed() => return tracing::error!("the journal failed: stopping"),
                    _ = self.hang_up.recv() => {
                        tracing::info!("SIGHUP: reading keys anew");
                        true
                    }
                    _ = look.tick() => false,
                };
                if let Some(reload) = &mut reload
                    && (reload.file_changed() || asked)
                {
                    reload.run(running);
                }
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
