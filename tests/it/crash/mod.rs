//! The real binary under load, killed at moments it did not choose, and everything it ever answered held against it.
//!
//! `DOORBUSTER_CRASH_CYCLES` sets how often the main test kills; `DOORBUSTER_CRASH_SEED` repeats a run that failed, as far
//! as timing lets it.

mod batches;
mod buffered;
mod cycles;
mod endings;
mod extensions;
mod full_disk;
mod keys;
mod ledger;
mod load;
mod lost_store;
mod open_files;
mod standard_streams;
mod starting;
mod supervised;
