//! `check-sale`: what putting a sale document would come to, without a service.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use anyhow::Context;
use serde_json::json;

use super::exit::ExitCode;
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    http::json::{parse, settings::SettingsBody},
    sale::{
        settings::{Invalid, SaleSettings},
        warnings,
    },
    service::api_limits,
};

/// Reads a document. `-`: from standard input. A document without an id gets one from the file's name.
pub(super) fn read(path: &Path, config: &Config) -> anyhow::Result<Result<SaleSettings, Vec<Invalid>>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes).context("could not read standard input")?;
    } else {
        bytes = std::fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
    }
    let limits = api_limits(config);
    let body = match parse::parse::<SettingsBody>(&bytes, &limits) {
        Ok(body) => body,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let mut settings = SaleSettings::from(body);
    if settings.id.is_empty() {
        "sale".clone_into(&mut settings.id);
    }
    let wrong = settings.check(&limits.sale);
    Ok(if wrong.is_empty() { Ok(settings) } else { Err(wrong) })
}

/// Prints warnings, or what is wrong.
pub(super) fn run(path: &Path, config: &Config) -> anyhow::Result<ExitCode> {
    let (document, code) = match read(path, config)? {
        Ok(settings) => {
            let warnings = warnings::of(&settings, SystemClock.now());
            let code = if warnings.is_empty() { ExitCode::Clean } else { ExitCode::CheckFailed };
            (json!({ "created": true, "warnings": warnings }), code)
        }
        Err(errors) => (json!({ "code": "invalid_request", "errors": errors }), ExitCode::BadConfig),
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{document:#}")?;
    out.flush()?;
    Ok(code)
}
