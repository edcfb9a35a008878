//! `pseudonym`: what customers are known by, for those who look for somebody in the store.

use std::io::{self, BufRead, Write};

use anyhow::Context;

use super::exit::ExitCode;
use crate::config::Config;

/// Ids come on standard input, so that they stand in no list of processes and in no history of a shell.
pub fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let ids = config.privacy.customer_ids()?;
    let mut out = io::stdout().lock();
    for id in io::stdin().lock().lines() {
        let id = id.context("customers' ids cannot be read from standard input")?;
        writeln!(out, "{}", ids.known_as(&id))?;
        out.flush()?;
    }
    Ok(ExitCode::Clean)
}
