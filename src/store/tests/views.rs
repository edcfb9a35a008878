//! Views and documented queries are for people and the tools they have: the `sqlite3` command of Debian 12 (3.40), and any
//! from 3.37 on.

use std::{fs, path::Path, process::Command};

use super::*;
use crate::sale::event::{ConfirmRefused, JoinedGroup, RefusedConfirm};

/// What SQLite learned after 3.37.
const LATER_THAN_3_37: [&str; 14] = [
    "unixepoch(",
    "subsec",
    "->",
    "is distinct from",
    "is not distinct from",
    "right join",
    "full join",
    "string_agg(",
    " concat(",
    "concat_ws(",
    "timediff(",
    "octet_length(",
    "jsonb",
    "format(",
];

fn store_with_everything() -> Database {
    let database = Database::sqlite();
    // Long ago: whatever the clock says, the hold of bob is about to expire, and ann's sold the item out.
    let journal = journal_with_sale(OPENS);
    let [sold, open] =
        [("ann", 4), ("bob", 8)].map(|(customer, entropy)| reservation_id(OPENS, customer, entropy << 8));
    let sold_out_at = OPENS.plus_millis(12_345);
    let confirmed = Event::Customer(CustomerEvent::Confirmed(ended(sold, sold_out_at, 8, Some("order-1"))));
    let expires_at = OPENS.plus_seconds(600);
    let Event::Customer(CustomerEvent::Held(hold)) = held(open, "bob", 2) else { unreachable!("it is a hold") };
    let joined = JoinedGroup { id: sold, size: 2, members: 1, expires_at };
    let in_group = Event::Customer(CustomerEvent::Held(Held { group: Some(Box::new(joined)), ..hold }));
    journal.push(&[(0, &[held(sold, "ann", 8), in_group])]);
    let (at, reference, cause) = (sold_out_at, Some("order-2"), RefusedConfirm::AlreadyConfirmed);
    let refused = ConfirmRefused { id: sold, sale: SALE, at, reference, cause };
    journal.push(&[(0, &[confirmed, CustomerEvent::ConfirmRefused(refused).into()])]);
    journal.push(&[(0, &[waitlist::joined(OPENS, "cid", 1, 1, &[(TV, 2), (PHONE, 1)])])]);
    catch_up(&mut write_behind(&journal, &database));
    database.execute(
        &format!(
            "UPDATE reservations SET created_at = '2020-11-27T08:00:00.000Z', expires_at = '2020-11-27T08:05:00.250Z'
              WHERE state = 'held'; UPDATE items SET sold_out_at = '{sold_out_at}' WHERE sku = 'tv'"
        ),
        "",
    );
    database
}

#[test]
fn each_view_says_the_same_by_the_command_as_by_the_library() {
    let database = store_with_everything();
    let views = database.query("SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY name");
    assert!(views.len() >= 10, "{views:?}");
    for view in views.concat() {
        let sql = format!("SELECT * FROM {view}");
        let expected = database.query(&sql);
        let command = Command::new("sqlite3")
            .args(["-readonly", "-separator", "\u{1}", "-nullvalue", "-"])
            .arg(database.path())
            .arg(&sql)
            .output()
            .expect("the command sqlite3");
        let told = String::from_utf8(command.stderr).unwrap();
        assert!(command.status.success() && told.is_empty(), "{view}: {told}");
        let rows = String::from_utf8(command.stdout).unwrap();
        let rows: Vec<Vec<&str>> = rows.lines().map(|row| row.split('\u{1}').collect()).collect();
        assert_eq!(rows.len(), expected.len(), "{view}");
        assert!(!rows.is_empty(), "{view} shows nothing, so this says nothing");
        for (row, expected) in rows.iter().zip(&expected) {
            assert_eq!(row.len(), expected.len(), "{view}");
            for (cell, expected) in row.iter().zip(expected) {
                let equal = match (cell.parse::<f64>(), expected.parse::<f64>()) {
                    // Seconds that are left become fewer between the one look and the other.
                    (Ok(cell), Ok(expected)) => {
                        (cell - expected).abs() < if view.contains("about") { 600.0 } else { 1e-9 }
                    }
                    _ => cell == expected,
                };
                assert!(equal, "{view}: {cell} by the command, {expected} by the library, in {row:?}");
            }
        }
    }
    let about = database.query("SELECT customer, seconds_left FROM holds_about_to_expire");
    assert_eq!(about[0][0], "bob");
    assert!(about[0][1].parse::<f64>().unwrap() < 0.0, "{about:?}");
    let seconds = database.query("SELECT seconds_to_sell_out FROM report_items WHERE sku = 'tv'");
    assert_eq!(seconds, [["12.345"]], "to the millisecond");
}

#[test]
fn sold_out_now_and_ever_are_two_names() {
    let database = store_with_everything();
    let sold_out = |view: &str, columns: &str| database.query(&format!("SELECT {columns} FROM {view}"))[0].clone();
    assert_eq!(sold_out("sale_summary", "items_sold_out"), ["1"]);
    assert_eq!(sold_out("report_sales", "items_sold_out, items_ever_sold_out"), ["1", "1"]);
    database.execute("UPDATE items SET stock = stock + 1, available = available + 1 WHERE sku = 'tv'", "");
    assert_eq!(sold_out("sale_summary", "items_sold_out"), ["0"]);
    assert_eq!(sold_out("report_sales", "items_sold_out, items_ever_sold_out"), ["0", "1"]);
    let report = database.reader().report("drop", None, crate::clock::monotonic() + std::time::Duration::from_secs(60));
    let report = report.unwrap().unwrap();
    assert_eq!((report.items_sold_out, report.items_ever_sold_out), (0, 1));
}

#[test]
fn no_view_and_no_documented_query_needs_a_newer_sqlite_than_3_37() {
    let database = store_with_everything();
    let views = database.query("SELECT name, sql FROM sqlite_schema WHERE type = 'view'");
    let mut queries: Vec<(String, String)> = views.into_iter().map(|mut row| (row.remove(0), row.remove(0))).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = ["docs", "deploy"].into_iter().flat_map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let pages = pages.map(|page| page.unwrap().path()).chain([root.join("README.md")]);
    for page in pages.filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(&page).unwrap();
        let lines = text.lines().filter(|line| line.contains("sqlite3 ") || line.contains("SELECT "));
        queries.extend(lines.map(|line| (page.display().to_string(), line.to_owned())));
    }
    for (place, query) in queries {
        let query = query.to_ascii_lowercase();
        for word in LATER_THAN_3_37 {
            assert!(!query.contains(word), "{word} of {place} is not known to SQLite 3.37: {query}");
        }
    }
}
