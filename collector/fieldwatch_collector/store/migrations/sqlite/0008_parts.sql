-- A large batch is projected in parts: how many records of the one behind `position` have their output committed.
ALTER TABLE projection ADD COLUMN records INTEGER NOT NULL DEFAULT 0;
