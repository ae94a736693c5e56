"""The embedded store: one SQLite file, one writer thread with one connection, short read-only connections for readers.

- WAL and ``synchronous=FULL``: what is committed survives a power cut.
- Group commit: whatever was handed in while the last commit ran shares the next one, up to `GROUP_ITEMS` items or
  `GROUP_SECONDS`. Nobody waits for company: a lone item is committed at once.
- Each job of a group has a savepoint; one that fails is undone alone. When SQLite itself fails (disk full), the group
  fails as a whole with StoreError and nothing of it is held.
- Between group commits the writer gives one slice to the background (the projections); while more comes than can be
  committed one by one, only as many as leave ingest most of the time. Neither starves.
- Nobody but the writer checkpoints (two connections that checkpoint at once met a SQLite defect, fixed in 3.51.3).
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from fieldwatch_proto.logs import get_logger

from fieldwatch_collector import faults
from fieldwatch_collector.store import Background, Health, Held, Item, PutResult, StoreError
from fieldwatch_collector.store.batch_log import put_groups, put_items, read_held
from fieldwatch_collector.store.connection import (
    CACHE_BYTES,
    READ_TIMEOUT_S,
    is_full,
    is_of_the_machine,
    open_writer,
    problem_line,
    spare_bytes,
)
from fieldwatch_collector.store.jobs import Handed, Job, Put, Settled, tell
from fieldwatch_collector.store.migrate import migrate
from fieldwatch_collector.store.space import Floor

T = TypeVar("T")
GROUP_ITEMS = 50
GROUP_SECONDS = 0.005
BACKGROUND_RETRY_S = (0.1, 30.0)  # first and longest pause after a slice that failed
FLOOR_PAUSE_S = 1.0  # of the background, until there is room again
CROWDED_PUTS = 4  # in one group: more comes than is committed one by one
BACKGROUND_SHARE = 0.15  # of the writer's time while it is crowded: the projections catch up when it is not
SLOW_SLICE_S = 5.0  # nothing is stored or acked for so long: people must hear of it

log = get_logger(__name__)


class SqliteStore:
    """See `Store`. Making it opens the file; `migrate` must follow before anything else."""

    def __init__(self, path: Path, min_free_bytes: int = 0, cache_bytes: int = CACHE_BYTES) -> None:
        """`min_free_bytes`: what batches leave free on the disk, see `space.Floor`; `cache_bytes`: of pages in memory.

        Raises StoreError.
        """
        self.path = path
        self._floor = Floor(path.parent, min_free_bytes)
        self._jobs: queue.SimpleQueue[Handed | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the counters below
        self._queued_items = 0
        self._queued_bytes = 0
        self._problem = ""  # of the last transaction that would change something
        self._began = 0.0  # when the transaction under way began; 0 = there is none
        self._took = 0.0  # seconds, the one before
        self._counters = {"commits": 0, "commit_failures": 0, "background_failures": 0}
        self._closed = False
        self._background: Background | None = None
        self._background_due = False
        self._background_pause = BACKGROUND_RETRY_S[0]
        self._background_not_before = 0.0
        self._background_turn = 0.0  # while it is crowded
        self._crowded = False
        try:
            self._connection = open_writer(path, cache_bytes)
            self._floor.spare_bytes = spare_bytes(self._connection)
        except sqlite3.Error as problem:
            raise StoreError(problem_line(path, problem)) from None
        self._writer = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._writer.start()

    # What callers use -------------------------------------------------------------------------------------------

    def migrate(self) -> int:
        """Bring the tables to this program's version."""
        return self._ask(Job(migrate, items=0, alone=True)).result()  # type: ignore[no-any-return]

    async def put(self, agent: str, items: Sequence[Item]) -> PutResult:
        """Durable when it returns."""
        return await self.submit(agent, items)

    def submit(self, agent: str, items: Sequence[Item]) -> asyncio.Future[PutResult]:
        """The same, handed in at once: what comes first is stored first. From an event loop. Raises StoreError."""
        done: asyncio.Future[PutResult] = asyncio.get_running_loop().create_future()
        self._hand_in(Put(agent, items, done, len(items), sum(item.cost_bytes for item in items)))
        return done

    async def held(self, agent: str, epochs: Sequence[int]) -> dict[int, Held]:
        """Asked of the writer, behind what was handed in before."""
        return await self.transact(lambda connection: {epoch: read_held(connection, agent, epoch) for epoch in epochs})

    async def transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        result: T = await asyncio.wrap_future(self._ask(Job(work)))
        return result

    def transact_sync(self, work: Callable[[sqlite3.Connection], T]) -> T:
        assert threading.current_thread() is not self._writer, "the writer cannot wait for itself"
        result: T = self._ask(Job(work)).result()
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
        self._jobs.put(Job(_nothing, items=0))

    def health(self) -> Health:
        with self._lock:
            queued_items, queued_bytes, counters = self._queued_items, self._queued_bytes, dict(self._counters)
        problem, pending = self.problem, 0
        try:
            with self.reader() as connection:
                pending = connection.execute(
                    "SELECT coalesce((SELECT max(position) FROM batch), 0)"
                    " - coalesce((SELECT min(position) FROM projection), 0)"
                ).fetchone()[0]
        except sqlite3.Error as failure:
            problem = problem or problem_line(self.path, failure)
        return Health(problem, queued_items, queued_bytes, max(0, pending), counters)

    @property
    def problem(self) -> str:
        return self._problem or self._floor.problem()

    @property
    def is_short_of_space(self) -> bool:
        return self._floor.problem() != ""

    @property
    def committing_s(self) -> float:
        began = self._began
        return max(self._took, time.monotonic() - began if began else 0.0)

    def checkpoint(self) -> None:
        self._ask(Job(_checkpoint, items=0, alone=True)).result()

    def close(self) -> None:
        """Finish what was handed in; a second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(None)
        self._writer.join()

    # The writer thread ------------------------------------------------------------------------------------------

    def _ask(self, job: Job) -> Future[Any]:
        self._hand_in(job)
        return job.done

    def _hand_in(self, handed: Handed) -> None:
        with self._lock:
            if self._closed:
                raise StoreError("the store is closed")
            self._queued_items += handed.items
            self._queued_bytes += handed.cost_bytes
            self._jobs.put(handed)

    def _run(self) -> None:
        ending = False
        while not ending:
            group, ending = self._next_group()
            if group:
                self._commit(group)
            if self._background_due and not ending and time.monotonic() >= self._background_at():
                if self._floor.problem():  # a few octets of a batch may be millions of rows
                    self._background_not_before = time.monotonic() + FLOOR_PAUSE_S
                else:
                    self._step()
        _checkpoint(self._connection)
        self._connection.close()

    def _next_group(self) -> tuple[list[Handed], bool]:
        """What one transaction does, and whether the store is closing."""
        group: list[Handed] = []
        items, deadline = 0, 0.0
        while True:
            try:
                handed = self._jobs.get(timeout=self._patience() if not group else 0)
            except queue.Empty:
                return group, False
            if handed is None:
                return group, True
            if isinstance(handed, Job) and handed.work is _nothing:
                self._background_due = True
                return group, False
            if isinstance(handed, Job) and handed.alone:
                if group:
                    self._commit(group)
                self._run_alone(handed)
                return [], False
            group.append(handed)
            items += handed.items
            now = time.monotonic()
            deadline = deadline or now + GROUP_SECONDS
            if items >= GROUP_ITEMS or now >= deadline:
                return group, False

    def _patience(self) -> float | None:
        """How long to wait for a job: not at all while the background has work and is to do it."""
        if not self._background_due or self._background is None:
            return None
        return max(0.0, self._background_at() - time.monotonic())

    def _background_at(self) -> float:
        """The moment of its next slice."""
        return max(self._background_not_before, self._background_turn if self._crowded else 0.0)

    def _commit(self, group: list[Handed]) -> None:
        asked = [handed for handed in group if handed.begin()]
        puts = sum(isinstance(handed, Put) for handed in asked)
        self._crowded = puts >= CROWDED_PUTS
        settled: list[Settled] = []
        failure: sqlite3.Error | None = None
        changes = self._connection.total_changes
        self._began = time.monotonic()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            settled = self._attempt_all(asked)
            if puts:
                faults.reach("put-before-commit")
            self._connection.execute("COMMIT")
            if puts:
                faults.reach("put-after-commit")
        except sqlite3.Error as problem:
            failure = problem
            self._undo()
            settled = [(handed, None, problem) for handed in asked]
        self._took, self._began = time.monotonic() - self._began, 0.0
        self._background_due = self._background_due or puts > 0
        trouble = failure or next((p for _, _, p in settled if is_of_the_machine(p)), None)
        changed = self._connection.total_changes != changes
        if changed and (puts < len(asked) or self._floor.spare_bytes):  # others make room, and puts take it
            self._floor.spare_bytes = spare_bytes(self._connection)
        self._account(group, trouble, changed=changed)
        tell((handed, result, self._worded(problem, failure)) for handed, result, problem in settled)
        if is_full(trouble):
            with contextlib.suppress(sqlite3.Error):  # the log of changes may hold the room that is missing
                _checkpoint(self._connection)

    def _worded(self, problem: Exception | None, failure: Exception | None) -> Exception | None:
        """What a caller is told: the machine's troubles in a line for people, its own as they are."""
        if problem is not None and (failure is not None or is_of_the_machine(problem)):
            return StoreError(problem_line(self.path, problem))
        return problem

    def _attempt_all(self, asked: Sequence[Handed]) -> list[Settled]:
        """In their order, neighbouring puts together."""
        settled: list[Settled] = []
        puts: list[Put] = []
        for handed in asked:
            if isinstance(handed, Put):
                puts.append(handed)
                continue
            settled += self._attempt_puts(puts)
            puts = []
            settled.append((handed, *self._attempt(handed.work)))
        return settled + self._attempt_puts(puts)

    def _attempt_puts(self, puts: Sequence[Put]) -> list[Settled]:
        """All at once; one by one where that fails for what one of them holds, so that it fails alone."""
        if not puts:
            return []
        if short := self._floor.problem():
            return [(put, None, StoreError(short)) for put in puts]
        pairs = [(put.agent, put.batch) for put in puts]
        results, problem = self._attempt(partial(put_groups, puts=pairs))
        if problem is None:
            return [(put, result, None) for put, result in zip(puts, results, strict=True)]
        if is_of_the_machine(problem):
            return [(put, None, problem) for put in puts]
        return [(put, *self._attempt(partial(put_items, agent=put.agent, items=put.batch))) for put in puts]

    def _attempt(self, work: Callable[[sqlite3.Connection], Any]) -> tuple[Any, Exception | None]:
        """(result, None) or, undone, (None, the exception). Raises where the whole transaction is spoilt."""
        self._connection.execute("SAVEPOINT job")
        try:
            result = work(self._connection)
        except Exception as problem:
            if not self._connection.in_transaction:  # SQLite itself rolled back: disk full, I/O error
                raise
            self._connection.execute("ROLLBACK TO job")
            self._connection.execute("RELEASE job")
            return None, problem
        self._connection.execute("RELEASE job")
        return result, None

    def _run_alone(self, job: Job) -> None:
        """Migrations and checkpoints: no transaction may be open."""
        if not job.begin():
            return
        try:
            job.done.set_result(job.work(self._connection))
        except sqlite3.Error as problem:
            self._undo()
            job.done.set_exception(StoreError(problem_line(self.path, problem)))
        except Exception as problem:
            job.done.set_exception(problem)

    def _account(self, group: Sequence[Handed], failure: Exception | None, *, changed: bool) -> None:
        """A commit that changed nothing tells nothing of the disk."""
        with self._lock:
            self._queued_items -= sum(job.items for job in group)
            self._queued_bytes -= sum(job.cost_bytes for job in group)
            self._counters["commit_failures" if failure else "commits"] += 1
            said = self._problem
            if failure is not None or changed:
                self._problem = problem_line(self.path, failure) if failure else ""
        if self._problem and self._problem != said:
            log.error("the store cannot commit", problem=self._problem)
        elif said and not self._problem:
            log.info("the store commits again")

    def _step(self) -> None:
        """One slice of the background; one that fails is undone and tried again after a pause."""
        background = self._background
        if background is None:
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
        if self._floor.spare_bytes:
            self._floor.spare_bytes = spare_bytes(self._connection)
        seconds = time.monotonic() - began
        self._background_turn = began + seconds / BACKGROUND_SHARE
        if seconds > SLOW_SLICE_S:
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


def _checkpoint(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _nothing(connection: sqlite3.Connection) -> None:
    """The work of a wake-up call."""
