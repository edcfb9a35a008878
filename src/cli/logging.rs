//! Logging: to standard error, as text or JSON, through a queue and a thread of its own.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    config::{Log, LogFormat},
    telemetry::output::{self, Lines},
};

/// Starts logging. Log lines never block a thread. Call it once.
pub(super) fn start(log: &Log) -> io::Result<()> {
    output::start(log.queue_bytes_max)?;
    let lines = output::stderr().expect("it was started");
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(move || Line(lines))
        // It would print formatting errors past the queue.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(log.levels().targets());
    match log.format {
        LogFormat::Text => registry.with(layer).init(),
        LogFormat::Json => registry.with(layer.json()).init(),
    }
    Ok(())
}

/// Writes one line at once.
struct Line(&'static Lines);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
