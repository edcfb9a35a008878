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
  low_stock_at   INTEGER,  -- the stock is low while no more units than this are available
  -- Units that were confirmed in reservations that have no rows here: repaired or rebuilt from a state that had forgotten them.
  confirmed_before INTEGER NOT NULL DEFAULT 0 CHECK (confirmed_before >= 0),
  -- When the item was first sold out: at the end of the first batch that left nothing of it, when there had been some.
  -- The feed's first item.sold_out says the same.
  sold_out_at    TEXT,
  PRIMARY KEY (sale, sku),
  CONSTRAINT conservation CHECK (stock = available + held + confirmed)
) STRICT, WITHOUT ROWID;

CREATE TABLE pools (
  -- A part of an item's stock, and where its units are: what the item has is the sum of its pools. An item that declares
  -- none has one, 'default'.
  sale           TEXT    NOT NULL,
  sku            TEXT    NOT NULL,
  pool           TEXT    NOT NULL,
  number         INTEGER NOT NULL UNIQUE,
  position       INTEGER NOT NULL,  -- its place in the sale's document, from 1
  location       TEXT,
  initial_stock  INTEGER NOT NULL,
  stock          INTEGER NOT NULL,
  available      INTEGER NOT NULL CHECK (available >= 0),
  held           INTEGER NOT NULL CHECK (held >= 0),
  confirmed      INTEGER NOT NULL CHECK (confirmed >= 0),
  price_amount   INTEGER,  -- of a unit from here: the pool's own, or else the item's
  price_currency TEXT,
  tiers          TEXT,  -- a JSON list: open to customers of these tiers; empty: of all
  channels       TEXT,  -- a JSON list: open to requests through these channels; empty: through all
  shared_at      TEXT,  -- open to everybody from then on
  -- As in items.
  confirmed_before INTEGER NOT NULL DEFAULT 0 CHECK (confirmed_before >= 0),
  PRIMARY KEY (sale, sku, pool),
  FOREIGN KEY (sale, sku) REFERENCES items (sale, sku),
  CONSTRAINT conservation_of_pool CHECK (stock = available + held + confirmed)
) STRICT, WITHOUT ROWID;

CREATE TABLE reservations (
  -- Units held for one customer, and what became of them.
  id             TEXT    NOT NULL PRIMARY KEY,
  sale           TEXT    NOT NULL REFERENCES sales (id),
  customer       TEXT    NOT NULL,  -- 'erased-' and the id once the customer was erased
  state          TEXT    NOT NULL,  -- held, confirmed, released, expired or cancelled
  reference      TEXT,  -- of the cart while it is held, of the order once it is confirmed with one
  created_at     TEXT    NOT NULL,
  expires_at     TEXT    NOT NULL,
  extensions     INTEGER NOT NULL,
  confirmed_at   TEXT,
  released_at    TEXT,
  expired_at     TEXT,  -- empty again once it is confirmed late
  cancelled_at   TEXT,  -- when the last of its confirmed units was cancelled
  late           INTEGER NOT NULL DEFAULT 0,  -- 1: confirmed after its hold had expired
  release_reason TEXT,
  cancel_reason  TEXT,  -- the last one, also where only some units were cancelled
  tier           TEXT,  -- of the customer, as the caller said
  channel        TEXT,  -- that the request came through
  region         TEXT,  -- where the units are to go
  labels         TEXT,  -- a JSON object of names and values; empty once the customer was erased
  short          TEXT,  -- a JSON list of what it got less of than it asked for: sku, requested, granted
  group_id       TEXT,  -- of the group that it opened or joined; the rows with one id are the members
  group_size     INTEGER,  -- members that make the group complete
  group_state    TEXT,  -- open, complete or failed; left, if it was released while the group was open
  waitlist_entry TEXT,  -- the waitlist entry that it was offered to
  -- CASE, not IN: for a list SQLite builds a temporary tree on every single insert.
  CONSTRAINT one_end CHECK (
    CASE state
      WHEN 'held'      THEN coalesce(confirmed_at, released_at, expired_at, cancelled_at) IS NULL
      WHEN 'confirmed' THEN confirmed_at IS NOT NULL AND coalesce(released_at, expired_at, cancelled_at) IS NULL
      WHEN 'released'  THEN released_at  IS NOT NULL AND coalesce(confirmed_at, expired_at, cancelled_at) IS NULL
      WHEN 'expired'   THEN expired_at   IS NOT NULL AND coalesce(confirmed_at, released_at, cancelled_at) IS NULL
      WHEN 'cancelled' THEN confirmed_at IS NOT NULL AND cancelled_at IS NOT NULL
                            AND coalesce(released_at, expired_at) IS NULL
      ELSE FALSE
    END),
  CONSTRAINT late_is_confirmed CHECK (confirmed_at IS NOT NULL OR NOT late)
) STRICT, WITHOUT ROWID;

