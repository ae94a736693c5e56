"""The spool's file: lock, schema, opening, quarantine.

- ``spool.lock`` is held by flock as long as somebody uses the file: one process, one connection.
- A file that cannot be used (no database, damaged, of a newer format) is moved to ``quarantine/<time>/``, see
  `salvage`: starting never fails for what is in the file. At most `MAX_QUARANTINES` are kept.
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
FORMAT = 3
APPLICATION_ID = 0x46575350  # "FWSP"
MAX_QUARANTINES = 2
RENEWED_NAME = "spool.db.renewed"
DAMAGE = (
    *("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_TOOBIG"),
    *("SQLITE_IOERR_READ", "SQLITE_IOERR_SHORT_READ"),  # a part of the disk cannot be read: the rest can
)
UNKNOWN_OUTCOME = ("SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC")
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

# secure_delete, the default of Debian's SQLite, would write every deleted page once more, as zeros.
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
PRAGMA secure_delete=OFF;
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
        with contextlib.suppress(OSError):  # for people alone, and the disk may be full
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


class UnusableError(Exception):
    """The file cannot be used as it is; the text says why. It is for `salvage` to keep what it holds.

    `connection`: still open, because closing it would write the WAL into the file and take it away.
    """

    def __init__(self, why: str, connection: sqlite3.Connection | None = None) -> None:
        super().__init__(why)
        self.connection = connection


def open_file(folder: Path) -> sqlite3.Connection:
    """A connection to the file, of this format; a new one where there was none. The caller holds the lock.

    Raises UnusableError for what is in the file, SpoolError for what the machine does not allow.
    """
    path = folder / FILE_NAME
    finish_renewal(folder)
    existed = path.exists()
    try:
        connection = connect(path)
    except sqlite3.DatabaseError as problem:
        if is_damage(problem) or _is_odd(path, problem):
            raise UnusableError(str(problem)) from None
        raise SpoolError(f"{path}: {problem}; is the folder writable, is there room on the disk?") from None
    try:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if version == 0 and tables == 0:
            if existed:
                raise UnusableError("the file was empty", connection)
            create(connection)
            return connection
        if version > FORMAT:
            raise UnusableError(f"format {version} is newer than {FORMAT}, the one this agent knows", connection)
        if version < FORMAT:
            connection.close()
            problem_text = _migrate(path)
            if problem_text:
                raise UnusableError(problem_text)
            connection = connect(path)
        found = {row[0] for row in connection.execute("SELECT sql FROM sqlite_schema WHERE type='table'")}
        indexed = connection.execute("PRAGMA index_info(batch_class)").fetchall()
        if found != {sql for sql in _statements() if sql.startswith("CREATE TABLE")} or indexed != [(0, 2, "class")]:
            raise UnusableError("its tables are not those of its format", connection)
    except sqlite3.DatabaseError as problem:
        if is_damage(problem):
            raise UnusableError(str(problem), connection) from None
        connection.close()
        raise SpoolError(f"{path}: {problem}; is the disk sound?") from None
    return connection


def connect(path: Path) -> sqlite3.Connection:
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


def _statements() -> list[str]:
    return [statement.strip(" ;\n") for statement in SCHEMA.strip().split(";\n")]


def _is_odd(path: Path, problem: sqlite3.Error) -> bool:
    """Whether the header asks for what no spool file has: SQLite calls such a file read-only, or of no known format."""
    if getattr(problem, "sqlite_errorname", "") == "SQLITE_ERROR":
        return True
    with contextlib.suppress(OSError), path.open("rb") as stream:
        return stream.read(20)[18:] not in (b"\1\1", b"\2\2")  # fileformat2, 1.3: versions for writing and reading
    return False


def create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _statements():
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={FORMAT}")
    connection.execute("COMMIT")


def is_damage(problem: sqlite3.Error) -> bool:
    """Whether an error is for what is in the file, and not for what the machine does not allow just now."""
    name = getattr(problem, "sqlite_errorname", None)
    if name is None:  # a text that is no UTF-8: the module's own error, not SQLite's
        return type(problem) is sqlite3.OperationalError
    return str(name).startswith(DAMAGE)


def is_outcome_unknown(problem: BaseException) -> bool:
    """Whether a transaction was written and not synced: after a kill it may be in the file, or not."""
    return getattr(problem, "sqlite_errorname", "") in UNKNOWN_OUTCOME


def _migrate(path: Path) -> str:
    """Bring an old file up to date in a child; "" or what went wrong."""
    command = [sys.executable, "-m", "fieldwatch_agent.spool.migrate", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MIGRATE_TIMEOUT_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return f"its migration took over {MIGRATE_TIMEOUT_S} s"
    lines = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else f"its migration failed: {lines[-1] if lines else done.returncode}"


def renew(folder: Path) -> Path:
    """Put the finished `RENEWED_NAME` in the place of the file, which goes to the quarantine: where it is now."""
    place = quarantine(folder)
    finish_renewal(folder)
    return place


def finish_renewal(folder: Path) -> None:
    """A renewed file is finished before the old one is moved: one that has none beside it takes its place."""
    renewed = folder / RENEWED_NAME
    if renewed.exists() and not (folder / FILE_NAME).exists():
        for suffix in ("-wal", "-shm", "-journal"):  # of the old file: SQLite would write it into the new one
            (folder / f"{FILE_NAME}{suffix}").unlink(missing_ok=True)
        renewed.rename(folder / FILE_NAME)
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """What was renamed stays renamed, whatever happens to the power."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def quarantine(folder: Path) -> Path:
    """Move the file and what belongs to it out of the way; only the newest quarantines are kept. Where it is now."""
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


def drop_quarantines(folder: Path) -> None:
    """Make room: what is waiting to be salvaged is worth more."""
    shutil.rmtree(folder / "quarantine", ignore_errors=True)
