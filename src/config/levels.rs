//! What to log: a default level, and levels of single modules.
//!
//! Invariant: every accepted filter has an effect. An unknown level or module is refused, because a filter that matches nothing
//! would silence the log.

use tracing_subscriber::filter::{LevelFilter, Targets};

/// By their names in the configuration.
pub(super) const NAMES: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// Modules of this program that log.
const MODULES: [&str; 18] = [
    "api",
    "auth",
    "backup",
    "cli",
    "clock",
    "config",
    "engine",
    "events",
    "http",
    "journal",
    "privacy",
    "reconcile",
    "reports",
    "service",
    "store",
    "telemetry",
    "traces",
    "webhooks",
];

/// Libraries that log.
const LIBRARIES: [&str; 8] = [
    "h2",
    "hyper",
    "hyper_util",
    "opentelemetry",
    "opentelemetry_otlp",
    "opentelemetry_sdk",
    "rustls",
    "tokio_postgres",
];

/// A parsed filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    rest: LevelFilter,
    modules: Vec<(String, LevelFilter)>,
}

impl Levels {
    /// Reads `info` or `info,doorbuster::store=debug`; says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut rest, mut modules) = (None, Vec::new());
        for part in text.split(',') {
            match part.split_once('=') {
                None if rest.replace(level(part)?).is_some() => return Err("it has two default levels".to_owned()),
                None => {}
                Some((module, _)) if !is_module(module) => {
                    return Err(format!(
                        "there is no module {module:?}; the modules are doorbuster, doorbuster::{}; {}",
                        MODULES.join(", doorbuster::"),
                        LIBRARIES.join(", ")
                    ));
                }
                Some((module, name)) => modules.push((module.to_owned(), level(name)?)),
            }
        }
        let rest = rest.ok_or("it has no default level, such as \"info\" in \"info,doorbuster::store=debug\"")?;
        Ok(Self { rest, modules })
    }

    pub fn targets(self) -> Targets {
        Targets::new().with_default(self.rest).with_targets(self.modules)
    }
}

fn level(name: &str) -> Result<LevelFilter, String> {
    let known = NAMES.iter().find(|(known, _)| *known == name).map(|(_, level)| *level);
    known.ok_or_else(|| format!("there is no level {name:?}"))
}

fn is_module(target: &str) -> bool {
    let of_ours = target.strip_prefix("doorbuster::").is_some_and(|module| MODULES.contains(&module));
    target == "doorbuster" || of_ours || LIBRARIES.contains(&target)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn levels_are_those_of_the_modules_and_of_the_rest() {
        let targets = Levels::parse("warn,doorbuster::store=debug,hyper=off").unwrap().targets();
        let enabled = |target: &str, level: Level| targets.would_enable(target, &level);
        assert!(enabled("doorbuster::http", Level::WARN) && !enabled("doorbuster::http", Level::INFO));
        assert!(enabled("doorbuster::store::sqlite", Level::DEBUG) && !enabled("doorbuster::store", Level::TRACE));
        assert!(!enabled("hyper::proto", Level::ERROR));
        for (name, level) in NAMES {
            assert_eq!(Levels::parse(name), Ok(Levels { rest: level, modules: Vec::new() }));
        }
    }

    #[test]
    fn what_would_match_nothing_is_refused() {
        for (text, told) in [
            ("loud", "no level \"loud\""),
            ("", "no level \"\""),
            ("INFO", "no level \"INFO\""),
            ("info,", "no level \"\""),
            ("info,debug", "two default levels"),
            ("doorbuster::store=debug", "no default level"),
            ("info,doorbuster::stor=debug", "no module \"doorbuster::stor\""),
            ("info,store=debug", "no module \"store\""),
            ("info,doorbuster::store=loud", "no level \"loud\""),
            ("info,doorbuster::store", "no level"),
        ] {
            let error = Levels::parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn every_module_is_named() {
        let source = include_str!("../lib.rs");
        let modules = source.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
        // Crates of the workspace, which log under this one's name.
        let crates = source.lines().filter_map(|line| line.strip_prefix("pub use ::{")?.strip_suffix("};"));
        let declared = modules.chain(crates.flat_map(|names| names.split(", ")));
        // These do not log.
        let mut declared: Vec<_> = declared.filter(|module| !["pace", "runbook", "sale"].contains(module)).collect();
        declared.sort_unstable();
        assert_eq!(declared, MODULES);
    }
}
