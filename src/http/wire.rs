//! Wire types: the JSON of the contract, in and out.
//!
//! Invariant: what parses here is well formed; unknown members, wrong types and values out of range are refused with a
//! pointer to where they stand.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer, ser::SerializeSeq};
use smallvec::SmallVec;

use crate::{
    engine::SaleView,
    sale::{
        adjustments::Remembered,
        catalogue::Catalogue,
        command::AskedLine,
        event::PricedLine,
        ids::{ReservationId, check_name, check_text},
        object::Object,
        outcome::{Reservation, State, Status},
        settings::{Invalid, Price, SaleSettings},
        time::Timestamp,
    },
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReserveBody<'a> {
    #[serde(borrow)]
    pub customer: Cow<'a, str>,
    #[serde(borrow)]
    lines: SmallVec<[Object<LineBody<'a>>; 2]>,
    #[serde(default)]
    hold_seconds: Option<u64>,
    #[serde(default, borrow)]
    pub reference: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineBody<'a> {
    #[serde(borrow)]
    sku: Cow<'a, str>,
    quantity: u64,
}

/// Bounds of a reserve; each is a key of the configuration's `limits`.
#[derive(Debug, Clone, Copy)]
pub struct ReserveLimits {
    pub lines_max: usize,
    pub quantity_max: u32,
    pub hold_seconds_max: u64,
}

/// A reserve's members after their checks.
#[derive(Debug)]
pub struct CheckedReserve<'a> {
    pub lines: SmallVec<[AskedLine<'a>; 2]>,
    pub hold_seconds: Option<u32>,
}

impl ReserveBody<'_> {
    /// Everything that is wrong with the members; lines of the same SKU are summed.
    pub fn check(&self, limits: &ReserveLimits) -> Result<CheckedReserve<'_>, Vec<Invalid>> {
        let mut wrong = Vec::new();
        if let Err(error) = check_name(&self.customer) {
            wrong.push(Invalid::new("/customer", error));
        }
        if self.lines.is_empty() || self.lines.len() > limits.lines_max {
            wrong.push(Invalid::new("/lines", format!("must hold 1 to {} lines", limits.lines_max)));
        }
        if let Some(Err(error)) = self.reference.as_deref().map(check_text) {
            wrong.push(Invalid::new("/reference", error));
        }
        let hold_seconds = check_hold(self.hold_seconds, limits.hold_seconds_max, &mut wrong);
        let mut lines: SmallVec<[AskedLine<'_>; 2]> = SmallVec::new();
        for (index, Object(line)) in self.lines.iter().enumerate().take(limits.lines_max) {
            if let Err(error) = check_name(&line.sku) {
                wrong.push(Invalid::new(format!("/lines/{index}/sku"), error));
            }
            let most = u64::from(limits.quantity_max);
            if line.quantity == 0 || line.quantity > most {
                let detail = format!("must be 1 to {most}");
                wrong.push(Invalid::new(format!("/lines/{index}/quantity"), detail));
                continue;
            }
            let units = line.quantity as u32;
            match lines.iter_mut().find(|known| known.sku == line.sku) {
                None => lines.push(AskedLine { sku: &line.sku, units }),
                Some(known) if u64::from(known.units) + line.quantity <= most => known.units += units,
                Some(_) => {
                    let detail = format!("the units of {:?} add up to more than {most}", line.sku);
                    wrong.push(Invalid::new(format!("/lines/{index}/quantity"), detail));
                }
            }
        }
        if wrong.is_empty() { Ok(CheckedReserve { lines, hold_seconds }) } else { Err(wrong) }
    }
}