-- Which holds run out next is asked often and its index is small: holds only, added to at its end.
-- There is none on customer: its entries would fall all over a tree that grows with every customer, which costs as much
-- as all other writes together, while a search without it reads a million reservations in about a second. Who asks
-- often may add one; the service does not mind: CREATE INDEX reservations_by_customer ON reservations (customer);
CREATE INDEX reservations_held_by_expiry ON reservations (expires_at) WHERE state = 'held';
-- Only members of groups are in it.
CREATE INDEX reservations_by_group ON reservations (group_id) WHERE group_id IS NOT NULL;

CREATE TABLE reservation_lines (
  -- What a reservation holds, at the price locked when the hold was made: a row for each pool that units came from.
  reservation_id TEXT    NOT NULL REFERENCES reservations (id),
  line           INTEGER NOT NULL,  -- 1, 2, 3 and so on, in the order in which units were taken
  sku            TEXT    NOT NULL,
  pool           TEXT    NOT NULL,
  quantity       INTEGER NOT NULL,  -- units of the hold, after its last change
  returned       INTEGER NOT NULL DEFAULT 0,  -- of them: left over by a confirmation of fewer, and returned to stock
  cancelled      INTEGER NOT NULL DEFAULT 0,  -- of them: confirmed, and cancelled later
  price_amount   INTEGER,
  price_currency TEXT,
  PRIMARY KEY (reservation_id, line),
  CONSTRAINT units_of_line CHECK (quantity > 0 AND returned >= 0 AND cancelled >= 0 AND returned + cancelled <= quantity)
) STRICT, WITHOUT ROWID;

CREATE TABLE stock_movements (
  -- Everything ever put into or taken out of a pool, for each pool in order; the deltas of a pool add up to its stock, and
  -- those of an item. The first movement of a pool has the reason 'initial'. A transfer is two movements that add up to 0.
  id              INTEGER PRIMARY KEY,
  sale            TEXT    NOT NULL,
  sku             TEXT    NOT NULL,
  pool            TEXT    NOT NULL,
  delta           INTEGER NOT NULL,
  reason          TEXT,
  reference       TEXT,
  at              TEXT    NOT NULL,
  stock_after     INTEGER NOT NULL,  -- of the pool
  available_after INTEGER NOT NULL,
  other_pool      TEXT,  -- of a transfer: the pool that the units went to, or came from
  reservation_id  TEXT,  -- of units that were cancelled and not restocked: whose they were
  FOREIGN KEY (sale, sku, pool) REFERENCES pools (sale, sku, pool)
) STRICT;

CREATE INDEX stock_movements_by_pool ON stock_movements (sale, sku, pool);

CREATE TABLE refused_confirmations (
  -- Confirmations that came for a reservation that could not be confirmed: payments to be returned. One row for each
  -- reference. Kept as long as the reservation.
  id             INTEGER PRIMARY KEY,
  reservation_id TEXT    NOT NULL,
  sale           TEXT    NOT NULL,
  at             TEXT    NOT NULL,
  reference      TEXT,  -- of the confirmation; empty once the customer was erased
  cause          TEXT    NOT NULL  -- too_late, stock, limit, released, cancelled or already_confirmed
) STRICT;

CREATE INDEX refused_confirmations_by_reservation ON refused_confirmations (reservation_id);

