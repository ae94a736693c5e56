"""What agents report of themselves: their events into the journal, their metrics into the newest totals."""

from __future__ import annotations

import math
import sqlite3
from typing import Any

from fieldwatch_proto.schema import Kind

from fieldwatch_collector.foreign_json import json_object
from fieldwatch_collector.journal import record
from fieldwatch_collector.projections.batch import PART, OpenBatch

MAX_SERIES = 10_000  # of one agent; further ones are not kept
MAX_DATA = 4_096


class EventProjection:
    """Kind event -> table event. Each record is one row, told once: the journal is never rebuilt."""

    name = "events"
    kinds = frozenset({Kind.EVENT})
    part = PART
    rebuilt = False

    def apply(self, connection: sqlite3.Connection, batch: OpenBatch) -> list[dict[str, Any]]:
        rows = zip(
            batch.times("ts_ns"),
            batch.column("type"),
            batch.column("severity"),
            batch.column("subject"),
            batch.column("data"),
            strict=True,
        )
        doubt = {"clock": batch.clock.text} if batch.clock.text else {}
        return [
            record(
                connection,
                type_ if type_.startswith("agent.") else f"agent.{type_}",
                site=batch.site,
                agent=batch.agent,
                subject=("agent", batch.agent, ""),
                data={"severity": severity, "subject": subject, **_object(data), **doubt},
                ts_ns=ts_ns,
            )
            for ts_ns, type_, severity, subject, data in rows
        ]

    def clear(self, connection: sqlite3.Connection) -> None:
        """Nothing: see `rebuilt`."""

    def forget(self) -> None:
        """Nothing is remembered."""


class MetricProjection:
    """Kind metric -> table metric: of ``*_total`` the sum of the increases, else the newest value."""

    name = "metrics"
    kinds = frozenset({Kind.METRIC})
    part = PART
    rebuilt = True

    def apply(self, connection: sqlite3.Connection, batch: OpenBatch) -> list[dict[str, Any]]:
        known = connection.execute("SELECT count(*) FROM metric WHERE agent = ?", (batch.agent,)).fetchone()[0]
        room = max(0, MAX_SERIES - known)
        rows = zip(
            batch.times("ts_ns"), batch.column("name"), batch.column("labels"), batch.column("value"), strict=True
        )
        for ts_ns, name, labels, value in rows:
            if not math.isfinite(value):
                continue
            total = name.endswith("_total")
            changed = connection.execute(
                "UPDATE metric SET total = CASE WHEN ?1 THEN total + ?2 WHEN ?3 >= ts_ns THEN ?2 ELSE total END,"
                " ts_ns = max(ts_ns, ?3) WHERE agent = ?4 AND name = ?5 AND labels = ?6",
                (total, value, ts_ns, batch.agent, name, labels),
            ).rowcount
            if not changed and room > 0:
                room -= 1
                connection.execute(
                    "INSERT INTO metric(agent, name, labels, total, ts_ns) VALUES(?, ?, ?, ?, ?)",
                    (batch.agent, name, labels, value, ts_ns),
                )
        return []

    def clear(self, connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM metric")

    def forget(self) -> None:
        """Nothing is remembered."""


def _object(text: str) -> dict[str, Any]:
    """A JSON object of a stranger, or its text where it is none."""
    if not text or len(text) > MAX_DATA:
        return {}
    found = json_object(text)
    return {"text": text} if found is None else found
