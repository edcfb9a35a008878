//! Warnings: what a valid sale document says that is likely to be a mistake.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    attributes::Audience,
    settings::{ItemSettings, Phase, SaleSettings, Sourcing},
    time::Timestamp,
};

/// Something in a document that is likely to be a mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Warning {
    /// Where: an RFC 6901 pointer into the document.
    pub pointer: String,
    /// The code by which programs tell warnings apart.
    #[schema(value_type = String)]
    pub code: &'static str,
    /// What is unusual there, for people.
    pub detail: String,
}

/// Every code of a warning.
pub const CODES: [&str; 9] = [
    "short_hold",
    "phase_gap",
    "pool_unreachable",
    "limit_above_stock",
    "low_stock_above_stock",
    "window_past",
    "ladder_unordered",
    "waitlist_unreachable",
    "group_above_stock",
];

/// Holds shorter than this are likely to end before a payment does.
const SHORT_HOLD_SECONDS: u64 = 60;

/// Most warnings of one document.
const WARNINGS_MAX: usize = 100;

/// What of a valid document is likely to be a mistake at this moment.
pub fn of(settings: &SaleSettings, now: Timestamp) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut warn = |pointer: String, code, detail: String| found.push(Warning { pointer, code, detail });
    if settings.hold_seconds < SHORT_HOLD_SECONDS {
        let detail = format!("holds of {} s may end before their payments do", settings.hold_seconds);
        warn("/hold_seconds".into(), "short_hold", detail);
    }
    if settings.closes_at <= now {
        warn("/closes_at".into(), "window_past", format!("the sale ended at {}", settings.closes_at));
    }
    if let Some(waitlist) = settings.waitlist {
        let seconds = waitlist.hold_seconds.map_or(settings.hold_seconds, u64::from);
        if settings.opens_at.plus_seconds(seconds) > settings.closes_at {
            let detail = format!("an offered hold of {seconds} s would outlast the sale, so nobody can join");
            warn("/waitlist".into(), "waitlist_unreachable", detail);
        }
    }
    for (from, until) in gaps(settings) {
        let detail = format!("no phase runs from {from} to {until}: nobody can buy then");
        warn("/phases".into(), "phase_gap", detail);
    }
    for (index, item) in settings.items.iter().enumerate() {
        warn_of_item(settings, item, &format!("/items/{index}"), &mut warn);
    }
    found.truncate(WARNINGS_MAX);
    found
}

/// Parts of the window in which no phase runs.
fn gaps(settings: &SaleSettings) -> Vec<(Timestamp, Timestamp)> {
    if settings.phases.is_empty() {
        return Vec::new();
    }
    let end = |phase: &Phase| phase.closes_at.unwrap_or(settings.closes_at);
    let mut phases: Vec<&Phase> = settings.phases.iter().collect();
    phases.sort_by_key(|phase| phase.opens_at);
    let (mut covered, mut gaps) = (settings.opens_at, Vec::new());
    for phase in phases {
        if phase.opens_at > covered {
            gaps.push((covered, phase.opens_at));
        }
        covered = covered.max(end(phase));
    }
    if covered < settings.closes_at {
        gaps.push((covered, settings.closes_at));
    }
    gaps
}

