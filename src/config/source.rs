//! Where values come from, and how the sources become one configuration.
//!
//! Each source is checked before it overrides the ones below, so a bad value is an error even if another source overrides it.
//! The environment is an argument, so tests need no process-wide state.

use std::{collections::BTreeMap, ffi::OsString, fs, path::PathBuf};

use figment::{
    Figment,
    providers::{Format, Serialized, Toml},
    value::{Dict, Value},
};

use super::{
    Config, ConfigError, ConfigErrors, Loaded, Origin, SECTIONS,
    sections::{Key, Wrong},
};

/// The prefix of this program's environment variables.
const PREFIX: &str = "DOORBUSTER_";
/// The separator between section and key in a variable's name.
const SEPARATOR: &str = "__";

/// A value given on the command line.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The option, such as `--listen`.
    pub name: &'static str,
    pub section: &'static str,
    pub key: &'static str,
    pub value: String,
}

/// The sources of a configuration; later fields override earlier ones.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub file: Option<PathBuf>,
    /// All variables of the process; those without the prefix are ignored.
    pub environment: Vec<(OsString, OsString)>,
    pub flags: Vec<Flag>,
}

/// The values of one source.
#[derive(Debug, Default)]
struct Layer {
    /// By section and key.
    values: BTreeMap<(&'static str, &'static str), Value>,
    origins: BTreeMap<String, Origin>,
    errors: Vec<ConfigError>,
}

impl Sources {
    /// Reads and checks everything. Returns all errors, not only the first.
    pub fn load(&self) -> Result<Loaded, ConfigErrors> {
        self.load_checked(|config| config.check().into_iter().chain(config.check_start()).collect())
    }

    /// As `load`, for a service that has started.
    pub fn load_again(&self) -> Result<Loaded, ConfigErrors> {
        self.load_checked(Config::check)
    }

    fn load_checked(&self, check: impl FnOnce(&Config) -> Vec<Wrong>) -> Result<Loaded, ConfigErrors> {
        let mut figment = Figment::from(Serialized::defaults(Config::default()));
        let (mut origins, mut errors) = (BTreeMap::new(), Vec::new());
        // Whole values: a table of keys from the environment replaces the file's.
        let mut values = BTreeMap::new();
        for layer in [self.read_file(), self.read_environment(), self.read_flags()] {
            values.extend(layer.values);
            origins.extend(layer.origins);
            errors.extend(layer.errors);
        }
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        for ((section, key), value) in values {
            figment = figment.merge((dotted(section, key), value));
        }
        let config: Config = figment.extract().expect("values that were judged fit their fields");
        let told = check(&config).into_iter().map(|Wrong { key, value, allowed }| {
            let origin = origins.get(&key).cloned();
            ConfigError::Value { key, value, origin, allowed }
        });
        let errors: Vec<_> = told.collect();
        if errors.is_empty() { Ok(Loaded { config, origins }) } else { Err(ConfigErrors(errors)) }
    }

    fn read_file(&self) -> Layer {
        let mut layer = Layer::default();
        let Some(path) = &self.file else { return layer };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(source) => {
                layer.errors.push(ConfigError::Unreadable { path: path.clone(), source });
                return layer;
            }
        };
        let sections: Dict = match Toml::from_str(&text) {
            Ok(sections) => sections,
            Err(error) => {
                let message = in_words(&error.to_string());
                layer.errors.push(ConfigError::Syntax { path: path.clone(), message });
                return layer;
            }
        };
        for (section, values) in sections {
            layer.take_section(&section, values, &Origin::File(path.clone()));
        }
        layer
    }

    fn read_environment(&self) -> Layer {
        let mut layer = Layer::default();
        for (name, value) in &self.environment {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
            let Some(value) = value.to_str() else {
                layer.errors.push(ConfigError::NotText { name: name.to_owned() });
                continue;
            };
            if is_service_link(name, value) {
                continue;
            }
            match all_keys().find(|(section, key)| variable(section, key.name) == name) {
                Some((section, key)) => {
                    layer.take(section, key, key.allowed.read(value), Origin::Variable(name.to_owned()));
                }
                None => {
                    let suggestion = closest(name, all_keys().map(|(section, key)| variable(section, key.name)));
                    layer.errors.push(ConfigError::UnknownVariable { name: name.to_owned(), suggestion });
                }
            }
        }
        layer
    }

    fn read_flags(&self) -> Layer {
        let mut layer = Layer::default();
        for flag in &self.flags {
            let (section, key) = all_keys()
                .find(|(section, key)| *section == flag.section && key.name == flag.key)
                .expect("options of the command line name keys that exist");
            layer.take(section, key, key.allowed.read(&flag.value), Origin::Flag(flag.name));
        }
        layer
    }
}

impl Layer {
    fn take_section(&mut self, section: &str, values: Value, origin: &Origin) {
        let Some(&(name, keys)) = SECTIONS.iter().find(|(name, _)| *name == section) else {
            let suggestion = closest(section, SECTIONS.iter().map(|(name, _)| (*name).to_owned()));
            let (section, origin) = (section.to_owned(), origin.clone());
            self.errors.push(ConfigError::UnknownSection { section, origin, suggestion });
            return;
        };
        let Value::Dict(_, values) = values else {
            let allowed = format!("must be a section with keys, written [{name}]");
            let (key, value) = (name.to_owned(), "one value".to_owned());
            self.errors.push(ConfigError::Value { key, value, origin: Some(origin.clone()), allowed });
            return;
        };
        if let [whole] = keys
            && whole.name.is_empty()
        {
            return self.take(name, whole, values.into(), origin.clone());
        }
        for (written, value) in values {
            match keys.iter().find(|key| key.name == written) {
                Some(key) => self.take(name, key, value, origin.clone()),
                None => {
                    let dotted = |(section, key): (&str, &Key)| dotted(section, key.name);
                    let key = format!("{name}.{written}");
                    // Suggests the right key in the wrong section before a similar key in the right one.
                    let elsewhere = all_keys().find(|(_, key)| key.name == written).map(dotted);
                    let suggestion = elsewhere.or_else(|| closest(&key, all_keys().map(dotted)));
                    self.errors.push(ConfigError::UnknownKey { key, origin: origin.clone(), suggestion });
                }
            }
        }
    }

