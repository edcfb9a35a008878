//! The feed of events: a schema for each type of event, and for the frame that server-sent events have.
//!
//! OpenAPI 3.1 cannot describe a body that is a sequence of documents. By convention, its schema is that of one document.

use serde_json::{Map, Value, json};
use utoipa::PartialSchema;

use super::{
    bounds::{CURSOR_BYTES_MAX, cursor, time},
    examples, reference,
};
use crate::events::Envelope;

/// Types of events, with the schema of their data. The last one marks the end of a stream, not a change.
const KINDS: [(&str, &str); 29] = [
    ("reservation.held", "ReservationData"),
    ("reservation.extended", "ReservationData"),
    ("reservation.changed", "ReservationData"),
    ("reservation.cancelled", "ReservationData"),
    ("reservation.confirm_refused", "ReservationData"),
    ("reservation.confirmed", "ReservationData"),
    ("reservation.released", "ReservationData"),
    ("reservation.expired", "ReservationData"),
    ("group.opened", "GroupData"),
    ("group.completed", "GroupData"),
    ("group.failed", "GroupData"),
    ("waitlist.joined", "EntryData"),
    ("waitlist.offered", "EntryData"),
    ("waitlist.left", "EntryData"),
    ("waitlist.expired", "EntryData"),
    ("waitlist.passed_over", "EntryData"),
    ("stock.adjusted", "AdjustmentData"),
    ("stock.transferred", "TransferData"),
    ("item.pool_shared", "SharingData"),
    ("item.sold_out", "LevelData"),
    ("item.back_in_stock", "LevelData"),
    ("item.low_stock", "LowStockData"),
    ("sale.opened", "StatusData"),
    ("sale.phase_opened", "PhaseData"),
    ("sale.paused", "StatusData"),
    ("sale.resumed", "StatusData"),
    ("sale.closed", "StatusData"),
    ("sale.put", "SaleSettings"),
    OF_CUSTOMER,
];
/// The only change that belongs to no sale.
const OF_CUSTOMER: (&str, &str) = ("customer.erased", "ErasureData");
const ENDING: (&str, &str) = ("stream.ended", "EndingData");

/// Members that only a durable change has.
const OF_CHANGES: [&str; 3] = ["subject", "time", "cursor"];

fn kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
    KINDS.into_iter().chain([ENDING])
}

/// What the schema of the type is called, such as `ItemSoldOutEvent`.
fn name(kind: &str) -> String {
    let words = kind.split(['.', '_']).map(|word| format!("{}{}", word[..1].to_ascii_uppercase(), &word[1..]));
    words.chain(["Event".to_owned()]).collect()
}

/// `Event`, which is one of its types; each of them; and the frame.
pub(super) fn schemas() -> Map<String, Value> {
    let mut schemas: Map<_, _> = kinds().map(|(kind, data)| (name(kind), schema(kind, data))).collect();
    let names = || kinds().map(|(kind, _)| (kind, reference("schemas", &name(kind))));
    let mapping: Map<_, _> = names().map(|(kind, named)| (kind.to_owned(), named["$ref"].clone())).collect();
    let event = json!({
        "description": "A durable change, or the end of a stream, as a CloudEvents 1.0 document.",
        "oneOf": names().map(|(_, named)| named).collect::<Vec<_>>(),
        "discriminator": { "propertyName": "type", "mapping": mapping },
    });
    schemas.insert("Event".to_owned(), event);
    schemas.insert("ServerSentEvent".to_owned(), frame());
    schemas
}

fn schema(kind: &str, data: &str) -> Value {
    let mut schema = json!(Envelope::schema());
    let only_of_changes: &[&str] = if kind == ENDING.0 { &[] } else { &OF_CHANGES };
    let required = schema["required"].as_array_mut().expect("an event has required members");
    required.extend(["data"].iter().chain(only_of_changes).map(|member| json!(member)));
    let members = schema["properties"].as_object_mut().expect("an event has members");
    for (member, value) in [("specversion", "1.0"), ("datacontenttype", "application/json"), ("type", kind)] {
        members[member]["const"] = json!(value);
    }
    if kind == ENDING.0 {
        OF_CHANGES.into_iter().for_each(|member| drop(members.remove(member)));
        members["id"]["pattern"] = json!("^[a-z_]+-after-");
        members["source"]["const"] = json!("/v1/events");
    } else {
        cursor().add_to(&mut members["id"]);
        cursor().add_to(&mut members["cursor"]);
        members["subject"]["minLength"] = json!(1);
        if kind == OF_CUSTOMER.0 {
            members["source"]["const"] = json!("/v1/customers");
        } else {
            members["source"]["pattern"] = json!("^/v1/sales/");
        }
        time().add_to(&mut members["time"]);
    }
    members.insert("data".to_owned(), reference("schemas", data));
    schema["description"] = json!(format!("An event of the type `{kind}`."));
    schema
}

/// What an `EventSource` makes of a block of lines.
fn frame() -> Value {
    json!({
        "type": "object",
        "description": "A server-sent event. The first event of a stream has no data: it only gives the cursor where \
                        the stream starts.",
        "properties": {
            "id": {
                "type": "string", "minLength": 1, "maxLength": CURSOR_BYTES_MAX, "description": "The event's cursor, \
                                                                                                 opaque.",
            },
            "event": {
                "type": "string", "enum": kinds().map(|(kind, _)| kind).collect::<Vec<_>>(),
                "description": "The event's type.",
            },
            "data": {
                "type": "string", "format": "json", "contentMediaType": "application/json",
                "contentSchema": reference("schemas", "Event"), "description": "The event, on one line.",
            },
            "retry": {
                "type": "integer", "format": "int32", "minimum": 0,
                "description": "Milliseconds to wait before reconnecting when the stream breaks.",
            },
        },
    })
}

/// The two formats of events.
pub(super) fn content() -> Value {
    let event: Value = serde_json::from_str(examples::EVENT).expect("the example is JSON");
    json!({
        "text/event-stream": {
            "schema": reference("schemas", "ServerSentEvent"),
            "example": { "id": examples::CURSOR, "event": "sale.paused", "data": examples::EVENT },
        },
        "application/x-ndjson": { "schema": reference("schemas", "Event"), "example": event },
    })
}

#[cfg(test)]
mod tests {
    use super::KINDS;

    #[test]
    fn every_type_of_events_is_described() {
        let described = KINDS.map(|(kind, _)| kind);
        assert_eq!(described.as_slice(), crate::events::KINDS);
    }
}
