//! Pages of the audit trail, newest record first.
//!
//! Invariant: a page is of one moment, which its cursor names, and bounded: in its records, in their bytes, and in the rows
//! that are looked at for it. A page that ends early says where to go on, also where it has no records.

use std::{fmt, time::Instant};

use super::{audit::AuditRow, error::StoreError};
use crate::clock::monotonic;

/// Records of a page.
pub const RECORDS_MAX: usize = 200;

/// Rows that are looked at for a page.
const ROWS_MAX: usize = 10_000;

/// Bytes of details after which a page ends.
const DETAIL_BYTES_MAX: usize = 1 << 20;

/// Rows of one statement; its `LIMIT`.
const PORTION: usize = 100;

/// Whether records of a sale are wanted; None stands for records of no sale.
type OfSales = Box<dyn Fn(Option<&str>) -> bool + Send>;

/// Which records are wanted.
pub struct TrailAsk {
    /// Only records before this one.
    pub before: Option<u64>,
    /// Only records of this sale.
    pub sale: Option<String>,
    /// Only records of sales for which this is true.
    pub wanted: OfSales,
    /// From 1 to `RECORDS_MAX`.
    pub limit: usize,
}

/// Records as the store has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailPage {
    /// The last batch that the store had.
    pub cursor: u64,
    /// The latest time in any change that the store had: RFC 3339 text.
    pub changed_at: Option<String>,
    /// The newest first.
    pub records: Vec<AuditRow>,
    /// There may be more before this number.
    pub next: Option<u64>,
}

impl fmt::Debug for TrailAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, sale, limit, .. } = self;
        f.debug_struct("TrailAsk").field("before", before).field("sale", sale).field("limit", limit).finish()
    }
}

pub(super) const HEAD: &str = "SELECT cursor, updated_at FROM write_behind";

/// The archive has the older records. In the SQL that both databases share.
macro_rules! page_of {
    ($table:literal, $condition:literal) => {
        concat!(
            "SELECT sequence, at, actor, action, sale, sku, detail, hash FROM ",
            $table,
            " WHERE sequence < $1",
            $condition,
            " ORDER BY sequence DESC LIMIT 100"
        )
    };
}
const _: () = assert!(PORTION == 100, "as the statements say");

const OF_ALL: [&str; 2] = [page_of!("audit", ""), page_of!("audit_archive", "")];
const OF_SALE: [&str; 2] = [page_of!("audit", " AND sale = $2"), page_of!("audit_archive", " AND sale = $2")];

/// Reads a page. `rows` are those that a statement gives for records before a number; where a sale is asked for, it is the
/// second parameter. To be called while the reader holds still.
pub(super) fn read(
    ask: &TrailAsk,
    (cursor, changed_at): (u64, Option<String>),
    deadline: Instant,
    mut rows: impl FnMut(&str, i64, Option<&str>) -> Result<Vec<AuditRow>, StoreError>,
) -> Result<TrailPage, StoreError> {
    let mut page = TrailPage { cursor, changed_at, records: Vec::new(), next: None };
    let (mut looked_at, mut bytes) = (0, 0);
    let mut before = ask.before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
    for statement in if ask.sale.is_some() { OF_SALE } else { OF_ALL } {
        loop {
            if monotonic() >= deadline {
                return Err(StoreError::TooSlow { what: "a page of the audit trail" });
            }
            let portion = rows(statement, before, ask.sale.as_deref())?;
            let is_last = portion.len() < PORTION;
            for row in portion {
                let is_wanted = (ask.wanted)(row.sale.as_deref());
                let is_full = page.records.len() == ask.limit || bytes >= DETAIL_BYTES_MAX;
                if looked_at == ROWS_MAX || (is_wanted && is_full) {
                    page.next = u64::try_from(before).ok();
                    return Ok(page);
                }
                looked_at += 1;
                before = row.sequence;
                if is_wanted {
                    bytes += row.detail.len();
                    page.records.push(row);
                }
            }
            if is_last {
                break;
            }
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Every third record is of `one`, every third of `two`, and the others of no sale. The first 150 are in the archive.
    fn rows(statement: &str, before: i64, sale: Option<&str>) -> Result<Vec<AuditRow>, StoreError> {
        let table = if statement.contains("audit_archive") { 1..=150_i64 } else { 151..=12_000 };
        let of = |sequence: i64| [None, Some("one"), Some("two")][sequence as usize % 3];
        let wanted = table.rev().filter(|&sequence| sequence < before && (sale.is_none() || of(sequence) == sale));
        let row = |sequence| AuditRow {
            sequence,
            at: String::new(),
            actor: String::new(),
            action: String::new(),
            sale: of(sequence).map(str::to_owned),
            sku: None,
            detail: "x".repeat(if sequence == 7 { 2 << 20 } else { 2 }),
            hash: String::new(),
        };
        Ok(wanted.take(PORTION).map(row).collect())
    }

    /// The numbers of all records, page by page, and how many pages there were.
    fn walk(
        sale: Option<&str>,
        limit: usize,
        wanted: impl Fn(Option<&str>) -> bool + Send + Copy + 'static,
    ) -> (Vec<i64>, usize) {
        let (mut found, mut before) = (Vec::new(), None);
        for pages in 1..2000 {
            let ask = TrailAsk { before, sale: sale.map(str::to_owned), wanted: Box::new(wanted), limit };
            let page = read(&ask, (9, None), monotonic() + Duration::from_secs(600), rows).unwrap();
            assert!(page.records.len() <= limit);
            found.extend(page.records.iter().map(|row| row.sequence));
            match page.next {
                None => return (found, pages),
                next => before = next,
            }
        }
        panic!("there is no end");
    }

    #[test]
    fn each_record_stands_on_one_page_the_newest_first() {
        let all: Vec<i64> = (1..=12_000).rev().collect();
        // The page that has the long detail ends with it.
        assert_eq!(walk(None, RECORDS_MAX, |_| true), (all.clone(), 61));
        assert_eq!(walk(None, 7, |_| true).0, all);
        let of = |rest: i64| all.iter().copied().filter(|sequence| sequence % 3 == rest).collect::<Vec<_>>();
        assert_eq!(walk(Some("two"), 100, |_| true), (of(2), 40));
        assert_eq!(walk(None, 100, |sale| sale == Some("one")).0, of(1));
        assert_eq!(walk(Some("none"), 1, |_| true), (vec![], 1));
        assert_eq!(walk(Some("two"), 1, |_| false), (vec![], 1));
        // Nothing is found in the first ten thousand rows, and the reader goes on.
        assert_eq!(walk(None, 1, |_| false), (vec![], 2));
    }

    #[test]
    fn it_is_given_up_at_its_deadline() {
        let ask = TrailAsk { before: None, sale: None, wanted: Box::new(|_| true), limit: 1 };
        assert!(matches!(read(&ask, (9, None), monotonic(), rows), Err(StoreError::TooSlow { .. })));
    }
}
