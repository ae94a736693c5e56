"""What the spool's thread does when the disk fails it, and how it comes back. The store in use is always one of these:

======================  ================================================================================================
trouble                 what is done
======================  ================================================================================================
the disk is full        the ballast is given up, the WAL checkpointed; the file does not grow until there is room, a
                        batch at a time; when the queue gets crowded the least worthy rows go (see `eviction`)
the file is damaged     it is salvaged (see `salvage`); the numbers that are in use stay as they are
anything else           a spool in memory (see `memory`) takes its place, is shipped from, and is moved to the disk as
(EIO, read-only, ...)   soon as that can be written; it is bounded, and its evictions are declared
none, and `saver`       the same, to spare the disk: in memory while acks flow, on the disk when they do not
======================  ================================================================================================

Each trouble is logged once and raises one alarm; so is its end.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwatch_proto.logs import get_logger

from fieldwatch_agent.spool import ballast
from fieldwatch_agent.spool.background import BackgroundCheck
from fieldwatch_agent.spool.file import WAL_BYTES, drop_quarantines, is_damage, is_outcome_unknown
from fieldwatch_agent.spool.items import SpoolError, Work
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.memory import SAVER, MemoryStore
from fieldwatch_agent.spool.state import Mark
from fieldwatch_agent.spool.store import Store

if TYPE_CHECKING:
    from fieldwatch_agent.spool.salvage import Salvaged

RETRY_S = 1.0
SALVAGE_RETRY_S = 60.0
EASE_BYTES = ballast.BALLAST_BYTES + WAL_BYTES  # free again, beside what is written, before the file may grow
SAVER_BYTES = 4 << 20
SAVER_S = 30.0
MEMORY_ONLY = "the spool cannot be written; it goes on in memory, bounded"
NOT_SYNCED = "the spool cannot be written: the disk does not say that anything is safe"

Alarm = Callable[[str, dict[str, Any]], None]

log = get_logger(__name__)


class Recovery:
    """For the spool's thread alone. `raise_alarm(kind, data)` is told of each trouble."""

    def __init__(self, folder: Path, raise_alarm: Alarm) -> None:
        self.folder = folder
        self.saver = False
        self.tight = False  # the disk is full: the file must not grow
        self.eased = False  # there seems to be room again: try with one batch
        self.retry_at = 0.0
        self.salvages = 0
        self.check = BackgroundCheck()
        self._raise_alarm = raise_alarm
        self._trouble = ""
        self._moving_at = 0.0
        self._flowing_at = 0.0  # when acks were last seen to flow, in saver mode

    # --- trouble ------------------------------------------------------------------------------------------------

    def open(self, limits: Limits, mark: Mark | None) -> Store:
        """The folder's spool, salvaged if need be. Raises SpoolError."""
        try:
            try:
                store = Store(self.folder, limits, mark)
            except (sqlite3.Error, OSError) as problem:
                if not ballast.is_full(problem):
                    raise
                self._make_room()
                store = Store(self.folder, limits, mark)
        except (sqlite3.Error, OSError) as problem:
            raise SpoolError(f"{self.folder}: {problem}; is the disk sound, is there room on it?") from None
        ballast.make(self.folder)
        if store.salvaged is not None:
            self._tell_salvaged(store.salvaged)
        elif store.state.run and store.get_meta("clean_stop") != "1":
            self.check.begin()
        return store

    def _make_room(self) -> None:
        """What waits to be salvaged is worth more than what was set aside before."""
        drop_quarantines(self.folder)
        ballast.drop(self.folder)

    def meet(self, store: Store, problem: Exception, *, again: bool = False, work: Work | None = None) -> Store:
        """The store to go on with after a failure; `again`: what was done for the one before did not help.

        `work`: what was to be written. Where it may be in the file all the same, the store that is given has it.
        """
        if isinstance(store, MemoryStore):
            self._complain("the spool in memory failed", str(problem), "restart the agent")
            return store
        if ballast.is_full(problem) and not again:
            self._complain("no room on the disk", str(problem), "free some space; records wait in memory, bounded")
            self.tight, self.eased = True, False
            if (self.folder / ballast.FILE_NAME).exists():
                self.retry_at = 0.0
            self._give_up_ballast(store)
            return store
        if isinstance(problem, sqlite3.Error) and is_damage(problem):
            return store if again else self._salvage(store, problem)
        if is_outcome_unknown(problem):
            self._complain(NOT_SYNCED, str(problem), "see the disk; it goes on in memory, bounded")
            return self._in_memory(store, str(problem), RETRY_S, work) if work is not None else store
        self._complain(MEMORY_ONLY, str(problem), "see the disk and the folder's rights")
        return self._in_memory(store, str(problem), RETRY_S)

    def _in_memory(self, store: Store, why: str, seconds: float, held: Work | None = None) -> Store:
        """Go on in memory at once; the disk is tried again after so many seconds."""
        self.tight, self.retry_at = False, 0.0
        self._moving_at = time.monotonic() + seconds
        return MemoryStore(store, why, held=held)

    def _complain(self, event: str, problem: str, remedy: str) -> None:
        if self._trouble != event:
            log.error(event, problem=problem, folder=str(self.folder), remedy=remedy)
            self._raise_alarm("agent.spool_trouble", {"trouble": event, "problem": problem, "remedy": remedy})
            self._trouble = event

    def _settle(self) -> None:
        if self._trouble:
            log.info("the spool can be written again", after=self._trouble)
            self._trouble = ""

    def _salvage(self, store: Store, problem: Exception) -> Store:
        """Go on with a new file that has what the old one held."""
        renewed = None
        for make_room in (False, True):
            try:
                if make_room:
                    self._make_room()
                renewed = store.salvage(str(problem))
                break
            except (sqlite3.Error, OSError) as trouble:
                if make_room or not ballast.is_full(trouble):
                    remedy = f"it could not be salvaged ({trouble}); tried again in {SALVAGE_RETRY_S:.0f} s"
                    self._complain("the spool file is damaged", str(problem), remedy)
                    return self._in_memory(store, str(problem), SALVAGE_RETRY_S)
        assert renewed is not None
        assert renewed.salvaged is not None
        self._tell_salvaged(renewed.salvaged)
        return renewed

    def _tell_salvaged(self, done: Salvaged) -> None:
        self.salvages += 1
        self.check.salvaged()
        data = {"why": done.why, "kept_batches": done.batches, "kept_gaps": done.gaps, "declared_gaps": done.lost}
        log.error(
            "the spool file was damaged: what is whole was kept, the rest is declared", **data, old=str(done.place)
        )
        self._raise_alarm("agent.spool_salvaged", data)

    # --- a full disk --------------------------------------------------------------------------------------------

    def _give_up_ballast(self, store: Store) -> None:
        """With the ballast's room the WAL can be written."""
        try:
            ballast.drop(self.folder)
            store.checkpoint()
        except (sqlite3.Error, OSError) as problem:
            log.debug("no room could be made yet", problem=str(problem))

    def after_commit(self, store: Store, *, puts: int, queued: int, following: int) -> None:
        """`queued`: octets that still wait, `following`: those of the next batch."""
        self.retry_at = 0.0
        if isinstance(store, MemoryStore):
            return
        if self.tight:
            self._look_at_disk(grew=puts > 0 and self.eased, idle=not puts, queued=queued, following=following)
        if not self.tight:
            self._settle()

    def _look_at_disk(self, *, grew: bool, idle: bool, queued: int, following: int) -> None:
        """After a commit on a full disk: whether the file may grow, a batch at a time as long as room is scarce.

        The trouble is over when the file grew and, with the ballast in its place, there is room for all that waits.
        """
        disk = os.statvfs(self.folder)
        room = disk.f_bavail * disk.f_frsize - EASE_BYTES
        self.eased = room >= 2 * following  # in the WAL and in the file
        if grew and room >= 2 * queued and ballast.make(self.folder):
            self.tight = self.eased = False
        elif idle:
            self.retry_at = time.monotonic() + (0.0 if self.eased else RETRY_S)

    # --- in memory ----------------------------------------------------------------------------------------------

    def pause(self, store: Store) -> float | None:
        """Seconds until `balance` has something to do; None where it waits for something to happen."""
        if store.crowded:
            return 0.0
        if not isinstance(store, MemoryStore):
            return self.check.pause()
        return max(0.0, self._moving_at - time.monotonic())

    def acked(self) -> None:
        """An ack has come."""
        self._flowing_at = time.monotonic()

    def balance(self, store: Store) -> Store:
        """Move to the disk what should be there, or away from it what need not be; the store to go on with."""
        now = time.monotonic()
        if store.crowded:
            store.commit([])
        if isinstance(store, MemoryStore):
            if now < self._moving_at:
                return store
            self._moving_at = now + RETRY_S
            if store.why != SAVER:
                if not self._trouble:
                    self._complain(MEMORY_ONLY, store.why, "see the disk and the folder's rights")
                return self._move(store)
            if self._should_spill(store, now):
                return self._move(store)
            return store
        if self.check.step(store) and self.check.damaged:
            self._raise_alarm("agent.spool_damaged_rows", self.check.describe())
        if self.saver and not self.tight and self._is_empty(store):
            store.commit([])
            self._flowing_at = now
            return self._in_memory(store, SAVER, RETRY_S)
        return store

    @staticmethod
    def _is_empty(store: Store) -> bool:
        state = store.state
        if not state.batches + state.gaps:
            return True
        if not store.acks:
            return False
        status = store.status()
        return not status.batches + status.gaps

    def _should_spill(self, store: MemoryStore, now: float) -> bool:
        if not store.state.batches + store.state.gaps:
            self._flowing_at = now
        if store.disk.state.gaps:  # a loss was declared; it is sent from there
            return True
        return store.state.used_bytes > SAVER_BYTES or now - self._flowing_at > SAVER_S

    def _move(self, store: MemoryStore) -> Store:
        try:
            store.move_to_disk()
        except (sqlite3.Error, OSError) as problem:
            disk = store.disk
            if isinstance(problem, sqlite3.Error) and is_damage(problem):
                store.disk = self._salvaged_disk(disk, problem)
            elif ballast.is_full(problem):
                self._give_up_ballast(disk)
            elif is_outcome_unknown(problem):
                store.keep_gaps()
            if store.why == SAVER:
                store.why = str(problem)
                self._complain(MEMORY_ONLY, str(problem), "see the disk and the folder's rights")
            return store
        if store.why != SAVER:
            self._settle()
            ballast.make(self.folder)
        return store.disk

    def _salvaged_disk(self, disk: Store, problem: sqlite3.Error) -> Store:
        renewed = self._salvage(disk, problem)
        return renewed.disk if isinstance(renewed, MemoryStore) else renewed
