-- Every certificate that was issued to an agent; what was revoked is refused although it has not expired.
CREATE TABLE agent_certificate(
    serial TEXT PRIMARY KEY,            -- hex
    agent TEXT NOT NULL,
    issued_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL,
    revoked_ns INTEGER
) WITHOUT ROWID;
CREATE INDEX agent_certificate_agent ON agent_certificate(agent);

-- A token that hands an existing identity to a re-imaged device.
ALTER TABLE join_token ADD COLUMN replace_agent TEXT;

-- The id of a device outlives its row: it is the same after a rebuild, and when the device comes back.
CREATE TABLE device_id(
    site TEXT NOT NULL,
    key TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    PRIMARY KEY (site, key)
) WITHOUT ROWID;

-- A rebuild tells nobody again of what happened up to this position.
ALTER TABLE projection ADD COLUMN quiet_until INTEGER NOT NULL DEFAULT 0;
