//! Commands as they come from a caller: well formed, and within the limits.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{problems, refused::Refused};
use crate::{
    auth::Caller,
    sale::command::{AskedLine, Extras, Reserve},
};

/// A reserve's members after their checks.
#[derive(Debug)]
pub struct CheckedReserve<'a> {
    /// The customer's id or pseudonym: all that the layers below see.
    pub customer: Cow<'a, str>,
    pub lines: SmallVec<[CheckedLine<'a>; 2]>,
    pub hold_seconds: Option<u32>,
    pub reference: Option<Cow<'a, str>>,
    /// None if it has none.
    pub extras: Option<Box<Extras<'a>>>,
}

/// All units of a SKU.
#[derive(Debug)]
pub struct CheckedLine<'a> {
    pub sku: Cow<'a, str>,
    pub units: u32,
}

impl CheckedReserve<'_> {
    /// Applies the channels that the caller is tied to: one of them is the request's, and a single one is the default.
    pub fn through(&mut self, caller: &Caller) -> Result<(), Refused> {
        let mut channels = caller.channels();
        if channels.len() == 0 {
            return Ok(());
        }
        let asked = self.extras.as_deref().and_then(|extras| extras.attributes.channel.as_deref());
        match asked {
            Some(channel) if channels.any(|own| own == channel) => Ok(()),
            None if channels.len() == 1 => {
                let only = channels.next().expect("there is one").to_owned();
                self.extras.get_or_insert_default().attributes.channel = Some(only.into());
                Ok(())
            }
            _ => {
                let own: Vec<_> = caller.channels().collect();
                let detail = format!("this key is for the channels {}; name one of them", own.join(", "));
                Err(problems::FORBIDDEN.because(detail))
            }
        }
    }

    /// What the engine is asked.
    pub fn asked<'b>(&'b self, sale: &'b str, key: Option<&'b str>) -> Reserve<'b> {
        let lines = self.lines.iter().map(|line| AskedLine { sku: &line.sku, units: line.units }).collect();
        let Self { customer, hold_seconds, reference, extras, .. } = self;
        Reserve {
            sale,
            customer,
            lines,
            hold_seconds: *hold_seconds,
            reference: reference.as_deref(),
            key,
            extras: extras.as_deref(),
        }
    }
}
