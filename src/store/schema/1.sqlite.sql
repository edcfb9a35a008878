-- The store, format 1. Ids are hyphenated UUIDs, times are RFC 3339 in UTC with milliseconds: as text they sort by time
-- and can be read. Prices are in minor units (cents). Every state shown is one that the service was in; it may lag.

CREATE TABLE sales (
  -- A campaign: its settings as last put, and where it stands.
  id             TEXT    NOT NULL PRIMARY KEY,
  number         INTEGER NOT NULL UNIQUE,
  name           TEXT    NOT NULL,
  opens_at       TEXT    NOT NULL,
  closes_at      TEXT    NOT NULL,
  hold_seconds   INTEGER NOT NULL,
  max_extensions INTEGER,
  customer_limit INTEGER,
  paused_at      TEXT,  -- by the operator, and not resumed since
  closed_at      TEXT,  -- by the operator
  created_at     TEXT    NOT NULL,
  updated_at     TEXT    NOT NULL,
  -- At updated_at: close wins over the clock, the clock's end over a pause. The clock's turns are changes too.
  status TEXT NOT NULL GENERATED ALWAYS AS (
    CASE WHEN closed_at IS NOT NULL OR updated_at >= closes_at THEN 'closed'
         WHEN paused_at IS NOT NULL THEN 'paused'
         WHEN updated_at < opens_at THEN 'scheduled'
         ELSE 'open' END
  ) STORED
) STRICT, WITHOUT ROWID;

CREATE TABLE items (
  -- One SKU inside a sale, and where its units are.
  sale           TEXT    NOT NULL REFERENCES sales (id),
  sku            TEXT    NOT NULL,
  number         INTEGER NOT NULL UNIQUE,
  initial_stock  INTEGER NOT NULL,
  stock          INTEGER NOT NULL,
  available      INTEGER NOT NULL CHECK (available >= 0),
  held           INTEGER NOT NULL CHECK (held >= 0),
  confirmed      INTEGER NOT NULL CHECK (confirmed >= 0),
  price_amount   INTEGER,
  price_currency TEXT,
  customer_limit INTEGER,
  PRIMARY KEY (sale, sku),
  CONSTRAINT conservation CHECK (stock = available + held + confirmed)
) STRICT, WITHOUT ROWID;

CREATE TABLE reservations (
  -- Units held for one customer, and what became of them.
  id             TEXT    NOT NULL PRIMARY KEY,
  sale           TEXT    NOT NULL REFERENCES sales (id),
  customer       TEXT    NOT NULL,  -- 'erased-' and the id once the customer was erased
  state          TEXT    NOT NULL,  -- held, confirmed, released or expired
  reference      TEXT,  -- of the cart while it is held, of the order once it is confirmed with one
  created_at     TEXT    NOT NULL,
  expires_at     TEXT    NOT NULL,
  extensions     INTEGER NOT NULL,
  confirmed_at   TEXT,
  released_at    TEXT,
  expired_at     TEXT,
  release_reason TEXT,
  -- CASE, not IN: for a list SQLite builds a temporary tree on every single insert.
  CONSTRAINT one_end CHECK (
    CASE state
      WHEN 'held'      THEN confirmed_at IS NULL     AND released_at IS NULL     AND expired_at IS NULL
      WHEN 'confirmed' THEN confirmed_at IS NOT NULL AND released_at IS NULL     AND expired_at IS NULL
      WHEN 'released'  THEN confirmed_at IS NULL     AND released_at IS NOT NULL AND expired_at IS NULL
      WHEN 'expired'   THEN confirmed_at IS NULL     AND released_at IS NULL     AND expired_at IS NOT NULL
      ELSE FALSE
    END)
) STRICT, WITHOUT ROWID;

-- Which holds run out next is asked often and its index is small: holds only, added to at its end.
-- There is none on customer: its entries would fall all over a tree that grows with every customer, which costs as much
-- as all other writes together, while a search without it reads a million reservations in about a second. Who asks
-- often may add one; the service does not mind: CREATE INDEX reservations_by_customer ON reservations (customer);
CREATE INDEX reservations_held_by_expiry ON reservations (expires_at) WHERE state = 'held';