    fn take(&mut self, section: &'static str, key: &Key, value: Value, origin: Origin) {
        let full = dotted(section, key.name);
        let wrong = key.allowed.wrong(&full, &value);
        if !wrong.is_empty() {
            let told = wrong.into_iter().map(|Wrong { key, value, allowed }| {
                let origin = Some(origin.clone());
                ConfigError::Value { key, value, origin, allowed }
            });
            self.errors.extend(told);
            return;
        }
        self.values.insert((section, key.name), value);
        self.origins.insert(full, origin);
    }
}

/// Why a file is not TOML, for its author: the line, unless it holds a secret, and the right form. The parser's own message
/// speaks of its grammar.
fn in_words(message: &str) -> String {
    let number =
        message.split("at line ").nth(1).and_then(|rest| rest.split(|after: char| !after.is_ascii_digit()).next());
    let line =
        message.lines().find_map(|line| line.split_once(" | ").filter(|(before, _)| number == Some(before.trim())));
    let shown = line.map(|(_, line)| line.trim()).filter(|line| !line.is_empty() && !line.contains("customer_key"));
    let place = number.map_or_else(|| "at its end".to_owned(), |number| format!("in line {number}"));
    let shown = shown.map(|line| format!(", which is: {line}")).unwrap_or_default();
    let why = if message.contains("duplicate key") {
        "a key or a section appears there twice; remove one"
    } else {
        "write each key as name = value on a line of its own, with text in double quotes, below its [section]"
    };
    format!("{place}{shown}\n{why}")
}

fn all_keys() -> impl Iterator<Item = (&'static str, &'static Key)> {
    SECTIONS.iter().flat_map(|(section, keys)| keys.iter().map(|key| (*section, key)))
}

/// A key with its section. A section that is one value has its own name.
pub(super) fn dotted(section: &str, key: &str) -> String {
    if key.is_empty() { section.to_owned() } else { format!("{section}.{key}") }
}

/// The environment variable that sets a key.
fn variable(section: &str, key: &str) -> String {
    let separator = if key.is_empty() { "" } else { SEPARATOR };
    format!("{PREFIX}{section}{separator}{key}").to_ascii_uppercase()
}

/// Whether Kubernetes set the variable: it gives every container variables for a Service whose name starts with `doorbuster`,
/// such as `DOORBUSTER_SERVICE_HOST` and `DOORBUSTER_PORT_8080_TCP=tcp://10.0.0.1:8080`.
fn is_service_link(name: &str, value: &str) -> bool {
    let service = name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_");
    let is_port = name.ends_with("_PORT") || name.contains("_PORT_");
    let protocols = ["tcp://", "udp://", "sctp://"];
    let is_url = protocols.iter().any(|protocol| value.starts_with(protocol));
    let of_port = ["_TCP_", "_UDP_", "_SCTP_"].iter().any(|protocol| name.contains(protocol));
    !name.contains(SEPARATOR) && (service || is_port && (is_url || of_port))
}

/// The name that was probably meant: it differs in at most three letters and a third of its length.
fn closest(written: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let (distance, name) = names.map(|name| (edits(written, &name), name)).min()?;
    (distance <= 3 && distance * 3 <= name.len()).then_some(name)
}

/// Letters to insert, delete or change to turn one text into the other (Levenshtein, row by row).
fn edits(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other_letter) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(letter != other_letter);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_count_letters() {
        for (one, other, expected) in
            [("", "abc", 3), ("abc", "abc", 0), ("flsh_ms", "flush_ms", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(edits(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn variables_that_kubernetes_sets_are_told_apart() {
        for (name, value) in [
            ("DOORBUSTER_SERVICE_HOST", "10.0.0.1"),
            ("DOORBUSTER_SERVICE_PORT", "8080"),
            ("DOORBUSTER_SERVICE_PORT_HTTP_API", "8080"),
            ("DOORBUSTER_PORT", "tcp://10.0.0.1:8080"),
            ("DOORBUSTER_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("DOORBUSTER_PORT_8080_TCP_PROTO", "tcp"),
            ("DOORBUSTER_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("DOORBUSTER_OPS_SERVICE_HOST", "10.0.0.1"),
            ("DOORBUSTER_OPS_PORT_9464_TCP_PORT", "9464"),
        ] {
            assert!(is_service_link(name, value), "{name}");
        }
        for (name, value) in [
            ("DOORBUSTER_PORT", "8080"),
            ("DOORBUSTER_JOURNAL_ACK", "durable"),
            ("DOORBUSTER_SERVER__PORT", "tcp://10.0.0.1:8080"),
            ("DOORBUSTER_SERVER__SERVICE_HOST", "x"),
        ] {
            assert!(!is_service_link(name, value), "{name}");
        }
    }
}
