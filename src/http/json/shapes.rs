//! The shape of each request body, for error messages; see `invalid`.

use super::{
    entries::EntryBody,
    invalid::{Described, Member, Shape},
    requests::{
        ADJUSTMENTS_MAX, AdjustBody, AdjustmentsBody, CUSTOMER, CancelBody, ChangeBody, ConfirmBody, ExtendAllBody,
        ExtendBody, JoinBody, LABEL, LABEL_NAME, LOCATIONS_MAX, NoBody, REASON, REFERENCE, ReleaseBody, ReserveBody,
        TransferBody,
    },
};
use crate::{
    api::Limits,
    sale::{
        attributes::LABELS_MAX,
        rule::Rule,
        settings::{self, CHANNEL, LOCATION, POOL_ID, REGION, SKU, TIER},
    },
};

fn lines(limits: &Limits) -> Member {
    let line = Shape::new(vec![
        Member::value("sku", SKU),
        Member::value("quantity", Rule::whole(1, limits.quantity_max.into())),
    ]);
    Member::list("lines", line, limits.sale.lines_max)
}

impl Described for ReserveBody<'_> {
    fn shape(limits: &Limits) -> Shape {
        Shape::new(vec![
            Member::value("customer", CUSTOMER),
            lines(limits),
            Member::value("hold_seconds", settings::hold_seconds(limits.sale.hold_seconds_max)).optional(),
            Member::value("reference", REFERENCE).optional(),
            Member::value("tier", TIER).optional(),
            Member::value("channel", CHANNEL).optional(),
            Member::value("region", REGION).optional(),
            Member::map("labels", LABEL_NAME, LABEL, LABELS_MAX).optional(),
            Member::values("locations", LOCATION, LOCATIONS_MAX).optional(),
            Member::value("allow_partial", Rule::Flag).optional(),
            Member::value("group", Rule::GroupId).optional(),
        ])
    }
}

/// A reserve without what a hold alone has.
impl Described for JoinBody<'_> {
    fn shape(limits: &Limits) -> Shape {
        ReserveBody::shape(limits).without("hold_seconds").without("allow_partial").without("group")
    }
}

/// A reserve and its key.
impl Described for EntryBody<'_> {
    fn shape(limits: &Limits) -> Shape {
        ReserveBody::shape(limits).and(Member::value("idempotency_key", Rule::IdempotencyKey).optional())
    }
}

impl Described for ConfirmBody<'_> {
    fn shape(limits: &Limits) -> Shape {
        Shape::new(vec![lines(limits).optional(), Member::value("reference", REFERENCE).optional()])
    }
}

impl Described for ChangeBody<'_> {
    fn shape(limits: &Limits) -> Shape {
        Shape::new(vec![lines(limits)])
    }
}

impl Described for CancelBody<'_> {
    fn shape(limits: &Limits) -> Shape {
        Shape::new(vec![
            Member::value("reason", REASON).optional(),
            Member::value("restock", Rule::Flag).optional(),
            lines(limits).optional(),
        ])
    }
}

impl Described for ExtendAllBody<'_> {
    fn shape(limits: &Limits) -> Shape {
        Shape::new(vec![
            Member::value("seconds", settings::hold_seconds(limits.sale.hold_seconds_max)),
            Member::value("reason", REASON).optional(),
        ])
    }
}

impl Described for ReleaseBody<'_> {
    fn shape(_: &Limits) -> Shape {
        Shape::new(vec![Member::value("reason", REASON).optional()])
    }
}

impl Described for ExtendBody {
    fn shape(limits: &Limits) -> Shape {
        Shape::new(vec![Member::value("hold_seconds", settings::hold_seconds(limits.sale.hold_seconds_max))])
    }
}

impl Described for AdjustBody<'_> {
    fn shape(limits: &Limits) -> Shape {
        Shape::new(change_of_stock(limits))
    }
}

