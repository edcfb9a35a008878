//! Bodies of requests about stock.

use super::*;

/// A change of an item's stock.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AdjustRequest)]
pub struct AdjustBody<'a> {
    /// The pool whose stock changes. Required where the item has several.
    #[serde(default, borrow)]
    pub pool: Option<Cow<'a, str>>,
    /// Units to add, or to remove if negative. Only available units can be removed.
    pub delta: i64,
    /// Why, for people.
    #[serde(default, borrow)]
    pub reason: Option<Cow<'a, str>>,
    /// The caller's name for the change, such as a delivery number.
    #[serde(default, borrow)]
    pub reference: Option<Cow<'a, str>>,
}

impl AdjustBody<'_> {
    pub fn check(&self, limits: &Limits) -> Result<(), Vec<Invalid>> {
        let mut wrong = Vec::new();
        if self.delta == 0 {
            wrong.push(Invalid::new("/delta", limits.sale.delta()));
        }
        check_slug_of(&mut wrong, "/pool", POOL_ID, self.pool.as_deref());
        check_text_of(&mut wrong, "/reason", REASON, &self.reason);
        check_text_of(&mut wrong, "/reference", REFERENCE, &self.reference);
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// Changes of the stock of several items, all or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AdjustmentsRequest)]
pub struct AdjustmentsBody<'a> {
    /// The changes. The service makes all of them in one step, or none.
    #[serde(borrow)]
    #[schema(value_type = Vec<AdjustOneBody>)]
    pub adjustments: Vec<Object<AdjustOneBody<'a>>>,
}

/// One change of several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AdjustOne)]
pub struct AdjustOneBody<'a> {
    /// An item of the sale.
    #[serde(borrow)]
    pub sku: Cow<'a, str>,
    /// The pool whose stock changes. Required where the item has several.
    #[serde(default, borrow)]
    pub pool: Option<Cow<'a, str>>,
    /// Units to add, or to remove if negative. Only available units can be removed.
    pub delta: i64,
    /// Why, for people.
    #[serde(default, borrow)]
    pub reason: Option<Cow<'a, str>>,
    /// The caller's name for the change, such as a delivery number.
    #[serde(default, borrow)]
    pub reference: Option<Cow<'a, str>>,
}

/// Changes of one request.
pub const ADJUSTMENTS_MAX: usize = 10_000;

impl AdjustmentsBody<'_> {
    pub fn check(&self, limits: &Limits) -> Result<(), Vec<Invalid>> {
        let mut wrong = Vec::new();
        if self.adjustments.is_empty() || self.adjustments.len() > ADJUSTMENTS_MAX {
            wrong.push(Invalid::new("/adjustments", format!("must be a list of 1 to {ADJUSTMENTS_MAX} adjustments")));
        }
        for (index, Object(change)) in self.adjustments.iter().enumerate().take(ADJUSTMENTS_MAX) {
            let at = |member: &str| format!("/adjustments/{index}/{member}");
            if check_name(&change.sku).is_err() {
                wrong.push(Invalid::new(at("sku"), SKU));
            }
            if change.delta == 0 {
                wrong.push(Invalid::new(at("delta"), limits.sale.delta()));
            }
            check_slug_of(&mut wrong, &at("pool"), POOL_ID, change.pool.as_deref());
            check_text_of(&mut wrong, &at("reason"), REASON, &change.reason);
            check_text_of(&mut wrong, &at("reference"), REFERENCE, &change.reference);
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// Units that go from one pool of an item to another.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TransferRequest)]
pub struct TransferBody<'a> {
    /// The pool that gives. Only available units can be moved.
    #[serde(borrow)]
    pub from: Cow<'a, str>,
    /// The pool that gets.
    #[serde(borrow)]
    pub to: Cow<'a, str>,
    /// Units.
    pub quantity: u64,
    /// Why, for people.
    #[serde(default, borrow)]
    pub reason: Option<Cow<'a, str>>,
    /// The caller's name for the transfer.
    #[serde(default, borrow)]
    pub reference: Option<Cow<'a, str>>,
}

impl TransferBody<'_> {
    pub fn check(&self, limits: &Limits) -> Result<(), Vec<Invalid>> {
        let mut wrong = Vec::new();
        check_slug_of(&mut wrong, "/from", POOL_ID, Some(&self.from));
        check_slug_of(&mut wrong, "/to", POOL_ID, Some(&self.to));
        let quantity = limits.sale.transfer();
        if !quantity.allows_number(self.quantity.into()) {
            wrong.push(Invalid::new("/quantity", quantity));
        }
        check_text_of(&mut wrong, "/reason", REASON, &self.reason);
        check_text_of(&mut wrong, "/reference", REFERENCE, &self.reference);
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}
