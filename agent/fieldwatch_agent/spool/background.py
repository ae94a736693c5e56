"""The check of the whole file after an unclean stop: a few rows at a time in the spool's thread, between its work.

Every row is read and held against its checksums, and looked up by the indexes; then the numbers are counted: each must
be a row's, a gap's, or done with. A damaged row becomes its gap at once; damage of the structure (`Damage`) is for
`recovery`, which salvages the file. After a clean stop there is no check: a row is checked when it is sent.
"""

from __future__ import annotations

import time
from typing import Any

from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1.agent_pb2 import GapReason

from fieldwatch_agent.spool.numbers import Numbers
from fieldwatch_agent.spool.rows import GAP_COLUMNS, HEAD_COLUMNS, Head, body_sound, gap_of
from fieldwatch_agent.spool.state import Damage
from fieldwatch_agent.spool.store import Store

ROWS = 4  # of a slice: at most so many large bodies in memory
PAUSE_S = 0.05
DETAIL = "checksum of the row, found after an unclean stop"

log = get_logger(__name__)


class BackgroundCheck:
    """`step` does one slice when it is due. `describe` may be called by any thread."""

    def __init__(self) -> None:
        self.rows = self.damaged = 0
        self._state = "not needed"
        self._due = 0.0
        self._rowid = -1

    def begin(self) -> None:
        self._state = "running"

    @property
    def running(self) -> bool:
        return self._state == "running"

    def pause(self) -> float | None:
        """Seconds until the next slice; None where there is none."""
        return max(0.0, self._due - time.monotonic()) if self.running else None

    def describe(self) -> dict[str, Any]:
        return {"state": self._state, "rows": self.rows, "damaged": self.damaged}

    def step(self, store: Store) -> bool:
        """Whether the check has come to its end with this slice. Raises Damage, sqlite3.Error."""
        if not self.running or time.monotonic() < self._due:
            return False
        self._due = time.monotonic() + PAUSE_S
        if self._look_at_rows(store):
            return False
        self._look_at_gaps(store)
        self._look_at_numbers(store)
        self._end()
        return True

    def salvaged(self) -> None:
        """The file was made anew meanwhile, and each of its rows looked at."""
        if self.running:
            self._end()

    def _end(self) -> None:
        self._state = "done"
        tell = log.error if self.damaged else log.info
        tell("the spool was checked after an unclean stop", rows=self.rows, damaged=self.damaged)

    def _look_at_rows(self, store: Store) -> bool:
        """The next rows; whether there were any."""
        rows = store.db.execute(
            f"SELECT rowid, class, body, {HEAD_COLUMNS} FROM batch WHERE rowid>? ORDER BY rowid LIMIT ?",  # noqa: S608
            (self._rowid, ROWS),
        ).fetchall()
        for rowid, eviction_class, body, *values in rows:
            head = Head(*values)
            if rowid <= self._rowid or not self._is_indexed(store, rowid, eviction_class, head):
                raise Damage(f"row {rowid} is not where its indexes say")
            self._rowid = rowid
            self.rows += 1
            if not (head.sound and body_sound(head.crc, body)):
                self.damaged += 1
                store.sending.give_up(head, GapReason.CORRUPT, DETAIL, own_transaction=True)
        return bool(rows)

    @staticmethod
    def _is_indexed(store: Store, rowid: int, eviction_class: object, head: Head) -> bool:
        by_number = store.db.execute("SELECT rowid FROM batch WHERE epoch=? AND seq=?", head[:2]).fetchone()
        by_class = store.db.execute(
            "SELECT 1 FROM batch INDEXED BY batch_class WHERE class=? AND rowid=?", (eviction_class, rowid)
        ).fetchone()
        return by_number == (rowid,) and by_class is not None

    def _look_at_gaps(self, store: Store) -> None:
        """A damaged one is replaced when it is sent: what stands behind it says how far it goes."""
        for row in store.db.execute(f"SELECT {GAP_COLUMNS}, crc FROM gap"):  # noqa: S608
            self.damaged += gap_of(row) is None

    @staticmethod
    def _look_at_numbers(store: Store) -> None:
        batches = 0
        for stream in store.state.streams:
            count: int = store.db.execute("SELECT count(*) FROM batch WHERE epoch=?", (stream.epoch,)).fetchone()[0]
            batches += count
            others = Numbers(stream.done.ranges())
            for low, high in store.db.execute("SELECT from_seq, to_seq FROM gap WHERE epoch=?", (stream.epoch,)):
                others.add(low, high)
            if count + len(others) != stream.next_seq - 1:
                raise Damage(f"of {stream.next_seq - 1} numbers of an epoch {count + len(others)} are accounted for")
        if batches != store.state.batches:
            raise Damage(f"there are {batches} rows, and {store.state.batches} were counted")
