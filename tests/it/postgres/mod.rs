//! The real service following its journal into a real PostgreSQL to which bad things happen, under load: reserving goes on,
//! probes say what is wrong, and in the end the store is exact.
//!
//! `DOORBUSTER_FAULT_SECONDS` sets how long each fault lasts.

mod cuts;
mod faults;
pub mod load;
mod others;
mod proxy;
mod scene;
mod unsuitable;
