"""Rows of the table `command`. Every function works inside a transaction of its caller; events are to be published.

    waiting ── sent ── accepted ── running ── done | failed | refused      as the agent reports
       └─────────┴────────┴───────────┴────── cancelled | expired          by a person, by the deadline

A state only moves to the right, and an end is for ever.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from fieldwatch_proto.schema import time_text

from fieldwatch_collector.ids import new_ulid
from fieldwatch_collector.journal import record
from fieldwatch_collector.read_model.asking import NotFound, Ordering, Where, limit_of, page, text_of

NS = 1_000_000_000
WAITING, SENT, ACCEPTED, RUNNING = OPEN = ("waiting", "sent", "accepted", "running")
DONE, FAILED, REFUSED, CANCELLED, EXPIRED = ENDS = ("done", "failed", "refused", "cancelled", "expired")
STATES = OPEN + ENDS
EVENT = "agent.command"
PROGRESS = "agent.command.progress"  # transient

Event = dict[str, Any]


def add(
    connection: sqlite3.Connection,
    agent: sqlite3.Row,
    *,
    name: str,
    arguments: Mapping[str, Any],
    actor: str,
    now_ns: int,
    timeout_s: int,
) -> tuple[sqlite3.Row, Event]:
    """A command that waits for its agent; `agent` is a row with id, name and site."""
    command_id = new_ulid(now_ns)
    connection.execute(
        "INSERT INTO command(id, agent, name, arguments, actor, state, created_ns, expires_ns)"
        " VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        (
            command_id,
            agent["id"],
            name,
            json.dumps(arguments, separators=(",", ":")),
            actor,
            WAITING,
            now_ns,
            now_ns + timeout_s * NS,
        ),
    )
    row = find(connection, command_id)
    return row, told(connection, row)


def find(connection: sqlite3.Connection, command_id: str) -> sqlite3.Row:
    """The row with its agent's name and site. Raises NotFound."""
    row = connection.execute(f"{_SELECT} WHERE command.id = ?", (text_of("command", command_id),)).fetchone()
    if row is None:
        raise NotFound(f"command: there is no command {command_id!r:.60}; see: agents commands")
    return row  # type: ignore[no-any-return]


_SELECT = (
    "SELECT command.*, coalesce(agent.name, '') AS agent_name, coalesce(agent.site, '') AS site, agent.revoked_ns"
    " FROM command LEFT JOIN agent ON agent.id = command.agent"
)


def open_ones(connection: sqlite3.Connection, agent_id: str) -> list[sqlite3.Row]:
    """Commands of an agent that have not ended, in the order in which they were given; none where it was revoked."""
    return connection.execute(
        f"{_SELECT} WHERE command.agent = ? AND command.ended_ns IS NULL AND agent.revoked_ns IS NULL"
        " ORDER BY command.id",
        (agent_id,),
    ).fetchall()


def list_commands(
    connection: sqlite3.Connection,
    *,
    agent: str = "",
    state: str = "",
    name: str = "",
    limit: int = 0,
    cursor: str = "",
) -> dict[str, Any]:
    """``{results, next}``, newest first. `state` may be "open" or "ended"."""
    where = Where()
    if agent:
        where.add("command.agent = ?", agent)
    if state in ("open", "ended"):
        where.add(f"command.ended_ns IS {'NOT ' if state == 'ended' else ''}NULL")
    elif state:
        where.add("command.state = ?", text_of("state", state))
    if name:
        where.add("command.name = ?", text_of("name", name))
    ordering = Ordering("-id", "command.id", True)
    ordering.after(cursor, "command.id", where)
    select = _SELECT.replace(" FROM ", ", command.id AS cursor_value, command.id AS cursor_id FROM ", 1)
    results, following = page(
        connection,
        f"{select} {where.text} {ordering.clause('command.id')}",
        where.values,
        ordering,
        limit_of(limit),
        shown,
    )
    return {"results": results, "next": following}


def mark_sent(connection: sqlite3.Connection, command_id: str, now_ns: int) -> list[Event]:
    """It is about to go out on a session."""
    changed = connection.execute(
        "UPDATE command SET state = ?, sent_ns = ? WHERE id = ? AND state = ?", (SENT, now_ns, command_id, WAITING)
    ).rowcount
    return [told(connection, find(connection, command_id))] if changed else []


