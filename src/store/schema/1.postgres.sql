-- The store, format 1, in PostgreSQL: the same tables, columns and views as in SQLite (1.sqlite.sql), with ids as uuid and
-- times as timestamptz. Names sort by their bytes (COLLATE "C"). Prices are in minor units (cents). Every state shown is
-- one that the service was in; it may lag.

CREATE TABLE sales (
  -- A campaign: its settings as last put, and where it stands.
  id             text        COLLATE "C" NOT NULL PRIMARY KEY,
  number         bigint      NOT NULL UNIQUE,
  name           text        NOT NULL,
  opens_at       timestamptz NOT NULL,
  closes_at      timestamptz NOT NULL,
  hold_seconds   bigint      NOT NULL,
  max_extensions bigint,
  customer_limit bigint,
  paused_at      timestamptz,  -- by the operator, and not resumed since
  closed_at      timestamptz,  -- by the operator
  created_at     timestamptz NOT NULL,
  updated_at     timestamptz NOT NULL,
  -- At updated_at: close wins over the clock, the clock's end over a pause. The clock's turns are changes too.
  status text NOT NULL GENERATED ALWAYS AS (
    CASE WHEN closed_at IS NOT NULL OR updated_at >= closes_at THEN 'closed'
         WHEN paused_at IS NOT NULL THEN 'paused'
         WHEN updated_at < opens_at THEN 'scheduled'
         ELSE 'open' END
  ) STORED
);

CREATE TABLE items (
  -- One SKU inside a sale, and where its units are.
  sale           text   COLLATE "C" NOT NULL REFERENCES sales (id),
  sku            text   COLLATE "C" NOT NULL,
  number         bigint NOT NULL UNIQUE,
  initial_stock  bigint NOT NULL,
  stock          bigint NOT NULL,
  available      bigint NOT NULL CHECK (available >= 0),
  held           bigint NOT NULL CHECK (held >= 0),
  confirmed      bigint NOT NULL CHECK (confirmed >= 0),
  price_amount   bigint,
  price_currency text,
  customer_limit bigint,
  PRIMARY KEY (sale, sku),
  CONSTRAINT conservation CHECK (stock = available + held + confirmed)
)
-- Counts change with every transaction and no index has them: with room on its page a row changes where it is.
WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

CREATE TABLE reservations (
  -- Units held for one customer, and what became of them. Neither sale nor id are REFERENCES, here and in the lines: the
  -- journal's order guarantees them, and PostgreSQL would look each of them up.
  id             uuid        NOT NULL PRIMARY KEY,
  sale           text        COLLATE "C" NOT NULL,
  customer       text        NOT NULL,  -- 'erased-' and the id once the customer was erased
  state          text        COLLATE "C" NOT NULL,  -- held, confirmed, released or expired
  reference      text,  -- of the cart while it is held, of the order once it is confirmed with one
  created_at     timestamptz NOT NULL,
  expires_at     timestamptz NOT NULL,
  extensions     bigint      NOT NULL,
  confirmed_at   timestamptz,
  released_at    timestamptz,
  expired_at     timestamptz,
  release_reason text,
  CONSTRAINT one_end CHECK (
    CASE state
      WHEN 'held'      THEN confirmed_at IS NULL     AND released_at IS NULL     AND expired_at IS NULL
      WHEN 'confirmed' THEN confirmed_at IS NOT NULL AND released_at IS NULL     AND expired_at IS NULL
      WHEN 'released'  THEN confirmed_at IS NULL     AND released_at IS NOT NULL AND expired_at IS NULL
      WHEN 'expired'   THEN confirmed_at IS NULL     AND released_at IS NULL     AND expired_at IS NOT NULL
      ELSE FALSE
    END)
);

-- Which holds run out next is asked often and its index is small: holds only, added to at its end.
-- There is none on customer: its entries would fall all over a tree that grows with every customer. Who asks often may
-- add one; the service does not mind: CREATE INDEX CONCURRENTLY reservations_by_customer ON reservations (customer);
CREATE INDEX reservations_held_by_expiry ON reservations (expires_at) WHERE state = 'held';