CREATE TABLE reservation_lines (
  -- What a reservation holds, at the price locked when the hold was made.
  reservation_id TEXT    NOT NULL REFERENCES reservations (id),
  sku            TEXT    NOT NULL,
  quantity       INTEGER NOT NULL CHECK (quantity > 0),
  price_amount   INTEGER,
  price_currency TEXT,
  PRIMARY KEY (reservation_id, sku)
) STRICT, WITHOUT ROWID;

CREATE TABLE stock_movements (
  -- Everything ever put into or taken out of stock, for each item in order; the deltas of an item add up to its stock.
  -- The first movement of an item has the reason 'initial'.
  id              INTEGER PRIMARY KEY,
  sale            TEXT    NOT NULL,
  sku             TEXT    NOT NULL,
  delta           INTEGER NOT NULL,
  reason          TEXT,
  reference       TEXT,
  at              TEXT    NOT NULL,
  stock_after     INTEGER NOT NULL,
  available_after INTEGER NOT NULL,
  FOREIGN KEY (sale, sku) REFERENCES items (sale, sku)
) STRICT;

CREATE INDEX stock_movements_by_item ON stock_movements (sale, sku);

CREATE TABLE write_behind (
  -- How far the journal is in this database: one row, changed in the same transaction as all others.
  one        INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  cursor     INTEGER NOT NULL CHECK (cursor >= 0),  -- the last batch applied
  updated_at TEXT,  -- the latest time in any change applied: what the database knows of
  format     INTEGER NOT NULL
) STRICT;

INSERT INTO write_behind (one, cursor, updated_at, format) VALUES (1, 0, NULL, 1);

CREATE VIEW stock_per_item AS
  -- How is each item selling? sold_percent is the sell-through: confirmed units of all units put in.
  SELECT sale, sku, stock, available, held, confirmed,
         round(100.0 * confirmed / nullif(stock, 0), 1) AS sold_percent,
         price_amount, price_currency
    FROM items;

CREATE VIEW holds_about_to_expire AS
  -- Whose holds run out within a minute, soonest first? Negative seconds_left: due, and the expiry not yet applied here.
  SELECT id, sale, customer,
         (SELECT sum(quantity) FROM reservation_lines WHERE reservation_id = id) AS units,
         expires_at,
         round((julianday(expires_at) - julianday('now')) * 86400.0, 3) AS seconds_left
    FROM reservations
   WHERE state = 'held' AND expires_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+1 minute')
   ORDER BY expires_at;

CREATE VIEW customer_reservations AS
  -- What does a customer have, and what became of it? Ask with WHERE customer = '...'; ordered by id is by time.
  SELECT customer, id, sale, state,
         (SELECT group_concat(quantity || ' x ' || sku, ', ') FROM reservation_lines WHERE reservation_id = id) AS lines,
         (SELECT sum(quantity * price_amount) FROM reservation_lines WHERE reservation_id = id) AS amount,
         reference, created_at, expires_at, extensions,
         coalesce(confirmed_at, released_at, expired_at) AS ended_at,
         release_reason
    FROM reservations;

CREATE VIEW sale_summary AS
  -- How does each sale stand as a whole?
  SELECT sales.id AS sale, name, status, opens_at, closes_at,
         count(sku) AS items,
         count(sku) FILTER (WHERE available = 0) AS items_sold_out,
         coalesce(sum(stock), 0) AS stock,
         coalesce(sum(available), 0) AS available,
         coalesce(sum(held), 0) AS held,
         coalesce(sum(confirmed), 0) AS confirmed,
         round(100.0 * sum(confirmed) / nullif(sum(stock), 0), 1) AS sold_percent
    FROM sales LEFT JOIN items ON items.sale = sales.id
   GROUP BY sales.id;
