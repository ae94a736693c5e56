"""The event table: what happened, in order. Called inside a transaction; publish what it returns after the commit."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

from fieldwatch_proto.schema import time_text

from fieldwatch_collector.ids import new_ulid


def record(
    connection: sqlite3.Connection,
    type_: str,
    *,
    site: str = "",
    agent: str = "",
    subject: tuple[str, str, str] = ("", "", ""),
    data: Mapping[str, Any] | None = None,
    evidence: Sequence[str] = (),
    ts_ns: int | None = None,
) -> dict[str, Any]:
    """Write one event and give it in the form of query.proto's Event, `data` as an object.

    subject: (kind, id, name), kind one of device, agent, collector.
    """
    moment = time.time_ns() if ts_ns is None else ts_ns
    kind, subject_id, name = subject
    event_id = new_ulid()
    seq = connection.execute(
        "INSERT INTO event(id, type, ts_ns, site, agent, subject_kind, subject_id, subject_name, data, evidence)"
        " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            event_id,
            type_,
            moment,
            site,
            agent,
            kind,
            subject_id,
            name,
            json.dumps(data or {}, separators=(",", ":")),
            json.dumps(list(evidence), separators=(",", ":")),
        ),
    ).lastrowid
    return {
        "v": 1,
        "id": event_id,
        "seq": seq,
        "type": type_,
        "ts": time_text(moment),
        "site": site,
        "agent": agent,
        "subject": {"kind": kind, "id": subject_id, "name": name},
        "data": dict(data or {}),
        "evidence": list(evidence),
    }


def record_of_agent(
    connection: sqlite3.Connection, type_: str, agent_id: str, data: Mapping[str, Any]
) -> dict[str, Any]:
    """An event whose subject is an agent, at its site."""
    row = connection.execute("SELECT name, site FROM agent WHERE id = ?", (agent_id,)).fetchone()
    name, site = (row[0], row[1]) if row else ("", "")
    return record(connection, type_, site=site, agent=agent_id, subject=("agent", agent_id, name), data=data)
