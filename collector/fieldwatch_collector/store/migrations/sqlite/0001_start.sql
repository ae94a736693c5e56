-- Times are nanoseconds since the epoch, UTC. Addresses and MACs are blobs of 4/16 and 6 octets; an empty blob = none.

-- Fleet -------------------------------------------------------------------------------------------------------------
CREATE TABLE agent(
    id TEXT PRIMARY KEY,                -- uuid, from the certificate
    name TEXT NOT NULL,
    site TEXT NOT NULL,
    enrolled_ns INTEGER NOT NULL,
    revoked_ns INTEGER,
    serial TEXT NOT NULL,               -- of the newest certificate, hex
    csr_digest BLOB NOT NULL,           -- SHA-256: the same CSR again is idempotent
    version TEXT NOT NULL DEFAULT '',
    last_contact_ns INTEGER,
    status TEXT NOT NULL DEFAULT '{}'   -- newest AgentStatus as JSON
) WITHOUT ROWID;

CREATE TABLE join_token(
    id TEXT PRIMARY KEY,
    public_key BLOB NOT NULL,           -- Ed25519; the seed is never stored
    site TEXT NOT NULL,
    tags TEXT NOT NULL DEFAULT '{}',
    uses_left INTEGER NOT NULL,
    created_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL,
    revoked_ns INTEGER
) WITHOUT ROWID;

-- Batch log: written by put, in one transaction with the high-water mark ---------------------------------------------
CREATE TABLE stream(
    agent TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    high_water INTEGER NOT NULL,        -- every number up to it is held
    sparse TEXT NOT NULL DEFAULT '[]',  -- [[from, to], ...] held above it
    PRIMARY KEY (agent, epoch)
) WITHOUT ROWID;

CREATE TABLE batch(
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    schema INTEGER NOT NULL,
    codec INTEGER NOT NULL,
    records INTEGER NOT NULL,
    raw_bytes INTEGER NOT NULL,
    t_min INTEGER NOT NULL,
    t_max INTEGER NOT NULL,
    received_ns INTEGER NOT NULL,
    digest BLOB NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (agent, epoch, seq)
);
CREATE INDEX batch_agent ON batch(agent, records);  -- what an agent delivered, without reading bodies

CREATE TABLE gap(
    agent TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    from_seq INTEGER NOT NULL,
    to_seq INTEGER NOT NULL,
    records TEXT NOT NULL,              -- {"kind": count}
    frames INTEGER NOT NULL,
    reason INTEGER NOT NULL,
    count_known INTEGER NOT NULL,
    ts_ns INTEGER NOT NULL,
    detail TEXT NOT NULL,
    received_ns INTEGER NOT NULL,
    PRIMARY KEY (agent, epoch, from_seq)
) WITHOUT ROWID;

CREATE TABLE dead_letter(
    position INTEGER PRIMARY KEY,       -- of the batch
    problem TEXT NOT NULL,
    noticed_ns INTEGER NOT NULL
);

CREATE TABLE projection(
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL           -- last batch whose output is committed
) WITHOUT ROWID;

-- Inventory ---------------------------------------------------------------------------------------------------------
CREATE TABLE sighting(
    site TEXT NOT NULL,
    vlans INTEGER NOT NULL,
    mac BLOB NOT NULL,
    ip BLOB NOT NULL,
    source INTEGER NOT NULL,            -- schema.SightingSource
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    agent TEXT NOT NULL,                -- that saw it last
    interface TEXT NOT NULL,
    PRIMARY KEY (site, mac, ip, vlans, source)
) WITHOUT ROWID;
CREATE INDEX sighting_ip ON sighting(site, ip);

CREATE TABLE claim(
    site TEXT NOT NULL,
    subject TEXT NOT NULL,              -- MAC or IP text
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    source TEXT NOT NULL,
    confidence INTEGER NOT NULL,
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    times INTEGER NOT NULL,
    evidence TEXT NOT NULL,
    agent TEXT NOT NULL,
    device TEXT,                        -- that the subject belongs to
    PRIMARY KEY (site, subject, key, value, source)
) WITHOUT ROWID;
CREATE INDEX claim_device ON claim(device);

CREATE TABLE device(
    id TEXT PRIMARY KEY,                -- ULID
    site TEXT NOT NULL,
    key TEXT NOT NULL,                  -- identity.Device.key
    name TEXT NOT NULL,
    name_source TEXT NOT NULL,
    vendor TEXT NOT NULL,
    macs TEXT NOT NULL,                 -- JSON lists, as shown
    ips TEXT NOT NULL,
    vlans TEXT NOT NULL,
    sources TEXT NOT NULL,
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    flows INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    UNIQUE (site, key)
) WITHOUT ROWID;
CREATE INDEX device_last ON device(last_ns);

-- Which device holds an address now (text form); flows are matched by it.
CREATE TABLE device_address(
    site TEXT NOT NULL,
    ip BLOB NOT NULL,
    device TEXT NOT NULL,
    PRIMARY KEY (site, ip)
) WITHOUT ROWID;

-- History -----------------------------------------------------------------------------------------------------------
CREATE TABLE flow(
    id INTEGER PRIMARY KEY,
    site TEXT NOT NULL,
    agent TEXT NOT NULL,
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    protocol INTEGER NOT NULL,
    src BLOB NOT NULL,
    dst BLOB NOT NULL,
    src_port INTEGER NOT NULL,
    dst_port INTEGER NOT NULL,
    vlans INTEGER NOT NULL,
    src_mac BLOB NOT NULL,
    dst_mac BLOB NOT NULL,
    packets INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    reply_packets INTEGER NOT NULL,
    reply_bytes INTEGER NOT NULL,
    tcp_flags INTEGER NOT NULL,         -- both sides
    state INTEGER NOT NULL,
    end_reason INTEGER NOT NULL,
    tunnels TEXT NOT NULL,
    application TEXT NOT NULL,
    interface TEXT NOT NULL,
    src_device TEXT NOT NULL,           -- device id at the time, or ''
    dst_device TEXT NOT NULL
);
CREATE INDEX flow_last ON flow(last_ns);

CREATE TABLE metric(
    agent TEXT NOT NULL,
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    total REAL NOT NULL,                -- of *_total: the sum of what came; else the newest value
    ts_ns INTEGER NOT NULL,
    PRIMARY KEY (agent, name, labels)
) WITHOUT ROWID;

CREATE TABLE event(
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,                   -- ULID
    type TEXT NOT NULL,
    ts_ns INTEGER NOT NULL,
    site TEXT NOT NULL,
    agent TEXT NOT NULL,
    subject_kind TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    subject_name TEXT NOT NULL,
    data TEXT NOT NULL,                 -- JSON object
    evidence TEXT NOT NULL              -- JSON list
);

-- People and programs -----------------------------------------------------------------------------------------------
CREATE TABLE user(
    name TEXT PRIMARY KEY,
    password_hash TEXT NOT NULL,        -- argon2id
    role TEXT NOT NULL,                 -- viewer, operator, admin
    created_ns INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE session(
    digest BLOB PRIMARY KEY,            -- SHA-256 of the cookie's value
    user TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE api_token(
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,        -- SHA-256 of the secret
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    revoked_ns INTEGER
) WITHOUT ROWID;

CREATE TABLE setup_link(
    digest BLOB PRIMARY KEY,            -- SHA-256 of the link's 128 bits; used once
    created_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE login_link(
    digest BLOB PRIMARY KEY,            -- SHA-256 of the link's 128 bits; used once
    user TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL
) WITHOUT ROWID;
