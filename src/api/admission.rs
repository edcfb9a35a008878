//! Who may make a call, and how often.

use std::sync::atomic::Ordering;

use super::{
    Service,
    calls::{Access, Call},
    problems,
    refused::{Limited, Refused},
};
use crate::{auth::Caller, sale::catalogue::Sale};

impl Service {
    /// Refuses every call while the service stops.
    pub fn refuse_if_stopping(&self) -> Result<(), Refused> {
        if self.engine.durability().failed() {
            return Err(problems::OUTCOME_UNKNOWN.because("the disk failed; the service is stopping"));
        }
        if self.draining.load(Ordering::Relaxed) {
            return Err(problems::DRAINING.because("the service is shutting down"));
        }
        Ok(())
    }

    /// The quotas that need no more than the call. The customer's is checked once the command is known, and so is the sale's for
    /// entries of a batch.
    pub fn admit(&self, caller: &Caller, call: Call, sale: Option<&Sale>) -> Result<(), Refused> {
        if let Some(key) = caller.key() {
            self.rates.admit_key(key, sale).map_err(|limited| self.rate_limited(limited))?;
        }
        match sale {
            Some(sale) if matches!(call, Call::Reserve | Call::JoinWaitlist) => {
                self.rates.admit_reserve(sale).map_err(|limited| self.rate_limited(limited))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a request past its quota, and counts it.
    pub(super) fn rate_limited(&self, limited: Limited) -> Refused {
        self.telemetry.edge.rate_limited(limited.policy);
        Refused::limited(limited)
    }
}

/// Whether the caller may make the call. `subject`: the first variable of its path. A sale that the caller may not see does not
/// exist for it; whether a reservation or a waitlist entry belongs to such a sale is checked where it is looked up.
pub fn authorize(caller: &Caller, call: Call, subject: &str) -> Result<(), Refused> {
    let access = call.row().access;
    if let Some(needed) = access.role()
        && caller.role < needed
    {
        let (role, needed) = (caller.role.as_str(), needed.as_str());
        return Err(problems::FORBIDDEN.because(format!("the key's role is {role}; this call needs {needed}")));
    }
    if call.row().of_all_channels && caller.channels().len() > 0 {
        let detail = "this call concerns every channel, and the key is tied to certain channels";
        return Err(problems::FORBIDDEN.because(detail));
    }
    match access {
        Access::OfAllSales(_) if !caller.sees_all() => {
            Err(problems::FORBIDDEN.because("this call concerns every sale, and the key is limited to certain sales"))
        }
        Access::OfSale(_) if !caller.sees(subject) => Err(Refused::no_such_sale()),
        Access::Public | Access::Any(_) | Access::OfSale(_) | Access::OfAllSales(_) => Ok(()),
    }
}
