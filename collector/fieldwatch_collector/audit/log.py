"""The rows and their chain: ``hash = SHA-256(hash before || canonical JSON of the row)``.

- The first row follows 32 zero octets.
- Canonical JSON: an object with the keys of `FIELDS`, sorted, without blanks, in ASCII; numbers as Python prints them.
  An exported line holds the same keys, so that anybody can follow the chain without this program.
- Triggers refuse UPDATE and DELETE, and an INSERT that is not the next number (migration 0005). They stop a mistake;
  whoever may write to the file can drop them. The chain is what tells.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FIELDS = ("seq", "ts_ns", "actor", "action", "subject", "outcome", "data")
START = bytes(32)
MAX_TEXT = 256  # characters of an actor or a subject: strangers choose some of them
_TRIGGERS = {"audit_never_changes", "audit_never_shrinks", "audit_only_grows"}


@dataclass(frozen=True)
class Checked:
    """What `verify` found: `head` is the hash of the last good row, hex; `problem` is empty where the chain holds."""

    rows: int
    head: str
    broken_seq: int | None = None
    problem: str = ""


def append(
    connection: sqlite3.Connection,
    *,
    actor: str,
    action: str,
    subject: str = "",
    outcome: str = "done",
    data: Mapping[str, Any] | None = None,
) -> None:
    """Write one row inside the caller's transaction.

    actor: ``user:NAME``, ``api-token:NAME``, ``local:UID`` (see `admin.actor`), ``agent:ID``, ``address:IP``, or
    ``collector``. outcome: done, refused or failed. data: what JSON can say; never a secret.
    """
    # A last row whose hash was tampered into text stops nothing that is to be audited: `verify` names it.
    last = connection.execute("SELECT seq, CAST(hash AS BLOB) FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    seq, before = (last[0] + 1, last[1]) if last is not None else (1, START)
    row = {
        "seq": seq,
        "ts_ns": time.time_ns(),
        "actor": _bounded(actor),
        "action": action,
        "subject": _bounded(subject),
        "outcome": outcome,
        "data": dict(data or {}),
    }
    connection.execute(
        "INSERT INTO audit(seq, ts_ns, actor, action, subject, outcome, data, hash) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        (*(row[name] for name in FIELDS[:-1]), _canonical(row["data"]), chained(before, row)),
    )


def verify(connection: sqlite3.Connection, head: str = "") -> Checked:
    """Follow the chain from its start to the first row that breaks it, or to the end.

    `head` is a hash that `verify` gave before (hex): the row that has it must still be there. Raises sqlite3.Error.
    """
    chain, seen = Chain(), not head
    for row in stored(connection):
        if problem := chain.add(row):
            return Checked(chain.seq, chain.head, chain.seq + 1, problem)
        seen = seen or chain.head == head.lower()
    problem = _cut(connection, chain.seq) or ("" if seen else no_such_head(head))
    return Checked(chain.seq, chain.head, chain.seq + 1 if problem else None, problem)


class Chain:
    """Rows as they follow each other; `seq` and `head` (hex) are of the last good one."""

    def __init__(self, seq: int = 0, before: bytes = START) -> None:
        self.seq = seq
        self._hash = before

    @property
    def head(self) -> str:
        return self._hash.hex()

    def add(self, row: Mapping[str, Any]) -> str:
        """Why the row cannot be the next one; empty where it is."""
        if row["seq"] != self.seq + 1:
            return f"row {self.seq + 1} is missing"
        if not _follows(self._hash, row):
            return f"row {self.seq + 1} is not what was written"
        self.seq, self._hash = row["seq"], row["hash"]
        return ""


def no_such_head(head: str) -> str:
    return f"no row has the head {head}: the log was cut or written anew"


def missing_guards(connection: sqlite3.Connection) -> list[str]:
    """Names of the triggers that are not there."""
    there = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")}
    return sorted(_TRIGGERS - there)


def stored(connection: sqlite3.Connection, *, after: int = 0, since_ns: int = 0) -> Iterator[dict[str, Any]]:
    """Rows as `append` made them, in order, with their hash; `data` is None where it is no JSON object any more, the
    hash where it is no octets.
    """
    found = connection.execute(
        "SELECT seq, ts_ns, actor, action, subject, outcome, data, CASE typeof(hash) WHEN 'blob' THEN hash END"
        " FROM audit WHERE seq > ? AND ts_ns >= ? ORDER BY seq",
        (after, since_ns),
    )
    for *values, data, hashed in found:
        row = dict(zip(FIELDS[:-1], values, strict=True))
        yield {**row, "data": _object(data), "hash": hashed}


def chained(before: bytes, row: Mapping[str, Any]) -> bytes:
    """The hash of a row that follows the hash `before`."""
    return hashlib.sha256(before + _canonical({name: row[name] for name in FIELDS}).encode()).digest()


def _follows(before: bytes, row: Mapping[str, Any]) -> bool:
    try:
        return row["data"] is not None and chained(before, row) == row["hash"]
    except (TypeError, ValueError):  # SQLite lets a column hold what JSON cannot say
        return False


def _cut(connection: sqlite3.Connection, rows: int) -> str:
    """Rows taken from the end by somebody who left SQLite's own record of the highest number as it was."""
    highest = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").fetchone()
    return f"rows after {rows} are missing" if highest is not None and highest[0] > rows else ""


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _object(text: Any) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def _bounded(text: str) -> str:
    """At most `MAX_TEXT` characters that SQLite can store."""
    return text[:MAX_TEXT].encode("utf-8", "replace").decode()
