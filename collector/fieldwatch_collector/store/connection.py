"""The writer's connection to the SQLite file, and what SQLite's errors mean to people."""

from __future__ import annotations

import sqlite3
from pathlib import Path

READ_TIMEOUT_S = 5.0
WAL_LIMIT_BYTES = 64 << 20
CACHE_BYTES = 64 << 20
# Of a new file. A body of 48 kB takes 3 pages instead of 12: a third less processor time for a commit, half the time.
PAGE_BYTES = 16 << 10
CHECKPOINT_BYTES = 16 << 20  # of the log of changes; it is folded into the file when it has grown so large
_MACHINE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
}


def open_writer(path: Path, cache_bytes: int) -> sqlite3.Connection:
    """The one connection that writes; it keeps so many octets of pages in memory. Raises sqlite3.Error."""
    existed = path.exists()
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=READ_TIMEOUT_S)
    if not existed:
        path.chmod(0o600)
    connection.row_factory = sqlite3.Row
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_BYTES // page_bytes}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA cache_size = -{cache_bytes >> 10}")
    return connection


def spare_bytes(connection: sqlite3.Connection) -> int:
    """Octets of the file that hold nothing, and will be used again."""
    pages, page_bytes = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
    return int(pages * page_bytes)


def is_of_the_machine(problem: Exception | None) -> bool:
    """Disk full, read-only, damaged, I/O: not the fault of the statement."""
    return isinstance(problem, sqlite3.Error) and problem.sqlite_errorcode & 0xFF in _MACHINE


def is_full(problem: Exception | None) -> bool:
    """No room on the disk."""
    return isinstance(problem, sqlite3.Error) and problem.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL


def problem_line(path: Path, problem: BaseException) -> str:
    """What SQLite says, with what mends it."""
    text = str(problem)
    if "full" in text:
        return f"{path.parent}: the disk is full; free some space, agents keep their data until then"
    if "readonly" in text or "read-only" in text:
        return f"{path}: cannot be written; mount the disk read-write and check the owner of the folder"
    if "malformed" in text or "not a database" in text:
        return f"{path}: is damaged ({text}); restore the data folder from a copy, or move it away and enrol anew"
    return f"{path}: {text}"
