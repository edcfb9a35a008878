//! Limits of what a call may ask; each is a key of the configuration's `limits`.

use crate::sale::settings;

#[derive(Debug, Clone)]
pub struct Limits {
    /// Those of the rules.
    pub sale: settings::Limits,
    /// Units of one line.
    pub quantity_max: u32,
    pub batch_entries_max: usize,
    pub sales_page_max: usize,
    pub customer_reservations_max: usize,
}