CREATE TABLE reservation_lines (
  -- What a reservation holds, at the price locked when the hold was made.
  reservation_id uuid   NOT NULL,
  sku            text   COLLATE "C" NOT NULL,
  quantity       bigint NOT NULL CHECK (quantity > 0),
  price_amount   bigint,
  price_currency text,
  PRIMARY KEY (reservation_id, sku)
);

CREATE TABLE stock_movements (
  -- Everything ever put into or taken out of stock, for each item in order; the deltas of an item add up to its stock.
  -- The first movement of an item has the reason 'initial'.
  id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  sale            text        COLLATE "C" NOT NULL,
  sku             text        COLLATE "C" NOT NULL,
  delta           bigint      NOT NULL,
  reason          text,
  reference       text,
  at              timestamptz NOT NULL,
  stock_after     bigint      NOT NULL,
  available_after bigint      NOT NULL,
  FOREIGN KEY (sale, sku) REFERENCES items (sale, sku)
);

CREATE INDEX stock_movements_by_item ON stock_movements (sale, sku);

CREATE TABLE write_behind (
  -- How far the journal is in this database: one row, changed in the same transaction as all others.
  one        bigint      NOT NULL PRIMARY KEY CHECK (one = 1),
  cursor     bigint      NOT NULL CHECK (cursor >= 0),  -- the last batch applied
  updated_at timestamptz,  -- the latest time in any change applied: what the database knows of
  format     bigint      NOT NULL
);

INSERT INTO write_behind (one, cursor, updated_at, format) VALUES (1, 0, NULL, 1);

CREATE VIEW stock_per_item AS
  -- How is each item selling? sold_percent is the sell-through: confirmed units of all units put in.
  SELECT sale, sku, stock, available, held, confirmed,
         round(100.0 * confirmed / nullif(stock, 0), 1)::double precision AS sold_percent,
         price_amount, price_currency
    FROM items;

CREATE VIEW holds_about_to_expire AS
  -- Whose holds run out within a minute, soonest first? Negative seconds_left: due, and the expiry not yet applied here.
  SELECT id, sale, customer,
         (SELECT sum(quantity)::bigint FROM reservation_lines WHERE reservation_id = id) AS units,
         expires_at,
         round(extract(epoch FROM expires_at - now()), 3)::double precision AS seconds_left
    FROM reservations
   WHERE state = 'held' AND expires_at < now() + interval '1 minute'
   ORDER BY expires_at;

CREATE VIEW customer_reservations AS
  -- What does a customer have, and what became of it? Ask with WHERE customer = '...'; ordered by id is by time.
  SELECT customer, id, sale, state,
         (SELECT string_agg(quantity || ' x ' || sku, ', ' ORDER BY sku) FROM reservation_lines
           WHERE reservation_id = id) AS lines,
         (SELECT sum(quantity * price_amount)::bigint FROM reservation_lines WHERE reservation_id = id) AS amount,
         reference, created_at, expires_at, extensions,
         coalesce(confirmed_at, released_at, expired_at) AS ended_at,
         release_reason
    FROM reservations;

CREATE VIEW sale_summary AS
  -- How does each sale stand as a whole?
  SELECT sales.id AS sale, name, status, opens_at, closes_at,
         count(sku) AS items,
         count(sku) FILTER (WHERE available = 0) AS items_sold_out,
         coalesce(sum(stock), 0)::bigint AS stock,
         coalesce(sum(available), 0)::bigint AS available,
         coalesce(sum(held), 0)::bigint AS held,
         coalesce(sum(confirmed), 0)::bigint AS confirmed,
         round(100.0 * sum(confirmed) / nullif(sum(stock), 0), 1)::double precision AS sold_percent
    FROM sales LEFT JOIN items ON items.sale = sales.id
   GROUP BY sales.id;
