"""What a collector may see of this agent and have it do, over Control.Session and Control.Report.

    session ── AgentStatus (`status`, `health`) ──►  collector
            ◄── Command ──  runner ─► registry ─► commands/*  ── progress, result, file (`report`) ──►

`settings` holds the configuration in force, `remote` the collector's part of it on disk, `configuration` puts it on
trial. The agent's own file has the last word on all of it: `[remote] allow` names the commands. Of the agent, only
`daemon`, `shipping` and `cli` import this folder. What the daemon must not load (cryptography, archives) works in
children: `signature`, `bundle`.
"""
