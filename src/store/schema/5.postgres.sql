-- Format 5: reports, and what was kept long enough. Every figure is defined in docs/kpi.md.

-- When the item was first sold out: at the end of the first batch that left nothing of it, when there had been some.
-- The feed's first item.sold_out says the same. Empty for items that were sold out before this format.
ALTER TABLE items ADD COLUMN sold_out_at timestamptz;

-- Reservations that ended earlier were deleted, or will be: reports do not count them. Empty: all are here.
ALTER TABLE write_behind ADD COLUMN kept_from timestamptz;

CREATE TABLE reservations_archive (
  -- Reservations that were over for store.keep_days, as they were.
  id             uuid NOT NULL PRIMARY KEY,
  sale           text COLLATE "C" NOT NULL,
  customer       text NOT NULL,
  state          text COLLATE "C" NOT NULL CHECK (state <> 'held'),
  reference      text,
  created_at     timestamptz NOT NULL,
  expires_at     timestamptz NOT NULL,
  extensions     bigint NOT NULL,
  confirmed_at   timestamptz,
  released_at    timestamptz,
  expired_at     timestamptz,
  release_reason text
);

CREATE TABLE reservation_lines_archive (
  reservation_id uuid NOT NULL,
  sku            text COLLATE "C" NOT NULL,
  quantity       bigint NOT NULL CHECK (quantity > 0),
  price_amount   bigint,
  price_currency text,
  PRIMARY KEY (reservation_id, sku)
);

CREATE TABLE audit_archive (
  -- The beginning of the audit trail: its hashes lead into those of the table audit.
  sequence bigint NOT NULL PRIMARY KEY CHECK (sequence > 0),
  at       text COLLATE "C" NOT NULL,
  actor    text NOT NULL,
  action   text COLLATE "C" NOT NULL,
  sale     text COLLATE "C",
  sku      text COLLATE "C",
  detail   text NOT NULL,
  hash     text COLLATE "C" NOT NULL
);

CREATE VIEW report_reservations AS
  -- Every reservation that reports count, archived ones too.
  SELECT id, sale, state, created_at, coalesce(confirmed_at, released_at, expired_at) AS ended_at
    FROM reservations
   WHERE state = 'held' OR coalesce(confirmed_at, released_at, expired_at)
         >= coalesce((SELECT kept_from FROM write_behind), '-infinity')
  UNION ALL
  SELECT id, sale, state, created_at, coalesce(confirmed_at, released_at, expired_at)
    FROM reservations_archive
   WHERE state = 'held' OR coalesce(confirmed_at, released_at, expired_at)
         >= coalesce((SELECT kept_from FROM write_behind), '-infinity');

CREATE VIEW report_lines AS
  -- The same, line by line.
  SELECT id, sale, sku, state, quantity, price_amount, price_currency, created_at,
         coalesce(confirmed_at, released_at, expired_at) AS ended_at
    FROM reservations JOIN reservation_lines ON reservation_id = id
   WHERE state = 'held' OR coalesce(confirmed_at, released_at, expired_at)
         >= coalesce((SELECT kept_from FROM write_behind), '-infinity')
  UNION ALL
  SELECT id, sale, sku, state, quantity, price_amount, price_currency, created_at,
         coalesce(confirmed_at, released_at, expired_at)
    FROM reservations_archive JOIN reservation_lines_archive ON reservation_id = id
   WHERE state = 'held' OR coalesce(confirmed_at, released_at, expired_at)
         >= coalesce((SELECT kept_from FROM write_behind), '-infinity');

