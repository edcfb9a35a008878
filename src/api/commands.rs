//! Commands as they come from a caller: well formed, and within the limits.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{problems, refused::Refused};
use crate::{
    auth::Caller,
    sale::command::{AskedLine, Cancel, Confirm, Extras, Reserve},
};

/// Lines, each SKU once.
pub type CheckedLines<'a> = SmallVec<[CheckedLine<'a>; 2]>;

/// A confirmation's members after their checks.
#[derive(Debug)]
pub struct CheckedConfirm<'a> {
    pub lines: Option<CheckedLines<'a>>,
    pub reference: Option<Cow<'a, str>>,
}

/// A cancellation's members after their checks.
#[derive(Debug)]
pub struct CheckedCancel<'a> {
    pub lines: Option<CheckedLines<'a>>,
    pub reason: Option<Cow<'a, str>>,
    pub restock: bool,
}

/// A reserve's members after their checks.
#[derive(Debug)]
pub struct CheckedReserve<'a> {
    /// The customer's id or pseudonym: all that the layers below see.
    pub customer: Cow<'a, str>,
    pub lines: CheckedLines<'a>,
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

/// What the engine is asked.
pub fn asked_lines<'b>(lines: &'b CheckedLines<'_>) -> SmallVec<[AskedLine<'b>; 2]> {
    lines.iter().map(|line| AskedLine { sku: &line.sku, units: line.units }).collect()
}

impl CheckedConfirm<'_> {
    /// What the engine is asked.
    pub fn asked(&self) -> Confirm<'_> {
        Confirm { lines: self.lines.as_ref().map(asked_lines), reference: self.reference.as_deref() }
    }
}

impl CheckedCancel<'_> {
    /// What the engine is asked.
    pub fn asked<'b>(&'b self, key: Option<&'b str>) -> Cancel<'b> {
        let &Self { ref lines, ref reason, restock } = self;
        Cancel { lines: lines.as_ref().map(asked_lines), reason: reason.as_deref(), restock, key }
    }
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
        let lines = asked_lines(&self.lines);
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
