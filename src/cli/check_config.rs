//! `check-config`: the configuration in force.

use std::io::{self, Write};

use super::exit::ExitCode;
use crate::config::Loaded;

pub(super) fn run(loaded: &Loaded) -> anyhow::Result<ExitCode> {
    for warning in loaded.config.warnings() {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    let mut out = io::stdout().lock();
    out.write_all(loaded.to_toml().as_bytes())?;
    out.flush()?;
    Ok(ExitCode::Clean)
}
