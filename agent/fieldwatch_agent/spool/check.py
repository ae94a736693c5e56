"""`spool fsck`: every row against its checksum, the file against itself and its format. Reads only.

For the short-lived command: it uses sqlite-utils, which the daemon must never import, and not the store, which would
put a file that it cannot use into the quarantine, or bring an older one up to date.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from fieldwatch_proto.cli.tables import amount_text
from sqlite_utils import Database

from fieldwatch_agent.spool.control import NO_SPOOL
from fieldwatch_agent.spool.file import FORMAT, SCHEMA, Lock
from fieldwatch_agent.spool.image import Image
from fieldwatch_agent.spool.items import SpoolError
from fieldwatch_agent.spool.look import file_of, open_to_read
from fieldwatch_agent.spool.rows import GAP_COLUMNS, HEAD_COLUMNS, Head, body_sound, gap_of
from fieldwatch_agent.spool.salvage import survey

MAX_PROBLEMS = 100


class Checked(NamedTuple):
    """What `check` finds. Problems: a line each, at most `MAX_PROBLEMS`."""

    problems: list[str]
    rows: int
    remedy: str


def check(folder: Path) -> Checked:
    """The file against itself; where something is wrong, what a salvage would keep. Raises SpoolError."""
    path = file_of(folder)
    if path is None:
        raise SpoolError(NO_SPOOL.format(folder=folder))
    lock = Lock(folder)
    try:
        try:
            connection = open_to_read(path)
        except sqlite3.Error as problem:
            raise SpoolError(f"{path}: {problem}; is the disk sound, may this user read the file?") from None
        try:
            db = Database(connection, recursive_triggers=False, execute_plugins=False)
            problems = list(islice(_problems(db), MAX_PROBLEMS))
            rows = _rows(db)
        finally:
            connection.close()
        return Checked(problems, rows, _remedy(path) if problems else "")
    finally:
        lock.release()


def _remedy(path: Path) -> str:
    """What becomes of the file when the agent starts."""
    with contextlib.closing(Image(path)) as image:
        batches, gaps, lost = survey(image)
    kept = f"{amount_text(batches, 'batch', 'batches')} and {amount_text(gaps, 'gap')} can be kept as they are"
    if lost is None:
        return f"{kept}; how much is lost is not known"
    return f"{kept}, {amount_text(lost, 'number')} declared lost"


def _problems(db: Database) -> Iterator[str]:
    try:
        for (line,) in db.execute("PRAGMA integrity_check(20)"):
            if line != "ok":
                yield f"file: {line}"
        yield from _of_the_format(db)
        for *head, body in _values(db, "batch", f"{HEAD_COLUMNS}, body"):
            known = Head(*head)
            if not known.sound:
                yield f"batch {known.epoch}/{known.seq}: its numbers do not match their checksum"
            elif not body_sound(known.crc, body):
                yield f"batch {known.epoch}/{known.seq}: {known.records} records damaged"
        for gap in _values(db, "gap", f"{GAP_COLUMNS}, crc"):
            if gap_of(gap) is None:
                yield f"gap {gap[0]}/{gap[1]}: does not match its checksum"
    except sqlite3.DatabaseError as problem:
        yield f"file: {problem}"


def _of_the_format(db: Database) -> Iterator[str]:
    """What the file's format has and the file lacks; an older format is brought up to date at the agent's start."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > FORMAT:
        yield f"file: format {version} is newer than {FORMAT}, the one this program knows; use the newer program"
    if not db.table_names():
        yield "file: it is empty"
    if version != FORMAT:
        return
    model = Database(memory=True, execute_plugins=False)
    try:
        model.conn.executescript(SCHEMA)
        there = set(db.table_names())
        for wanted in model.tables:
            found = db.table(wanted.name)
            if wanted.name not in there:
                yield f"file: table {wanted.name} is missing"
                continue
            for column in wanted.columns_dict.keys() - found.columns_dict.keys():
                yield f"file: table {wanted.name} has no column {column}"
            for index in {index.name for index in wanted.indexes} - {index.name for index in found.indexes}:
                yield f"file: index {index} is missing"
    finally:
        model.close()


def _values(db: Database, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
    return (tuple(row.values()) for row in db.table(table).rows_where(select=columns))


def _rows(db: Database) -> int:
    """Batches and gaps; 0 where they cannot be counted."""
    try:
        return sum(db.table(name).count for name in ("batch", "gap") if db.table(name).exists())
    except sqlite3.DatabaseError:
        return 0
