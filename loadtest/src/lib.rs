//! What both tools of this crate need: processes that they start and end, the service, the machine, plots.

pub mod children;
pub mod machine;
pub mod plot;
pub mod service;