CREATE VIEW report_items AS
  -- How did each item sell? A row for each, with or without reservations. The first *_units are of reservations that
  -- reports count; stock, available, held and confirmed are the item's own, of all time.
  WITH counted AS (
         SELECT sale, sku,
                count(quantity) AS granted,
                count(CASE state WHEN 'held' THEN 1 END) AS still_held,
                count(CASE state WHEN 'confirmed' THEN 1 END) AS were_confirmed,
                count(CASE state WHEN 'released' THEN 1 END) AS were_released,
                count(CASE state WHEN 'expired' THEN 1 END) AS were_expired,
                CAST(coalesce(sum(quantity), 0) AS bigint) AS granted_units,
                CAST(coalesce(sum(CASE state WHEN 'held' THEN quantity END), 0) AS bigint) AS held_units,
                CAST(coalesce(sum(CASE state WHEN 'confirmed' THEN quantity END), 0) AS bigint) AS confirmed_units,
                CAST(coalesce(sum(CASE state WHEN 'released' THEN quantity END), 0) AS bigint) AS released_units,
                CAST(coalesce(sum(CASE state WHEN 'expired' THEN quantity END), 0) AS bigint) AS expired_units
           FROM (SELECT sale, sku, '' AS state, NULL::bigint AS quantity FROM items
                 UNION ALL
                 SELECT sale, sku, state, quantity FROM report_lines) AS line
          GROUP BY sale, sku)
  SELECT items.sale, items.sku, stock, available, held, confirmed,
         granted AS reservations, still_held AS held_reservations, were_confirmed AS confirmed_reservations,
         were_released AS released_reservations, were_expired AS expired_reservations,
         granted_units, held_units, confirmed_units, released_units, expired_units,
         round(1.0 * were_confirmed / nullif(granted, 0), 4)::double precision AS conversion,
         round(1.0 * confirmed_units / nullif(granted_units, 0), 4)::double precision AS unit_conversion,
         round(1.0 * were_expired / nullif(granted, 0), 4)::double precision AS expiry_rate,
         round(1.0 * were_released / nullif(granted, 0), 4)::double precision AS release_rate,
         round(1.0 * confirmed / nullif(stock, 0), 4)::double precision AS sell_through,
         sold_out_at,
         CASE WHEN sold_out_at >= greatest(opens_at, created_at)
              THEN round(extract(epoch FROM sold_out_at - greatest(opens_at, created_at))::numeric, 3)::double precision END AS seconds_to_sell_out
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
                count(CASE state WHEN 'expired' THEN 1 END) AS were_expired
           FROM (SELECT id AS sale, NULL::text AS state FROM sales
                 UNION ALL
                 SELECT sale, state FROM report_reservations) AS reservation
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
                CASE WHEN count(sold_out_at) = count(sku) THEN max(sold_out_at) END AS sold_out_at
           FROM report_items
          GROUP BY sale)
  SELECT sales.id AS sale, name, status, opens_at, closes_at, items, items_sold_out, items_ever_sold_out,
         stock, available, held, confirmed,
         granted AS reservations, still_held AS held_reservations, were_confirmed AS confirmed_reservations,
         were_released AS released_reservations, were_expired AS expired_reservations,
         granted_units, held_units, confirmed_units, released_units, expired_units,
         round(1.0 * were_confirmed / nullif(granted, 0), 4)::double precision AS conversion,
         round(1.0 * confirmed_units / nullif(granted_units, 0), 4)::double precision AS unit_conversion,
         round(1.0 * were_expired / nullif(granted, 0), 4)::double precision AS expiry_rate,
         round(1.0 * were_released / nullif(granted, 0), 4)::double precision AS release_rate,
         round(1.0 * confirmed / nullif(stock, 0), 4)::double precision AS sell_through,
         sold_out_at,
         CASE WHEN sold_out_at >= greatest(opens_at, created_at)
              THEN round(extract(epoch FROM sold_out_at - greatest(opens_at, created_at))::numeric, 3)::double precision END AS seconds_to_sell_out,
         CASE WHEN created_at < (SELECT kept_from FROM write_behind) THEN (SELECT kept_from FROM write_behind) END
           AS counts_from
    FROM sales
    JOIN counted ON counted.sale = sales.id
    JOIN summed ON summed.sale = sales.id;

CREATE VIEW report_minutes AS
  -- Units per minute, in UTC, of minutes in which anything happened to an item: held, and how it ended.
  SELECT sale, sku, minute,
         CAST(coalesce(sum(granted), 0) AS bigint) AS granted_units,
         CAST(coalesce(sum(CASE state WHEN 'confirmed' THEN ended END), 0) AS bigint) AS confirmed_units,
         CAST(coalesce(sum(CASE state WHEN 'released' THEN ended END), 0) AS bigint) AS released_units,
         CAST(coalesce(sum(CASE state WHEN 'expired' THEN ended END), 0) AS bigint) AS expired_units
    FROM (SELECT sale, sku, date_trunc('minute', created_at, 'UTC') AS minute, state, quantity AS granted, 0 AS ended FROM report_lines
          UNION ALL
          SELECT sale, sku, date_trunc('minute', ended_at, 'UTC'), state, 0, quantity FROM report_lines
           WHERE ended_at IS NOT NULL) AS moved
   GROUP BY sale, sku, minute;

CREATE VIEW report_revenue AS
  -- What confirmed units come to, by the price that was locked with their hold. Minor units (cents); empty without a price.
  SELECT sale, sku, price_currency, price_amount, units,
         CASE WHEN price_amount IS NOT NULL THEN least(units::numeric * price_amount, 9223372036854775807)::bigint END AS revenue
    FROM (SELECT sale, sku, price_currency, price_amount, CAST(sum(quantity) AS bigint) AS units
            FROM report_lines WHERE state = 'confirmed'
           GROUP BY sale, sku, price_currency, price_amount) AS sold;
