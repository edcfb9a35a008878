//! Schemas: from the wire types' `ToSchema`, and one for each problem.

use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{bounds, feed, problems, reference};
use crate::{
    api::{Limits, calls::Call, problems::PROBLEMS},
    events::{
        AdjustmentData, EndingData, EntryData, ErasureData, GroupData, LevelData, LowStockData, PhaseData,
        ReservationData, SharingData, StatusData, TransferData,
    },
    http::{
        handlers::problems::Page,
        json::{
            answers::{
                AdjustmentBody, AdjustmentsBody as AdjustmentsResultBody, AvailabilityBody, CustomerBody, DryRunBody,
                ErasureBody, ExtendedHoldsBody, PutDryRunBody, ReplenishmentBody, ReservationBody, SaleBody, SalesBody,
                TransferBody as TransferResultBody, WaitlistEntryBody,
            },
            entries::{EntryBody, GrantedBody},
            problem::{Document, Errors, Lines, Of},
            report::ReportBody,
            requests::{
                AdjustBody, AdjustmentsBody, CancelBody, ChangeBody, ConfirmBody, ExtendAllBody, ExtendBody, JoinBody,
                NoBody, ReleaseBody, ReserveWire, TransferBody,
            },
            settings::SettingsBody,
            status::StatusBody,
            trail::TrailBody,
            webhooks::{WebhookBody, WebhooksBody},
        },
    },
};

/// Every schema by its name.
pub(super) fn schemas(limits: &Limits) -> Value {
    let mut requests = Map::new();
    add::<ReserveWire<'_>>(&mut requests);
    add::<EntryBody<'_>>(&mut requests);
    add::<JoinBody<'_>>(&mut requests);
    add::<ConfirmBody<'_>>(&mut requests);
    add::<ReleaseBody<'_>>(&mut requests);
    add::<ChangeBody<'_>>(&mut requests);
    add::<CancelBody<'_>>(&mut requests);
    add::<ExtendAllBody<'_>>(&mut requests);
    add::<ExtendBody>(&mut requests);
    add::<AdjustBody<'_>>(&mut requests);
    add::<AdjustmentsBody<'_>>(&mut requests);
    add::<TransferBody<'_>>(&mut requests);
    add::<NoBody>(&mut requests);
    add::<SettingsBody>(&mut requests);
    requests.values_mut().for_each(describe_choices);
    requests.insert("BatchRequest".to_owned(), batch_request());

    let mut answers = Map::new();
    add::<SaleBody<'_>>(&mut answers);
    add::<SalesBody<'_>>(&mut answers);
    add::<AvailabilityBody<'_>>(&mut answers);
    add::<ReplenishmentBody<'_>>(&mut answers);
    add::<AdjustmentBody<'_>>(&mut answers);
    add::<AdjustmentsResultBody<'_>>(&mut answers);
    add::<TransferResultBody<'_>>(&mut answers);
    add::<DryRunBody<'_>>(&mut answers);
    add::<PutDryRunBody<'_>>(&mut answers);
    add::<ReservationBody<'_>>(&mut answers);
    add::<GrantedBody<'_>>(&mut answers);
    add::<WaitlistEntryBody<'_>>(&mut answers);
    add::<CustomerBody<'_>>(&mut answers);
    add::<ReportBody<'_>>(&mut answers);
    add::<TrailBody<'_>>(&mut answers);
    add::<WebhooksBody<'_>>(&mut answers);
    add::<WebhookBody<'_>>(&mut answers);
    add::<ErasureBody>(&mut answers);
    add::<ExtendedHoldsBody>(&mut answers);
    add::<StatusBody<'_>>(&mut answers);
    add::<ReservationData<'_>>(&mut answers);
    add::<GroupData<'_>>(&mut answers);
    add::<EntryData<'_>>(&mut answers);
    add::<AdjustmentData<'_>>(&mut answers);
    add::<TransferData<'_>>(&mut answers);
    add::<PhaseData<'_>>(&mut answers);
    add::<SharingData<'_>>(&mut answers);
    add::<LevelData<'_>>(&mut answers);
    add::<LowStockData<'_>>(&mut answers);
    add::<StatusData<'_>>(&mut answers);
    add::<ErasureData<'_>>(&mut answers);
    add::<EndingData>(&mut answers);
    answers.extend(feed::schemas());
    add::<Page<'_>>(&mut answers);
    add::<Document<'_>>(&mut answers);
    // For what their members refer to; the members themselves stand in the schemas of problems.
    add_inner::<Errors<'_>>(&mut answers);
    add_inner::<Lines<'_>>(&mut answers);
    add_inner::<Of<'_>>(&mut answers);
    answers.extend(PROBLEMS.iter().map(|problem| (problems::name(problem), problems::schema(problem))));
    answers.values_mut().for_each(without_null);
    answers.insert("BatchRefused".to_owned(), batch_refused());
    answers.insert("BatchResults".to_owned(), batch_results());

    let mut schemas = requests;
    schemas.extend(answers);
    schemas.insert("Contract".to_owned(), json!({ "type": "object", "description": "An OpenAPI 3.1 document." }));
    let mut schemas = Value::Object(schemas);
    bounds::add(&mut schemas, limits);
    add_patch(&mut schemas);
    schemas
}

