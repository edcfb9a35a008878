//! The tiers and channels that the service knows: figures are counted by them, so there may be only so many.
//!
//! Invariant: a name of a sale's document or of a key is always known. Of other names the first ones are, up to a limit; a request
//! with another name is refused, not remembered.

use compact_str::CompactString;
use dashmap::DashSet;
use foldhash::fast::RandomState;

use super::refused::Refused;
use crate::sale::{
    catalogue::Catalogue,
    command::Extras,
    settings::{Invalid, SaleSettings},
};

#[derive(Debug)]
pub struct Names {
    tiers: Known,
    channels: Known,
}

#[derive(Debug)]
struct Known {
    names: DashSet<CompactString, RandomState>,
    most: usize,
    pointer: &'static str,
    limit: &'static str,
}

impl Known {
    fn new(most: usize, pointer: &'static str, limit: &'static str) -> Self {
        Self { names: DashSet::default(), most, pointer, limit }
    }

    fn admit(&self, name: &str) -> Result<(), Invalid> {
        // Requests that meet at the limit may pass it by their number.
        if self.names.contains(name) {
            return Ok(());
        }
        if self.names.len() >= self.most {
            let detail = format!(
                "is new, and the service already knows {} ({}); use one of those, or name it in a sale's document",
                self.most, self.limit
            );
            return Err(Invalid::new(self.pointer, detail));
        }
        self.names.insert(name.into());
        Ok(())
    }

    fn learn<'a>(&self, names: impl Iterator<Item = &'a String>) {
        names.for_each(|name| _ = self.names.insert(name.as_str().into()));
    }
}

impl Names {
    pub fn new(tiers_max: usize, channels_max: usize) -> Self {
        Self {
            tiers: Known::new(tiers_max, "/tier", "limits.tiers_max"),
            channels: Known::new(channels_max, "/channel", "limits.channels_max"),
        }
    }

    /// Lets a request in whose tier and channel are known, or can become so.
    pub fn admit(&self, extras: Option<&Extras<'_>>) -> Result<(), Refused> {
        let Some(Extras { attributes, .. }) = extras else { return Ok(()) };
        if let Some(tier) = &attributes.tier {
            self.tiers.admit(tier)?;
        }
        if let Some(channel) = &attributes.channel {
            self.channels.admit(channel)?;
        }
        Ok(())
    }

    /// Knows the names of all documents from here on.
    pub fn learn_all(&self, catalogue: &Catalogue) {
        catalogue.sales().iter().for_each(|sale| self.learn(&sale.settings));
    }

    /// Knows the names of a document from here on.
    pub fn learn(&self, settings: &SaleSettings) {
        let pools = || settings.items.iter().flat_map(|item| &item.pools);
        self.tiers.learn(settings.phases.iter().filter_map(|phase| phase.tiers.as_ref()).flatten());
        self.tiers.learn(pools().filter_map(|pool| pool.tiers.as_ref()).flatten());
        self.channels.learn(settings.phases.iter().filter_map(|phase| phase.channels.as_ref()).flatten());
        self.channels.learn(pools().filter_map(|pool| pool.channels.as_ref()).flatten());
    }

    /// Knows the channels that keys are tied to.
    pub fn learn_channels<'a>(&self, channels: impl Iterator<Item = &'a str>) {
        channels.for_each(|channel| _ = self.channels.names.insert(channel.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::attributes::Attributes;

    #[test]
    fn new_names_are_refused_at_the_limit_and_documents_names_never() {
        let names = Names::new(1, 2);
        let through = |channel: &'static str| {
            let attributes = Attributes { channel: Some(channel.into()), ..Attributes::default() };
            names.admit(Some(&Extras { attributes, ..Extras::default() })).is_ok()
        };
        assert!(through("app") && through("web") && through("app"));
        assert!(!through("kiosk") && !through("kiosk"));
        names.learn_channels(["kiosk"].into_iter());
        assert!(through("kiosk") && !through("other"));
        assert!(names.admit(None).is_ok());
    }
}
