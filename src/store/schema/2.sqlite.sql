-- The store, format 2: who did what.

CREATE TABLE audit (
  -- Every operator action that changed something, in order. Never changed and never removed: each row's hash covers its
  -- own columns and the hash of the row before, so a row that was is found.
  sequence INTEGER PRIMARY KEY CHECK (sequence > 0),  -- 1, 2, 3 and so on, without gaps
  at       TEXT    NOT NULL,
  actor    TEXT    NOT NULL,  -- key:NAME; anybody, where no keys are configured; process, for what it read by itself
  action   TEXT    NOT NULL,  -- sale.put, sale.pause, sale.resume, sale.close, stock.adjust, keys.change or customer.erase
  sale     TEXT,
  sku      TEXT,
  detail   TEXT    NOT NULL,  -- what was asked: a JSON object, to the letter as it was hashed
  hash     TEXT    NOT NULL   -- BLAKE3, 64 hexadecimal digits
) STRICT;

CREATE INDEX audit_by_sale ON audit (sale);
