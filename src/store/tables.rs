//! The tables as a comparison reads them: every column that follows from the journal, as text, in the order of keys.
//!
//! Invariant: the same content gives the same cells in every database, so a store can be compared with a reference, which is
//! always in SQLite. Reservations are read with their lines, and like waitlist entries from the archive too: a row and its lines
//! are always in the same place.

use super::retention::ENTRY_COLUMNS;

/// What a cell is in PostgreSQL, where not all is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Time,
    Id,
    /// 1 or 0.
    Flag,
    /// A number that rows are ordered by: with leading zeros, so that its text sorts as it does.
    Order,
}
use Kind::{Flag, Id, Integer, Order, Text, Time};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Sales,
    Items,
    Pools,
    /// Movements of each pool in order; which of a pool's it is, is not in a cell.
    Movements,
    Reservations,
    /// Lines without a reservation where they stand: there should be none.
    LoneLines,
    /// Refused confirmations; those of a reservation at one moment are numbered in their order.
    Refused,
    Waitlist,
    Audit,
    WriteBehind,
}

/// How a database wants a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

type Columns = &'static [(&'static str, Kind)];

const SALES: Columns = &[
    ("id", Text),
    ("number", Integer),
    ("name", Text),
    ("opens_at", Time),
    ("closes_at", Time),
    ("hold_seconds", Integer),
    ("max_extensions", Integer),
    ("customer_limit", Integer),
    ("paused_at", Time),
    ("closed_at", Time),
    ("created_at", Time),
    ("updated_at", Time),
];

const ITEMS: Columns = &[
    ("sale", Text),
    ("sku", Text),
    ("number", Integer),
    ("initial_stock", Integer),
    ("stock", Integer),
    ("available", Integer),
    ("held", Integer),
    ("confirmed", Integer),
    ("price_amount", Integer),
    ("price_currency", Text),
    ("customer_limit", Integer),
    ("low_stock_at", Integer),
    ("sold_out_at", Time),
    ("confirmed_before", Integer),
];

const POOLS: Columns = &[
    ("sale", Text),
    ("sku", Text),
    ("pool", Text),
    ("number", Integer),
    ("position", Integer),
    ("location", Text),
    ("initial_stock", Integer),
    ("stock", Integer),
    ("available", Integer),
    ("held", Integer),
    ("confirmed", Integer),
    ("price_amount", Integer),
    ("price_currency", Text),
    ("tiers", Text),
    ("channels", Text),
    ("shared_at", Time),
    ("confirmed_before", Integer),
];

const MOVEMENTS: Columns = &[
    ("sale", Text),
    ("sku", Text),
    ("pool", Text),
    ("delta", Integer),
    ("reason", Text),
    ("reference", Text),
    ("at", Time),
    ("stock_after", Integer),
    ("available_after", Integer),
    ("other_pool", Text),
    ("reservation_id", Id),
];

const RESERVATIONS: Columns = &[
    ("id", Id),
    ("sale", Text),
    ("customer", Text),
    ("state", Text),
    ("reference", Text),
    ("created_at", Time),
    ("expires_at", Time),
    ("extensions", Integer),
    ("confirmed_at", Time),
    ("released_at", Time),
    ("expired_at", Time),
    ("cancelled_at", Time),
    ("late", Flag),
    ("release_reason", Text),
    ("cancel_reason", Text),
    ("tier", Text),
    ("channel", Text),
    ("region", Text),
    ("labels", Text),
    ("short", Text),
    ("group_id", Id),
    ("group_size", Integer),
    ("group_state", Text),
    ("waitlist_entry", Id),
    ("lines", Text),
];

const LONE_LINES: Columns = &[("reservation_id", Id), ("line", Order), ("place", Text)];

/// A journal whose beginning is gone knows not all of a reservation's, but all of a moment.
const REFUSED: Columns =
    &[("reservation_id", Id), ("at", Time), ("number", Order), ("sale", Text), ("reference", Text), ("cause", Text)];

const WAITLIST: Columns = &[
    ("id", Id),
    ("sale", Text),
    ("customer", Text),
    ("state", Text),
    ("place", Integer),
    ("lines", Text),
    ("reference", Text),
    ("joined_at", Time),
    ("expires_at", Time),
    ("ended_at", Time),
    ("reservation_id", Id),
    ("passed_over_at", Time),
    ("passed_over_code", Text),
    ("tier", Text),
    ("channel", Text),
    ("region", Text),
    ("labels", Text),
    ("locations", Text),
];

