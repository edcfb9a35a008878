//! Documents that tests put in, and short ways to ask for what most of them need.

use serde_json::{Map, Value, json};

use super::{Answer, Client};

/// A sale that is open for as long as any test runs. `items`: a list of items, or what `items` makes.
pub fn open_sale(items: Value) -> Value {
    json!({
        "name": "Drop",
        "opens_at": "2020-01-01T00:00:00.000Z",
        "closes_at": "2199-01-01T00:00:00.000Z",
        "hold_seconds": 600,
        "items": items,
    })
}

/// A time as documents write it, from milliseconds since the epoch.
pub fn rfc3339(millis: u64) -> String {
    doorbuster::sale::time::Timestamp::from_millis(millis).to_string()
}

/// Items of nothing but a SKU and stock.
pub fn items<const N: usize>(stock: [(&str, u64); N]) -> Value {
    stock.iter().map(|(sku, initial_stock)| json!({ "sku": sku, "initial_stock": initial_stock })).collect()
}

/// The document with some members set to other values; null takes a member out.
pub fn with(mut document: Value, changes: Value) -> Value {
    let members = document.as_object_mut().expect("a document is an object");
    for (name, value) in changes.as_object().expect("changes are an object") {
        if value.is_null() {
            members.remove(name)
        } else {
            members.insert(name.clone(), value.clone())
        };
    }
    document
}

/// A reservation as it was first answered: without what a repeat of its key says of how it stands now.
pub fn as_made(reservation: Value) -> Value {
    with(reservation, json!({ "replayed_of": null }))
}

/// The members of `document` that are named, alone.
pub fn only(document: &Value, names: &[&str]) -> Value {
    let members = names.iter().filter_map(|name| Some(((*name).to_owned(), document.get(*name)?.clone())));
    Value::Object(members.collect::<Map<_, _>>())
}

pub fn lines<const N: usize>(lines: [(&str, u64); N]) -> Value {
    lines.iter().map(|(sku, quantity)| json!({ "sku": sku, "quantity": quantity })).collect()
}

pub fn reserve_body<const N: usize>(customer: &str, asked: [(&str, u64); N]) -> Value {
    json!({ "customer": customer, "lines": lines(asked) })
}

impl Client {
    /// Puts an open sale of such items, which must be new.
    #[track_caller]
    pub fn put_open_sale<const N: usize>(&mut self, id: &str, stock: [(&str, u64); N]) {
        self.put(&format!("/v1/sales/{id}"), &open_sale(items(stock))).success(201);
    }

    pub fn reserve<const N: usize>(&mut self, sale: &str, customer: &str, asked: [(&str, u64); N]) -> Answer {
        self.post(&format!("/v1/sales/{sale}/reservations"), &reserve_body(customer, asked))
    }

    /// Reserves, which must succeed, and gives the reservation.
    #[track_caller]
    pub fn hold<const N: usize>(&mut self, sale: &str, customer: &str, asked: [(&str, u64); N]) -> Value {
        self.reserve(sale, customer, asked).reservation(201)
    }

    /// Confirms, releases or extends.
    pub fn act(&mut self, reservation: &Value, verb: &str, body: Value) -> Answer {
        self.post(&format!("{}/{verb}", address(reservation)), &body)
    }

    /// The reservation as it is now.
    #[track_caller]
    pub fn look(&mut self, reservation: &Value) -> Value {
        self.get(&address(reservation)).reservation(200)
    }

    #[track_caller]
    pub fn sale(&mut self, id: &str) -> Value {
        let sale = self.get(&format!("/v1/sales/{id}")).success(200);
        super::shapes::check_sale(&sale);
        sale
    }

    /// Stock, available, held and confirmed of an item.
    #[track_caller]
    pub fn units(&mut self, sale: &str, sku: &str) -> [u64; 4] {
        let sale = self.sale(sale);
        let items = sale["items"].as_array().expect("items are a list");
        let item = items.iter().find(|item| item["sku"] == sku).expect("the item is in the sale");
        ["stock", "available", "held", "confirmed"].map(|member| item[member].as_u64().expect("a count"))
    }
}

/// The path of a reservation.
pub fn address(reservation: &Value) -> String {
    format!("/v1/reservations/{}", reservation["id"].as_str().expect("a reservation has an id"))
}
