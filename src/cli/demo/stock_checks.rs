//! What is checked of the stock: G1, G3, G5 and G7.

use std::collections::HashMap;

use super::{
    checks::Finding,
    client::{Moment, moment},
    history::History,
    plan::{CUSTOMER_LIMIT, Item},
    screen::{counted, number},
    tally::{End, Grant},
    timeline::{Match, SLACK, Timeline},
};

pub(super) fn no_oversell(history: &History) -> Finding {
    let Some(last) = &history.audit.sale else {
        return Finding::missing("the service did not show the sale".to_owned());
    };
    let mut broken = Vec::new();
    for item in history.looks.iter().chain([last]).flat_map(|sale| &sale.items) {
        let offered = history.offer.item(&item.sku).map_or(0, |index| history.offer.items[index].stock);
        let sum = item.available + item.held + item.confirmed;
        if item.stock != sum || item.stock != offered {
            let (sku, stock) = (&item.sku, item.stock);
            broken.push(format!("{sku}: of {offered} units stock says {stock} and its parts add up to {sum}"));
        }
    }
    broken.extend(differences(history));
    let units: u64 = (0..history.offer.items.len()).map(|item| history.confirmed(item)).sum();
    let evidence = format!(
        "stock = available + held + confirmed in {}; {} sold, as the demo counted",
        counted(history.looks.len() + 1, "look"),
        number(units)
    );
    Finding::new(broken, last.items.len(), evidence)
}

/// Where the service's counts are not those of the demo.
fn differences(history: &History) -> Vec<String> {
    let Some(sale) = &history.audit.sale else { return Vec::new() };
    let items = history.offer.items.iter().enumerate();
    let differs = items.filter_map(|(index, Item { sku, .. })| {
        let Some(shown) = sale.items.iter().find(|item| item.sku == *sku) else {
            return Some(format!("{sku} is missing"));
        };
        let (held, confirmed, unknown) = (history.held(index), history.confirmed(index), history.unknown(index));
        let as_counted = (held..=held + unknown).contains(&shown.held)
            && (confirmed..=confirmed + unknown).contains(&shown.confirmed);
        (!as_counted).then(|| {
            let (shown_held, shown_confirmed) = (shown.held, shown.confirmed);
            format!("{sku}: held {shown_held}, confirmed {shown_confirmed}; the demo counted {held} and {confirmed}")
        })
    });
    differs.collect()
}

pub(super) fn all_or_nothing(history: &History) -> Finding {
    let grants = &history.tally.grants;
    let mut broken: Vec<_> = grants.iter().filter_map(|grant| wrong_lines(history, grant)).collect();
    broken.extend(differences(history));
    let several = grants.iter().filter(|grant| grant.basket.len() > 1).count();
    let refused = history.tally.refused_whole;
    let evidence = format!(
        "{} of 2 or 3 items got every line; {} refused for one line took no other",
        counted(several, "basket"),
        number(refused)
    );
    Finding::new(broken, several + refused as usize, evidence)
}

/// What is wrong with a reservation's lines, compared with what was asked and offered.
fn wrong_lines(history: &History, grant: &Grant) -> Option<String> {
    let same = grant.made.lines.len() == grant.basket.len()
        && grant.basket.iter().all(|&(item, units)| {
            let offered = &history.offer.items[item];
            let line = grant.made.lines.iter().find(|line| line.sku == offered.sku);
            line.is_some_and(|line| {
                let price = line.price.as_ref().map(|price| (price.amount, price.currency.as_str()));
                line.quantity == u64::from(units) && price == Some((offered.price as i64, "EUR"))
            })
        });
    let id = &grant.made.id;
    (!same).then(|| format!("{id} has {} of {} lines as asked", grant.made.lines.len(), grant.basket.len()))
}

pub(super) fn true_refusals(history: &History) -> Finding {
    let timelines: Vec<_> = (0..history.offer.items.len()).map(|item| Timeline::of(history, item)).collect();
    let shortages = &history.tally.shortages;
    let (mut exact, mut broken) = (0, Vec::new());
    for shortage in shortages {
        let sku = history.offer.items[shortage.item].sku;
        if shortage.available >= shortage.requested || shortage.requested != shortage.asked {
            broken.push(format!("{sku}: refused {} with {} available", shortage.requested, shortage.available));
            continue;
        }
        match timelines[shortage.item].judge(shortage) {
            Match::Exact => exact += 1,
            Match::Possible => {}
            Match::Impossible => {
                broken.push(format!(
                    "{sku}: the service said {} available; by the demo's count that is impossible",
                    shortage.available
                ));
            }
        }
    }
    let evidence = format!(
        "{} match the stock by the demo's count, {} of them to the unit",
        counted(shortages.len(), "refused line"),
        number(exact)
    );
    Finding::new(broken, shortages.len(), evidence)
}

pub(super) fn limits_hold(history: &History) -> Finding {
    let mut spans: HashMap<(u32, usize), Vec<(Moment, i64)>> = HashMap::new();
    for grant in &history.tally.grants {
        // Surely theirs: from the answer until it may have been given back.
        let until = match grant.end {
            End::Confirmed(_) => Moment::MAX,
            End::Released(span) => span.sent,
            End::Unknown(sent) => sent,
            End::Open => moment(grant.made.expires_at).saturating_sub(SLACK),
        };
        for &(item, units) in grant.basket.iter().filter(|_| grant.span.got < until) {
            let changes = spans.entry((grant.shopper, item)).or_default();
            changes.extend([(grant.span.got, i64::from(units)), (until, -i64::from(units))]);
        }
    }
    let (mut most, mut broken) = (0, Vec::new());
    for ((shopper, item), mut changes) in spans {
        changes.sort_unstable();
        let mut units = 0;
        let peak = changes
            .iter()
            .map(|change| {
                units += change.1;
                units
            })
            .max()
            .unwrap_or(0);
        most = most.max(peak);
        if peak > i64::from(CUSTOMER_LIMIT) {
            let sku = history.offer.items[item].sku;
            broken.push(format!("shopper {shopper} had {peak} of {sku}; the limit is {CUSTOMER_LIMIT}"));
        }
    }
    for refused in &history.tally.over_limit {
        if refused.limit != u64::from(CUSTOMER_LIMIT) || refused.already + refused.asked <= refused.limit {
            broken.push(format!(
                "{} more after {} was refused by a limit of {}",
                refused.asked, refused.already, refused.limit
            ));
        }
    }
    let tries = history.tally.over_limit.len();
    let evidence = format!("nobody had more than {most} of an item; {} for more refused", counted(tries, "request"));
    Finding::new(broken, tries, evidence)
}