fn warn_of_item(
    settings: &SaleSettings,
    item: &ItemSettings,
    pointer: &str,
    warn: &mut impl FnMut(String, &'static str, String),
) {
    let limits = [
        (format!("{pointer}/customer_limit"), item.customer_limit),
        ("/customer_limit".to_owned(), settings.customer_limit.filter(|_| item.customer_limit.is_none())),
    ];
    for (at, limit) in limits {
        if let Some(limit) = limit.filter(|&limit| u64::from(limit) > item.initial_stock && item.initial_stock > 0) {
            let detail =
                format!("a customer may have {limit} of {:?}, which has only {}", item.sku, item.initial_stock);
            warn(at, "limit_above_stock", detail);
        }
    }
    if let Some(level) = item.low_stock_at.filter(|&level| level >= item.initial_stock && item.initial_stock > 0) {
        let detail = format!(
            "{:?} starts with {}, so its stock is low at {level} from the start, and no event says so",
            item.sku, item.initial_stock
        );
        warn(format!("{pointer}/low_stock_at"), "low_stock_above_stock", detail);
    }
    if let Some(group) = item.group.filter(|group| u64::from(group.size) > item.initial_stock && item.initial_stock > 0)
    {
        let detail = format!(
            "a group has {} members, and {:?} starts with {}: none can be complete before stock is added",
            group.size, item.sku, item.initial_stock
        );
        warn(format!("{pointer}/group"), "group_above_stock", detail);
    }
    for (index, pool) in item.pools.iter().enumerate() {
        if !is_reachable(settings, pool.audience(), pool.shared_at) {
            let detail = format!("no phase lets the customers in whom the pool {:?} is open to", pool.id);
            warn(format!("{pointer}/pools/{index}"), "pool_unreachable", detail);
        }
    }
    if item.sourcing() == Sourcing::InOrder {
        let prices = item.pools.iter().map(|pool| pool.price.or(item.price).map(|price| price.amount));
        let ladder: Vec<(usize, u64)> = prices.enumerate().filter_map(|(index, price)| Some((index, price?))).collect();
        for step in ladder.windows(2).filter(|step| step[1].1 < step[0].1) {
            let [(_, before), (index, after)] = [step[0], step[1]];
            let detail = format!("the price falls from {before} to {after}: whoever waits pays less");
            warn(format!("{pointer}/pools/{index}/price"), "ladder_unordered", detail);
        }
    }
}

/// Whether some customer can ever draw from a pool.
fn is_reachable(settings: &SaleSettings, audience: Audience<'_>, shared_at: Option<Timestamp>) -> bool {
    let opens_to = |phase: &Phase| {
        let end = phase.closes_at.unwrap_or(settings.closes_at);
        phase.audience().meets(audience) || shared_at.is_some_and(|shared_at| shared_at < end)
    };
    settings.phases.is_empty() || settings.phases.iter().any(opens_to)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-27T08:30:00Z";

    fn codes(document: &str) -> Vec<(String, &'static str)> {
        let settings: SaleSettings = serde_json::from_str(document).unwrap();
        assert_eq!(settings.check(&Default::default()), []);
        let found = of(&settings, Timestamp::parse(NOW).unwrap());
        found.into_iter().map(|warning| (warning.pointer, warning.code)).collect()
    }

    fn document(hold_seconds: u64, closes_at: &str, phases: &str, item: &str) -> String {
        format!(
            r#"{{"id":"drop","name":"Drop","opens_at":"2026-11-27T08:00:00Z","closes_at":"{closes_at}",
            "hold_seconds":{hold_seconds},"phases":[{phases}],"items":[{{"sku":"tv","initial_stock":10{item}}}]}}"#
        )
    }

    #[test]
    fn a_usual_document_has_no_warnings() {
        let phases = r#"{"name":"gold","opens_at":"2026-11-27T08:00:00Z","closes_at":"2026-11-27T08:10:00Z","tiers":["gold"]},
            {"name":"all","opens_at":"2026-11-27T08:10:00Z"}"#;
        let item = r#","customer_limit":2,"pools":[
            {"id":"a","initial_stock":4,"tiers":["gold"],"price":{"amount":1,"currency":"EUR"}},
            {"id":"b","initial_stock":6,"price":{"amount":2,"currency":"EUR"}}]"#;
        assert_eq!(codes(&document(300, "2026-11-27T09:00:00Z", phases, item)), []);
        assert_eq!(codes(&document(60, "2026-11-27T09:00:00Z", "", "")), []);
    }

    #[test]
    fn likely_mistakes_are_pointed_at() {
        let warned = |pointer: &str, code| vec![(pointer.to_owned(), code)];
        let ends = "2026-11-27T09:00:00Z";
        assert_eq!(codes(&document(59, ends, "", "")), warned("/hold_seconds", "short_hold"));
        assert_eq!(codes(&document(60, NOW, "", "")), warned("/closes_at", "window_past"));
        assert_eq!(
            codes(&document(60, ends, "", r#","customer_limit":11"#)),
            warned("/items/0/customer_limit", "limit_above_stock")
        );
        assert_eq!(
            codes(&document(60, ends, "", r#","low_stock_at":10"#)),
            warned("/items/0/low_stock_at", "low_stock_above_stock")
        );
        assert_eq!(codes(&document(60, ends, "", r#","low_stock_at":9"#)), []);
        let group = |size: u8| format!(r#","group":{{"size":{size},"seconds":60}}"#);
        assert_eq!(codes(&document(60, ends, "", &group(10))), []);
        assert_eq!(codes(&document(60, ends, "", &group(11))), warned("/items/0/group", "group_above_stock"));
        let waiting = |seconds: u64| {
            let waitlist = format!(r#","waitlist":{{"entries_max":9,"entry_seconds":60,"hold_seconds":{seconds}}}"#);
            document(60, ends, "", "").replace(r#","phases""#, &format!(r#"{waitlist},"phases""#))
        };
        assert_eq!(codes(&waiting(3600)), []);
        assert_eq!(codes(&waiting(3601)), warned("/waitlist", "waitlist_unreachable"));
        let gap = r#"{"name":"a","opens_at":"2026-11-27T08:00:00Z","closes_at":"2026-11-27T08:10:00Z"},
            {"name":"b","opens_at":"2026-11-27T08:20:00Z"}"#;
        assert_eq!(codes(&document(60, ends, gap, "")), warned("/phases", "phase_gap"));
        let gold = r#"{"name":"gold","opens_at":"2026-11-27T08:00:00Z","tiers":["gold"]}"#;
        let silver = r#","pools":[{"id":"a","initial_stock":4,"tiers":["silver"]},{"id":"b","initial_stock":6}]"#;
        assert_eq!(codes(&document(60, ends, gold, silver)), warned("/items/0/pools/0", "pool_unreachable"));
        let shared = silver.replace("[\"silver\"]", "[\"silver\"],\"shared_at\":\"2026-11-27T08:30:00Z\"");
        assert_eq!(codes(&document(60, ends, gold, &shared)), []);
        let falling = r#","pools":[{"id":"a","initial_stock":4,"price":{"amount":3,"currency":"EUR"}},
            {"id":"b","initial_stock":6,"price":{"amount":2,"currency":"EUR"}}]"#;
        assert_eq!(codes(&document(60, ends, "", falling)), warned("/items/0/pools/1/price", "ladder_unordered"));
    }
}