CREATE TABLE waitlist_entries (
  -- Who waits for units of a sale that come back, and what became of it.
  id               TEXT    NOT NULL PRIMARY KEY,
  sale             TEXT    NOT NULL REFERENCES sales (id),
  customer         TEXT    NOT NULL,  -- 'erased-' and the id once the customer was erased
  state            TEXT    NOT NULL,  -- waiting, offered, left or expired
  place            INTEGER NOT NULL,  -- in the order of joining, over all sales: a smaller one is served first
  lines            TEXT    NOT NULL,  -- a JSON list of what it waits for: sku, quantity
  reference        TEXT,
  joined_at        TEXT    NOT NULL,
  expires_at       TEXT    NOT NULL,
  ended_at         TEXT,  -- when it was offered a hold, left or expired
  reservation_id   TEXT,  -- the hold that was made for it
  passed_over_at   TEXT,  -- since when its customer had no room, for this code, for units that were there
  passed_over_code TEXT,  -- why: customer_limit_exceeded, too_many_holds or cooling_down
  tier             TEXT,
  channel          TEXT,
  region           TEXT,
  labels           TEXT,  -- a JSON object of names and values; empty once the customer was erased
  locations        TEXT,  -- a JSON list: only units from there are wanted; empty: from anywhere
  CONSTRAINT one_end_of_wait CHECK (
    CASE state
      WHEN 'waiting' THEN ended_at IS NULL AND reservation_id IS NULL
      WHEN 'offered' THEN ended_at IS NOT NULL AND reservation_id IS NOT NULL
      WHEN 'left'    THEN ended_at IS NOT NULL AND reservation_id IS NULL
      WHEN 'expired' THEN ended_at IS NOT NULL AND reservation_id IS NULL
      ELSE FALSE
    END)
) STRICT, WITHOUT ROWID;

-- Who is next is asked often and its index is small: only who waits, added to at the end of each sale.
CREATE INDEX waitlist_entries_waiting ON waitlist_entries (sale, place) WHERE state = 'waiting';

CREATE TABLE audit (
  -- Every operator action that changed something, in order. Never changed: each row's hash covers its
  -- own columns and the hash of the row before, so a row that was is found.
  sequence INTEGER PRIMARY KEY CHECK (sequence > 0),  -- 1, 2, 3 and so on, without gaps
  at       TEXT    NOT NULL,
  actor    TEXT    NOT NULL,  -- key:NAME; anybody, where no keys are configured; process, for what it read by itself
  -- sale.put, sale.pause, sale.resume, sale.close, stock.adjust, stock.transfer, keys.change or customer.erase
  action   TEXT    NOT NULL,
  sale     TEXT,
  sku      TEXT,
  detail   TEXT    NOT NULL,  -- what was asked: a JSON object, to the letter as it was hashed
  hash     TEXT    NOT NULL   -- BLAKE3, 64 hexadecimal digits
) STRICT;

CREATE INDEX audit_by_sale ON audit (sale);

CREATE TABLE audit_gaps (
  -- Records of the audit trail that are not here, from after_sequence + 1 on: the chain goes on behind them from `hash`.
  after_sequence   INTEGER PRIMARY KEY CHECK (after_sequence >= 0),
  through_sequence INTEGER NOT NULL CHECK (through_sequence > after_sequence),
  hash             TEXT    NOT NULL  -- of the record `through_sequence`
) STRICT;

