-- Commands to agents. A row is the command's place in the queue until it ends, and its record afterwards.
CREATE TABLE command(
    id TEXT PRIMARY KEY,                -- ULID
    agent TEXT NOT NULL,
    name TEXT NOT NULL,                 -- commands/registry.py
    arguments TEXT NOT NULL,            -- JSON object
    actor TEXT NOT NULL,                -- as in the audit log
    state TEXT NOT NULL,                -- waiting, sent, accepted, running; done, failed, refused, cancelled, expired
    percent INTEGER NOT NULL DEFAULT 0,
    text TEXT NOT NULL DEFAULT '',      -- the agent's last words, or why it ended
    result TEXT NOT NULL DEFAULT '{}',  -- JSON object
    file_name TEXT NOT NULL DEFAULT '', -- the file itself is DATA/command-files/ID
    file_bytes INTEGER NOT NULL DEFAULT 0,
    file_gone_ns INTEGER,               -- when it was deleted
    created_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL,
    sent_ns INTEGER,
    cancel_ns INTEGER,                  -- when somebody asked for its end
    ended_ns INTEGER
) WITHOUT ROWID;
CREATE INDEX command_agent ON command(agent, id);
CREATE INDEX command_open ON command(expires_ns) WHERE ended_ns IS NULL;

-- What people set for the agents that a selector means.
CREATE TABLE config_setting(
    selector TEXT NOT NULL,             -- commands/selectors.py
    section TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,                -- JSON
    actor TEXT NOT NULL,
    set_ns INTEGER NOT NULL,
    PRIMARY KEY (selector, section, key)
) WITHOUT ROWID;

-- What that comes to for one agent, and what the agent says is in force.
CREATE TABLE agent_config(
    agent TEXT PRIMARY KEY,
    version INTEGER NOT NULL DEFAULT 0, -- rises with every change of `settings`; 0 = nothing was ever pushed
    settings TEXT NOT NULL DEFAULT '{}',
    made_ns INTEGER NOT NULL DEFAULT 0,
    confirmed_hash TEXT NOT NULL DEFAULT '', -- of the effective settings when this version was confirmed, hex
    effective TEXT NOT NULL DEFAULT '{}'     -- JSON object, as the agent last told it
) WITHOUT ROWID;
