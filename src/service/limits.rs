//! The limits of each layer, from the configuration.

use std::time::Duration;

use crate::{api, config::Config, http};

pub fn api_limits(config: &Config) -> api::Limits {
    let limits = &config.limits;
    api::Limits {
        sale: limits.for_sales(),
        quantity_max: limits.quantity_max,
        batch_entries_max: limits.batch_entries_max,
        sales_page_max: limits.sales_page_max,
        customer_reservations_max: limits.customer_reservations_max,
    }
}

pub(super) fn ops_limits(config: &Config) -> http::OpsLimits {
    http::OpsLimits { connections_max: config.limits.ops_connections_max, timeouts: timeouts(config) }
}

fn timeouts(config: &Config) -> http::Timeouts {
    let limits = &config.limits;
    http::Timeouts {
        idle_time: Duration::from_secs(limits.idle_seconds),
        head_time: Duration::from_secs(limits.header_read_seconds),
        stall_time: Duration::from_secs(limits.write_stall_seconds),
        lingering: http::Lingering {
            rest_bytes_max: limits.body_bytes_max as u64,
            bytes_max: limits.linger_bytes_max,
            time: Duration::from_secs(limits.linger_seconds),
        },
    }
}

pub fn http_limits(config: &Config) -> http::Limits {
    let limits = &config.limits;
    http::Limits {
        body_bytes_max: limits.body_bytes_max,
        sale_body_bytes_max: limits.sale_body_bytes_max,
        batch_body_bytes_max: limits.batch_body_bytes_max,
        header_bytes_max: limits.header_bytes_max,
        path_bytes_max: limits.path_bytes_max,
        connections_max: limits.connections_max,
        connections_per_address_max: limits.connections_per_address_max,
        refused_connections_max: limits.refused_connections_max.div_ceil(config.workers()),
        waiting_max: limits.waiting_max.div_ceil(config.workers()),
        timeouts: timeouts(config),
        body_read_time: Duration::from_secs(limits.body_read_seconds),
        drain_time: Duration::from_secs(limits.drain_seconds),
        h2_streams_max: limits.h2_streams_max,
        h2_resets_max: limits.h2_resets_max,
    }
}
