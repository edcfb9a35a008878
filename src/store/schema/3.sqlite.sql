-- Format 3: whose store this is. Every transaction looks whether it is still its own.

ALTER TABLE write_behind ADD COLUMN owner TEXT;  -- the data directory that writes here: the id in its file `identity`
ALTER TABLE write_behind ADD COLUMN owner_epoch INTEGER NOT NULL DEFAULT 0;  -- how often a process took the store over
ALTER TABLE write_behind ADD COLUMN session TEXT;  -- the process that took it last: no other may write
