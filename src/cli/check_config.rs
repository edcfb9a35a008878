//! `check-config`: the configuration in force, and whether webhooks' files can be used.

use std::io::{self, Write};

use super::{complain, exit::ExitCode};
use crate::{config::Loaded, webhooks::Settings};

pub(super) fn run(loaded: &Loaded) -> anyhow::Result<ExitCode> {
    for warning in loaded.config.warnings() {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    let mut out = io::stdout().lock();
    out.write_all(loaded.to_toml().as_bytes())?;
    out.flush()?;
    let unusable: Vec<_> = loaded.config.webhooks.settings().iter().flat_map(Settings::check).collect();
    unusable.iter().for_each(|error| complain(error));
    Ok(if unusable.is_empty() { ExitCode::Clean } else { ExitCode::BadConfig })
}
