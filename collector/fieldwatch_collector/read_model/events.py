"""Events: the newest first for lists, in their order for whoever resumes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from fieldwatch_proto.schema import time_text

from fieldwatch_collector.read_model.asking import BadRequest, Ordering, Where, limit_of, page, text_of, when

ENVELOPE_VERSION = 1
MAX_TYPES = 50
_NEWEST_FIRST = {"seq": "seq"}


def list_events(
    connection: sqlite3.Connection,
    now_ns: int,
    *,
    site: str = "",
    types: Sequence[str] = (),
    since: str = "",
    until: str = "",
    limit: int = 0,
    cursor: str = "",
) -> dict[str, Any]:
    """EventList, newest first. A type that ends in "." = every type with that prefix."""
    where = Where()
    if site:
        where.add("site = ?", text_of("site", site))
    if len(types) > MAX_TYPES:
        raise BadRequest(f"types: {len(types)} are given, the limit is {MAX_TYPES}")
    if types:
        texts = [text_of("types", text) for text in types]
        where.add(
            " OR ".join("substr(type, 1, length(?)) = ?" if text.endswith(".") else "type = ?" for text in texts),
            *(value for text in texts for value in ((text, text) if text.endswith(".") else (text,))),
        )
    if since:
        where.add("ts_ns >= ?", when(since, now_ns))
    if until:
        where.add("ts_ns < ?", when(until, now_ns, "until"))
    order = Ordering.parse("-seq", "-seq", _NEWEST_FIRST)
    order.after(cursor, "seq", where)
    query = f"SELECT *, seq AS cursor_value, seq AS cursor_id FROM event {where.text} {order.clause('seq')}"  # noqa: S608
    results, following = page(connection, query, where.values, order, limit_of(limit), event_of)
    return {"results": results, "next": following}


def events_after(connection: sqlite3.Connection, seq: int, limit: int) -> list[dict[str, Any]]:
    """At most `limit` events with a number above `seq`, in their order."""
    rows = connection.execute("SELECT * FROM event WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit))
    return [event_of(row) for row in rows]


def event_of(row: sqlite3.Row) -> dict[str, Any]:
    """Event of a row of the table `event`, `data` as an object."""
    return {
        "v": ENVELOPE_VERSION,
        "id": row["id"],
        "seq": row["seq"],
        "type": row["type"],
        "ts": time_text(row["ts_ns"]),
        "site": row["site"],
        "agent": row["agent"],
        "subject": {"kind": row["subject_kind"], "id": row["subject_id"], "name": row["subject_name"]},
        "data": json.loads(row["data"]),
        "evidence": json.loads(row["evidence"]),
    }