fn change_of_stock(limits: &Limits) -> Vec<Member> {
    vec![
        Member::value("pool", POOL_ID).optional(),
        Member::value("delta", limits.sale.delta()),
        Member::value("reason", REASON).optional(),
        Member::value("reference", REFERENCE).optional(),
    ]
}

impl Described for AdjustmentsBody<'_> {
    fn shape(limits: &Limits) -> Shape {
        let change = Shape::new(change_of_stock(limits)).and(Member::value("sku", SKU));
        Shape::new(vec![Member::list("adjustments", change, ADJUSTMENTS_MAX)])
    }
}

impl Described for TransferBody<'_> {
    fn shape(limits: &Limits) -> Shape {
        Shape::new(vec![
            Member::value("from", POOL_ID),
            Member::value("to", POOL_ID),
            Member::value("quantity", limits.sale.transfer()),
            Member::value("reason", REASON).optional(),
            Member::value("reference", REFERENCE).optional(),
        ])
    }
}

impl Described for NoBody {
    fn shape(_: &Limits) -> Shape {
        Shape::new(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::{config::Config, http::json::settings::SettingsBody, service};

    /// The shapes are what the document says of the same bodies: an error names the members that there are.
    #[test]
    fn shapes_have_the_members_of_the_document() {
        let config = Config::default();
        let document = serde_json::to_value(service::contract(&config)).unwrap();
        let limits = service::api_limits(&config);
        for (schema, shape) in [
            ("ReserveRequest", ReserveBody::shape(&limits)),
            ("BatchEntry", EntryBody::shape(&limits)),
            ("JoinRequest", JoinBody::shape(&limits)),
            ("ConfirmRequest", ConfirmBody::shape(&limits)),
            ("ChangeRequest", ChangeBody::shape(&limits)),
            ("CancelRequest", CancelBody::shape(&limits)),
            ("ExtendAllRequest", ExtendAllBody::shape(&limits)),
            ("ReleaseRequest", ReleaseBody::shape(&limits)),
            ("ExtendRequest", ExtendBody::shape(&limits)),
            ("AdjustRequest", AdjustBody::shape(&limits)),
            ("AdjustmentsRequest", AdjustmentsBody::shape(&limits)),
            ("TransferRequest", TransferBody::shape(&limits)),
            ("NoMembers", NoBody::shape(&limits)),
            ("SaleSettings", SettingsBody::shape(&limits)),
            ("SalePatch", SettingsBody::shape_of_patch(&limits)),
        ] {
            assert_same_members(&document, &document["components"]["schemas"][schema], &shape, schema);
        }
    }

    fn assert_same_members(document: &Value, schema: &Value, shape: &Shape, place: &str) {
        let documented = schema["properties"].as_object().cloned().unwrap_or_default();
        let names: BTreeSet<&str> = documented.keys().map(String::as_str).collect();
        assert_eq!(shape.members().map(|(name, ..)| name).collect::<BTreeSet<_>>(), names, "{place}");
        let required = schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap());
        let needed = shape.members().filter(|(.., required)| *required).map(|(name, ..)| name);
        assert_eq!(needed.collect::<BTreeSet<_>>(), required.collect::<BTreeSet<_>>(), "{place}");
        for (name, inner, _) in shape.members() {
            if let Some(inner) = inner {
                let place = format!("{place}.{name}");
                assert_same_members(document, &referred(document, &documented[name]), inner, &place);
            }
        }
    }

    /// The object that the member is, or holds.
    fn referred(document: &Value, member: &Value) -> Value {
        let choice = || member["oneOf"].as_array().and_then(|all| all.iter().find(|one| one.get("$ref").is_some()));
        let reference = [Some(member), member.get("items"), choice()].into_iter().flatten();
        let reference =
            reference.filter_map(|place| place["$ref"].as_str()).next().unwrap_or_else(|| panic!("{member}"));
        document.pointer(&reference[1..]).unwrap().clone()
    }
}
