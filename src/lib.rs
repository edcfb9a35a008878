pub mod engine;
pub mod journal;
pub mod sale;
