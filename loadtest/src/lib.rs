//! Shared code of both tools of this crate: child processes, the service, the machine, plots.

pub mod children;
pub mod machine;
pub mod plot;
pub mod service;
