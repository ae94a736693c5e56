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

-- The tags of the join token, for choosing agents by them: JSON object of texts.
ALTER TABLE agent ADD COLUMN tags TEXT NOT NULL DEFAULT '{}';
-- From here on agent.csr_digest is the SHA-256 of the request's key: ECDSA signs the same request differently each time.

-- A certificate is held to its key, not to its serial alone; the first call with a later one supersedes it.
ALTER TABLE agent_certificate ADD COLUMN public_key BLOB;   -- SubjectPublicKeyInfo; NULL: issued before this was kept
ALTER TABLE agent_certificate ADD COLUMN used_ns INTEGER;   -- of the first call that showed it

-- Devices that wait until a person lets them in; their use of the token is taken already.
CREATE TABLE pending_enrolment(
    id TEXT PRIMARY KEY,                -- the beginning of key_digest, hex: the device shows the same
    key_digest BLOB NOT NULL UNIQUE,    -- SHA-256 of the request's key
    token TEXT NOT NULL,
    hostname TEXT NOT NULL,
    address TEXT NOT NULL,
    asked_ns INTEGER NOT NULL,
    state TEXT NOT NULL,                -- waiting, approved, rejected
    decided_by TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