CREATE TABLE reservations_archive (
  -- Reservations that were over for store.keep_days, as they were.
  id             TEXT NOT NULL PRIMARY KEY,
  sale           TEXT NOT NULL,
  customer       TEXT NOT NULL,
  state          TEXT NOT NULL CHECK (state <> 'held'),
  reference      TEXT,
  created_at     TEXT NOT NULL,
  expires_at     TEXT NOT NULL,
  extensions     INTEGER NOT NULL,
  confirmed_at   TEXT,
  released_at    TEXT,
  expired_at     TEXT,
  cancelled_at   TEXT,
  late           INTEGER NOT NULL DEFAULT 0,
  release_reason TEXT,
  cancel_reason  TEXT,
  tier           TEXT,
  channel        TEXT,
  region         TEXT,
  labels         TEXT,
  short          TEXT,
  group_id       TEXT,
  group_size     INTEGER,
  group_state    TEXT,
  waitlist_entry TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE reservation_lines_archive (
  reservation_id TEXT NOT NULL,
  line           INTEGER NOT NULL,
  sku            TEXT NOT NULL,
  pool           TEXT NOT NULL,
  quantity       INTEGER NOT NULL CHECK (quantity > 0),
  returned       INTEGER NOT NULL DEFAULT 0,
  cancelled      INTEGER NOT NULL DEFAULT 0,
  price_amount   INTEGER,
  price_currency TEXT,
  PRIMARY KEY (reservation_id, line)
) STRICT, WITHOUT ROWID;

CREATE TABLE waitlist_entries_archive (
  -- Waitlist entries that were over for store.keep_days, as they were.
  id               TEXT NOT NULL PRIMARY KEY,
  sale             TEXT NOT NULL,
  customer         TEXT NOT NULL,
  state            TEXT NOT NULL CHECK (state <> 'waiting'),
  place            INTEGER NOT NULL,
  lines            TEXT NOT NULL,
  reference        TEXT,
  joined_at        TEXT NOT NULL,
  expires_at       TEXT NOT NULL,
  ended_at         TEXT NOT NULL,
  reservation_id   TEXT,
  passed_over_at   TEXT,
  passed_over_code TEXT,
  tier             TEXT,
  channel          TEXT,
  region           TEXT,
  labels           TEXT,
  locations        TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_archive (
  -- The beginning of the audit trail: its hashes lead into those of the table audit.
  sequence INTEGER PRIMARY KEY CHECK (sequence > 0),
  at       TEXT NOT NULL,
  actor    TEXT NOT NULL,
  action   TEXT NOT NULL,
  sale     TEXT,
  sku      TEXT,
  detail   TEXT NOT NULL,
  hash     TEXT NOT NULL
) STRICT;

CREATE TABLE write_behind (
  -- How far the journal is in this database: one row, changed in the same transaction as all others.
  one        INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  cursor     INTEGER NOT NULL CHECK (cursor >= 0),  -- the last batch applied
  updated_at TEXT,  -- the latest time in any change applied: what the database knows of
  format     INTEGER NOT NULL,
  -- Every transaction looks whether the store is still its own.
  owner       TEXT,  -- the data directory that writes here: the id in its file `identity`
  owner_epoch INTEGER NOT NULL DEFAULT 0,  -- how often a process took the store over
  session     TEXT,  -- the process that took it last: no other may write
  -- Reservations and waitlist entries that ended earlier were deleted, or will be: reports do not count them. Empty: all are here.
  kept_from   TEXT
) STRICT;

INSERT INTO write_behind (one, cursor, updated_at, format) VALUES (1, 0, NULL, 1);

CREATE VIEW stock_per_item AS
  -- How is each item selling? sold_percent is the sell-through: confirmed units of all units put in.
  SELECT sale, sku, stock, available, held, confirmed,
         round(100.0 * confirmed / nullif(stock, 0), 1) AS sold_percent,
         price_amount, price_currency
    FROM items;

CREATE VIEW stock_per_pool AS
  -- How is each part of an item's stock selling, and who may buy from it?
  SELECT sale, sku, position, pool, location, stock, available, held, confirmed,
         round(100.0 * confirmed / nullif(stock, 0), 1) AS sold_percent,
         price_amount, price_currency, tiers, channels, shared_at
    FROM pools;

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
  -- What does a customer have, and what became of it? Ask with WHERE customer = '...'; ordered by id is by time. Of a
  -- confirmed one, lines and amount are of what it still has; of a cancelled one, of what was cancelled.
  SELECT customer, id, sale, state,
         (SELECT group_concat(units || ' x ' || sku, ', ')
            FROM (SELECT sku, sum(CASE state WHEN 'cancelled' THEN cancelled ELSE quantity - returned - cancelled END) AS units
                    FROM reservation_lines WHERE reservation_id = id GROUP BY sku)
           WHERE units > 0) AS lines,
         (SELECT sum(price_amount * CASE state WHEN 'cancelled' THEN cancelled ELSE quantity - returned - cancelled END)
            FROM reservation_lines WHERE reservation_id = id) AS amount,
         reference, created_at, expires_at, extensions,
         coalesce(cancelled_at, confirmed_at, released_at, expired_at) AS ended_at,
         late, release_reason, cancel_reason, tier, channel, region, labels, waitlist_entry
    FROM reservations;

CREATE VIEW customer_groups AS
  -- Which groups are there, and how does each stand? Those who left an open group are not among its members;
  -- one that everybody left has failed.
  SELECT group_id, sale, min(sku) AS sku, max(group_size) AS size,
         count(*) FILTER (WHERE group_state <> 'left') AS members,
         coalesce(max(CASE WHEN group_state <> 'left' THEN group_state END), 'failed') AS state,
         min(created_at) AS opened_at,
         min(CASE WHEN group_state = 'open' THEN expires_at END) AS open_until,
         count(*) FILTER (WHERE state = 'confirmed') AS confirmed
    FROM reservations JOIN reservation_lines ON reservation_id = id AND line = 1
   WHERE group_id IS NOT NULL
   GROUP BY group_id, sale;
CREATE VIEW waitlist_demand AS
  -- How many units of each item do customers wait for?
  SELECT entry.sale, json_extract(line.value, '$.sku') AS sku, count(*) AS entries, CAST(sum(json_extract(line.value, '$.quantity')) AS bigint) AS units,
         min(entry.joined_at) AS first_joined_at
    FROM waitlist_entries AS entry, json_each(entry.lines) AS line
   WHERE entry.state = 'waiting'
   GROUP BY entry.sale, json_extract(line.value, '$.sku');

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

-- Reports: every figure is defined in docs/kpi.md.

CREATE VIEW report_reservations AS
  -- Every reservation that reports count, archived ones too.
  SELECT id, sale, state, late, created_at, coalesce(cancelled_at, confirmed_at, released_at, expired_at) AS ended_at,
         tier, channel, region, labels
    FROM reservations
   WHERE state = 'held' OR coalesce(cancelled_at, confirmed_at, released_at, expired_at)
         >= coalesce((SELECT kept_from FROM write_behind), '')
  UNION ALL
  SELECT id, sale, state, late, created_at, coalesce(cancelled_at, confirmed_at, released_at, expired_at),
         tier, channel, region, labels
    FROM reservations_archive
   WHERE state = 'held' OR coalesce(cancelled_at, confirmed_at, released_at, expired_at)
         >= coalesce((SELECT kept_from FROM write_behind), '');

CREATE VIEW report_refused_confirmations AS
  -- Confirmations that were refused, of reservations that reports count.
  SELECT id, reservation_id, sale, at, reference, cause
    FROM refused_confirmations
   WHERE EXISTS (SELECT 1 FROM report_reservations WHERE report_reservations.id = reservation_id);

CREATE VIEW report_waitlist AS
  -- How did the waitlist of each sale do? Only sales in which somebody waited. Of the offered holds, open_offers are still held, and
  -- confirmed_offers were paid and not cancelled.
  WITH entry AS (
         SELECT sale, state, passed_over_at, joined_at, ended_at, reservation_id FROM waitlist_entries
          WHERE state = 'waiting' OR ended_at >= coalesce((SELECT kept_from FROM write_behind), '')
         UNION ALL
         SELECT sale, state, passed_over_at, joined_at, ended_at, reservation_id FROM waitlist_entries_archive
          WHERE ended_at >= coalesce((SELECT kept_from FROM write_behind), '')),
       counted AS (
         SELECT entry.sale,
                count(*) AS entries,
                count(CASE entry.state WHEN 'waiting' THEN 1 END) AS waiting_entries,
                count(CASE entry.state WHEN 'offered' THEN 1 END) AS offered_entries,
                count(CASE entry.state WHEN 'left' THEN 1 END) AS left_entries,
                count(CASE entry.state WHEN 'expired' THEN 1 END) AS expired_entries,
                count(passed_over_at) AS passed_over_entries,
                count(CASE coalesce(live.state, archived.state) WHEN 'held' THEN 1 END) AS open_offers,
                count(CASE coalesce(live.state, archived.state) WHEN 'confirmed' THEN 1 END) AS confirmed_offers,
                avg(CASE entry.state WHEN 'offered' THEN max(0.0, (julianday(entry.ended_at) - julianday(entry.joined_at)) * 86400.0) END) AS seconds
           FROM entry LEFT JOIN reservations AS live ON live.id = entry.reservation_id
                      LEFT JOIN reservations_archive AS archived ON archived.id = entry.reservation_id
          GROUP BY entry.sale)
  SELECT sale, entries, waiting_entries, offered_entries, left_entries, expired_entries, passed_over_entries, open_offers,
         confirmed_offers,
         round(1.0 * confirmed_offers / nullif(offered_entries, 0), 4) AS offer_conversion,
         round(seconds, 3) AS seconds_to_offer
    FROM counted;

CREATE VIEW report_lines AS
  -- The same, line by line; an item of which units came from several pools, or at several prices, is several rows, and is_line
  -- is 1 in one of them, else 0. quantity is all that was held; sold is what was confirmed of it and not cancelled.
  SELECT id, sale, sku, pool, state, quantity, returned, cancelled,
         CASE state WHEN 'confirmed' THEN quantity - returned - cancelled ELSE 0 END AS sold,
         price_amount, price_currency, created_at, confirmed_at,
         coalesce(cancelled_at, confirmed_at, released_at, expired_at) AS ended_at, tier, channel, region, labels,
         group_id, group_state,
         CASE WHEN EXISTS (SELECT 1 FROM reservation_lines AS other
                            WHERE other.reservation_id = line.reservation_id AND other.sku = line.sku
                              AND other.line < line.line) THEN 0 ELSE 1 END AS is_line
    FROM reservations JOIN reservation_lines AS line ON line.reservation_id = id
   WHERE state = 'held' OR coalesce(cancelled_at, confirmed_at, released_at, expired_at)
         >= coalesce((SELECT kept_from FROM write_behind), '')
  UNION ALL
  SELECT id, sale, sku, pool, state, quantity, returned, cancelled,
         CASE state WHEN 'confirmed' THEN quantity - returned - cancelled ELSE 0 END,
         price_amount, price_currency, created_at, confirmed_at,
         coalesce(cancelled_at, confirmed_at, released_at, expired_at), tier, channel, region, labels,
         group_id, group_state,
         CASE WHEN EXISTS (SELECT 1 FROM reservation_lines_archive AS other
                            WHERE other.reservation_id = line.reservation_id AND other.sku = line.sku
                              AND other.line < line.line) THEN 0 ELSE 1 END
    FROM reservations_archive JOIN reservation_lines_archive AS line ON line.reservation_id = id
   WHERE state = 'held' OR coalesce(cancelled_at, confirmed_at, released_at, expired_at)
         >= coalesce((SELECT kept_from FROM write_behind), '');

CREATE VIEW report_group_deals AS
  -- How did the group deals of each item do? Only items that were sold to groups. Those who left an open group are not among members.
  WITH deal AS (
         SELECT sale, sku, group_id,
                count(CASE group_state WHEN 'open' THEN 1 END) AS in_open,
                count(CASE group_state WHEN 'complete' THEN 1 END) AS in_complete,
                count(CASE WHEN group_state <> 'left' THEN 1 END) AS members,
                count(CASE state WHEN 'confirmed' THEN 1 END) AS confirmed
           FROM report_lines
          WHERE group_id IS NOT NULL AND is_line = 1
          GROUP BY sale, sku, group_id),
       counted AS (
         SELECT sale, sku,
                count(*) AS deals,
                count(CASE WHEN in_open > 0 THEN 1 END) AS open_groups,
                count(CASE WHEN in_complete > 0 THEN 1 END) AS complete_groups,
                count(CASE WHEN in_open = 0 AND in_complete = 0 THEN 1 END) AS failed_groups,
                CAST(sum(members) AS bigint) AS members,
                CAST(sum(confirmed) AS bigint) AS confirmed_members
           FROM deal
          GROUP BY sale, sku)
  SELECT sale, sku, deals AS all_groups, open_groups, complete_groups, failed_groups, members, confirmed_members,
         round(1.0 * complete_groups / nullif(complete_groups + failed_groups, 0), 4) AS completion_rate
    FROM counted;

CREATE VIEW report_items AS
  -- How did each item sell? A row for each, with or without reservations. The first *_units are of reservations that
  -- reports count; stock, available, held and confirmed are the item's own, of all time.
  WITH counted AS (
         SELECT sale, sku,
                CAST(sum(is_line) AS bigint) AS granted,
                CAST(sum(CASE state WHEN 'held' THEN is_line ELSE 0 END) AS bigint) AS still_held,
                CAST(sum(CASE state WHEN 'confirmed' THEN is_line ELSE 0 END) AS bigint) AS were_confirmed,
                CAST(sum(CASE state WHEN 'released' THEN is_line ELSE 0 END) AS bigint) AS were_released,
                CAST(sum(CASE state WHEN 'expired' THEN is_line ELSE 0 END) AS bigint) AS were_expired,
                CAST(sum(CASE state WHEN 'cancelled' THEN is_line ELSE 0 END) AS bigint) AS were_cancelled,
                CAST(coalesce(sum(quantity), 0) AS bigint) AS granted_units,
                CAST(coalesce(sum(CASE state WHEN 'held' THEN quantity END), 0) AS bigint) AS held_units,
                CAST(coalesce(sum(sold), 0) AS bigint) AS confirmed_units,
                CAST(coalesce(sum(CASE state WHEN 'released' THEN quantity END), 0) AS bigint) AS released_units,
                CAST(coalesce(sum(CASE state WHEN 'expired' THEN quantity END), 0) AS bigint) AS expired_units,
                CAST(coalesce(sum(cancelled), 0) AS bigint) AS cancelled_units,
                CAST(coalesce(sum(returned), 0) AS bigint) AS returned_units
           FROM (SELECT sale, sku, '' AS state, NULL AS quantity, 0 AS returned, 0 AS cancelled, 0 AS sold, 0 AS is_line FROM items
                 UNION ALL
                 SELECT sale, sku, state, quantity, returned, cancelled, sold, is_line FROM report_lines) AS line
          GROUP BY sale, sku)
  SELECT items.sale, items.sku, stock, available, held, confirmed,
         granted AS reservations, still_held AS held_reservations, were_confirmed AS confirmed_reservations,
         were_released AS released_reservations, were_expired AS expired_reservations, were_cancelled AS cancelled_reservations,
         granted_units, held_units, confirmed_units, released_units, expired_units, cancelled_units, returned_units,
         round(1.0 * were_confirmed / nullif(granted, 0), 4) AS conversion,
         round(1.0 * confirmed_units / nullif(granted_units, 0), 4) AS unit_conversion,
         round(1.0 * were_expired / nullif(granted, 0), 4) AS expiry_rate,
         round(1.0 * were_released / nullif(granted, 0), 4) AS release_rate,
         round(1.0 * confirmed / nullif(stock, 0), 4) AS sell_through,
         sold_out_at,
         CASE WHEN sold_out_at >= max(opens_at, created_at)
              THEN round((julianday(sold_out_at) - julianday(max(opens_at, created_at))) * 86400.0, 3) END AS seconds_to_sell_out
    FROM items
    JOIN counted ON counted.sale = items.sale AND counted.sku = items.sku
    JOIN sales ON sales.id = items.sale;

CREATE VIEW report_sales AS
  -- How did each sale do as a whole? items_sold_out is now, as in sale_summary; items_ever_sold_out counts those that came back.
  WITH counted AS (
         SELECT sale,
                count(state) AS granted,
                count(CASE state WHEN 'held' THEN 1 END) AS still_held,
                count(CASE state WHEN 'confirmed' THEN 1 END) AS were_confirmed,
                count(CASE state WHEN 'released' THEN 1 END) AS were_released,
                count(CASE state WHEN 'expired' THEN 1 END) AS were_expired,
                count(CASE state WHEN 'cancelled' THEN 1 END) AS were_cancelled,
                count(CASE WHEN late THEN 1 END) AS were_late
           FROM (SELECT id AS sale, NULL AS state, FALSE AS late FROM sales
                 UNION ALL
                 SELECT sale, state, late FROM report_reservations) AS reservation
          GROUP BY sale),
       summed AS (
         SELECT sale, count(sku) AS items,
                count(CASE available WHEN 0 THEN 1 END) AS items_sold_out,
                count(sold_out_at) AS items_ever_sold_out,
                CAST(sum(stock) AS bigint) AS stock,
                CAST(sum(available) AS bigint) AS available,
                CAST(sum(held) AS bigint) AS held,
                CAST(sum(confirmed) AS bigint) AS confirmed,
                CAST(sum(granted_units) AS bigint) AS granted_units,
                CAST(sum(held_units) AS bigint) AS held_units,
                CAST(sum(confirmed_units) AS bigint) AS confirmed_units,
                CAST(sum(released_units) AS bigint) AS released_units,
                CAST(sum(expired_units) AS bigint) AS expired_units,
                CAST(sum(cancelled_units) AS bigint) AS cancelled_units,
                CAST(sum(returned_units) AS bigint) AS returned_units,
                CASE WHEN count(sold_out_at) = count(sku) THEN max(sold_out_at) END AS sold_out_at
           FROM report_items
          GROUP BY sale)
  SELECT sales.id AS sale, name, status, opens_at, closes_at, items, items_sold_out, items_ever_sold_out,
         stock, available, held, confirmed,
         granted AS reservations, still_held AS held_reservations, were_confirmed AS confirmed_reservations,
         were_released AS released_reservations, were_expired AS expired_reservations, were_cancelled AS cancelled_reservations,
         were_late AS late_reservations,
         (SELECT count(*) FROM report_refused_confirmations AS refused WHERE refused.sale = sales.id) AS refused_confirmations,
         granted_units, held_units, confirmed_units, released_units, expired_units, cancelled_units, returned_units,
         round(1.0 * were_confirmed / nullif(granted, 0), 4) AS conversion,
         round(1.0 * confirmed_units / nullif(granted_units, 0), 4) AS unit_conversion,
         round(1.0 * were_expired / nullif(granted, 0), 4) AS expiry_rate,
         round(1.0 * were_released / nullif(granted, 0), 4) AS release_rate,
         round(1.0 * confirmed / nullif(stock, 0), 4) AS sell_through,
         sold_out_at,
         CASE WHEN sold_out_at >= max(opens_at, created_at)
              THEN round((julianday(sold_out_at) - julianday(max(opens_at, created_at))) * 86400.0, 3) END AS seconds_to_sell_out,
         CASE WHEN created_at < (SELECT kept_from FROM write_behind) THEN (SELECT kept_from FROM write_behind) END
           AS counts_from
    FROM sales
    JOIN counted ON counted.sale = sales.id
    JOIN summed ON summed.sale = sales.id;

CREATE VIEW report_minutes AS
  -- Units per minute, in UTC, of minutes in which anything happened to an item: held, confirmed (cancelled later or not),
  -- released or expired.
  SELECT sale, sku, minute,
         CAST(coalesce(sum(granted), 0) AS bigint) AS granted_units,
         CAST(coalesce(sum(CASE state WHEN 'confirmed' THEN ended END), 0) AS bigint) AS confirmed_units,
         CAST(coalesce(sum(CASE state WHEN 'released' THEN ended END), 0) AS bigint) AS released_units,
         CAST(coalesce(sum(CASE state WHEN 'expired' THEN ended END), 0) AS bigint) AS expired_units
    FROM (SELECT sale, sku, substr(created_at, 1, 16) || ':00.000Z' AS minute, state, quantity AS granted, 0 AS ended FROM report_lines
          UNION ALL
          SELECT sale, sku, substr(coalesce(confirmed_at, ended_at), 1, 16) || ':00.000Z',
                 CASE WHEN confirmed_at IS NULL THEN state ELSE 'confirmed' END, 0, quantity - returned
            FROM report_lines WHERE ended_at IS NOT NULL) AS moved
   GROUP BY sale, sku, minute;

CREATE VIEW report_revenue AS
  -- What confirmed units that were not cancelled come to, by the price that was locked with their hold. Minor units (cents);
  -- empty without a price.
  SELECT sale, sku, price_currency, price_amount, units,
         CAST(units * price_amount AS bigint) AS revenue
    FROM (SELECT sale, sku, price_currency, price_amount, CAST(sum(sold) AS bigint) AS units
            FROM report_lines WHERE sold > 0
           GROUP BY sale, sku, price_currency, price_amount) AS sold;
