-- Format 4: what is not in this store. Zero and no rows in one that followed its journal from the first batch on.

-- Units that were confirmed in reservations that have no rows here: repaired or rebuilt from a state that had forgotten them.
ALTER TABLE items ADD COLUMN confirmed_before bigint NOT NULL DEFAULT 0 CHECK (confirmed_before >= 0);

CREATE TABLE audit_gaps (
  -- Records of the audit trail that are not here, from after_sequence + 1 on: the chain goes on behind them from `hash`.
  after_sequence   bigint NOT NULL PRIMARY KEY CHECK (after_sequence >= 0),
  through_sequence bigint NOT NULL CHECK (through_sequence > after_sequence),
  hash             text   NOT NULL  -- of the record `through_sequence`
);
