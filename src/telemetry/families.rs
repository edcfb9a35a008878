//! All metrics, each declared once. `docs/metrics.md` is generated from this list.
//!
//! Names follow Prometheus' rules: base units, the unit as a suffix, `_total` for counters. A name never changes, because other
//! people's dashboards and alerts use it. Invariant: these lists, the service's threads and shards, `metrics.items_max`,
//! `metrics.sales_max` and the configured webhooks bound the number of series.

/// Seconds; from a refusal without a lock to a disk that stalls.
const LATENCY_BUCKETS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
const BATCH_BYTES_BUCKETS: &[f64] = &[256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0];
/// Seconds of a delivery over a network.
const DELIVERY_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Around the 100 ms within which due holds are back in stock.
const EXPIRY_LAG_BUCKETS: &[f64] = &[0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 1.0, 10.0];
/// From a lock that is free to one that is held far too long.
const LOCK_BUCKETS: &[f64] = &[0.000_001, 0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.1];

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

/// All series of one name.
#[derive(Debug)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

impl Family {
    /// What it is measured in: the name's suffix.
    pub fn unit(&self) -> Option<&'static str> {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        ["seconds", "bytes", "units", "ratio"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")))
    }
}

macro_rules! families {
    ($($constant:ident = $kind:expr, $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub static $constant: Family =
            Family { name: concat!("doorbuster_", $name), kind: $kind, labels: &[$($label),*], help: $help };)*

        /// Every family, in the order of the document.
        pub static ALL: &[&Family] = &[$(&$constant),*];
    };
}

use Kind::{Counter, Gauge, Histogram};

