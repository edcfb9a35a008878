//! The sections of the configuration, with their keys, defaults and ranges.
//!
//! Invariant: the keys of a section are the fields of its struct, in the same order. Units are in the names.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use figment::value::Value;
use serde::{Deserialize, Serialize};

use super::allowed::{Allowed, integer};
use crate::{auth::KeySettings, engine::SHARDS_MAX};

/// A key of a section, and its allowed values.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub allowed: Allowed,
}

pub(super) const fn key(name: &'static str, allowed: Allowed) -> Key {
    Key { name, allowed }
}

/// A value that is not valid, and what would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// With its section, such as `journal.flush_ms`.
    pub key: String,
    /// The value as TOML.
    pub value: String,
    pub allowed: String,
}

impl Wrong {
    pub fn new(key: impl Into<String>, value: impl ToString, allowed: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.to_string(), allowed: allowed.into() }
    }
}

/// What the sections have in common.
pub trait Section: Serialize {
    const NAME: &'static str;
    const KEYS: &'static [Key];

    /// Checks between keys of the section, all of which are in range.
    fn check_together(&self, _wrong: &mut Vec<Wrong>) {}

    /// Every error in the section; empty if it is valid.
    fn check(&self) -> Vec<Wrong> {
        let values =
            Value::serialize(self).expect("a section is plain data").into_dict().expect("a section is a struct");
        let judged = Self::KEYS.iter().filter_map(|key| {
            let value = &values[key.name];
            let refused = key.allowed.judge(value).err()?;
            Some(Wrong::new(format!("{}.{}", Self::NAME, key.name), key.allowed.show(value), refused))
        });
        let mut wrong: Vec<_> = judged.collect();
        if wrong.is_empty() {
            self.check_together(&mut wrong);
        }
        wrong
    }
}

/// Where the service listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    pub ops_listen: SocketAddr,
    /// 0: one per core; see `Config::workers`.
    pub workers: usize,
    pub worker_cores: WorkerCores,
}

/// Where workers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerCores {
    /// Each on a core of its own, if there are as many workers as cores that the process may use.
    Own,
    /// Wherever the kernel puts them.
    Any,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            ops_listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
            workers: 0,
            worker_cores: WorkerCores::Own,
        }
    }
}

impl Section for Server {
    const NAME: &'static str = "server";
    const KEYS: &'static [Key] = &[
        key("listen", Allowed::Address),
        key("ops_listen", Allowed::Address),
        key("workers", integer(0, 1024)),
        key("worker_cores", Allowed::OneOf(&["own", "any"])),
    ];

    fn check_together(&self, wrong: &mut Vec<Wrong>) {
        let Self { listen, ops_listen, .. } = self;
        // Port 0 takes any free port, so two of those never collide.
        if listen.port() == ops_listen.port() && listen.port() != 0 && overlap(listen, ops_listen) {
            let allowed = format!("must differ from server.listen, which is {listen}");
            wrong.push(Wrong::new("server.ops_listen", format!("\"{ops_listen}\""), allowed));
        }
    }
}

fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified()
}

/// Who may call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Every caller needs a key, even if there are none.
    pub required: bool,
    /// Keys by name. With no keys and `required` false, anyone who reaches the address may do everything, and the service
    /// accepts only loopback addresses.
    pub keys: BTreeMap<String, KeySettings>,
}

impl Auth {
    /// Whether callers need a key.
    pub fn asks_for_key(&self) -> bool {
        self.required || !self.keys.is_empty()
    }
}

impl Section for Auth {
    const NAME: &'static str = "auth";
    const KEYS: &'static [Key] = &[key("required", Allowed::Boolean), key("keys", Allowed::ApiKeys)];
}

/// TLS of the API. With nothing set, the API is unencrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub certificate_file: String,
    pub key_file: String,
    pub client_ca_file: String,
}

impl Section for Tls {
    const NAME: &'static str = "tls";
    const KEYS: &'static [Key] =
        &[key("certificate_file", Allowed::File), key("key_file", Allowed::File), key("client_ca_file", Allowed::File)];

