"""The spool of a folder that no daemon uses, for somebody who only looks: nothing is written, moved or given up.

A row that is damaged is shown as the gap that it will become when the agent runs. A file that cannot be read as it is
(damaged in its structure, of another format) is an error: to salvage it or to bring it up to date is the agent's.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from fieldwatch_agent.ledger import read_ledger
from fieldwatch_agent.spool.file import FILE_NAME, FORMAT, RENEWED_NAME, Lock
from fieldwatch_agent.spool.items import Gap, SpoolError
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.rows import Head
from fieldwatch_agent.spool.sending import Sending
from fieldwatch_agent.spool.state import Damage, Mark, Stream, is_behind, load_state
from fieldwatch_agent.spool.store import Store


class UnreadableError(SpoolError):
    """What waits cannot be told without changing the file: one line."""


def file_of(folder: Path) -> Path | None:
    """The spool's file; a renewed one that is alone is about to take its place. None where there is none."""
    return next((path for path in (folder / FILE_NAME, folder / RENEWED_NAME) if path.exists()), None)


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. The caller holds the folder's lock. Raises sqlite3.Error."""
    wal = path.with_name(f"{path.name}-wal")
    # With nothing in the WAL SQLite needs no index of it, which it would make beside the file: the disk may be full.
    alone = not wal.exists() or wal.stat().st_size == 0
    mode = "mode=ro&immutable=1" if alone else "mode=ro"
    return sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, isolation_level=None)


class Glance(Store):
    """A store that cannot be changed. Raises UnreadableError, sqlite3.Error."""

    def __init__(self, folder: Path, path: Path, mark: Mark | None) -> None:
        self._path = path
        super().__init__(folder, Limits.on(folder), mark)
        self.sending = _Looking(self)

    def _open(self, mark: Mark | None) -> None:
        self.db = open_to_read(self._path)
        try:
            self._load(mark)
        except BaseException:
            self.db.close()
            raise

    def _load(self, mark: Mark | None) -> None:
        version: int = self.db.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            raise UnreadableError(
                f"{self._path}: format {version} is newer than {FORMAT}, the one this program knows;"
                " use the newer program"
            )
        if not self.db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise Damage("the file is empty")
        if version < FORMAT:
            raise UnreadableError(
                f"{self._path}: format {version} is older than {FORMAT}; the agent brings it up to date when it runs"
            )
        self.state = load_state(self.db)
        if mark is not None and is_behind(self.state, mark):
            raise Damage("the file lacks what was committed last")
        if not self.state.streams:  # made, and nothing was put yet
            self.state.streams.append(Stream(0, 1, 1))


class _Looking(Sending):
    """Gaps for damaged rows without putting them in their place."""

    def give_up(self, head: Head, reason: int, detail: str, *, own_transaction: bool = False) -> Gap:
        return self.gap_for(head, reason, detail)

    def _put_in_place(self, gap: Gap) -> None:
        pass


@contextlib.contextmanager
def closed_store(folder: Path) -> Iterator[Glance | None]:
    """The spool of a folder that no daemon uses (else SpoolError); None where there is no file yet.

    Raises UnreadableError also for what is found while it is read.
    """
    path = file_of(folder)
    if path is None:
        yield None
        return
    lock = Lock(folder)
    try:
        left = read_ledger(folder)
        store = Glance(folder, path, left.mark if left else None)
        try:
            yield store
        finally:
            store.close(clean=False)
    except sqlite3.Error as problem:
        raise UnreadableError(
            f"{path}: {problem}; nothing was changed. When the agent runs it keeps what is whole; how much that is:"
            f" fieldwatch-agent spool fsck --data {folder}"
        ) from None
    finally:
        lock.release()
