-- The store, format 2: who did what.

CREATE TABLE audit (
  -- Every operator action that changed something, in order. Never changed and never removed: each row's hash covers its
  -- own columns and the hash of the row before, so a row that was is found. All is text, to the letter as it was hashed:
  -- ask with at::timestamptz and detail::jsonb.
  sequence bigint NOT NULL PRIMARY KEY CHECK (sequence > 0),  -- 1, 2, 3 and so on, without gaps
  at       text   COLLATE "C" NOT NULL,
  actor    text   NOT NULL,  -- key:NAME; anybody, where no keys are configured; process, for what it read by itself
  action   text   COLLATE "C" NOT NULL,  -- sale.put, sale.pause, sale.resume, sale.close, stock.adjust, keys.change or customer.erase
  sale     text   COLLATE "C",
  sku      text   COLLATE "C",
  detail   text   NOT NULL,  -- what was asked: a JSON object
  hash     text   COLLATE "C" NOT NULL  -- BLAKE3, 64 hexadecimal digits
);

CREATE INDEX audit_by_sale ON audit (sale, sequence);
