//! Converts checked values to the types with which the layers below start.

use std::{num::NonZero, path::PathBuf, sync::Arc, thread, time::Duration};

use super::{Ack, Config, CustomerIds, Journal, Limits, Log, Privacy, RateLimits, Tls, Tracing};
use crate::{
    clock,
    engine::{self, SHARDS_MAX},
    http::{RequestLog, TlsFiles},
    journal::{CommitterSettings, GATHER_INTERVAL, PAYLOAD_BYTES_MAX, files::FileSettings},
    privacy::{self, CustomerKey, KeyError},
    sale::{self, settings::Quota},
    traces,
};

/// Shards per core if their number is not set: enough that two workers seldom contend for one lock.
const SHARDS_PER_CORE: usize = 16;

/// Bytes that all lanes together may gather. A batch is one frame; the other half of a frame is for changes without a limit,
/// such as expiries and sale documents.
const LANES_BYTES_MAX: usize = PAYLOAD_BYTES_MAX / 2;

impl Config {
    /// HTTP workers to start.
    pub fn workers(&self) -> usize {
        if self.server.workers == 0 { cores() } else { self.server.workers }
    }

    /// Shards of the engine.
    pub fn shards(&self) -> usize {
        match self.engine.shards {
            0 => shards_for(cores()),
            set => set,
        }
    }

    /// Where segments and snapshots are.
    pub fn journal_dir(&self) -> PathBuf {
        self.data.dir.join("journal")
    }

    /// `hash_seed`: random, of this process alone.
    pub fn engine_settings(&self, hash_seed: u64) -> engine::Settings {
        let shards = self.shards();
        engine::Settings {
            shards,
            retention_millis: self.engine.retention_seconds * 1000,
            clock_settle_millis: self.engine.clock_settle_seconds * 1000,
            limits: self.limits.for_sales(),
            sales_max: self.limits.sales_max,
            items_max: self.limits.items_max as usize,
            pools_max: self.limits.pools_max as usize,
            reservations_max: self.limits.reservations_max,
            customers_max: self.limits.customers_max,
            memory_bytes_max: self.limits.memory_bytes_max,
            lane_bytes_max: self.journal.lane_bytes_max.min(LANES_BYTES_MAX / (shards + 1)),
            hash_seed,
        }
    }

    /// How often the engine's clock ticks.
    pub fn tick(&self) -> Duration {
        Duration::from_millis(self.engine.tick_ms)
    }
}

impl Privacy {
    /// How the service identifies customers. Reads the key from its file, if there is one.
    pub fn customer_ids(&self) -> Result<privacy::CustomerIds, KeyError> {
        Ok(match (self.customer_ids, CustomerKey::parse(&self.customer_key.0)) {
            (CustomerIds::Plain, _) => privacy::CustomerIds::Plain,
            (CustomerIds::KeyedHash, Some(key)) => privacy::CustomerIds::Keyed(key),
            (CustomerIds::KeyedHash, None) => {
                privacy::CustomerIds::Keyed(CustomerKey::load(PathBuf::from(&self.customer_key_file))?)
            }
        })
    }
}

impl Journal {
    pub fn file_settings(&self) -> FileSettings {
        FileSettings { segment_bytes: self.segment_bytes, clock: Arc::new(clock::Monotonic) }
    }

    pub fn committer_settings(&self) -> CommitterSettings {
        let flush_interval = match self.ack {
            Ack::Durable => None,
            Ack::Buffered => Some(Duration::from_millis(self.flush_ms)),
        };
        let seal_after = Duration::from_millis(self.seal_after_ms);
        CommitterSettings { flush_interval, gather_interval: GATHER_INTERVAL, seal_after }
    }
}

impl Limits {
    /// Those that bound a sale document and a request, for the rules.
    pub fn for_sales(&self) -> sale::settings::Limits {
        let Self { items_per_sale_max, stock_max, hold_seconds_max, extensions_max, lines_max, .. } = *self;
        sale::settings::Limits { items_per_sale_max, stock_max, hold_seconds_max, extensions_max, lines_max }
    }
}

impl Tls {
    /// None: the API is unencrypted.
    pub fn files(&self) -> Option<TlsFiles> {
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        let (certificate, key) = (path(&self.certificate_file)?, path(&self.key_file)?);
        Some(TlsFiles { certificate, key, client_authority: path(&self.client_ca_file) })
    }
}

impl Log {
    /// Log lines about requests that failed or were slow.
    pub fn of_requests(&self) -> RequestLog {
        let lines = NonZero::new(self.request_lines_per_second_max).unwrap_or(NonZero::<u32>::MIN);
        RequestLog::new(Duration::from_millis(self.slow_request_ms), lines, clock::Monotonic)
    }
}

impl Tracing {
    /// None: nothing is traced.
    pub fn settings(&self) -> Option<traces::Settings> {
        let per_second = NonZero::new;
        (!self.otlp_endpoint.is_empty()).then(|| traces::Settings {
            endpoint: self.otlp_endpoint.clone(),
            share: self.sample_ratio.0,
            samples_per_second: per_second(self.samples_per_second_max).unwrap_or(NonZero::<u32>::MIN),
            caller_samples_per_second: per_second(self.caller_samples_per_second_max),
            queue_spans: self.queue_spans_max,
            export_time: Duration::from_secs(self.export_seconds),
        })
    }
}

impl RateLimits {
    /// The defaults for sales without their own. A quota that is not set is no limit.
    pub fn quotas(&self) -> sale::settings::RateLimits {
        let [key, customer, sale] = [&self.key, &self.customer, &self.sale].map(|text| Quota::parse(text));
        sale::settings::RateLimits { sale, customer, key }
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

fn shards_for(cores: usize) -> usize {
    (SHARDS_PER_CORE * cores).next_power_of_two().min(SHARDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_follow_the_cores() {
        let shards: Vec<_> = [1, 2, 3, 64, 1000].into_iter().map(shards_for).collect();
        assert_eq!(shards, [16, 32, 64, 1024, 1024]);
    }

    #[test]
    fn defaults_are_those_of_the_layers() {
        let config = Config::default();
        let settings = engine::Settings::default();
        let made =
            Config { engine: super::super::Engine { shards: settings.shards, ..config.engine.clone() }, ..config }
                .engine_settings(settings.hash_seed);
        assert_eq!(format!("{made:?}"), format!("{settings:?}"));
    }

    #[test]
    fn a_batch_of_full_lanes_always_fits_a_frame() {
        for shards in [1, 8, 256, SHARDS_MAX] {
            let mut config = Config::default();
            config.engine.shards = shards;
            config.journal.lane_bytes_max = 512 << 20;
            assert!(config.engine_settings(0).lane_bytes_max * (shards + 1) <= LANES_BYTES_MAX);
        }
    }

    #[test]
    fn only_a_buffered_journal_flushes_at_intervals() {
        let mut journal = Journal::default();
        assert_eq!(journal.committer_settings().flush_interval, None);
        journal.ack = Ack::Buffered;
        assert_eq!(journal.committer_settings().flush_interval, Some(Duration::from_millis(5)));
    }
}
