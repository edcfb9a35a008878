//! Reloads the configuration while the service runs: keys, certificates and webhooks' secrets take effect, everything else waits for the next
//! start.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use crate::{
    config::{Auth, Config, Loaded, Origin, Sources},
    service::Running,
};

pub struct Reload {
    sources: Sources,
    config: Config,
    /// State of the configuration file and the TLS files at the last look.
    versions: Vec<Option<FileVersion>>,
    /// Whether to read the files as soon as they are at rest.
    is_due: bool,
}

/// Changes when somebody writes or replaces a file, or a link to it.
type FileVersion = (u64, i64, i64, u64);

impl Reload {
    /// `config`: as it was read from the sources at the start.
    pub fn new(sources: Sources, config: Config) -> Self {
        let versions = versions(&sources, &config);
        Self { sources, config, versions, is_due: false }
    }

    /// Requests a reload at the next look that finds the files at rest, whether they changed or not.
    pub fn ask(&mut self) {
        self.is_due = true;
    }

    /// Looks at the files, and reads them when they have changed. Waits until two looks in a row find them the same, because a
    /// file that is being written is incomplete.
    pub fn look(&mut self, running: &Running) {
        let before = std::mem::replace(&mut self.versions, versions(&self.sources, &self.config));
        if self.versions != before {
            // A file that is missing for a moment is being replaced.
            self.is_due |= self.versions.iter().zip(&before).any(|(now, before)| now.is_some() && now != before);
        } else if std::mem::take(&mut self.is_due) {
            self.run(running);
        }
    }

    /// Puts the current keys and certificates in force. An invalid file changes nothing, and shows in the metrics.
    fn run(&mut self, running: &Running) {
        let loaded = self.sources.load_again();
        if versions(&self.sources, &self.config) != self.versions {
            // Somebody wrote while the files were read.
            self.is_due = true;
            return;
        }
        let reloads = &running.telemetry().reloads;
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(errors) => {
                for error in errors.0 {
                    tracing::error!("{error}");
                }
                tracing::error!("the configuration is not valid; the previous keys stay in force");
                return reloads.refused();
            }
        };
        if empties(&self.config.auth, &loaded) {
            tracing::error!(
                keys = self.config.auth.keys.len(),
                "the configuration no longer has any keys; the previous keys stay in force. To refuse all callers, \
                 set required = true in its [auth]"
            );
            return reloads.refused();
        }
        let config = loaded.config;
        self.take_keys(&config.auth, running);
        let tls = running.reload_tls(&config.tls);
        let secrets = running.reload_webhook_secrets();
        if let Err(error) = &tls {
            tracing::error!(%error, "the new certificate is not valid; the previous one stays in force");
        }
        for error in &secrets {
            tracing::error!(%error, "the new secrets of this webhook are not valid; its previous ones stay in force");
        }
        if tls.is_ok() && secrets.is_empty() {
            reloads.done()
        } else {
            reloads.refused()
        }
        let others = Config { auth: self.config.auth.clone(), ..config.clone() };
        if others != self.config {
            tracing::warn!("settings other than keys have changed; they take effect at the next start");
        }
        self.config = config;
    }

    fn take_keys(&self, auth: &Auth, running: &Running) {
        if *auth == self.config.auth {
            return;
        }
        if auth.required {
            running.require_keys();
        }
        let (keys, known) = (&auth.keys, &self.config.auth.keys);
        running.replace_keys(keys);
        let added = keys.iter().filter(|(name, key)| known.get(*name) != Some(key));
        let added: Vec<_> = added.map(|(name, _)| name.as_str()).collect();
        let removed: Vec<_> = known.keys().filter(|name| !keys.contains_key(*name)).collect();
        tracing::info!(keys = keys.len(), ?added, ?removed, "keys reloaded");
    }
}

/// Whether a reload would remove the last key without a sign that this is meant. A file that is empty or truncated for a moment
/// looks the same, so the file itself must set `[auth]`.
fn empties(before: &Auth, now: &Loaded) -> bool {
    let says = |key: &str| matches!(now.origins.get(key), Some(Origin::File(_)));
    let is_meant = now.config.auth.required && (says("auth.required") || says("auth.keys"));
    before.asks_for_key() && now.config.auth.keys.is_empty() && !is_meant
}

fn versions(sources: &Sources, config: &Config) -> Vec<Option<FileVersion>> {
    let tls = &config.tls;
    let files = [&tls.certificate_file, &tls.key_file, &tls.client_ca_file].map(Path::new);
    let secrets = config.webhooks.0.values().map(|webhook| Path::new(&webhook.secret_file));
    let all = sources.file.as_deref().into_iter().chain(files).chain(secrets);
    all.map(version).collect()
}

fn version(file: &Path) -> Option<FileVersion> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size()))
}
