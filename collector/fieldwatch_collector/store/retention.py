"""What is old leaves the batch log: the body of a batch goes, its number and its digest stay.

A batch that comes again after that is still a duplicate, and other octets under its number are still a conflict. What
was derived from it stays in the tables; it cannot be derived anew, so only bodies that were projected go.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

AT_ONCE = 200  # bodies in one transaction: some 10 MB of pages that become free


class Dropped(NamedTuple):
    """One step: how many bodies, their octets, and the position to go on after; None = there is no more."""

    batches: int
    octets: int
    position: int | None


def drop_bodies(connection: sqlite3.Connection, before_ns: int, after: int = 0) -> Dropped:
    """Empty up to `AT_ONCE` bodies of batches that were received before a moment, from a position on."""
    projected = connection.execute("SELECT coalesce(min(position), 0) FROM projection").fetchone()[0]
    rows = connection.execute(
        "SELECT position, length(body) FROM batch"
        " WHERE position > ? AND position <= ? AND received_ns < ? AND length(body) > 0 ORDER BY position LIMIT ?",
        (after, projected, before_ns, AT_ONCE),
    ).fetchall()
    connection.executemany("UPDATE batch SET body = x'' WHERE position = ?", [(row[0],) for row in rows])
    last = rows[-1][0] if len(rows) == AT_ONCE else None
    return Dropped(len(rows), sum(row[1] for row in rows), last)


def bodiless(connection: sqlite3.Connection) -> int:
    """Batches whose bodies have gone."""
    return int(connection.execute("SELECT count(*) FROM batch WHERE length(body) = 0").fetchone()[0])
