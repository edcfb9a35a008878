//! The sections for metrics, traces and logs.

use serde::{Deserialize, Serialize};

use super::{
    allowed::{Allowed, integer},
    levels::Levels,
    sections::{KIB, Key, MIB, Section, key},
};

/// Metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    pub items_max: usize,
    pub sales_max: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { items_max: 200, sales_max: 50 }
    }
}

impl Section for Metrics {
    const NAME: &'static str = "metrics";
    const KEYS: &'static [Key] = &[key("items_max", integer(0, 100_000)), key("sales_max", integer(0, 10_000))];
}

/// A share: 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ratio(pub f64);

/// The value has passed the checks, so it is a number.
impl Eq for Ratio {}

/// Traced requests, and where their spans go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tracing {
    /// Empty: nothing is traced.
    pub otlp_endpoint: String,
    pub sample_ratio: Ratio,
    pub samples_per_second_max: u32,
    pub caller_samples_per_second_max: u32,
    pub queue_spans_max: usize,
    pub export_seconds: u64,
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            otlp_endpoint: String::new(),
            sample_ratio: Ratio::default(),
            samples_per_second_max: 100,
            caller_samples_per_second_max: 10,
            queue_spans_max: 4096,
            export_seconds: 5,
        }
    }
}

impl Section for Tracing {
    const NAME: &'static str = "tracing";
    const KEYS: &'static [Key] = &[
        key("otlp_endpoint", Allowed::OtlpEndpoint),
        key("sample_ratio", Allowed::Ratio),
        key("samples_per_second_max", integer(1, 100_000)),
        key("caller_samples_per_second_max", integer(0, 100_000)),
        key("queue_spans_max", integer(1, 1_000_000)),
        key("export_seconds", integer(1, 600)),
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one object per line.
    Json,
}

/// What to log, and in which format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
    pub queue_bytes_max: usize,
    pub slow_request_ms: u64,
    pub request_lines_per_second_max: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
            queue_bytes_max: 1 << 20,
            slow_request_ms: 1000,
            request_lines_per_second_max: 10,
        }
    }
}

impl Section for Log {
    const NAME: &'static str = "log";
    const KEYS: &'static [Key] = &[
        key("level", Allowed::LogLevels),
        key("format", Allowed::OneOf(&["text", "json"])),
        key("queue_bytes_max", integer(64 * KIB, 256 * MIB)),
        key("slow_request_ms", integer(1, 600_000)),
        key("request_lines_per_second_max", integer(1, 10_000)),
    ];
}

impl Log {
    pub fn levels(&self) -> Levels {
        Levels::parse(&self.level).expect("checked with the configuration")
    }
}
