//! Errors in an audit trail.

/// The first place at which a trail is not the one that was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("{}", missing(*first, *last))]
    Missing { first: u64, last: u64 },
    /// The two cannot be told apart from the chain alone: a hash put in place of the one before breaks here as well.
    #[error("audit record {sequence} was changed, or the hash before it was")]
    Changed { sequence: u64 },
    /// Out of order, or behind the last record of the service.
    #[error("audit record {number} was never written by this service")]
    Foreign { number: String },
    /// The chain holds in itself and ends in another hash.
    #[error("the audit trail up to record {sequence} is not the one that this service wrote: somebody rewrote it")]
    Rewritten { sequence: u64 },
}

fn missing(first: u64, last: u64) -> String {
    if first == last {
        format!("audit record {first} is missing")
    } else {
        format!("audit records {first} to {last} are missing")
    }
}
