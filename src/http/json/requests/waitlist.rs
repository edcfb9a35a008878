//! Bodies of requests to waitlists.

use super::*;

/// Units to wait for, all lines or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with the members of a request to wait")]
#[schema(as = JoinRequest)]
pub struct JoinBody<'a> {
    /// The customer's id: opaque, chosen by the caller.
    #[serde(borrow)]
    customer: Cow<'a, str>,
    /// What to wait for. The service adds up lines of the same SKU before any check.
    #[serde(borrow)]
    #[schema(value_type = Vec<LineBody>)]
    lines: LinesBody<'a>,
    /// The caller's name for this entry, such as a cart's id. The reservation that is offered has it, too.
    #[serde(default, borrow)]
    reference: Option<Cow<'a, str>>,
    /// The customer's tier. The caller vouches for it.
    #[serde(default, borrow)]
    tier: Option<Cow<'a, str>>,
    /// The channel that the request came through. A key tied to one channel has it as the default.
    #[serde(default, borrow)]
    channel: Option<Cow<'a, str>>,
    /// Where the units are to go; for items whose pools are drawn from by cost.
    #[serde(default, borrow)]
    region: Option<Cow<'a, str>>,
    /// Up to four names with values of 1 to 32 bytes, such as experiments and campaigns. The reservation that is offered has them.
    #[serde(default, borrow)]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    labels: Option<Labels<'a>>,
    /// Only units from pools of these locations are offered. Left out: from pools of all locations, and of none.
    #[serde(default, borrow)]
    #[schema(value_type = Option<Vec<String>>)]
    locations: Option<Texts<'a>>,
}

impl<'a> JoinBody<'a> {
    /// The reserve that it waits for, after its checks.
    pub fn check(self, limits: &Limits, ids: &CustomerIds) -> Result<CheckedReserve<'a>, Vec<Invalid>> {
        let Self { customer, lines, reference, tier, channel, region, labels, locations } = self;
        let extras = ExtrasBody { tier, channel, region, labels, locations, allow_partial: None, group: None };
        ReserveBody::of(customer, lines, None, reference, extras.boxed()).check(limits, ids)
    }
}
