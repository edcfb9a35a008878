//! Calls on sales: put, patch, look, list, pause, resume, close, availability, replenishment, adjustments.

use std::sync::Arc;

use super::Service;
use crate::{
    auth::Caller,
    engine::{Adjustment, AdjustmentOf, Answer, ExtensionOfAll, SaleView, TransferMade},
    pace::Outlook,
    sale::{
        catalogue::{Put, Sale},
        command::{Adjust, AdjustAll, ExtendAll, Extras, Transfer},
        expected::Expected,
        outcome::Refusal,
        settings::{Invalid, SaleSettings},
        time::Timestamp,
        warnings::{self, Warning},
    },
};

/// Sales with more items are counted and shown beside the requests: that takes milliseconds.
const ITEMS_IN_PASSING: usize = 256;

/// An operator's change of a sale's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusChange {
    Pause,
    Resume,
    Close,
}

/// A sale with an outlook for each of its items, in their order.
pub struct Replenishment {
    pub view: SaleView,
    pub outlooks: Vec<Outlook>,
    pub as_of: Timestamp,
}

impl Service {
    pub fn put_sale(
        &self,
        caller: &Caller,
        expected: &Expected,
        settings: &SaleSettings,
    ) -> Answer<Result<(Put, Arc<Sale>), Refusal>> {
        let answer = self.engine.put_sale_if(self.now(), caller.actor(), expected, settings);
        if let Ok((_, sale)) = &answer.value {
            self.names.learn(&sale.settings);
            // Recorded here, because nobody waits if the caller has disconnected.
            self.signal.notify();
        }
        answer
    }

    /// Replaces the sale's settings with what `merge` makes of them. `point_back`: points errors of the merged settings at what
    /// caused them. Starts over if another caller changes the settings meanwhile. That costs the other caller nothing, and ends
    /// when nobody else changes them.
    pub fn patch_sale(
        &self,
        caller: &Caller,
        id: &str,
        expected: &Expected,
        merge: impl Fn(&SaleSettings) -> Result<SaleSettings, Vec<Invalid>>,
        point_back: impl Fn(&mut Vec<Invalid>, &SaleSettings),
    ) -> Answer<Result<(Put, Arc<Sale>), Refusal>> {
        loop {
            let Answer { value: present, durable_at } = self.engine.sale_to_change(id);
            let merged = present.and_then(|present| {
                let tag = present.tag();
                if !expected.is_met(Some(tag)) {
                    return Err(Refusal::PreconditionFailed { present: Some(tag) });
                }
                merge(&present.settings).map(|merged| (tag, merged)).map_err(Refusal::Invalid)
            });
            let (tag, merged) = match merged {
                Ok(merged) => merged,
                Err(refusal) => return Answer { value: Err(refusal), durable_at },
            };
            let mut answer = self.put_sale(caller, &Expected::exactly(tag), &merged);
            match &mut answer.value {
                Err(Refusal::PreconditionFailed { .. }) => continue,
                Err(Refusal::Invalid(wrong)) => point_back(wrong, &merged),
                _ => {}
            }
            return answer;
        }
    }

    pub fn sale(&self, id: &str) -> Answer<Result<SaleView, Refusal>> {
        self.engine.sale(self.now(), id)
    }

    /// Of all pools, or of those that are open to such a request.
    pub fn availability(&self, id: &str, asked: Option<&Extras<'_>>) -> Answer<Result<SaleView, Refusal>> {
        self.engine.availability(self.now(), id, asked)
    }

    /// How the items of a sale sell.
    pub fn replenishment(&self, id: &str) -> Answer<Result<Replenishment, Refusal>> {
        self.sale(id).map(|view| {
            let view = view?;
            let (paces, now) = (self.paces.get(), self.engine.time(self.now()));
            let (settings, stock_max) = (&view.sale.settings, self.limits.sale.stock_max);
            let outlooks = view.sale.items.iter().zip(&view.counts).map(|(item, counts)| {
                let pace = paces.get(item.number.index()).copied().unwrap_or_default();
                Outlook::of(pace, counts, (settings, view.status), now, stock_max)
            });
            let outlooks = outlooks.collect();
            Ok(Replenishment { view, outlooks, as_of: now })
        })
    }

    /// What would come of putting a sale document, and what in it is likely to be a mistake.
    pub fn try_put(
        &self,
        expected: &Expected,
        settings: &SaleSettings,
    ) -> Answer<Result<(Put, Vec<Warning>), Refusal>> {
        let now = self.engine.time(self.now());
        self.engine.try_put(expected, settings).map(|put| put.map(|put| (put, warnings::of(settings, now))))
    }

    /// Sales that the caller may see, and whether there are more.
    pub fn sales(&self, caller: &Caller, after: &str, most: usize) -> Answer<(Vec<SaleView>, bool)> {
        self.engine.sales(self.now(), after, most, |id| caller.sees(id))
    }

    /// Whether showing the sale takes so long that it is to be done beside the requests.
    pub fn is_large(&self, id: &str) -> bool {
        self.engine.catalogue().sale(id).is_ok_and(|sale| is_large(sale.items.len()))
    }

    /// As `is_large`, for all sales together.
    pub fn all_are_large(&self) -> bool {
        is_large(self.engine.catalogue().items())
    }
}

/// Whether so many items take so long to show that it is to be done beside the requests.
pub fn is_large(items: usize) -> bool {
    items > ITEMS_IN_PASSING
}

impl Service {
    pub fn change_status(&self, caller: &Caller, change: StatusChange, id: &str) -> Answer<Result<(), Refusal>> {
        let (engine, now, by) = (&self.engine, self.now(), caller.actor());
        match change {
            StatusChange::Pause => engine.pause(now, by, id),
            StatusChange::Resume => engine.resume(now, by, id),
            StatusChange::Close => engine.close(now, by, id),
        }
    }

    pub fn adjust(&self, caller: &Caller, asked: &Adjust<'_>) -> Answer<Result<Adjustment, Refusal>> {
        self.engine.adjust(self.now(), caller.actor(), asked)
    }

    pub fn adjust_all(&self, caller: &Caller, asked: &AdjustAll<'_>) -> Answer<Result<Vec<AdjustmentOf>, Refusal>> {
        self.engine.adjust_all(self.now(), caller.actor(), asked)
    }

    /// Begins to extend all holds of a sale, or joins an extension with the same key.
    pub fn extend_all(&self, caller: &Caller, asked: &ExtendAll<'_>) -> Answer<Result<ExtensionOfAll, Refusal>> {
        self.engine.extend_all(self.now(), caller.actor(), asked)
    }

    pub fn transfer(&self, caller: &Caller, asked: &Transfer<'_>) -> Answer<Result<TransferMade, Refusal>> {
        self.engine.transfer(self.now(), caller.actor(), asked)
    }
}
