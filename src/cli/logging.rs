//! Where logs go: standard error, as text or as JSON.

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// From here on the process logs. To be called once.
pub fn start(log: &Log) {
    let filter = EnvFilter::try_new(&log.level).expect("checked with the configuration");
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    match log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
