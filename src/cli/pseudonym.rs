//! `pseudonym`: how the service stores customer ids, for people who look for a customer in the store.

use std::io::{self, BufRead, Write};

use anyhow::Context;

use super::exit::ExitCode;
use crate::config::Config;

/// Reads ids from standard input, so that they appear in no process list and no shell history.
pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let ids = config.privacy.customer_ids()?;
    let mut out = io::stdout().lock();
    for id in io::stdin().lock().lines() {
        let id = id.context("cannot read customer ids from standard input")?;
        writeln!(out, "{}", ids.known_as(&id))?;
        out.flush()?;
    }
    Ok(ExitCode::Clean)
}