const AUDIT: Columns = &[
    ("sequence", Order),
    ("at", Text),
    ("actor", Text),
    ("action", Text),
    ("sale", Text),
    ("sku", Text),
    ("detail", Text),
    ("hash", Text),
];

const WRITE_BEHIND: Columns = &[("one", Integer), ("updated_at", Time), ("kept_from", Time), ("format", Integer)];

impl Table {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sales => "sales",
            Self::Items => "items",
            Self::Pools => "pools",
            Self::Movements => "stock_movements",
            Self::Reservations => "reservations",
            Self::LoneLines => "reservation_lines",
            Self::Refused => "refused_confirmations",
            Self::Waitlist => "waitlist_entries",
            Self::Audit => "audit",
            Self::WriteBehind => "write_behind",
        }
    }

    /// How many leading cells of a row are its key.
    pub fn key_cells(self) -> usize {
        match self {
            Self::Pools | Self::Movements | Self::LoneLines | Self::Refused => 3,
            Self::Items => 2,
            Self::Sales | Self::Reservations | Self::Waitlist | Self::Audit | Self::WriteBehind => 1,
        }
    }

    fn columns(self) -> Columns {
        match self {
            Self::Sales => SALES,
            Self::Items => ITEMS,
            Self::Pools => POOLS,
            Self::Movements => MOVEMENTS,
            Self::Reservations => RESERVATIONS,
            Self::LoneLines => LONE_LINES,
            Self::Refused => REFUSED,
            Self::Waitlist => WAITLIST,
            Self::Audit => AUDIT,
            Self::WriteBehind => WRITE_BEHIND,
        }
    }

    /// The names of the cells, the key's included.
    pub fn cells(self) -> impl ExactSizeIterator<Item = &'static str> {
        self.columns().iter().map(|(name, _)| *name)
    }

    /// Where the named cell stands.
    pub fn cell(self, name: &str) -> usize {
        self.cells().position(|cell| cell == name).expect("a column of the table")
    }

    /// All rows, in the order of their keys.
    pub(super) fn select(self, dialect: Dialect) -> String {
        let cells: Vec<String> = self.columns().iter().map(|(name, kind)| kind.cell(name, dialect)).collect();
        let cells = cells.join(", ");
        let (from, order) = match self {
            Self::Sales => ("sales AS t".to_owned(), "t.id"),
            Self::Items => ("items AS t".to_owned(), "t.sale, t.sku"),
            Self::Pools => ("pools AS t".to_owned(), "t.sale, t.sku, t.pool"),
            Self::Movements => ("stock_movements AS t".to_owned(), "t.sale, t.sku, t.pool, t.id"),
            Self::Reservations => {
                (both_of(Self::with_lines("", dialect), Self::with_lines("_archive", dialect)), "t.id, t.archived")
            }
            Self::LoneLines => {
                let lone = |suffix: &str| {
                    format!(
                        "SELECT reservation_id, line, '{place}' AS place FROM reservation_lines{suffix}
                          WHERE NOT EXISTS (SELECT 1 FROM reservations{suffix} WHERE id = reservation_id)",
                        place = if suffix.is_empty() { "live" } else { "archive" },
                    )
                };
                (both_of(lone(""), lone("_archive")), "t.reservation_id, t.line, t.place")
            }
            Self::Refused => (format!("({REFUSED_NUMBERED}) AS t"), "t.reservation_id, t.at, t.number"),
            Self::Waitlist => {
                let entries = |table, archived| format!("SELECT {ENTRY_COLUMNS}, {archived} AS archived FROM {table}");
                (both_of(entries("waitlist_entries", 0), entries("waitlist_entries_archive", 1)), "t.id, t.archived")
            }
            Self::Audit => {
                let records =
                    |table| format!("SELECT sequence, at, actor, action, sale, sku, detail, hash FROM {table}");
                (both_of(records("audit_archive"), records("audit")), "t.sequence")
            }
            Self::WriteBehind => ("write_behind AS t".to_owned(), "t.one"),
        };
        format!("SELECT {cells} FROM {from} ORDER BY {order}")
    }

    fn with_lines(suffix: &str, dialect: Dialect) -> String {
        let line = "line.line || ': ' || line.quantity || ' x ' || line.sku || ' from ' || line.pool
                    || CASE WHEN line.price_amount IS NULL AND line.price_currency IS NULL THEN ''
                            ELSE ' at ' || coalesce(CAST(line.price_amount AS text), '?') || ' '
                                 || coalesce(line.price_currency, '?') END
                    || CASE line.returned WHEN 0 THEN '' ELSE ', ' || line.returned || ' returned' END
                    || CASE line.cancelled WHEN 0 THEN '' ELSE ', ' || line.cancelled || ' cancelled' END";
        let of_row = format!("FROM reservation_lines{suffix} AS line WHERE line.reservation_id = r.id");
        let lines = match dialect {
            Dialect::Sqlite => {
                format!("(SELECT group_concat(one, '; ') FROM (SELECT {line} AS one {of_row} ORDER BY line.line))")
            }
            Dialect::Postgres => format!("(SELECT string_agg({line}, '; ' ORDER BY line.line) {of_row})"),
        };
        let archived = if suffix.is_empty() { 0 } else { 1 };
        format!(
            "SELECT id, sale, customer, state, reference, created_at, expires_at, extensions, confirmed_at, released_at,
                    expired_at, cancelled_at, late, release_reason, cancel_reason, tier, channel, region, labels, short, group_id, group_size, group_state, waitlist_entry,
                    {lines} AS lines, {archived} AS archived
               FROM reservations{suffix} AS r"
        )
    }

    /// The rows with these keys as a JSON array of objects, from SQLite. The keys are a JSON array of arrays.
    pub(super) fn as_json(self) -> String {
        let (key_cells, omitted) = match self {
            Self::Reservations => (1, "lines"),
            // All of a reservation at one moment.
            Self::Refused => (2, "number"),
            _ => (self.key_cells(), ""),
        };
        let stored = self.columns().iter().filter(|(name, _)| *name != omitted);
        let mut members: Vec<String> = stored.map(|(name, _)| format!("'{name}', t.{name}")).collect();
        if self == Self::Reservations {
            let line = "'line', line, 'sku', sku, 'pool', pool, 'quantity', quantity, 'returned', returned,
                        'cancelled', cancelled, 'price_amount', price_amount, 'price_currency', price_currency";
            members.push(format!(
                "'lines', json((SELECT json_group_array(json_object({line})) FROM reservation_lines
                                 WHERE reservation_id = t.id))"
            ));
        }
        let keys: Vec<String> = (0..key_cells).map(|index| format!("value ->> '$[{index}]'")).collect();
        let of_row: Vec<String> = self.cells().take(key_cells).map(|name| format!("t.{name}")).collect();
        let (members, keys, of_row) = (members.join(", "), keys.join(", "), of_row.join(", "));
        let order = match self {
            Self::Movements => "t.sale, t.sku, t.pool, t.id",
            Self::Refused => "t.id",
            _ => &of_row,
        };
        format!(
            "SELECT json_group_array(json_object({members}))
               FROM (SELECT * FROM {table} AS t WHERE ({of_row}) IN (SELECT {keys} FROM json_each(?1)) ORDER BY {order}) AS t",
            table = self.name(),
        )
    }
}

const REFUSED_NUMBERED: &str = "
    SELECT reservation_id, at, row_number() OVER (PARTITION BY reservation_id, at ORDER BY id) AS number, sale, reference, cause
      FROM refused_confirmations";

fn both_of(one: String, other: String) -> String {
    format!("({one} UNION ALL {other}) AS t")
}

impl Kind {
    fn cell(self, name: &str, dialect: Dialect) -> String {
        match (dialect, self) {
            (_, Text) | (Dialect::Sqlite, Integer | Time | Id) => format!("t.{name}"),
            (Dialect::Sqlite, Order) => format!("printf('%020d', t.{name})"),
            (Dialect::Sqlite, Flag) => format!("t.{name}"),
            (Dialect::Postgres, Flag) => format!("t.{name}::int::text"),
            (Dialect::Postgres, Integer | Id) => format!("t.{name}::text"),
            (Dialect::Postgres, Order) => format!("lpad(t.{name}::text, 20, '0')"),
            // Milliseconds as the service writes them; what somebody put there more exactly stays as exact, and so differs.
            (Dialect::Postgres, Time) => format!(
                "regexp_replace(to_char(t.{name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), '000Z$', 'Z')"
            ),
        }
    }
}
