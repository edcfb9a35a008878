//! The summary: what was on sale, what happened, how fast, and whether every guarantee held.

use hdrhistogram::Histogram;

use super::{
    checks::{Check, Verdict},
    client::moment,
    history::History,
    plan::CUSTOMER_LIMIT,
    screen::{Paint, Screen, counted, milliseconds, number},
    tally::End,
};

pub fn print(screen: &Screen, history: &History, checks: &[Check]) {
    let heading = |text| screen.line(format!("\n{}", screen.paint(Paint::Bold, text)));
    heading("What was on sale");
    items(history).iter().for_each(|line| screen.line(line));
    heading("What happened");
    happened(history).iter().for_each(|line| screen.line(line));
    heading("How long answers took, in milliseconds");
    latencies(history).iter().for_each(|line| screen.line(line));
    heading("The guarantees, checked from outside");
    guarantees(screen, checks).iter().for_each(|line| screen.line(line));
}

fn items(history: &History) -> Vec<String> {
    let head = format!(
        "  {:<16}{:>11}{:>10}{:>10}{:>8}   {}",
        "item", "price", "stock", "sold", "left", "first sold out after"
    );
    let items = history.offer.items.iter().enumerate().map(|(index, item)| {
        let price = format!("€{}.{:02}", number(item.price / 100), item.price % 100);
        let sold = history.confirmed(index);
        let shown = history.audit.sale.iter().flat_map(|sale| &sale.items).find(|shown| shown.sku == item.sku);
        let left = shown.map_or_else(|| "?".to_owned(), |shown| number(shown.available));
        let after = history.tally.sold_out_at.get(&index).map_or_else(
            || "never".to_owned(),
            |at| format!("{:.3} s", at.saturating_sub(moment(history.offer.opens_at)) as f64 / 1e6),
        );
        let (stock, sold) = (number(item.stock), number(sold));
        format!("  {:<16}{price:>11}{stock:>10}{sold:>10}{left:>8}   {after}", item.sku)
    });
    std::iter::once(head).chain(items).collect()
}

fn happened(history: &History) -> Vec<String> {
    let tally = &history.tally;
    let micros = tally.rush.over.saturating_sub(moment(history.offer.opens_at)).max(1);
    let rate = u128::from(tally.rush.requests) * 1_000_000 / u128::from(micros);
    let (mut confirmed, mut released, mut expired) = (0, 0, 0);
    for grant in &tally.grants {
        match grant.end {
            End::Confirmed(_) => confirmed += 1,
            End::Released(_) => released += 1,
            End::Open | End::Unknown(_) => expired += 1,
        }
    }
    let units: u64 = (0..history.offer.items.len()).map(|item| history.confirmed(item)).sum();
    let row = |name: &str, text: String| format!("  {name:<10}{text}");
    let mut lines = vec![
        row(
            "shoppers",
            format!(
                "{} wanted {}, at most {CUSTOMER_LIMIT} of an item each",
                number(tally.shoppers),
                counted(history.offer.stock() as usize, "unit"),
            ),
        ),
        row(
            "rush",
            format!(
                "{} requests in {:.2} s: {} answered per second",
                number(tally.rush.requests),
                micros as f64 / 1e6,
                number(rate as u64),
            ),
        ),
        row(
            "holds",
            format!(
                "{} granted: {} confirmed, {} released, {} expired and were offered again",
                number(tally.grants.len() as u64),
                number(confirmed),
                number(released),
                number(expired),
            ),
        ),
        row("sold", format!("{}, confirmed with an order reference", counted(units as usize, "unit"))),
    ];
    lines.extend(refusals(history).into_iter().zip(["refused", ""]).map(|(text, name)| row(name, text)));
    lines
}

/// By reason, the most frequent first, on two lines at most.
fn refusals(history: &History) -> Vec<String> {
    let mut codes: Vec<_> = history.tally.refusals.iter().collect();
    codes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let told: Vec<_> =
        codes.iter().map(|(code, count)| format!("{} {}", number(**count), code.replace('_', " "))).collect();
    let (first, rest) = told.split_at(told.len().min(3));
    [first, rest].iter().filter(|part| !part.is_empty()).map(|part| part.join(", ")).collect()
}

fn latencies(history: &History) -> Vec<String> {
    let latencies = &history.tally.latencies;
    let kept = if history.offer.durable { ", on disk" } else { "" };
    let row = |name: &str, of: &Histogram<u64>| {
        let quantiles = [0.5, 0.9, 0.99, 0.999].map(|quantile| of.value_at_quantile(quantile)).map(milliseconds);
        let [p50, p90, p99, p999] = if of.is_empty() { std::array::from_fn(|_| "-".to_owned()) } else { quantiles };
        let max = if of.is_empty() { "-".to_owned() } else { milliseconds(of.max()) };
        format!("  {name:<26}{:>9}{p50:>8}{p90:>8}{p99:>8}{p999:>8}{max:>8}", number(of.len()))
    };
    vec![
        format!("  {:<26}{:>9}{:>8}{:>8}{:>8}{:>8}{:>8}", "", "count", "p50", "p90", "p99", "p99.9", "max"),
        row(&format!("grant{kept}"), &latencies.grants),
        row("refusal", &latencies.refusals),
        row(&format!("confirm, release{kept}"), &latencies.ends),
    ]
}

fn guarantees(screen: &Screen, checks: &[Check]) -> Vec<String> {
    let mut lines: Vec<_> = checks
        .iter()
        .map(|check| {
            let (mark, paint) = match check.verdict {
                Verdict::Holds => ("✓", Paint::Green),
                Verdict::Broken => ("✗", Paint::Red),
                Verdict::NotSeen => ("-", Paint::Dim),
            };
            let evidence = match check.verdict {
                Verdict::Holds => check.evidence.clone(),
                Verdict::Broken => screen.paint(Paint::Red, format!("BROKEN: {}", check.evidence)),
                Verdict::NotSeen => screen.paint(Paint::Dim, &check.evidence),
            };
            format!("  {} {:<4}{:<16}{evidence}", screen.paint(paint, mark), check.guarantee, check.title)
        })
        .collect();
    lines.push(String::new());
    lines.push(conclusion(screen, checks));
    lines
}

fn conclusion(screen: &Screen, checks: &[Check]) -> String {
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    match (count(Verdict::Broken), count(Verdict::NotSeen)) {
        (0, 0) => screen.paint(Paint::Green, format!("  All {} guarantees held.", checks.len())),
        (0, unseen) => {
            let held = checks.len() - unseen;
            screen.paint(Paint::Yellow, format!("  {held} guarantees held; this run could not check {unseen}."))
        }
        (broken, _) => {
            let broken = counted(broken, "GUARANTEE").replace("GUARANTEEs", "GUARANTEES");
            let what = "Please report it, with this summary and the data directory.";
            screen.paint(Paint::Red, format!("  {broken} BROKEN. {what} The exit code will be 1."))
        }
    }
}
