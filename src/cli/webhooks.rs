//! `webhooks test`: sends a test event to an endpoint.

use std::io::{self, Write};

use serde_json::json;
use uuid::Builder;

use super::{complain, exit::ExitCode};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    webhooks::{Outcome, Settings, Unusable},
};

pub(super) fn test(config: &Config, name: &str) -> ExitCode {
    let settings = config.webhooks.settings();
    let Some(settings) = settings.iter().find(|settings| settings.name == name) else {
        let names: Vec<_> = settings.iter().map(|settings| settings.name.as_str()).collect();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        complain(&format_args!("the configuration has no webhook {name:?}; it has: {known}"));
        return ExitCode::BadConfig;
    };
    match send(settings) {
        Ok(Outcome::Delivered) => {
            // If printing fails, the exit code still tells.
            let _ = writeln!(io::stdout(), "{name}: the test event arrived at {}", settings.target.shown());
            ExitCode::Clean
        }
        Ok(Outcome::Failed(failure)) => {
            complain(&format_args!(
                "{name}: the test event did not arrive at {}: {}",
                settings.target.shown(),
                failure.detail
            ));
            ExitCode::CheckFailed
        }
        Err(error) => {
            complain(&error);
            ExitCode::BadConfig
        }
    }
}

/// As the service sends events, once.
fn send(settings: &Settings) -> Result<Outcome, Unusable> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Unusable::Thread)?;
    let (sender, secrets) = (settings.sender()?, settings.secrets()?);
    let (id, at) = (format!("test-{}", Builder::from_random_bytes(rand::random()).into_uuid()), SystemClock.now());
    let event = json!({
        "specversion": "1.0",
        "id": id,
        "source": format!("/v1/webhooks/{}", settings.name),
        "type": "webhook.test",
        "time": at,
        "datacontenttype": "application/json",
        "data": { "webhook": settings.name },
    });
    let outcome = runtime.block_on(sender.deliver(&secrets, &id, event.to_string().into(), at));
    // A name that is being resolved is not waited for.
    runtime.shutdown_background();
    Ok(outcome)
}
