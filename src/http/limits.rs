//! Limits of connections, requests and their bodies; each is a key of the configuration's `limits`.

use std::time::Duration;

use super::activity::Timeouts;

#[derive(Debug, Clone)]
pub struct Limits {
    pub body_bytes_max: usize,
    pub sale_body_bytes_max: usize,
    pub batch_body_bytes_max: usize,
    pub header_bytes_max: usize,
    pub path_bytes_max: usize,
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    /// Connections past a limit that one worker is answering.
    pub refused_connections_max: usize,
    /// Answers of one worker that wait for the disk.
    pub waiting_max: usize,
    pub timeouts: Timeouts,
    pub body_read_time: Duration,
    pub drain_time: Duration,
    pub h2_streams_max: u32,
    /// Streams of one connection that its peer may reset before they were begun.
    pub h2_resets_max: usize,
}

/// Limits of the ops listener.
#[derive(Debug, Clone, Copy)]
pub struct OpsLimits {
    pub connections_max: usize,
    pub timeouts: Timeouts,
}
