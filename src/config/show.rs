//! The configuration in force, as TOML that gives the same configuration again.

use std::fmt::Write;

use figment::value::Value;

use super::{Loaded, SECTIONS, webhooks};

impl Loaded {
    /// Every key with its value, and the source of each value that is not a default.
    pub fn to_toml(&self) -> String {
        let sections = Value::serialize(&self.config).expect("a configuration is plain data");
        let mut text = String::new();
        for (index, (section, keys)) in SECTIONS.iter().enumerate() {
            if keys.iter().all(|key| key.name.is_empty()) {
                text += &webhooks::sections(sections.find_ref(section).expect("each section is a field"));
                continue;
            }
            let gap = if index == 0 { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{section}]");
            for key in *keys {
                let full = format!("{section}.{}", key.name);
                let value = sections.find_ref(&full).expect("each key is a field");
                let setting = format!("{} = {}", key.name, key.allowed.show(value));
                let _ = match self.origins.get(&full) {
                    Some(origin) => writeln!(text, "{setting:<36} # {origin}"),
                    None => writeln!(text, "{setting}"),
                };
            }
        }
        text
    }
}
