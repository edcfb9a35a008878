//! Reading the configuration anew while the service runs: keys and certificates take effect, everything else waits for the
//! next start.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use super::complain;
use crate::{
    config::{Config, Sources},
    service::Running,
};

pub struct Reload {
    sources: Sources,
    config: Config,
    /// Of the configuration's file, and of the files of TLS.
    versions: Vec<Option<FileVersion>>,
}

/// What changes when a file is written, or replaced by another, or a link to it is.
type FileVersion = (u64, i64, i64, u64);

impl Reload {
    /// `config`: as it was read from the sources at the start.
    pub fn new(sources: Sources, config: Config) -> Self {
        let versions = versions(&sources, &config);
        Self { sources, config, versions }
    }

    /// Whether one of the files is another than when this was asked before.
    pub fn file_changed(&mut self) -> bool {
        let before = std::mem::replace(&mut self.versions, versions(&self.sources, &self.config));
        // A file that is away for a moment is being replaced.
        self.versions.iter().zip(&before).any(|(now, before)| now.is_some() && now != before)
    }

    /// Takes over keys and certificates as they are now. A configuration that cannot be used changes nothing.
    pub fn run(&mut self, running: &Running) {
        let config = match self.sources.load_again() {
            Ok(loaded) => loaded.config,
            Err(errors) => {
                for error in errors.0 {
                    complain(&error);
                }
                tracing::error!("the configuration cannot be used; the keys stay as they were");
                return;
            }
        };
        if config.auth != self.config.auth {
            running.replace_keys(&config.auth.keys);
            let (keys, known) = (&config.auth.keys, &self.config.auth.keys);
            let added: Vec<_> = keys.iter().filter(|(name, key)| known.get(*name) != Some(key)).collect();
            let added: Vec<_> = added.into_iter().map(|(name, _)| name.as_str()).collect();
            let removed: Vec<_> = known.keys().filter(|name| !keys.contains_key(*name)).collect();
            tracing::info!(keys = keys.len(), ?added, ?removed, "keys were read anew");
        }
        if let Err(error) = running.reload_tls(&config.tls) {
            tracing::error!(%error, "the certificate stays as it was");
        }
        let others = Config { auth: self.config.auth.clone(), ..config.clone() };
        if others != self.config {
            tracing::warn!("settings other than keys were changed; they take effect at the next start");
        }
        self.config = config;
    }
}

fn versions(sources: &Sources, config: &Config) -> Vec<Option<FileVersion>> {
    let tls = &config.tls;
    let files = [&tls.certificate_file, &tls.key_file, &tls.client_ca_file].map(Path::new);
    let all = sources.file.as_deref().into_iter().chain(files);
    all.map(version).collect()
}

fn version(file: &Path) -> Option<FileVersion> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size()))
}
