//! `runbook`: prints what to do about an alert, for when the service that serves the page is down.

use std::io::{self, Write};

use super::{complain, exit::ExitCode};
use crate::runbook;

/// `alert`: whose entry to print; None: the whole page.
pub(super) fn run(alert: Option<&str>) -> anyhow::Result<ExitCode> {
    let text = match alert {
        None => runbook::TEXT.trim_end(),
        Some(alert) => match runbook::entry(alert) {
            Some(entry) => entry,
            None => {
                let names: Vec<_> = runbook::entries().collect();
                complain(&format_args!("the runbook has no entry {alert:?}; it has {}", names.join(", ")));
                return Ok(ExitCode::BadConfig);
            }
        },
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(ExitCode::Clean)
}
