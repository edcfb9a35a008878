//! `doorbuster serve`: runs until a signal stops it, or the disk fails.

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
    journal::{ReadError, RecoveryError, SnapshotError},
    service::{Running, StartError, descriptors, pages},
    store::StoreError,
    telemetry::output,
    traces::Unusable,
    webhooks,
};

/// How often to look at the configuration file: a removed key must stop working within a second.
const FILE_LOOK_INTERVAL: Duration = Duration::from_millis(100);

pub fn run(mut config: Config, sources: Sources, mut signals: Signals) -> ExitCode {
    // Before anything starts, so that later changes are noticed.
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
    // On standard output, in one line: a program that used port 0 reads the ports here.
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

/// Prepares a process that serves: log, memory, limit of open files.
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

/// For a systemd unit of `Type=notify`: it counts as started once the service takes requests.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "could not notify systemd");
    }
}

/// Logs why the service did not start, and returns the exit code.
pub fn refuse_start(error: &StartError) -> ExitCode {
    complain(error);
    match error {
        StartError::Listen { .. } | StartError::Directory { .. } | StartError::Tls(_) => ExitCode::BadConfig,
        StartError::CustomerKey(_) | StartError::OtherCustomers { .. } => ExitCode::BadConfig,
        StartError::Traces(Unusable::Endpoint(_)) => ExitCode::BadConfig,
        StartError::Webhooks(webhooks::Unusable::Thread(_)) => ExitCode::StorageFailed,
        StartError::Webhooks(_) => ExitCode::BadConfig,
        StartError::InUse { .. } => ExitCode::DataDirectoryInUse,
        // The disk could not be read; its contents may be intact.
        StartError::Journal(RecoveryError::Read(ReadError::Unreadable(_)))
        | StartError::Snapshot(SnapshotError::Failed(_)) => ExitCode::StorageFailed,
        StartError::Store(StoreError::OtherOwner { .. }) => ExitCode::BadConfig,
        StartError::Journal(_) | StartError::Snapshot(_) | StartError::State(_) => ExitCode::JournalDamaged,
        // The journal is older than its store, or contradicts it.
        StartError::Store(error) if error.ends_following() || matches!(error, StoreError::Ahead { .. }) => {
            ExitCode::JournalDamaged
        }
        StartError::Store(_) => ExitCode::StorageFailed,
        StartError::Thread(_) | StartError::Traces(_) => ExitCode::StorageFailed,
    }
}

/// Returns at SIGTERM, at Ctrl-C, and when the journal has failed. Until then, reloads keys at SIGHUP and when the
/// configuration file changes.
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

/// Stops in order, and returns the exit code.
pub fn stop(running: Running) -> ExitCode {
    match running.stop() {
        Ok(()) => ExitCode::Clean,
        Err(error) => {
            complain(&error);
            ExitCode::StorageFailed
        }
    }
}