/// The schema of a patch of a sale.
pub(super) const PATCH: &str = "SalePatch";

/// What a sale is put as, and what a patch has in its place.
const PATCHED: [(&str, &str); 8] = [
    ("SaleSettings", PATCH),
    ("ItemSettings", "ItemPatch"),
    ("RateLimits", "RateLimitsPatch"),
    ("HoldBudget", "HoldBudgetPatch"),
    ("Waitlist", "WaitlistPatch"),
    ("Quota", "QuotaPatch"),
    ("Price", "PricePatch"),
    ("GroupSettings", "GroupPatch"),
];

/// A patch has the same members as what it changes. Only an item's SKU is required.
fn add_patch(schemas: &mut Value) {
    for (whole, patch) in PATCHED {
        let mut schema = schemas[whole].clone();
        let names_item = schema["properties"].get("sku").is_some();
        schema["required"] = if names_item { json!(["sku"]) } else { json!([]) };
        let described = schema["description"].as_str().unwrap_or_default();
        schema["description"] =
            json!(format!("{described} In a patch: only the members that change; the others stay."));
        for member in members_of(&mut schema) {
            refer_to_patch(member);
            // Answers leave out what is not there; a patch removes it by null.
            if whole == "RateLimits" {
                let reference = member.as_object_mut().and_then(|member| member.remove("$ref"));
                member["oneOf"] = json!([{ "type": "null" }, { "$ref": reference }]);
            } else if whole == "HoldBudget" {
                member["type"] = json!([member["type"], "null"]);
            }
        }
        if whole == "Waitlist" {
            schema["properties"]["hold_seconds"]["type"] = json!(["integer", "null"]);
        }
        schemas[patch] = schema;
    }
}

fn refer_to_patch(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(path)) = members.get_mut("$ref") {
                let whole = path.rsplit('/').next().unwrap_or_default();
                if let Some((_, patch)) = PATCHED.iter().find(|(known, _)| *known == whole) {
                    *path = format!("#/components/schemas/{patch}");
                }
            }
            members.values_mut().for_each(refer_to_patch);
        }
        Value::Array(values) => values.iter_mut().for_each(refer_to_patch),
        _ => {}
    }
}

/// What is read and written entry by entry has no type as a whole.
fn batch_request() -> Value {
    json!({
        "type": "object",
        "description": "Reserves for many customers.",
        "required": ["reservations"],
        "properties": { "reservations": {
            "type": "array", "description": "One entry per reserve.", "items": reference("schemas", "BatchEntry"),
        } },
        "additionalProperties": false,
    })
}

fn batch_results() -> Value {
    let result = json!({ "oneOf": [reference("schemas", "BatchGranted"), reference("schemas", "BatchRefused")] });
    json!({
        "type": "object",
        "description": "The results of a batch.",
        "required": ["results"],
        "properties": { "results": {
            "type": "array", "description": "One result per entry, in order.", "items": result,
        } },
    })
}

fn batch_refused() -> Value {
    let problems = Call::problems_of_entry().into_iter().map(|problem| reference("schemas", &problems::name(problem)));
    json!({
        "type": "object",
        "description": "The result of a refused entry.",
        "required": ["status", "problem"],
        "properties": {
            "status": { "type": "integer", "format": "int32", "description": "The status that the call for one \
                                                                              reservation answers." },
            "problem": {
                "description": "The document that the call for one reservation answers. Its pointers begin at the \
                                entry.",
                "oneOf": problems.collect::<Vec<_>>(),
            },
        },
    })
}

fn add<T: ToSchema>(schemas: &mut Map<String, Value>) {
    add_inner::<T>(schemas);
    schemas.insert(T::name().into_owned(), json!(T::schema()));
}

fn add_inner<T: ToSchema>(schemas: &mut Map<String, Value>) {
    let mut inner = Vec::new();
    T::schemas(&mut inner);
    schemas.extend(inner.into_iter().map(|(name, schema)| (name, json!(schema))));
}

/// Moves the description of a nullable member from one of its choices to the member.
fn describe_choices(schema: &mut Value) {
    for member in members_of(schema) {
        let choices = member.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten();
        let descriptions: Vec<_> = choices.filter_map(|choice| choice.as_object_mut()?.remove("description")).collect();
        if let [only] = &descriptions[..] {
            member["description"] = only.clone();
        }
    }
}

/// Answers leave out what is not there: a member that may be missing is never null.
fn without_null(schema: &mut Value) {
    for member in members_of(schema) {
        if let Some(types) = member["type"].as_array() {
            let real = types.iter().find(|kind| *kind != "null").cloned();
            member["type"] = real.expect("nothing is null alone");
        }
        if let Some(choices) = member["oneOf"].as_array() {
            let real = choices.iter().find(|choice| choice["type"] != "null").cloned();
            *member = real.expect("nothing is null alone");
        }
    }
}

fn members_of(schema: &mut Value) -> impl Iterator<Item = &mut Value> {
    let members = schema.get_mut("properties").and_then(Value::as_object_mut);
    members.into_iter().flat_map(Map::values_mut)
}
