//! Errors in a configuration. Each message names the key, the value, its source and what is allowed.

use std::{fmt, io, path::PathBuf};

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    /// The environment variable of this name.
    Variable(String),
    /// The command-line option of this name.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "option {name}"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is not valid TOML {message}", path.display())]
    Syntax { path: PathBuf, message: String },
    #[error("[{section}] in {origin} is unknown: there is no such section{}", did_you_mean(.suggestion))]
    UnknownSection { section: String, origin: Origin, suggestion: Option<String> },
    #[error("{key} in {origin} is unknown: there is no such key{}", did_you_mean(.suggestion))]
    UnknownKey { key: String, origin: Origin, suggestion: Option<String> },
    #[error("environment variable {name} is unknown: it sets no key{}", did_you_mean(.suggestion))]
    UnknownVariable { name: String, suggestion: Option<String> },
    #[error("environment variable {name} is not UTF-8")]
    NotText { name: String },
    #[error("{key} = {value} from {}: {allowed}", origin_of(.origin))]
    Value { key: String, value: String, origin: Option<Origin>, allowed: String },
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

fn origin_of(origin: &Option<Origin>) -> String {
    origin.as_ref().map_or_else(|| "the default".to_owned(), Origin::to_string)
}

/// Every error in a configuration, one per line. Never empty.
#[derive(Debug)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