def advance(
    connection: sqlite3.Connection, command_id: str, state: str, *, percent: int = 0, text: str = ""
) -> tuple[sqlite3.Row, list[Event]]:
    """Progress that the agent reports; never backwards. An event where the state is another one."""
    row = find(connection, command_id)
    if row["ended_ns"] is not None:
        return row, []
    further = OPEN.index(state) > OPEN.index(row["state"])
    connection.execute(
        "UPDATE command SET state = ?, percent = max(percent, ?), text = ? WHERE id = ?",
        (state if further else row["state"], min(percent, 100), text or row["text"], command_id),
    )
    row = find(connection, command_id)
    return row, [told(connection, row)] if further else []


def end(
    connection: sqlite3.Connection,
    command_id: str,
    state: str,
    *,
    now_ns: int,
    text: str = "",
    result: str = "{}",
    file_name: str = "",
    file_bytes: int = 0,
) -> list[Event]:
    """The end; nothing where it has ended before."""
    changed = connection.execute(
        "UPDATE command SET state = ?1, ended_ns = ?2, text = CASE ?3 WHEN '' THEN text ELSE ?3 END, result = ?4,"
        " file_name = ?5, file_bytes = ?6, percent = CASE ?1 WHEN 'done' THEN 100 ELSE percent END"
        " WHERE id = ?7 AND ended_ns IS NULL",
        (state, now_ns, text, result, file_name, file_bytes, command_id),
    ).rowcount
    return [told(connection, find(connection, command_id))] if changed else []


def end_overdue(connection: sqlite3.Connection, now_ns: int) -> list[Event]:
    """End what nobody can end any more: its time is over, or its agent was revoked."""
    rows = connection.execute(
        f"{_SELECT} WHERE command.ended_ns IS NULL AND (command.expires_ns <= ? OR agent.revoked_ns IS NOT NULL)",
        (now_ns,),
    ).fetchall()
    events: list[Event] = []
    for row in rows:
        state, text = _overdue(row)
        events += end(connection, row["id"], state, now_ns=now_ns, text=text)
    return events


def _overdue(row: sqlite3.Row) -> tuple[str, str]:
    if row["revoked_ns"] is not None:
        return CANCELLED, "the agent was revoked"
    if row["cancel_ns"] is not None:
        return CANCELLED, "cancelled; the agent did not answer to that in time"
    if row["state"] == WAITING:
        return EXPIRED, "the agent did not connect in time; give more with --timeout"
    if row["state"] == SENT:
        return EXPIRED, "the agent did not answer in time; is it of a version that knows commands?"
    return EXPIRED, "the agent did not finish in time"


def next_deadline(connection: sqlite3.Connection) -> int | None:
    """When the next open command runs out of time, ns."""
    row = connection.execute("SELECT min(expires_ns) FROM command WHERE ended_ns IS NULL").fetchone()
    return None if row[0] is None else int(row[0])


def told(connection: sqlite3.Connection, row: sqlite3.Row) -> Event:
    """The event of a command's new state."""
    return record(
        connection,
        EVENT,
        site=row["site"],
        agent=row["agent"],
        subject=("agent", row["agent"], row["agent_name"]),
        data=brief(row),
    )


def brief(row: sqlite3.Row) -> dict[str, Any]:
    """What events say of a command."""
    return {
        "command": row["id"],
        "name": row["name"],
        "state": row["state"],
        "percent": row["percent"],
        "text": row["text"],
        "actor": row["actor"],
    }


def shown(row: sqlite3.Row) -> dict[str, Any]:
    """Command of query.proto, `arguments` and `result` as objects."""
    return {
        **{
            name: row[name]
            for name in ("id", "agent", "agent_name", "site", "name", "actor", "state", "percent", "text")
        },
        "arguments": json.loads(row["arguments"]),
        "result": json.loads(row["result"]),
        "file_name": row["file_name"],
        "file_bytes": row["file_bytes"],
        "file_gone": _moment(row["file_gone_ns"]),
        "created": _moment(row["created_ns"]),
        "expires": _moment(row["expires_ns"]),
        "sent": _moment(row["sent_ns"]),
        "cancel_asked": _moment(row["cancel_ns"]),
        "ended": _moment(row["ended_ns"]),
    }


def _moment(ns: int | None) -> str:
    return time_text(ns) if ns else ""
