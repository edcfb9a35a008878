//! The rules of a flash sale, pure: they take state, time and a command, and return an outcome and events.
//!
//! Nothing here reads a clock, does I/O, awaits, logs or draws random numbers, or imports other crates of the workspace. The
//! outcome is the same on every machine and on every replay.

pub mod adjustments;
pub mod attributes;
pub mod audit;
pub mod cancel;
pub mod catalogue;
pub mod change;
pub mod code;
pub mod codec;
pub mod command;
pub mod confirm;
pub mod deadlines;
pub mod decide;
pub mod event;
pub mod expected;
pub mod extensions;
pub mod groups;
pub mod ids;
mod index;
pub mod judge;
pub mod object;
pub mod outcome;
mod ranks;
pub mod rule;
pub mod settings;
pub mod shard;
mod slab;
pub mod stock;
pub mod time;
pub mod timeline;
pub mod transition;
pub mod waitlist;
pub mod warnings;
