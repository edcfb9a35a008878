//! `doorbuster serve`: runs until it is told to stop, or the disk fails.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::Builder;

use super::{
    complain,
    exit::ExitCode,
    logging,
    reload::Reload,
    signals::{Signal, Signals},
};
use crate::{
    config::{Config, Sources},
    journal::{RecoveryError, SnapshotError},
    service::{Running, StartError, descriptors, pages},
    store::StoreError,
    telemetry::output,
    traces::Unusable,
};

/// How often the configuration's file is looked at: a key that was removed from it must stop working within a second.
const FILE_LOOK_INTERVAL: Duration = Duration::from_millis(100);

pub fn run(mut config: Config, sources: Sources, mut signals: Signals) -> ExitCode {
    // From before anything starts: what changes meanwhile is noticed.
    let mut reload = Reload::new(sources, config.clone());
    if let Err(code) = prepare(&mut config, descriptors::Purpose::Serve) {
        return code;
    }
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let running = match Running::start_then(&config, || signals.serving()) {
        Ok(running) => running,
        Err(error) => return refuse_start(&error),
    };
    // On standard output and in one line: whoever started the process with port 0 reads the ports here.
    let scheme = if config.tls.files().is_some() { "https" } else { "http" };
    let listening = format!("listening on {scheme}://{} (API) and http://{} (ops)", running.api, running.ops);
    tracing::info!("{listening}");
    if let Some(stdout) = output::stdout() {
        stdout.push(format!("{listening}\n").as_bytes());
    }
    if !config.auth.asks_for_key() {
        tracing::warn!("no keys are configured: anyone who can reach {} may do everything", running.api);
    }
    tell_systemd(NotifyState::Ready);
    wait(&running, &mut signals, Some(&mut reload));
    tell_systemd(NotifyState::Stopping);
    stop(running)
}

/// What a process that serves does before anything else: the log, memory, room for open files.
pub fn prepare(config: &mut Config, purpose: descriptors::Purpose) -> Result<(), ExitCode> {
    if let Err(error) = logging::start(&config.log) {
        complain(&format_args!("could not start the log's thread: {error}"));
        return Err(ExitCode::StorageFailed);
    }
    pages::keep_small();
    match descriptors::make_room(config, purpose) {
        Ok(None) => Ok(()),
        Ok(Some(shortage)) => {
            tracing::warn!("{shortage}");
            Ok(())
        }
        Err(too_few) => {
            complain(&too_few);
            Err(ExitCode::BadConfig)
        }
    }
}

/// For a unit of `Type=notify`, which counts as started once requests are taken. Without one nobody is told.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "could not notify systemd");
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

/// Returns at SIGTERM, at Ctrl-C, and when the journal has failed. Meanwhile keys are read anew at SIGHUP and when the
/// configuration's file changes.
pub fn wait(running: &Running, signals: &mut Signals, mut reload: Option<&mut Reload>) {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime can be made");
    runtime.block_on(async {
        let mut look = tokio::time::interval(FILE_LOOK_INTERVAL);
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Terminate | Signal::Interrupt => return tracing::info!("{}: stopping", signal.name()),
                    Signal::HangUp => {
                        tracing::info!("SIGHUP: reloading keys and certificates");
                        if let Some(reload) = &mut reload {
                            reload.ask();
                        }
                    }
                },
                () = running.journal_failed() => return tracing::error!("the journal failed: stopping"),
                _ = look.tick() => if let Some(reload) = &mut reload {
                    reload.look(running);
                },
            }
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
