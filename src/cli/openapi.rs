//! `openapi`: prints the document that a service with this configuration serves at `/openapi.json`, indented.

use std::io::{self, Write};

use super::exit::ExitCode;
use crate::{config::Config, service};

pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    writeln!(out, "{:#}", service::contract(config))?;
    out.flush()?;
    Ok(ExitCode::Clean)
}
