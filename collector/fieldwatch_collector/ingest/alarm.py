"""Tells people that the store cannot take batches, and that it can again: an event each, and a line in the log.

On a full disk the event itself may find no room. It is tried again, with the moment at which the trouble began, and
the try that works shows that the store does. Trouble that comes and goes is told more and more rarely.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any

from fieldwatch_proto.logs import get_logger

from fieldwatch_collector.hub import Hub
from fieldwatch_collector.journal import record
from fieldwatch_collector.store import Store, StoreError

LOOK_EVERY_S = 1.0
LONGEST_PAUSE_S = 60.0  # between two tries
RECURS_S = 2 * LONGEST_PAUSE_S  # trouble that begins sooner than that after the last one ended comes and goes

log = get_logger(__name__)


class StoreAlarm:
    """One per server, on its event loop."""

    def __init__(self, store: Store, hub: Hub, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._problem = ""
        self._since_ns = 0
        self._told = False
        self._pause_s = LOOK_EVERY_S
        self._not_before = 0.0
        self._recovered_at = float("-inf")

    async def look(self) -> None:
        """See how the store does; every `LOOK_EVERY_S`."""
        problem = self._store.problem
        now = self._clock()
        if problem and not self._problem:
            recurs = now - self._recovered_at < RECURS_S
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S) if recurs else LOOK_EVERY_S
            self._problem, self._since_ns, self._told = problem, time.time_ns(), False
            log.error("batches are not taken", problem=problem)
        if not self._problem or now < self._not_before:
            return
        if not self._told:
            self._told = await self._tell("collector.store_problem", {"problem": self._problem}, self._since_ns)
        if self._told and not self._store.is_short_of_space:
            await self._recover()
        self._not_before = now + self._pause_s

    async def _recover(self) -> None:
        seconds = round((time.time_ns() - self._since_ns) / 1e9, 1)
        if await self._tell("collector.store_recovered", {"problem": self._problem, "seconds": seconds}):
            log.info("batches are taken again", problem=self._problem, seconds=seconds)
            self._problem, self._recovered_at = "", self._clock()

    async def _tell(self, type_: str, data: dict[str, Any], ts_ns: int | None = None) -> bool:
        def work(connection: sqlite3.Connection) -> dict[str, Any]:
            return record(connection, type_, subject=("collector", "", ""), data=data, ts_ns=ts_ns)

        try:
            event = await self._store.transact(work)
        except StoreError:
            return False
        self._hub.publish([event])
        return True
