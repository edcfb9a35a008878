//! The HTTP contract over a real socket: every call, every refusal, and what the protocol itself may bring.
//!
//! What holds for every answer is checked where answers come in (`served/problems.rs`, `served/shapes.rs`); the tests here
//! say which answer belongs to which request.

mod served;

mod contract {
    mod events;
    mod events_limits;
    mod expiry;
    mod hostile;
    mod idempotency;
    mod limits;
    mod malformed;
    mod multiplexed;
    mod ops;
    mod order;
    mod problems;
    mod protocol;
    mod reservations;
    mod sales;
    mod stopping;
}