fn check_hold(seconds: Option<u64>, most: u64, wrong: &mut Vec<Invalid>) -> Option<u32> {
    let seconds = seconds?;
    if seconds == 0 || seconds > most {
        wrong.push(Invalid::new("/hold_seconds", format!("must be 1 to {most}")));
    }
    u32::try_from(seconds).ok()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmBody<'a> {
    #[serde(default, borrow)]
    pub reference: Option<Cow<'a, str>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseBody<'a> {
    #[serde(default, borrow)]
    pub reason: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendBody {
    hold_seconds: u64,
}

impl ExtendBody {
    pub fn check(&self, hold_seconds_max: u64) -> Result<u32, Vec<Invalid>> {
        let mut wrong = Vec::new();
        let seconds = check_hold(Some(self.hold_seconds), hold_seconds_max, &mut wrong);
        seconds.filter(|_| wrong.is_empty()).ok_or(wrong)
    }
}

/// For calls that take no members.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoBody {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdjustBody<'a> {
    pub delta: i64,
    #[serde(default, borrow)]
    pub reason: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub reference: Option<Cow<'a, str>>,
}

impl AdjustBody<'_> {
    pub fn check(&self) -> Result<(), Vec<Invalid>> {
        let mut wrong = Vec::new();
        if self.delta == 0 {
            wrong.push(Invalid::new("/delta", "must not be 0"));
        }
        check_texts(&mut wrong, [("/reason", &self.reason), ("/reference", &self.reference)]);
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// Collects what is wrong with optional texts.
pub fn check_texts<const N: usize>(wrong: &mut Vec<Invalid>, texts: [(&str, &Option<Cow<'_, str>>); N]) {
    for (pointer, text) in texts {
        if let Some(Err(error)) = text.as_deref().map(check_text) {
            wrong.push(Invalid::new(pointer, error));
        }
    }
}

/// Parses a body. The fast path keeps no track of where it is; only a body that fails is parsed again to find out.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Invalid> {
    serde_json::from_slice::<Object<T>>(bytes).map(|Object(body)| body).map_err(|_| locate::<T>(bytes))
}

/// As `parse`; no bytes mean a body without members.
pub fn parse_optional<'a, T: Deserialize<'a> + Default>(bytes: &'a [u8]) -> Result<T, Invalid> {
    if bytes.is_empty() { Ok(T::default()) } else { parse(bytes) }
}

fn locate<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Invalid {
    use serde_path_to_error::Segment;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let error = match serde_path_to_error::deserialize::<_, Object<T>>(&mut reader) {
        Err(error) => error,
        // What fails only behind the value is left: something follows it.
        Ok(_) => {
            let detail = reader.end().err().map_or_else(|| "is not JSON".to_owned(), |error| error.to_string());
            return Invalid::new("", detail);
        }
    };
    let pointer = error.path().iter().map(|segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { variant } => format!("/{variant}"),
        Segment::Unknown => String::new(),
    });
    let pointer = pointer.collect::<String>();
    Invalid::new(pointer, error.inner())
}

/// A reservation as the contract shows it.
#[derive(Debug, Serialize)]
pub struct ReservationBody<'a> {
    #[serde(serialize_with = "write_id")]
    id: ReservationId,
    sale: &'a str,
    customer: &'a str,
    state: &'static str,
    #[serde(serialize_with = "write_lines")]
    lines: (&'a [PricedLine], &'a Catalogue),
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    created_at: Timestamp,
    expires_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    released_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expired_at: Option<Timestamp>,
    extensions: u16,
}

impl<'a> ReservationBody<'a> {
    pub fn new(reservation: &'a Reservation, catalogue: &'a Catalogue) -> Self {
        let ended = |state| reservation.ended_at.filter(|_| reservation.state == state);
        Self {
            id: reservation.id,
            sale: &catalogue.sale_numbered(reservation.sale).settings.id,
            customer: &reservation.customer,
            state: reservation.state.as_str(),
            lines: (&reservation.lines, catalogue),
            reference: reservation.reference.as_deref(),
            created_at: reservation.id.created_at(),
            expires_at: reservation.expires_at,
            confirmed_at: ended(State::Confirmed),
            released_at: ended(State::Released),
            expired_at: ended(State::Expired),
            extensions: reservation.extensions,
        }
    }
}

fn write_id<S: Serializer>(id: &ReservationId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.encode(&mut [0; 36]))
}

fn write_lines<S: Serializer>(lines: &(&[PricedLine], &Catalogue), serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Line<'a> {
        sku: &'a str,
        quantity: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        price: Option<Price>,
    }
    let (lines, catalogue) = lines;
    let mut list = serializer.serialize_seq(Some(lines.len()))?;
    for line in *lines {
        list.serialize_element(&Line { sku: catalogue.sku(line.item), quantity: line.units, price: line.price })?;
    }
    list.end()
}

/// A sale as the contract shows it: its settings with the computed members.
#[derive(Debug, Serialize)]
pub struct SaleBody<'a> {
    id: &'a str,
    name: &'a str,
    opens_at: Timestamp,
    closes_at: Timestamp,
    hold_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_extensions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_limit: Option<u32>,
    status: &'static str,
    items: Vec<ItemBody<'a>>,
}

#[derive(Debug, Serialize)]
struct ItemBody<'a> {
    sku: &'a str,
    initial_stock: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Price>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_limit: Option<u32>,
    stock: u64,
    available: u64,
    held: u64,
    confirmed: u64,
}