    fn check_together(&self, wrong: &mut Vec<Wrong>) {
        for (name, file, other, needed) in [
            ("tls.key_file", &self.key_file, "tls.certificate_file", &self.certificate_file),
            ("tls.certificate_file", &self.certificate_file, "tls.key_file", &self.key_file),
            ("tls.certificate_file", &self.certificate_file, "tls.client_ca_file", &self.client_ca_file),
        ] {
            if file.is_empty() && !needed.is_empty() {
                wrong.push(Wrong::new(name, "\"\"", format!("must be set, because {other} is set")));
            }
        }
    }
}

/// The data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    pub dir: PathBuf,
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: "./data".into() }
    }
}

impl Section for Data {
    const NAME: &'static str = "data";
    const KEYS: &'static [Key] = &[key("dir", Allowed::Directory)];
}

/// The engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// 0: derived from the number of cores; see `Config::shards`.
    pub shards: usize,
    pub retention_seconds: u64,
    pub tick_ms: u64,
    pub clock_settle_seconds: u64,
}

impl Default for Engine {
    fn default() -> Self {
        Self { shards: 0, retention_seconds: 86_400, tick_ms: 10, clock_settle_seconds: 5 }
    }
}

impl Section for Engine {
    const NAME: &'static str = "engine";
    const KEYS: &'static [Key] = &[
        key("shards", integer(0, SHARDS_MAX as u64)),
        key("retention_seconds", integer(1, SECONDS_OF_A_YEAR)),
        // Due holds are back in stock within 100 ms; the tick may take half of that.
        key("tick_ms", integer(1, 50)),
        key("clock_settle_seconds", integer(1, 3600)),
    ];
}

/// When the service acknowledges a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// Once it is on disk.
    Durable,
    /// At once; it is on disk within `flush_ms`.
    Buffered,
}

/// The journal's guarantee and its limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    pub ack: Ack,
    pub flush_ms: u64,
    pub segment_bytes: u64,
    pub max_backlog_bytes: u64,
    pub disk_reserve_bytes: u64,
    pub lane_bytes_max: usize,
    pub seal_after_ms: u64,
    pub webhook_bytes_max: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            ack: Ack::Durable,
            flush_ms: 5,
            segment_bytes: 64 * MIB,
            max_backlog_bytes: 8 * GIB,
            disk_reserve_bytes: 0,
            lane_bytes_max: 16 << 20,
            seal_after_ms: 1000,
            webhook_bytes_max: GIB,
        }
    }
}

impl Section for Journal {
    const NAME: &'static str = "journal";
    const KEYS: &'static [Key] = &[
        key("ack", Allowed::OneOf(&["durable", "buffered"])),
        key("flush_ms", integer(1, 1000)),
        key("segment_bytes", integer(MIB, 4 * GIB)),
        key("max_backlog_bytes", integer(2 * MIB, 1024 * 1024 * GIB)),
        key("disk_reserve_bytes", integer(0, 1024 * 1024 * GIB)),
        key("lane_bytes_max", integer(64 * KIB, 512 * MIB)),
        key("seal_after_ms", integer(1, 3_600_000)),
        key("webhook_bytes_max", integer(0, 1024 * GIB)),
    ];

    fn check_together(&self, wrong: &mut Vec<Wrong>) {
        if self.max_backlog_bytes < 2 * self.segment_bytes {
            // The journal frees whole segments, so less would refuse reservations without cause.
            let allowed = format!("must be at least twice journal.segment_bytes, which is {}", self.segment_bytes);
            wrong.push(Wrong::new("journal.max_backlog_bytes", self.max_backlog_bytes, allowed));
        }
    }
}

/// When snapshots are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    pub journal_bytes: u64,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { journal_bytes: 256 * MIB }
    }
}

impl Section for Snapshot {
    const NAME: &'static str = "snapshot";
    const KEYS: &'static [Key] = &[key("journal_bytes", integer(64 * KIB, 1024 * GIB))];
}

