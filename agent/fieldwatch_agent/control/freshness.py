"""Whether fresh records get through: the one sign of life that counts.

A mark is set at the number that the next sealed batch will get. Once the collector has acked any number from there on,
a record that was sealed after the mark is safe, and the next mark is set. That the process runs, that it is connected,
that old batches are acked: none of it moves the mark.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread


@dataclass(frozen=True)
class Mark:
    """`at_s` is monotonic."""

    epoch: int
    seq: int
    at_s: float


class Freshness:
    """`look` and `set_mark` run in the spool's thread, `follow` in another; the figures may be read anywhere."""

    def __init__(self) -> None:
        self.newest_s: float | None = None
        """Monotonic time of the newest mark after which a record was sealed that the collector has."""
        self.waits_since_s: float | None = None
        """Since when sealed records have waited without any of them getting through; None where none waits."""
        self._mark: Mark | None = None
        self._acks_seen = 0

    @property
    def age_s(self) -> float | None:
        """Seconds since a time after which a record was sealed that the collector has; None = there was none yet."""
        newest_s = self.newest_s
        return None if newest_s is None else time.monotonic() - newest_s

    def set_mark(self, store: Store) -> None:
        """Only what is sealed from now on counts."""
        self._mark = Mark(store.current.epoch, store.current.next_seq, time.monotonic())

    def follow(self, spool: SpoolThread, acks: int) -> None:
        """Look, in the spool's thread. `acks`: how many the collector has given by now."""
        came, self._acks_seen = acks != self._acks_seen, acks
        spool.post(lambda store: self.look(store, acks_came=came))

    def look(self, store: Store, *, acks_came: bool) -> None:
        """`acks_came`: the collector has acked something since the last look; without, no row is looked at."""
        mark = self._mark
        if mark is None:
            self.set_mark(store)
            return
        if mark.epoch != store.current.epoch:  # a new epoch: all of its numbers are newer than the mark
            mark = self._mark = Mark(store.current.epoch, 1, mark.at_s)
        given = store.current.next_seq - mark.seq
        if given and acks_came and _waiting(store, mark) < given:
            self.newest_s, self.waits_since_s = mark.at_s, None
            self.set_mark(store)
        elif given:
            self.waits_since_s = self.waits_since_s or time.monotonic()
        else:  # nothing was sealed since: the mark may as well stand here
            self._mark = Mark(mark.epoch, mark.seq, time.monotonic())


def _waiting(store: Store, mark: Mark) -> int:
    """How many numbers from the mark on are in the spool and not acked."""
    batches = store.db.execute("SELECT seq, seq FROM batch WHERE epoch=? AND seq>=?", (mark.epoch, mark.seq))
    gaps = store.db.execute(
        "SELECT max(from_seq, ?2), to_seq FROM gap WHERE epoch=?1 AND to_seq>=?2", (mark.epoch, mark.seq)
    )
    return sum(
        high - low + 1 for rows in (batches, gaps) for low, high in rows if not store.acks.covers(mark.epoch, low, high)
    )
