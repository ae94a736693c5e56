"""The spool's file: lock, schema, opening, quarantine.

- ``spool.lock`` is held by flock as long as somebody uses the file: one process, one connection.
- A file that cannot be used (no database, damaged, of a newer format) is moved to ``quarantine/<time>/`` and a new one
  is made, with a new epoch: starting never fails for what is in the file. At most `MAX_QUARANTINES` are kept.
- A file of an older format is brought up to date by a child process (``python -m fieldwatch_agent.spool.migrate``)
  before it is opened, so that sqlite-utils never becomes part of the daemon.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from fieldwatch_agent.ownership import give
from fieldwatch_agent.spool.items import SpoolError

FILE_NAME = "spool.db"
LOCK_NAME = "spool.lock"
SOCKET_NAME = "spool.sock"
FORMAT = 2
APPLICATION_ID = 0x46575350  # "FWSP"
MAX_QUARANTINES = 2
MIGRATE_TIMEOUT_S = 600
WAL_PAGES = 256
WAL_BYTES = WAL_PAGES * 4096

# class, kind: fieldwatch_proto.schema. frames: of the conservation equation. crc: see `store.row_crc`.
# A gap's records: JSON object, kind -> records. relabelled: batches whose number the collector had for other data.
SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE stream(epoch INTEGER PRIMARY KEY, ordinal INT NOT NULL UNIQUE, next_seq INT NOT NULL);
CREATE TABLE batch(epoch INT, seq INT, class INT, kind INT, schema INT, records INT, frames INT, t_min INT, t_max INT,
                   raw_bytes INT, crc INT NOT NULL, digest BLOB, body BLOB, PRIMARY KEY(epoch, seq));
CREATE TABLE gap(epoch INT, from_seq INT, to_seq INT, records TEXT, frames INT, reason INT, count_known INT, ts_ns INT,
                 detail TEXT, crc INT NOT NULL, PRIMARY KEY(epoch, from_seq));
CREATE TABLE relabelled(old_epoch INT, old_seq INT, epoch INT, seq INT, ts_ns INT, PRIMARY KEY(old_epoch, old_seq));
CREATE INDEX batch_class ON batch(class);
"""

_PRAGMAS = f"""
PRAGMA page_size=4096;
PRAGMA locking_mode=EXCLUSIVE;
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
PRAGMA wal_autocheckpoint={WAL_PAGES};
PRAGMA journal_size_limit={WAL_BYTES};
PRAGMA mmap_size=0;
PRAGMA trusted_schema=OFF;
PRAGMA cache_size=-256;
"""


class Lock:
    """The folder's lock. Raises SpoolError when another process has it."""

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK_NAME
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            give(self._fd, folder)
        except OSError as problem:
            raise SpoolError(
                f"{path}: {problem.strerror}; give this user the folder, or choose another with --data"
            ) from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise SpoolError(
                f"{folder}: in use by another fieldwatch-agent (process {holder or 'unknown'});"
                " stop it, or choose another folder with --data"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._fd)


def make_folder(folder: Path) -> None:
    """The data folder, readable by its owner only. Raises SpoolError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise SpoolError(
            f"{folder}: {problem.strerror}; make it and give it to this user, or choose another with --data"
        ) from None


def open_file(folder: Path) -> tuple[sqlite3.Connection, str]:
    """A connection to a file of this format, and why the file is new: "" (it is not), "first start", or what was wrong
    with the old one, which then lies in the quarantine. The caller holds the lock. Raises SpoolError.
    """
    path = folder / FILE_NAME
    existed = path.exists()
    try:
        connection = _connect(path)
    except sqlite3.OperationalError as problem:
        if _is_damage(problem):
            return _replaced(folder, str(problem))
        raise SpoolError(f"{path}: {problem}; is the folder writable, is there room on the disk?") from None
    except sqlite3.DatabaseError as problem:
        return _replaced(folder, str(problem))
    try:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if version == 0 and tables == 0:
            _create(connection)
            return connection, "the file was empty" if existed else "first start"
        if version > FORMAT:
            connection.close()
            return _replaced(folder, f"format {version} is newer than {FORMAT}, the one this agent knows")
        if version < FORMAT:
            connection.close()
            problem_text = _migrate(path)
            if problem_text:
                return _replaced(folder, problem_text)
            connection = _connect(path)
        for table in ("meta", "stream", "batch", "gap", "relabelled"):
            connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()  # noqa: S608 - names from above
    except sqlite3.DatabaseError as problem:
        connection.close()
        return _replaced(folder, str(problem))
    return connection, ""


def _connect(path: Path) -> sqlite3.Connection:
    with contextlib.suppress(OSError):  # it is there, or SQLite finds the same trouble; the WAL gets the file's owner
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            give(fd, path.parent)
        finally:
            os.close(fd)
    connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    try:
        for pragma in _PRAGMAS.strip().splitlines():
            connection.execute(pragma).fetchall()
    except BaseException:
        connection.close()
        raise
    path.chmod(0o600)
    return connection


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in SCHEMA.strip().split(";\n"):
        if statement.strip(" ;\n"):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={FORMAT}")
    connection.execute("COMMIT")


def _is_damage(problem: sqlite3.OperationalError) -> bool:
    return problem.sqlite_errorname in ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_PROTOCOL", "SQLITE_ERROR")


def _migrate(path: Path) -> str:
    """Bring an old file up to date in a child; "" or what went wrong."""
    command = [sys.executable, "-m", "fieldwatch_agent.spool.migrate", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MIGRATE_TIMEOUT_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return f"its migration took over {MIGRATE_TIMEOUT_S} s"
    lines = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else f"its migration failed: {lines[-1] if lines else done.returncode}"


def _replaced(folder: Path, why: str) -> tuple[sqlite3.Connection, str]:
    place = quarantine(folder)
    connection = _connect(folder / FILE_NAME)
    _create(connection)
    return connection, f"{why} (kept in {place})"


def quarantine(folder: Path) -> Path:
    """Move the file and what belongs to it out of the way; only the newest quarantines are kept."""
    base = folder / "quarantine"
    base.mkdir(mode=0o700, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    place = base / stamp
    number = 0
    while place.exists():
        number += 1
        place = base / f"{stamp}-{number}"
    place.mkdir(mode=0o700)
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            (folder / f"{FILE_NAME}{suffix}").rename(place / f"{FILE_NAME}{suffix}")
    for old in sorted(base.iterdir(), key=lambda entry: entry.stat().st_mtime_ns)[:-MAX_QUARANTINES]:
        shutil.rmtree(old, ignore_errors=True)
    return place