families! {
    BUILD_INFO = Gauge, "build_info" ["version"] "Always 1; the version is a label.";
    START_TIME = Gauge, "start_time_seconds" [] "When the process started, in seconds since 1970.";
    CLOCK_JUMPS = Counter, "clock_jumps_total" ["direction"]
        "Times that the machine's clock was set, forward or backward, by more than 50 ms.";
    CLOCK_OFFSET = Gauge, "clock_offset_seconds" []
        "Seconds by which the machine's clock is ahead of the service's time; the service trusts it after \
         engine.clock_settle_seconds.";
    LIMIT = Gauge, "limit" ["limit"] "Limits in force, by configuration key.";

    HTTP_REQUESTS = Counter, "http_requests_total" ["route", "status"] "Requests answered, by call and status.";
    HTTP_DURATION = Histogram(LATENCY_BUCKETS), "http_request_duration_seconds" ["route"]
        "Seconds from a request's head to its answer, including the wait for the disk.";
    HTTP_CONNECTIONS = Gauge, "http_connections" [] "Open connections of the API.";
    HTTP_CONNECTIONS_REFUSED = Counter, "http_connections_refused_total" []
        "Connections answered 503 and closed because limits.connections_max, or the limit of open files, was reached.";
    BUFFERED_BYTES = Gauge, "buffered_bytes" []
        "Bytes of memory for bodies and answers in flight, as limits.buffered_bytes_max counts them.";
    RATE_LIMITED = Counter, "rate_limited_total" ["policy"]
        "Requests and batch entries refused by a quota, by the quota's owner.";
    RATE_LIMIT_CALLERS = Gauge, "rate_limit_callers" [] "Callers that rate limits remember, of all kinds and sales.";

    RESERVATIONS = Counter, "reservations_total" ["outcome"]
        "Successful commands on reservations, by outcome; and holds that expired (expired), reservations that left memory \
         (retired), confirms refused so that a payment must be returned (confirm_refused, each repeat counted), and holds \
         released because their group failed (group_failed). \
         confirmed_late: after the hold had expired, which counts as expired, too.";
    REFUSALS = Counter, "reservation_refusals_total" ["reason"]
        "Refused commands on reservations and waitlists, by reason.";
    CHANNEL_RESERVES = Counter, "channel_reserves_total" ["channel", "outcome"]
        "Reserves that name a channel, by outcome: held or refused. At most limits.channels_max channels, and those of documents.";
    EXPIRY_LAG = Histogram(EXPIRY_LAG_BUCKETS), "expiry_lag_seconds" []
        "Seconds past its end of the latest hold among those that expired together.";
    LIVE_HOLDS = Gauge, "live_holds" [] "Reservations in state held.";
    HOLDS_EXPIRING = Gauge, "holds_expiring_next_minute" []
        "Holds that expire within a minute; counted every five seconds, and estimated if there are very many.";
    GROUPS_OPEN = Gauge, "groups_open" [] "Groups that are open: members are missing, and their time is not over.";
    GROUPS = Counter, "groups_total" ["outcome"]
        "Groups that ended, by outcome: completed; or failed, because their time was over or everybody left.";
    RESERVATIONS_IN_MEMORY = Gauge, "reservations_in_memory" [] "Reservations in memory, whatever their state.";
    CUSTOMERS_IN_MEMORY = Gauge, "customers_in_memory" [] "Customers in memory.";
    STATE_BYTES = Gauge, "state_bytes" []
        "Bytes of memory for reservations and customers, as limits.memory_bytes_max counts them.";

    WAITLIST_ENTRIES = Counter, "waitlist_entries_total" ["outcome"]
        "Waitlist entries, by what happened to them: joined, offered a hold, left, expired, or passed over because the customer \
         could have no more (passed_over; the entry keeps waiting).";
    WAITLIST_WAITED = Counter, "waitlist_waited_seconds_total" []
        "Seconds from joining to the offer, summed over entries that were offered a hold.";

    SALES = Gauge, "sales" ["status"] "Sales, by status.";
    SALE_STATUS = Gauge, "sale_status" ["sale", "status"]
        "1 for the current status of a sale, 0 for the others; only the first metrics.sales_max sales.";
    SALE_STOCK = Gauge, "sale_stock_units" ["sale", "state"]
        "Units of all items of a sale, by state; `stock` is the sum of the others. Past metrics.sales_max: `other`.";
    SALE_SOLD_OUT = Gauge, "sale_items_sold_out" ["sale"]
        "Items of a sale without available units. Past metrics.sales_max: `other`.";
    SALE_LOW_STOCK = Gauge, "sale_items_low_stock" ["sale"]
        "Items of a sale with no more available units than their low_stock_at. Past metrics.sales_max: `other`.";
    SALE_WAITING = Gauge, "sale_waiting_customers" ["sale"]
        "Customers that wait in a sale; only sales with a waitlist. Past metrics.sales_max: `other`.";
    STOCK = Gauge, "stock_units" ["sale", "sku", "state"]
        "Units of an item, by state; `stock` is the sum of the others. Past metrics.items_max: `other`.";
    ITEM_PACE = Gauge, "item_units_per_minute" ["sale", "sku"]
        "Units of an item sold per minute, in the last five minutes in which it could be bought. Past metrics.items_max: `other`.";
    POOL = Gauge, "pool_units" ["sale", "sku", "pool", "state"]
        "Units of a pool, by state; only pools that a document declares, and only the first metrics.items_max of them.";
    DRIFT = Gauge, "conservation_drift_units" []
        "Sum over items of |stock - available - held - confirmed|: anything but 0 is a defect.";
    OVERSOLD = Gauge, "oversold_units" []
        "Sum over items of held and confirmed units beyond the stock: anything but 0 is a defect.";

    THREAD_BUSY = Gauge, "thread_busy_ratio" ["thread"]
        "Share of the last second that a thread ran. Workers are http-N; journal, store, clock and others have their \
         names.";
    THREAD_STARVED = Gauge, "thread_starved_ratio" ["thread"]
        "Share of the last second that a thread was ready to run but had no core.";
    SHARD_RESERVATIONS = Gauge, "shard_reservations" ["shard"] "Reservations in a shard's memory.";
    SHARD_LANE_BYTES = Gauge, "shard_lane_bytes" ["shard"] "Bytes of a shard's changes that are not yet in a batch.";
    SHARD_LOCK_WAIT = Histogram(LOCK_BUCKETS), "shard_lock_wait_seconds" []
        "Seconds of waiting for a shard's lock; measured once a second per shard.";
    STOCK_GATHERS = Counter, "stock_gathers_total" []
        "Reserves that one shard's slices could not serve, so that they took all locks.";

    JOURNAL_WRITE = Histogram(LATENCY_BUCKETS), "journal_write_seconds" [] "Seconds to write a batch.";
    JOURNAL_SYNC = Histogram(LATENCY_BUCKETS), "journal_sync_seconds" []
        "Seconds to make a batch durable (fdatasync).";
    JOURNAL_BATCH_BYTES = Histogram(BATCH_BYTES_BUCKETS), "journal_batch_bytes" [] "Bytes of events in a batch.";
    JOURNAL_BYTES = Counter, "journal_bytes_total" [] "Bytes appended to the journal, frames included.";
    JOURNAL_BATCHES = Counter, "journal_batches_total" [] "Batches made durable.";
    JOURNAL_DURABLE_EPOCH = Gauge, "journal_durable_epoch" [] "The last epoch that is on disk.";
    JOURNAL_FAILED = Gauge, "journal_failed" [] "1 if a write or sync has failed and the service is stopping.";
    JOURNAL_DISK_AVAILABLE = Gauge, "journal_disk_available_bytes" []
        "Bytes that the service may still write to the journal's file system; read ten times a second.";
    JOURNAL_DISK_RESERVE = Gauge, "journal_disk_reserve_bytes" []
        "Bytes of that file system kept for confirms and releases (journal.disk_reserve_bytes).";
    JOURNAL_DISK_LOW = Gauge, "journal_disk_low" []
        "1 while the service refuses new reservations with disk_low, because less than the reserve is available.";
    SNAPSHOTS = Counter, "snapshots_total" [] "Finished snapshots.";
    SNAPSHOT_BYTES = Gauge, "snapshot_bytes" [] "Bytes of the last snapshot.";
    SNAPSHOT_DURATION = Gauge, "snapshot_duration_seconds" [] "Seconds the last snapshot took.";
    ERASURE_PENDING = Gauge, "erasure_pending_seconds" []
        "Seconds since the oldest erasure whose customer the journal may still contain; 0 if there is none.";

    STORE_APPLIED_EPOCH = Gauge, "store_applied_epoch" [] "The last epoch that is in the store.";
    STORE_LAG_EPOCHS = Gauge, "store_lag_epochs" [] "Durable epochs that are not yet in the store.";
    STORE_LAG = Gauge, "store_lag_seconds" []
        "Age of the oldest durable change that is not in the store, but at most the time since the service started; 0 \
         if the store has everything.";
    STORE_BACKLOG = Gauge, "store_backlog_bytes" [] "Bytes of journal that the store has not applied.";
    STORE_BACKLOG_FULL = Gauge, "store_backlog_full" [] "1 while the service refuses new reservations because of the \
                                                         backlog.";
    STORE_ROWS = Counter, "store_rows_total" [] "Rows written to the store.";
    STORE_TRANSACTIONS = Counter, "store_transactions_total" [] "Transactions that the store committed.";
    STORE_FAILURES = Counter, "store_failures_total" [] "Failed attempts to write to the store.";
    STORE_UP = Gauge, "store_up" [] "1 if the store's last transaction succeeded.";
    STORE_STATE = Gauge, "store_state" ["state"]
        "1 for the current state of writing the journal's changes to the store, 0 for the others.";

    CERTIFICATE_EXPIRY = Gauge, "tls_certificate_expiry_timestamp_seconds" ["file"]
        "When the certificate in a file expires, in seconds since 1970, by the file's configuration key; only for \
         files that are set.";
    BACKUP_AT = Gauge, "backup_last_timestamp_seconds" []
        "When the last doorbuster backup of the data directory began, in seconds since 1970; 0 if there was none.";

    EVENT_READERS = Gauge, "event_readers" [] "Readers that follow the feed of events.";
    EVENTS_SENT = Counter, "events_sent_total" [] "Events sent to readers of the feed.";
    EVENT_READERS_DROPPED = Counter, "event_readers_dropped_total" []
        "Readers of the feed that the service dropped because they were too slow or too far behind.";

    WEBHOOK_DELIVERIES = Counter, "webhook_deliveries_total" ["webhook", "outcome"]
        "Deliveries to a webhook, by outcome: delivered; refused: another answer than success; timed_out; unreachable: no \
         connection, or it broke.";
    WEBHOOK_DURATION = Histogram(DELIVERY_BUCKETS), "webhook_delivery_duration_seconds" ["webhook"]
        "Seconds that a delivery to a webhook took, whatever its outcome.";
    WEBHOOK_WAITING = Gauge, "webhook_waiting_events" ["webhook"]
        "Events that were read for a webhook and not delivered; at most about 1024, then the service reads no further.";
    WEBHOOK_LAG = Gauge, "webhook_lag_seconds" ["webhook"]
        "Age of the oldest event that a webhook still has to get, read or not; 0 if there is none.";
    WEBHOOK_PARKED = Gauge, "webhook_parked" ["webhook"]
        "1 while a webhook is parked, because an event could not be delivered for its park_after_seconds.";
    WEBHOOK_SKIPS = Counter, "webhook_skips_total" ["webhook"]
        "Times that a webhook missed events, because the journal no longer had them (journal.webhook_bytes_max, privacy.journal_erase_seconds).";

    TRACE_SPANS = Counter, "trace_spans_total" ["outcome"]
        "Spans by outcome: exported; lost because the queue was full or the collector took none; over_limit: not \
         begun.";

    CONFIG_RELOADS = Counter, "config_reloads_total" ["outcome"]
        "Reloads of configuration, keys or certificates, by outcome: ok, or refused, which leaves the old ones in \
         force.";
    CONFIG_RELOAD_FAILED = Gauge, "config_reload_failed" [] "1 if the last reload was refused, until one succeeds.";
    LOG_LINES_DROPPED = Counter, "log_lines_dropped_total" []
        "Log lines dropped because standard error took them too slowly (log.queue_bytes_max) or not at all.";

    RESIDENT = Gauge, "process_resident_bytes" [] "Resident memory of the process.";
    OPEN_FILES = Gauge, "process_open_files" [] "Open files and sockets of the process.";
    OPEN_FILES_MAX = Gauge, "process_open_files_max" [] "Files and sockets that the process may open.";
    DISK = Gauge, "data_disk_bytes" [] "Size of the data directory's file system.";
    DISK_AVAILABLE = Gauge, "data_disk_available_bytes" []
        "Bytes that the service may still write to the data directory's file system.";
}

