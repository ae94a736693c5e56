"""The embedded store: one SQLite file, one writer thread with one connection, short read-only connections for readers.

- WAL and ``synchronous=FULL``: what is committed survives a power cut.
- Group commit: whatever was handed in while the last commit ran shares the next one, up to `GROUP_ITEMS` items or
  `GROUP_SECONDS`. Nobody waits for company: a lone item is committed at once.
- Each job of a group has a savepoint; one that fails is undone alone. When SQLite itself fails (disk full), the group
  fails as a whole with StoreError and nothing of it is held.
- Between group commits the writer gives one slice to the background (the projections), so that neither starves.
- Nobody but the writer checkpoints (two connections that checkpoint at once met a SQLite defect, fixed in 3.51.3).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from fieldwatch_proto.logs import get_logger

from fieldwatch_collector import faults
from fieldwatch_collector.store import Background, Health, Held, Item, PutResult, StoreError
from fieldwatch_collector.store.batch_log import put_items, read_held
from fieldwatch_collector.store.migrate import migrate

T = TypeVar("T")
GROUP_ITEMS = 50
GROUP_SECONDS = 0.005
READ_TIMEOUT_S = 5.0
WAL_LIMIT_BYTES = 64 << 20
BACKGROUND_RETRY_S = (0.1, 30.0)  # first and longest pause after a slice that failed
SLOW_SLICE_S = 5.0  # nothing is stored or acked for so long: people must hear of it
_MACHINE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
}

log = get_logger(__name__)


@dataclass(slots=True)
class _Job:
    """Something to do in a transaction. `items` and `cost_bytes` count towards group size and queue depth."""

    work: Callable[[sqlite3.Connection], Any]
    items: int = 1
    cost_bytes: int = 0
    point: bool = False  # passes the fault points of put
    done: Future[Any] = field(default_factory=Future)


class SqliteStore:
    """See `Store`. Making it opens the file; `migrate` must follow before anything else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the counters below
        self._queued_items = 0
        self._queued_bytes = 0
        self._problem = ""
        self._counters = {"commits": 0, "commit_failures": 0, "background_failures": 0}
        self._closed = False
        self._background: Background | None = None
        self._background_due = False
        self._background_pause = BACKGROUND_RETRY_S[0]
        self._background_not_before = 0.0
        try:
            self._connection = _open_writer(path)
        except sqlite3.Error as problem:
            raise StoreError(_line(path, problem)) from None
        self._writer = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._writer.start()

    # What callers use -------------------------------------------------------------------------------------------

    def migrate(self) -> int:
        """Bring the tables to this program's version."""
        return self._hand_in(_Job(migrate, items=0)).result()  # type: ignore[no-any-return]

    async def put(self, agent: str, items: Sequence[Item]) -> PutResult:
        """Durable when it returns."""
        job = _Job(
            functools.partial(put_items, agent=agent, items=items),
            items=len(items),
            cost_bytes=sum(item.cost_bytes for item in items),
            point=True,
        )
        result: PutResult = await asyncio.wrap_future(self._hand_in(job))
        return result

    async def held(self, agent: str, epochs: Sequence[int]) -> dict[int, Held]:
        """Asked of the writer, behind what was handed in before."""
        return await self.transact(lambda connection: {epoch: read_held(connection, agent, epoch) for epoch in epochs})

    async def transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        result: T = await asyncio.wrap_future(self._hand_in(_Job(work)))
        return result

    def transact_sync(self, work: Callable[[sqlite3.Connection], T]) -> T:
        assert threading.current_thread() is not self._writer, "the writer cannot wait for itself"
        result: T = self._hand_in(_Job(work)).result()
        return result

    @contextlib.contextmanager
    def reader(self) -> Iterator[sqlite3.Connection]:
        """Read only; rows by name. Statements see one state of the store inside ``BEGIN``, else one each."""
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?mode=ro",
            uri=True,
            timeout=READ_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,  # a connection has one user at a time, on whatever thread it runs
        )
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA query_only = 1")
            yield connection
        finally:
            connection.close()

    def attach(self, background: Background) -> None:
        """At most one; it starts with whatever waits already."""
        self._background = background
        self.wake()

    def wake(self) -> None:
        """Let the writer look for background work. Only the writer itself touches what it has noted to be due: set from
        here, the note could fall to the end of a slice that found nothing more."""
        self._jobs.put(_Job(_nothing, items=0))

    def health(self) -> Health:
        with self._lock:
            queued_items, queued_bytes = self._queued_items, self._queued_bytes
            problem, counters = self._problem, dict(self._counters)
        pending = 0
        try:
            with self.reader() as connection:
                pending = connection.execute(
                    "SELECT coalesce((SELECT max(position) FROM batch), 0)"
                    " - coalesce((SELECT min(position) FROM projection), 0)"
                ).fetchone()[0]
        except sqlite3.Error as failure:
            problem = problem or _line(self.path, failure)
        return Health(problem, queued_items, queued_bytes, max(0, pending), counters)

    @property
    def queued_bytes(self) -> int:
        """Octets handed in and not yet committed: what ingest's credit follows."""
        return self._queued_bytes

    def checkpoint(self) -> None:
        self._hand_in(_Job(_checkpoint, items=0)).result()

    def close(self) -> None:
        """Finish what was handed in; a second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(None)
        self._writer.join()

    # The writer thread ------------------------------------------------------------------------------------------

    def _hand_in(self, job: _Job) -> Future[Any]:
        with self._lock:
            if self._closed:
                raise StoreError("the store is closed")
            self._queued_items += job.items
            self._queued_bytes += job.cost_bytes
            self._jobs.put(job)
        return job.done

    def _run(self) -> None:
        ending = False
        while not ending:
            group, ending = self._next_group()
            if group:
                self._commit(group)
            if self._background_due and not ending:
                self._step()
        _checkpoint(self._connection)
        self._connection.close()

    def _next_group(self) -> tuple[list[_Job], bool]:
        """Jobs for one transaction, and whether the store is closing."""
        group: list[_Job] = []
        items, deadline = 0, 0.0
        while True:
            try:
                job = self._jobs.get(timeout=self._patience() if not group else 0)
            except queue.Empty:
                return group, False
            if job is None:
                return group, True
            if job.work is _nothing:
                self._background_due = True
                return group, False
            if not _groupable(job):
                if group:
                    self._commit(group)
                self._run_alone(job)
                return [], False
            group.append(job)
            items += job.items
            now = time.monotonic()
            deadline = deadline or now + GROUP_SECONDS
            if items >= GROUP_ITEMS or now >= deadline:
                return group, False

    def _patience(self) -> float | None:
        """How long to wait for a job: not at all while the background has work, unless its last slice failed."""
        if not self._background_due or self._background is None:
            return None
        return max(0.0, self._background_not_before - time.monotonic())

    def _commit(self, group: list[_Job]) -> None:
        asked = [job for job in group if job.done.set_running_or_notify_cancel()]
        puts = any(job.point for job in asked)
        results: list[tuple[_Job, Any, Exception | None]] = []
        failure: sqlite3.Error | None = None
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results.extend((job, *self._attempt(job)) for job in asked)
            if puts:
                faults.reach("put-before-commit")
            self._connection.execute("COMMIT")
            if puts:
                faults.reach("put-after-commit")
        except sqlite3.Error as problem:
            failure = problem
            self._undo()
        self._background_due = self._background_due or puts
        self._account(group, failure or next((p for _, _, p in results if _is_of_the_machine(p)), None))
        if failure is not None:
            for job in asked:
                job.done.set_exception(StoreError(_line(self.path, failure)))
            return
        for job, result, problem_of_job in results:
            if problem_of_job is None:
                job.done.set_result(result)
            elif _is_of_the_machine(problem_of_job):
                job.done.set_exception(StoreError(_line(self.path, problem_of_job)))
            else:
                job.done.set_exception(problem_of_job)

    def _account(self, group: Sequence[_Job], failure: Exception | None) -> None:
        with self._lock:
            self._queued_items -= sum(job.items for job in group)
            self._queued_bytes -= sum(job.cost_bytes for job in group)
            self._counters["commit_failures" if failure else "commits"] += 1
            said, self._problem = self._problem, _line(self.path, failure) if failure else ""
        if self._problem and self._problem != said:
            log.error("the store cannot commit", problem=self._problem)
        elif said and not self._problem:
            log.info("the store commits again")

    def _attempt(self, job: _Job) -> tuple[Any, Exception | None]:
        """(result, None) or, undone, (None, the job's exception). Raises where the whole transaction is spoilt."""
        self._connection.execute("SAVEPOINT job")
        try:
            result = job.work(self._connection)
        except Exception as problem:
            if not self._connection.in_transaction:  # SQLite itself rolled back: disk full, I/O error
                raise
            self._connection.execute("ROLLBACK TO job")
            self._connection.execute("RELEASE job")
            return None, problem
        self._connection.execute("RELEASE job")
        return result, None

    def _run_alone(self, job: _Job) -> None:
        """Migrations and checkpoints: no transaction may be open."""
        if not job.done.set_running_or_notify_cancel():
            return
        try:
            job.done.set_result(job.work(self._connection))
        except sqlite3.Error as problem:
            self._undo()
            job.done.set_exception(StoreError(_line(self.path, problem)))
        except Exception as problem:
            job.done.set_exception(problem)

    def _step(self) -> None:
        """One slice of the background; one that fails is undone and tried again after a pause."""
        background = self._background
        if background is None or time.monotonic() < self._background_not_before:
            return
        began = time.monotonic()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            more = background.step(self._connection)
            self._connection.execute("COMMIT")
        except Exception as problem:
            self._undo()
            background.rolled_back()
            with self._lock:
                self._counters["background_failures"] += 1
            log.error("projections are behind", problem=f"{problem.__class__.__name__}: {problem}")
            self._background_not_before = time.monotonic() + self._background_pause
            self._background_pause = min(2 * self._background_pause, BACKGROUND_RETRY_S[1])
            return
        if (seconds := time.monotonic() - began) > SLOW_SLICE_S:
            log.warning("projections held up the store", seconds=round(seconds, 1))
        self._background_pause = BACKGROUND_RETRY_S[0]
        self._background_not_before = 0.0
        self._background_due = more
        try:
            background.committed()
        except Exception as problem:  # what is committed is committed, and the writer must live: all puts wait for it
            with self._lock:
                self._counters["background_failures"] += 1
            log.error("what was projected could not be told", problem=f"{problem.__class__.__name__}: {problem}")

    def _undo(self) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")


def _open_writer(path: Path) -> sqlite3.Connection:
    existed = path.exists()
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=READ_TIMEOUT_S)
    if not existed:
        path.chmod(0o600)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA cache_size = -65536")
    return connection


def _checkpoint(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _nothing(connection: sqlite3.Connection) -> None:
    """The work of a wake-up call."""


def _groupable(job: _Job) -> bool:
    return job.work is not migrate and job.work is not _checkpoint


def _is_of_the_machine(problem: Exception | None) -> bool:
    """Disk full, read-only, damaged, I/O: not the fault of the statement."""
    return isinstance(problem, sqlite3.Error) and problem.sqlite_errorcode & 0xFF in _MACHINE


def _line(path: Path, problem: BaseException) -> str:
    """What SQLite says, with what mends it."""
    text = str(problem)
    if "full" in text:
        return f"{path.parent}: the disk is full; free some space, agents keep their data until then"
    if "readonly" in text or "read-only" in text:
        return f"{path}: cannot be written; mount the disk read-write and check the owner of the folder"
    if "malformed" in text or "not a database" in text:
        return f"{path}: is damaged ({text}); restore the data folder from a copy, or move it away and enrol anew"
    return f"{path}: {text}"
