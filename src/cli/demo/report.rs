//! The summary: what was on sale, what happened, how fast, and whether every guarantee held.

use super::{
    checks::{Check, Story, Verdict},
    crowd::{End, moment},
    screen::{Paint, Screen, counted},
};
use crate::cli::{inspect::report::grouped, table::Table};

pub(super) fn print(screen: Screen, story: &Story, checks: &[Check]) {
    let ledger = &story.ledger;
    screen.heading("What was on sale");
    let mut table = Table::new(["price", "stock", "sold", "left", "item", "first refused for stock after"], 4);
    for (index, item) in story.plan.items.iter().enumerate() {
        let shown = story.looks.last().and_then(|sale| sale["items"][index]["available"].as_u64());
        let first = ledger.shortages.iter().filter(|it| it.item == index).map(|it| it.got).min();
        let seconds = |got: u64| got.saturating_sub(moment(story.plan.opens_at)) as f64 / 1e6;
        table.row([
            format!("€{}.{:02}", grouped(item.price / 100), item.price % 100),
            grouped(item.stock),
            grouped(story.confirmed(index)),
            shown.map_or("?".to_owned(), grouped),
            item.sku.to_owned(),
            first.map_or("never".to_owned(), |got| format!("{:.3} s", seconds(got))),
        ]);
    }
    print_table(screen, &table);

    screen.heading("What happened");
    let micros = ledger.rush.1.saturating_sub(moment(story.plan.opens_at)).max(1);
    let (requests, rate) = (grouped(ledger.rush.0), grouped(ledger.rush.0 * 1_000_000 / micros));
    let (shoppers, seconds) = (grouped(ledger.shoppers), micros as f64 / 1e6);
    screen
        .line(format_args!("  {shoppers} shoppers, {requests} requests in {seconds:.2} s: {rate} answered per second"));
    let ends = |is: fn(&End) -> bool| grouped(ledger.grants.iter().filter(|grant| is(&grant.end)).count() as u64);
    let confirmed = ends(|end| matches!(end, End::Confirmed { .. }));
    let released = ends(|end| matches!(end, End::Released { .. }));
    let expired = ends(|end| matches!(end, End::Open | End::Unknown));
    let granted = grouped(ledger.grants.len() as u64);
    let holds = format!("{granted} granted: {confirmed} confirmed, {released} released, {expired} expired");
    screen.line(format_args!("  holds: {holds} and were offered again"));
    let refusals =
        ledger.refusals.iter().map(|(code, count)| format!("{} {}", grouped(*count), code.replace('_', " ")));
    screen.line(format_args!("  refused: {}", refusals.collect::<Vec<_>>().join(", ")));

    screen.heading("How long answers took, in milliseconds");
    let mut table = Table::new(["count", "p50", "p90", "p99", "p99.9", "max", ""], 6);
    let kept = if story.durable { ", on disk" } else { "" };
    for (times, what) in ledger.times.iter().zip(["grant", "refusal", "confirm, release"]) {
        let mut times = times.clone();
        times.sort_unstable();
        let quantile = |of: f64| {
            let micros = times.get(((times.len() as f64 * of).ceil() as usize).saturating_sub(1));
            micros.map_or("-".to_owned(), |micros| format!("{:.2}", *micros as f64 / 1e3))
        };
        let [p50, p90, p99, p999, max] = [0.5, 0.9, 0.99, 0.999, 1.0].map(quantile);
        let kept = if what == "refusal" { "" } else { kept };
        table.row([grouped(times.len() as u64), p50, p90, p99, p999, max, format!("{what}{kept}")]);
    }
    print_table(screen, &table);

    screen.heading("The guarantees, checked from outside");
    for Check { guarantee, title, verdict, evidence } in checks {
        let (mark, paint, what) = match verdict {
            Verdict::Holds => ("✓", Paint::Green, evidence.clone()),
            Verdict::Broken => ("✗", Paint::Red, screen.paint(Paint::Red, format_args!("BROKEN: {evidence}"))),
            Verdict::NotSeen => ("-", Paint::Dim, screen.paint(Paint::Dim, evidence)),
        };
        screen.line(format_args!("  {} {guarantee:<4}{title:<16}{what}", screen.paint(paint, mark)));
    }
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let (paint, conclusion) = match (count(Verdict::Broken), count(Verdict::NotSeen)) {
        (0, 0) => (Paint::Green, format!("All {} guarantees held.", checks.len())),
        (0, unseen) => {
            let held = checks.len() - unseen;
            (Paint::Yellow, format!("{held} guarantees held; this run could not check {unseen}."))
        }
        (broken, _) => {
            let what = "Please report it, with this summary and the data directory. The exit code will be 1.";
            (Paint::Red, format!("BROKEN: {}. {what}", counted(broken, "guarantee")))
        }
    };
    screen.line(format_args!("\n  {}", screen.paint(paint, conclusion)));
}

fn print_table<const COLUMNS: usize>(screen: Screen, table: &Table<COLUMNS>) {
    let mut text = Vec::new();
    table.write(&mut text, "nothing").expect("memory can be written");
    screen.line(String::from_utf8_lossy(&text).trim_end());
}
