"""`spool fsck`: every row against its checksum, the file against itself. Reads only."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from fieldwatch_agent.spool.control import closed_store
from fieldwatch_agent.spool.items import SpoolError
from fieldwatch_agent.spool.rows import GAP_COLUMNS, HEAD_COLUMNS, Head, body_sound, gap_of

MAX_PROBLEMS = 100


def check(folder: Path) -> tuple[list[str], int]:
    """Problems, one line each (at most `MAX_PROBLEMS`), and the number of rows. Raises SpoolError."""
    problems: list[str] = []
    rows = 0
    with closed_store(folder) as store:
        if store is None:
            raise SpoolError(f"{folder}: no spool there")
        if store.renewed:
            problems.append(f"the file could not be used: {store.renewed}")
        try:
            for (line,) in store.db.execute("PRAGMA integrity_check(20)"):
                if line != "ok":
                    problems.append(f"file: {line}")
            for *head, body in store.db.execute(f"SELECT {HEAD_COLUMNS}, body FROM batch"):  # noqa: S608
                rows += 1
                known = Head(*head)
                if not known.sound:
                    problems.append(f"batch {known.epoch}/{known.seq}: its numbers do not match their checksum")
                elif not body_sound(known.crc, body):
                    problems.append(f"batch {known.epoch}/{known.seq}: {known.records} records damaged")
            for row in store.db.execute(f"SELECT {GAP_COLUMNS}, crc FROM gap"):  # noqa: S608
                rows += 1
                if gap_of(row) is None:
                    problems.append(f"gap {row[0]}/{row[1]}: does not match its checksum")
        except sqlite3.DatabaseError as problem:
            problems.append(f"file: {problem}")
    return problems[:MAX_PROBLEMS], rows
