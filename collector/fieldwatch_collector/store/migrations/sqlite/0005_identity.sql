-- Who did what: rows are added and never changed. Each holds the SHA-256 over the hash before it and its own content,
-- so that a row that was changed, taken out or put in between breaks the chain (audit/log.py).
CREATE TABLE audit(
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- 1, 2, 3 ...; the highest that was ever given is kept by SQLite
    ts_ns INTEGER NOT NULL,
    actor TEXT NOT NULL,                -- user:NAME, api-token:NAME, local:UID, agent:ID, address:IP, collector
    action TEXT NOT NULL,               -- "agent.enrol", "token.create", ...
    subject TEXT NOT NULL,              -- whom or what it was done to
    outcome TEXT NOT NULL,              -- done, refused, failed
    data TEXT NOT NULL,                 -- JSON object, canonical
    hash BLOB NOT NULL
);
CREATE TRIGGER audit_never_changes BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_never_shrinks BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
-- INSERT OR REPLACE would take a row away without a DELETE.
CREATE TRIGGER audit_only_grows BEFORE INSERT ON audit
    WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM audit)
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