impl<'a> SaleBody<'a> {
    pub fn new(view: &'a SaleView) -> Self {
        let SaleSettings { id, name, opens_at, closes_at, hold_seconds, max_extensions, customer_limit, .. } =
            &view.sale.settings;
        let items = view.sale.items.iter().zip(&view.counts).map(|(item, counts)| ItemBody {
            sku: &item.settings.sku,
            initial_stock: item.settings.initial_stock,
            price: item.settings.price,
            customer_limit: item.settings.customer_limit,
            stock: item.stock,
            available: counts.available,
            held: counts.held,
            confirmed: counts.confirmed,
        });
        Self {
            id,
            name,
            opens_at: *opens_at,
            closes_at: *closes_at,
            hold_seconds: *hold_seconds,
            max_extensions: *max_extensions,
            customer_limit: *customer_limit,
            status: view.status.as_str(),
            items: items.collect(),
        }
    }
}

#[derive(Debug, Serialize)]
pub struct SalesBody<'a> {
    pub sales: Vec<SaleBody<'a>>,
    /// The `after` of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub struct AvailabilityBody<'a> {
    sale: &'a str,
    status: &'static str,
    items: Vec<AvailableBody<'a>>,
}

#[derive(Debug, Serialize)]
struct AvailableBody<'a> {
    sku: &'a str,
    available: u64,
}

impl<'a> AvailabilityBody<'a> {
    pub fn new(view: &'a SaleView) -> Self {
        let items = view.sale.items.iter().zip(&view.counts);
        let items = items.map(|(item, counts)| AvailableBody { sku: &item.settings.sku, available: counts.available });
        Self { sale: &view.sale.settings.id, status: Status::as_str(view.status), items: items.collect() }
    }
}

#[derive(Debug, Serialize)]
pub struct AdjustmentBody<'a> {
    delta: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    stock: u64,
    available: u64,
}

impl<'a> AdjustmentBody<'a> {
    pub fn new(made: &'a Remembered) -> Self {
        Self {
            delta: made.delta,
            reason: made.reason.as_deref(),
            reference: made.reference.as_deref(),
            stock: made.stock,
            available: made.available,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ReserveLimits = ReserveLimits { lines_max: 20, quantity_max: 1000, hold_seconds_max: 3600 };

    fn wrong(body: &str) -> Vec<String> {
        match parse::<ReserveBody<'_>>(body.as_bytes()) {
            Err(invalid) => vec![invalid.pointer],
            Ok(body) => match body.check(&LIMITS) {
                Ok(_) => Vec::new(),
                Err(wrong) => wrong.into_iter().map(|wrong| wrong.pointer).collect(),
            },
        }
    }

    #[test]
    fn a_pointer_leads_to_what_is_wrong() {
        for (body, pointers) in [
            (r#"{"customer":"a","lines":[{"sku":"x","quantity":1}]}"#, vec![]),
            (r#"{"customer":"a","lines":[{"sku":"x","quantity":-1}]}"#, vec!["/lines/0/quantity"]),
            (r#"{"customer":"a","lines":[{"sku":"x","quantity":1.5}]}"#, vec!["/lines/0/quantity"]),
            (r#"{"customer":"a","lines":[{"sku":"x","quantity":0}]}"#, vec!["/lines/0/quantity"]),
            (r#"{"customer":"a","lines":[{"sku":"x","quantity":9223372036854775808}]}"#, vec!["/lines/0/quantity"]),
            (r#"{"customer":7,"lines":[]}"#, vec!["/customer"]),
            (r#"{"customer":"","lines":[],"hold_seconds":0}"#, vec!["/customer", "/lines", "/hold_seconds"]),
            (r#"{"customer":"a","lines":[{"sku":"x","quantity":1}],"vip":true}"#, vec!["/vip"]),
            (r#"{"customer":"a","lines":[{"sku":"x","quantity":1}]} x"#, vec![""]),
            (
                r#"{"customer":"a","lines":[{"sku":"x","quantity":600},{"sku":"x","quantity":600}]}"#,
                vec!["/lines/1/quantity"],
            ),
        ] {
            assert_eq!(wrong(body), pointers, "{body}");
        }
    }

    #[test]
    fn the_same_sku_twice_is_one_line() {
        let text =
            br#"{"customer":"a","lines":[{"sku":"x","quantity":1},{"sku":"y","quantity":2},{"sku":"x","quantity":3}]}"#;
        let body: ReserveBody<'_> = parse(text).unwrap();
        let lines = body.check(&LIMITS).unwrap().lines;
        assert_eq!(lines.as_slice(), [AskedLine { sku: "x", units: 4 }, AskedLine { sku: "y", units: 2 }]);
    }
}
