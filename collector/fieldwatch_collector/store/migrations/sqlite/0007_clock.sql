-- What the clock of each boot of an agent ought to have said: its true anchor, measured at a Hello. A row counts for the
-- batches behind `position`, so that a rebuild corrects every batch by what was known when it was projected first.
CREATE TABLE agent_clock(
    agent TEXT NOT NULL,
    boot INTEGER NOT NULL,              -- the first 8 octets of the boot id, little-endian, signed
    position INTEGER NOT NULL,          -- of the newest batch when it was measured
    anchor_ns INTEGER NOT NULL,         -- our wall clock less the agent's CLOCK_BOOTTIME
    measured_ns INTEGER NOT NULL,
    PRIMARY KEY (agent, boot, position)
) WITHOUT ROWID;

ALTER TABLE flow ADD COLUMN clock INTEGER NOT NULL DEFAULT 0;  -- schema.ClockQuality of its times