/// Limits on requests and on the whole service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub items_per_sale_max: usize,
    pub stock_max: u64,
    pub hold_seconds_max: u64,
    pub extensions_max: u32,
    pub lines_max: usize,
    pub quantity_max: u32,
    pub sales_max: usize,
    pub items_max: u64,
    pub pools_max: u64,
    pub tiers_max: usize,
    pub channels_max: usize,
    pub reservations_max: u64,
    pub customers_max: u64,
    pub memory_bytes_max: u64,
    pub buffered_bytes_max: usize,
    pub body_bytes_max: usize,
    pub sale_body_bytes_max: usize,
    pub batch_entries_max: usize,
    pub batch_body_bytes_max: usize,
    pub header_bytes_max: usize,
    pub path_bytes_max: usize,
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    pub refused_connections_max: usize,
    pub ops_connections_max: usize,
    pub waiting_max: usize,
    pub header_read_seconds: u64,
    pub body_read_seconds: u64,
    pub idle_seconds: u64,
    pub write_stall_seconds: u64,
    pub linger_bytes_max: u64,
    pub linger_seconds: u64,
    pub drain_seconds: u64,
    pub sales_page_max: usize,
    pub customer_reservations_max: usize,
    pub h2_streams_max: u32,
    pub h2_resets_max: usize,
    pub event_readers_max: usize,
    pub event_stall_seconds: u64,
    pub reports_max: usize,
    pub report_seconds: u64,
    pub report_kept_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            items_per_sale_max: 10_000,
            stock_max: 1_000_000_000_000,
            hold_seconds_max: 86_400,
            extensions_max: 100,
            lines_max: 20,
            quantity_max: 1_000_000,
            sales_max: 10_000,
            items_max: 100_000,
            pools_max: 400_000,
            tiers_max: 64,
            channels_max: 256,
            reservations_max: 20_000_000,
            customers_max: 20_000_000,
            memory_bytes_max: 4 * GIB,
            buffered_bytes_max: 256 << 20,
            body_bytes_max: 65_536,
            sale_body_bytes_max: 4 << 20,
            batch_entries_max: 10_000,
            batch_body_bytes_max: 8 << 20,
            header_bytes_max: 16_384,
            path_bytes_max: 2048,
            connections_max: 20_000,
            connections_per_address_max: 20_000,
            refused_connections_max: 512,
            ops_connections_max: 64,
            waiting_max: 20_000,
            header_read_seconds: 10,
            body_read_seconds: 10,
            idle_seconds: 75,
            write_stall_seconds: 60,
            linger_bytes_max: 64 << 20,
            linger_seconds: 5,
            drain_seconds: 25,
            sales_page_max: 100,
            customer_reservations_max: 100,
            h2_streams_max: 128,
            h2_resets_max: 20,
            event_readers_max: 100,
            event_stall_seconds: 30,
            reports_max: 16,
            report_seconds: 20,
            report_kept_seconds: 5,
        }
    }
}

impl Section for Limits {
    const NAME: &'static str = "limits";
    const KEYS: &'static [Key] = &[
        key("items_per_sale_max", integer(1, 1_000_000)),
        // Every count must stay exact in JSON: 2^53 - 1.
        key("stock_max", integer(1, (1 << 53) - 1)),
        key("hold_seconds_max", integer(1, SECONDS_OF_A_YEAR)),
        key("extensions_max", integer(0, u16::MAX as u64)),
        // A hold names the count of its lines in one byte.
        key("lines_max", integer(1, u8::MAX as u64)),
        key("quantity_max", integer(1, u32::MAX as u64)),
        key("sales_max", integer(1, 1_000_000)),
        key("items_max", integer(1, 10_000_000)),
        key("pools_max", integer(1, 40_000_000)),
        // Metrics have a label for each.
        key("tiers_max", integer(1, 1000)),
        key("channels_max", integer(1, 1000)),
        key("reservations_max", integer(1, 1_000_000_000)),
        key("customers_max", integer(1, 1_000_000_000)),
        key("memory_bytes_max", integer(MIB, 1024 * GIB)),
        key("buffered_bytes_max", integer(MIB, 1024 * GIB)),
        key("body_bytes_max", integer(1024, 16 * MIB)),
        key("sale_body_bytes_max", integer(1024, 256 * MIB)),
        key("batch_entries_max", integer(1, 1_000_000)),
        key("batch_body_bytes_max", integer(1024, 256 * MIB)),
        // hyper needs at least 8 KiB.
        key("header_bytes_max", integer(8 * KIB, MIB)),
        // The longest path of this service: a sale, and a SKU with every byte escaped.
        key("path_bytes_max", integer(512, 64 * KIB)),
        key("connections_max", integer(1, 1_000_000)),
        key("connections_per_address_max", integer(1, 1_000_000)),
        key("refused_connections_max", integer(1, 100_000)),
        key("ops_connections_max", integer(4, 10_000)),
        key("waiting_max", integer(1, 10_000_000)),
        key("header_read_seconds", integer(1, 600)),
        key("body_read_seconds", integer(1, 600)),
        key("idle_seconds", integer(1, 86_400)),
        key("write_stall_seconds", integer(1, 3600)),
        key("linger_bytes_max", integer(0, 1024 * MIB)),
        key("linger_seconds", integer(1, 600)),
        key("drain_seconds", integer(1, 3600)),
        key("sales_page_max", integer(1, 1000)),
        key("customer_reservations_max", integer(1, 1000)),
        key("h2_streams_max", integer(1, 10_000)),
        key("h2_resets_max", integer(1, 10_000)),
        key("event_readers_max", integer(1, 10_000)),
        key("event_stall_seconds", integer(1, 3600)),
        key("reports_max", integer(1, 1000)),
        key("report_seconds", integer(1, 600)),
        key("report_kept_seconds", integer(0, 3600)),
    ];

    fn check_together(&self, wrong: &mut Vec<Wrong>) {
        if self.path_bytes_max > self.header_bytes_max {
            let allowed = format!("must be at most limits.header_bytes_max, which is {}", self.header_bytes_max);
            wrong.push(Wrong::new("limits.path_bytes_max", self.path_bytes_max, allowed));
        }
        // A quarter is kept for small requests, and a batch in progress takes more than its body.
        let body = self.batch_body_bytes_max.max(self.sale_body_bytes_max);
        if self.buffered_bytes_max < 4 * body {
            let allowed = format!(
                "must be at least four times limits.batch_body_bytes_max and limits.sale_body_bytes_max, which is {}",
                4 * body
            );
            wrong.push(Wrong::new("limits.buffered_bytes_max", self.buffered_bytes_max, allowed));
        }
    }
}

