"""The spool's thread: the only one that touches the file.

- `put` and `declare` never wait and never fail: they go into a queue bounded in octets (see `queue`). The network or a
  slow disk never blocks capture.
- `call` runs a function on the store in this thread and gives its result: leases, status, anything that reads.
- What is queued is committed together. After a commit `on_change` is told, so that the shipper wakes.
- A commit that fails stays queued and is tried again, with the store that `recovery` makes of it; a call that fails
  is made once more.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from fieldwatch_proto.logs import get_logger

from fieldwatch_agent.spool.file import is_outcome_unknown
from fieldwatch_agent.spool.items import Loss, Put, SpoolError, Work
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.memory import MemoryStore
from fieldwatch_agent.spool.queue import Queue
from fieldwatch_agent.spool.recovery import RETRY_S, Recovery
from fieldwatch_agent.spool.state import Mark
from fieldwatch_agent.spool.store import Store

T = TypeVar("T")

QUEUE_BYTES = 8 << 20
COMMIT_BYTES = 2 << 20  # at most so much in one transaction
ACK_FLUSH_S = 5.0
ACK_FLUSH_MESSAGES = 256

log = get_logger(__name__)


class SpoolThread(threading.Thread):
    """Opens the spool of a folder whose lock the caller holds; `start` raises what the opening raised, or `prepare`,
    which is the first to see the store.

    Opening may take long: a damaged file is salvaged first. Who cannot wait begins it, and waits when there is time.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        *,
        queue_bytes: int = QUEUE_BYTES,
        mark: Mark | None = None,
        prepare: Callable[[Store], None] = lambda store: None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(name="spool", daemon=True)
        self.folder, self.limits = folder, limits
        self.on_change = on_change or (lambda: None)
        self.remember: Callable[[Mark], None] = lambda mark: None
        """Told of each commit; what it keeps is the `mark` of the next start."""
        self._alarm: Callable[[str, dict[str, Any]], None] | None = None
        self._untold: list[tuple[str, dict[str, Any]]] = []
        self.failed_commits = 0
        self._mark, self._prepare = mark, prepare
        self._wake = threading.Condition()
        self._queue = Queue(queue_bytes, self._wake)
        self._calls: list[tuple[Callable[[Store], Any], Future[Any]]] = []
        self._stopping = False
        self._clean = False
        self._opened: Future[None] = Future()
        self.recovery = Recovery(folder, self._raise_alarm)
        self._acks_due = 0.0

    # --- for other threads --------------------------------------------------------------------------------------

    def start(self) -> None:
        self.begin()
        self.wait_open()

    def begin(self) -> None:
        """Like `start`, without waiting: what is put, declared and submitted meanwhile is done once it is open."""
        super().start()

    def wait_open(self) -> None:
        """Raises what the opening raised."""
        self._opened.result()

    @property
    def is_open(self) -> bool:
        return self._opened.done() and self._opened.exception() is None

    def tell(self, alarm: Callable[[str, dict[str, Any]], None]) -> None:
        """Where alarms go; those of the opening are told now."""
        with self._wake:
            self._alarm, untold, self._untold = alarm, self._untold, []
        for kind, data in untold:
            alarm(kind, data)

    def spare_disk(self) -> None:
        """Saver mode from now on: batches are written only when the collector does not ack them, and at the end."""

        def spare(store: Store) -> None:
            self.recovery.saver = True

        self.post(spare)

    def _raise_alarm(self, kind: str, data: dict[str, Any]) -> None:
        with self._wake:
            if self._alarm is None:
                self._untold.append((kind, data))
                return
        self._alarm(kind, data)

    def put(self, put: Put) -> bool:
        """Queue a sealed batch; False where the queue was full and the batch was declared lost instead."""
        return self._queue.put(put)

    def declare(self, loss: Loss, meta: Mapping[str, str] | None = None) -> None:
        """Queue a loss, and values of meta that become true in the same transaction."""
        self._queue.declare(loss, meta or {})

    def call(self, function: Callable[[Store], T], timeout: float | None = 60.0) -> T:
        """What `function(store)` gives, run in the spool's thread behind what is queued before it."""
        return self.submit(function).result(timeout)

    def submit(self, function: Callable[[Store], T]) -> Future[T]:
        """Like `call`, without waiting. Raises SpoolError where the spool is closed."""
        future: Future[T] = Future()
        with self._wake:
            if self._stopping:
                raise SpoolError("the spool is closed")
            self._calls.append((function, future))
            self._wake.notify()
        return future

    @property
    def quarantines(self) -> int:
        """Files that had to be salvaged since the start."""
        return self.recovery.salvages

    @property
    def queued_bytes(self) -> int:
        """What is sealed and waits for the disk."""
        return self._queue.octets

    def ack(self, epoch: int, spans: list[tuple[int, int]]) -> None:
        """The collector holds these numbers; their rows go with the next commit."""

        def acked(store: Store) -> None:
            store.ack(epoch, 0, spans)
            self.recovery.acked()

        self.post(acked)

    def post(self, function: Callable[[Store], object]) -> None:
        """Like `call`, without waiting and without a result."""
        with self._wake:
            if not self._stopping:
                self._calls.append((function, Future()))
                self._wake.notify()

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything queued by now is on disk."""
        deadline = time.monotonic() + timeout
        while self._queue:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        self.call(lambda store: None)
        return True

    def close(self, *, clean: bool, timeout: float = 10.0) -> None:
        """Write what is queued, remember a clean stop, close the file, end the thread."""
        with self._wake:
            self._stopping = True
            self._clean = clean
            self._wake.notify()
        self.join(timeout)

    # --- the thread ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        try:
            store = self._open()
        except BaseException as problem:
            with self._wake:
                self._stopping = True
                waiting, self._calls = self._calls, []
            for _, future in waiting:
                future.set_exception(SpoolError(f"{self.folder}: the spool was not opened"))
            self._opened.set_exception(problem)
            return
        self._opened.set_result(None)
        while True:
            with self._wake:
                self._wait(store)
                calls, self._calls = self._calls, []
                stopping = self._stopping
            for function, future in calls:
                store = self._run_call(store, function, future)
            done = True
            if self._is_due(store, stopping):
                store, done = self._commit(store)
            if not stopping:
                store = self._balance(store)
            if stopping and (done or self._clean_failed()):
                with self._wake:
                    more = bool(self._calls or self._queue)
                if not more:
                    self._close(store)
                    return

    def _open(self) -> Store:
        """Nothing that waits is written before `prepare` is done."""
        store = self.recovery.open(self.limits, self._mark)
        prepared: Future[None] = Future()
        store = self._run_call(store, self._prepare, prepared)
        if prepared.exception() is not None:
            store.db.close()
        prepared.result()
        return store

    def _balance(self, store: Store) -> Store:
        try:
            balanced = self.recovery.balance(store)
        except (sqlite3.DatabaseError, OSError) as problem:
            return self.recovery.meet(store, problem)
        if balanced is not store:
            self.remember(balanced.mark)
            self.on_change()
        return balanced

    def _wait(self, store: Store) -> None:
        """Until there is something to do; under the condition's lock."""
        while not (self._calls or self._stopping):
            now = time.monotonic()
            due = self.recovery.pause(store)
            if due == 0.0:
                return
            if self._queue:
                if now >= self.recovery.retry_at:
                    return
                pause = self.recovery.retry_at - now
            elif store.acks:
                if store.acks.messages >= ACK_FLUSH_MESSAGES:
                    return
                self._acks_due = self._acks_due or now + ACK_FLUSH_S
                if now >= self._acks_due:
                    return
                pause = self._acks_due - now
            else:
                self._wake.wait(due)
                continue
            self._wake.wait(pause if due is None else min(pause, due))

    def _is_due(self, store: Store, stopping: bool) -> bool:
        now = time.monotonic()
        if now < self.recovery.retry_at and not stopping:
            return False
        due = bool(store.acks) and (store.acks.messages >= ACK_FLUSH_MESSAGES or 0 < self._acks_due <= now or stopping)
        return bool(self._queue) or due

    def _run_call(self, store: Store, function: Callable[[Store], Any], future: Future[Any]) -> Store:
        """What fails for the disk is done again with what `recovery` makes of it, at most twice."""
        unsure = False  # whether the disk may have it although it failed: it must not be done in memory as well
        for again in (False, True, None):
            try:
                future.set_result(function(store))
            except (sqlite3.DatabaseError, OSError) as problem:
                before, unsure = store, unsure or is_outcome_unknown(problem)
                if again is not None:
                    store = self.recovery.meet(store, problem, again=again)
                if again is None or (again and store is before) or (unsure and isinstance(store, MemoryStore)):
                    future.set_exception(SpoolError(f"{self.folder}: {problem}"))
                    break
                continue
            except BaseException as problem:
                future.set_exception(problem)
            break
        self.remember(store.mark)
        return store

    def _take(self, store: Store) -> Work:
        """What is written next. On a full disk only what fits into the file's free pages, and, once there seems to be
        room again, one batch more; when the queue gets crowded, and at the end, room is made by eviction.
        """
        most, one_more, queue = COMMIT_BYTES, True, self._queue
        if self.recovery.tight:
            missing = queue.octets - store.free_inside()
            crowded = queue.octets > queue.max_bytes // 2 or self._stopping
            if crowded and missing > 0:
                store.shrink(missing)
            most, one_more = min(most, store.free_inside()), self.recovery.eased
        return queue.take(most, one_more=one_more)

    def _commit(self, store: Store) -> tuple[Store, bool]:
        """Write some of the queue. What could not be written stays in it."""
        work = Work()
        try:
            work = self._take(store)
            store.commit(*work)
        except (sqlite3.DatabaseError, OSError) as problem:
            self.failed_commits += 1
            self.recovery.retry_at = time.monotonic() + RETRY_S
            met = self.recovery.meet(store, problem, work=work)
            if isinstance(met, MemoryStore) and met.holds:
                self._queue.drop(work)
            else:
                self._queue.put_back(work)
            self.remember(met.mark)
            return met, False
        queued, following = self._queue.drop(work)
        self.remember(store.mark)
        self._acks_due = 0.0
        self.recovery.after_commit(store, puts=len(work.puts), queued=queued, following=following)
        if work.puts or work.losses:
            self.on_change()
        return store, not self.recovery.tight or not following

    def _clean_failed(self) -> bool:
        """Whether to end though the queue could not be written: a stop does not wait for a disk."""
        with self._wake:
            if self._calls:
                return False
            count, lost = self._queue.clear()
            self._clean = False
        log.error("sealed batches could not be written before the stop", batches=count, frames=lost)
        return True

    def _close(self, store: Store) -> None:
        try:
            store.close(clean=self._clean)
        except (sqlite3.Error, OSError) as problem:
            log.error("the spool was not closed cleanly", problem=str(problem))
