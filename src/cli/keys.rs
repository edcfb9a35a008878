//! `keys new`: makes an API key, and its line for the configuration. `keys customer`: makes the key for customers' pseudonyms.
//! `keys webhook`: makes a webhook's secret.

use std::io::{self, Write};

use clap::Args;

use super::exit::ExitCode;
use crate::{
    auth::{Channel, KeySettings, Minted, Pattern, Role, is_key_name, mint},
    privacy::CustomerKey,
    webhooks::secret_of,
};

#[derive(Debug, Args)]
pub(super) struct New {
    /// Name of the caller, such as checkout-eu; a-z, 0-9, - and _.
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: String,
    /// viewer reads; checkout also reserves, extends, confirms, releases; operator also changes sales and stock.
    #[arg(long, value_enum)]
    role: Role,
    /// A sale that the key is for, with * for any characters; may be given more than once. Default: all sales.
    #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
    sales: Vec<Pattern>,
    /// A channel that the key is tied to; may be given more than once. Default: all channels.
    #[arg(long, value_name = "CHANNEL", value_parser = parse_channel)]
    channel: Vec<Channel>,
}

fn parse_name(text: &str) -> Result<String, &'static str> {
    if is_key_name(text) { Ok(text.to_owned()) } else { Err("must be 1 to 64 characters from a-z, 0-9, - and _") }
}

fn parse_pattern(text: &str) -> Result<Pattern, &'static str> {
    text.to_owned().try_into()
}

fn parse_channel(text: &str) -> Result<Channel, String> {
    text.to_owned().try_into()
}

/// The key on the first line, the configuration's line on the second; what to do with them on standard error.
pub(super) fn run(new: New) -> anyhow::Result<ExitCode> {
    let Minted { key, hash } = mint(rand::random(), rand::random(), rand::random());
    let line = config_line(&new.name, &KeySettings { role: new.role, sales: new.sales, channels: new.channel, hash });
    let mut out = io::stdout().lock();
    writeln!(out, "{key}\n{line}")?;
    out.flush()?;
    let _ = writeln!(
        io::stderr(),
        "The first line is the key: give it to the caller. It is shown only this once. The second line goes into the \
         configuration under [auth.keys]; nobody can derive the key from it. A running service reads it within a \
         second."
    );
    Ok(ExitCode::Clean)
}

/// A fresh key for `privacy.customer_key_file`, alone on a line.
pub(super) fn customer() -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", CustomerKey::of_bytes(rand::random()).reveal())?;
    out.flush()?;
    let _ = writeln!(
        io::stderr(),
        "Keep the key in a file that only the service can read, and set privacy.customer_key_file to that file. \
         Anyone with the key can tell whose a pseudonym is. Without it nobody can, and customers can no longer be \
         found: keep a copy."
    );
    Ok(ExitCode::Clean)
}

/// A fresh secret for a webhook, alone on a line.
pub(super) fn webhook() -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", secret_of(rand::random()))?;
    out.flush()?;
    let _ = writeln!(
        io::stderr(),
        "Keep the secret in a file that only the service can read, set the webhook's secret_file to that file, and give the \
         secret to the receiver. To replace a secret, put the new one on the first line and the old one on the second, until \
         the receiver takes the new one."
    );
    Ok(ExitCode::Clean)
}

fn config_line(name: &str, key: &KeySettings) -> String {
    let sales: Vec<_> = key.sales.iter().map(|pattern| format!("\"{pattern}\"")).collect();
    let sales = if sales.is_empty() { String::new() } else { format!("sales = [{}], ", sales.join(", ")) };
    let channels: Vec<_> = key.channels.iter().map(|channel| format!("\"{}\"", channel.as_str())).collect();
    let channels = if channels.is_empty() { String::new() } else { format!("channels = [{}], ", channels.join(", ")) };
    format!("{name} = {{ role = \"{}\", {sales}{channels}hash = \"{}\" }}", key.role.as_str(), key.hash)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_line_is_what_the_configuration_takes() {
        use figment::providers::{Format, Toml};
        let hash = mint(1, [2, 3, 4], [5; 32]).hash;
        for sales in [Vec::new(), vec!["a-*".to_owned().try_into().unwrap(), "b".to_owned().try_into().unwrap()]] {
            let channels = sales.iter().map(|_| "app".to_owned().try_into().unwrap()).collect();
            let key = KeySettings { role: Role::Operator, sales, channels, hash: hash.clone() };
            let read: BTreeMap<String, KeySettings> = Toml::from_str(&config_line("eu-1", &key)).unwrap();
            assert_eq!(read["eu-1"], key);
        }
    }
}
