"""The agents that have enrolled, in the store. Every function works inside a transaction of its caller.

`actor` is who did it, for the audit log, which is written in the same transaction.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from typing import Any

from fieldwatch_collector import audit
from fieldwatch_collector.identity import certificates
from fieldwatch_collector.identity.authority import Authority, Issued
from fieldwatch_collector.journal import record

MAX_NAME = 64
NOT_IN_NAMES = frozenset(",=*")  # a selector would take such a name for something else


class RefusedError(Exception):
    """An enrolment, renewal or call that is not allowed; the text is for the peer."""


def clean_name(text: str) -> str:
    """What a stranger calls itself, fit for tables and selectors: printable, one line, at most MAX_NAME characters."""
    kept = (c if c.isprintable() and c not in NOT_IN_NAMES else " " for c in text[: 4 * MAX_NAME])
    return " ".join("".join(kept).split())[:MAX_NAME]


def renew(
    connection: sqlite3.Connection, authority: Authority, agent_id: str, csr_der: bytes, *, actor: str
) -> tuple[str, Issued]:
    """(site, certificate) for an agent that showed a valid one. Raises RefusedError, RequestError."""
    row = connection.execute("SELECT site, revoked_ns FROM agent WHERE id = ?", (agent_id,)).fetchone()
    if row is None or row["revoked_ns"] is not None:
        raise RefusedError("this agent was revoked")
    issued = certificates.issue(connection, authority, agent_id, csr_der)
    audit.append(connection, actor=actor, action="agent.renew", subject=agent_id, data={"serial": issued.serial})
    return row["site"], issued


def revoke(connection: sqlite3.Connection, agent_id: str, *, actor: str) -> dict[str, Any] | None:
    """The event, or None where there is no such agent in force."""
    now = time.time_ns()
    row = connection.execute("SELECT name, site FROM agent WHERE id = ? AND revoked_ns IS NULL", (agent_id,)).fetchone()
    if row is None:
        return None
    connection.execute("UPDATE agent SET revoked_ns = ? WHERE id = ?", (now, agent_id))
    audit.append(connection, actor=actor, action="agent.revoke", subject=agent_id, data={"name": row["name"]})
    return record(
        connection, "agent.revoked", site=row["site"], agent=agent_id, subject=("agent", agent_id, row["name"])
    )


def rename(connection: sqlite3.Connection, agent_id: str, name: str, *, actor: str) -> dict[str, Any] | None:
    """The event, or None where there is no such agent. Raises RefusedError where another of its site has the name."""
    row = connection.execute("SELECT name, site FROM agent WHERE id = ?", (agent_id,)).fetchone()
    if row is None:
        return None
    other = connection.execute(
        "SELECT id FROM agent WHERE site = ? AND name = ? AND id != ?", (row["site"], name, agent_id)
    ).fetchone()
    if other is not None:
        raise RefusedError(
            f"name: another agent of {row['site']} is called {name}, {other['id']}; choose another, or rename that one"
        )
    connection.execute("UPDATE agent SET name = ? WHERE id = ?", (name, agent_id))
    change = {"before": row["name"], "name": name}
    audit.append(connection, actor=actor, action="agent.rename", subject=agent_id, data=change)
    return record(
        connection,
        "agent.renamed",
        site=row["site"],
        agent=agent_id,
        subject=("agent", agent_id, name),
        data={"before": row["name"]},
    )


def tagged(connection: sqlite3.Connection, tags: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The agents that have all these tags: id -> every tag of the agent."""
    found = {row["id"]: json.loads(row["tags"]) for row in connection.execute("SELECT id, tags FROM agent")}
    return {agent_id: own for agent_id, own in found.items() if tags.items() <= own.items()}