/// The table in `docs/metrics.md`.
pub fn document() -> String {
    let mut text = String::from(
        "# Metrics\n\nThe metrics of `GET /metrics` on the ops listener, in Prometheus' text format. Generated from \
         `src/telemetry/families.rs` by `UPDATE_GOLDENFILES=1 cargo test --lib metrics_are_documented`. Names never change; \
         new ones may be added.\n\n| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n",
    );
    for family in ALL {
        let (kind, bounds) = match family.kind {
            Counter => ("counter", None),
            Gauge => ("gauge", None),
            Histogram(bounds) => ("histogram", Some(bounds)),
        };
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let bounds = bounds.map(|bounds| {
            let bounds: Vec<String> = bounds.iter().map(f64::to_string).collect();
            format!(" Buckets: {}.", bounds.join(", "))
        });
        let help = family.help.replace('|', "\\|");
        text += &format!(
            "| `{}` | {kind} | {} | {} | {help}{} |\n",
            family.name,
            family.unit().unwrap_or(""),
            labels.join(", "),
            bounds.unwrap_or_default()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn metrics_are_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            std::fs::write(path, document()).unwrap();
        }
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            stored == document(),
            "docs/metrics.md is not what the code declares: UPDATE_GOLDENFILES=1 rewrites it"
        );
    }

    #[test]
    fn names_follow_the_rules() {
        let names: BTreeSet<_> = ALL.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), ALL.len(), "each is declared once");
        for family in ALL {
            let name = family.name;
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'0'..=b'9')), "{name}");
            assert_eq!(name.ends_with("_total"), family.kind == Kind::Counter, "{name}");
            for part in name.split('_') {
                assert!(!["ms", "millis", "milliseconds", "micros", "kb", "mb", "percent"].contains(&part), "{name}");
            }
            for suffix in ["_count", "_sum", "_bucket"] {
                assert!(!name.ends_with(suffix), "{name} ends as a histogram's series does");
            }
            for label in family.labels {
                assert!(!["le", "quantile", "job", "instance"].contains(label), "{name}: {label} is Prometheus' own");
            }
            assert!(family.help.len() > 10 && family.help.ends_with('.'), "{name} says {:?}", family.help);
            if let Kind::Histogram(bounds) = family.kind {
                assert!(matches!(family.unit(), Some("seconds" | "bytes")), "{name} has no unit");
                assert!(bounds.is_sorted_by(|a, b| a < b), "{name}: buckets grow");
            }
        }
    }
}