/// Quotas of requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimits {
    pub key: String,
    pub customer: String,
    pub sale: String,
    pub callers_max: usize,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { key: String::new(), customer: String::new(), sale: String::new(), callers_max: 1_000_000 }
    }
}

impl Section for RateLimits {
    const NAME: &'static str = "rate_limits";
    const KEYS: &'static [Key] = &[
        key("key", Allowed::Quota),
        key("customer", Allowed::Quota),
        key("sale", Allowed::Quota),
        key("callers_max", integer(1000, 100_000_000)),
    ];
}

/// How the service identifies customers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CustomerIds {
    /// By the ids that callers send.
    Plain,
    /// By pseudonyms, made at the edge.
    KeyedHash,
}

/// A secret: no output shows it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "…" })
    }
}

/// Privacy of customers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Privacy {
    pub customer_ids: CustomerIds,
    pub customer_key: Secret,
    pub customer_key_file: String,
    pub journal_erase_seconds: u64,
}

impl Default for Privacy {
    fn default() -> Self {
        Self {
            customer_ids: CustomerIds::Plain,
            customer_key: Secret::default(),
            customer_key_file: String::new(),
            journal_erase_seconds: 86_400,
        }
    }
}

impl Section for Privacy {
    const NAME: &'static str = "privacy";
    const KEYS: &'static [Key] = &[
        key("customer_ids", Allowed::OneOf(&["plain", "keyed_hash"])),
        key("customer_key", Allowed::CustomerKey),
        key("customer_key_file", Allowed::File),
        key("journal_erase_seconds", integer(0, 30 * 86_400)),
    ];

    fn check_together(&self, wrong: &mut Vec<Wrong>) {
        let (key, file) = (!self.customer_key.0.is_empty(), !self.customer_key_file.is_empty());
        let allowed = match (self.customer_ids, key, file) {
            (CustomerIds::Plain, false, false) => return,
            (CustomerIds::KeyedHash, true, false) | (CustomerIds::KeyedHash, false, true) => return,
            (CustomerIds::Plain, ..) => "must be \"keyed_hash\" if a customer key is set",
            (_, true, true) => "takes one key: customer_key or customer_key_file, not both",
            (_, false, false) => {
                "needs a key in privacy.customer_key_file or privacy.customer_key; make one with `doorbuster keys customer`"
            }
        };
        let value = if self.customer_ids == CustomerIds::Plain { "\"plain\"" } else { "\"keyed_hash\"" };
        wrong.push(Wrong::new("privacy.customer_ids", value, allowed));
    }
}

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
const SECONDS_OF_A_YEAR: u64 = 365 * 86_400;
