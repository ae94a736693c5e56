"""A file that cannot be used as it is: every row that is whole goes into a new one, with its identity.

- Rows are found by `image`, which needs nothing of the file to be in order but the row itself. Its checksums decide.
- The newest `state` row that is whole says what else there was: numbers that are done with stay so; numbers that have
  no row any more become gaps (CORRUPT), with their count where the row's numbers are whole. Without such a state,
  what is lost is not known, and one gap says that.
- What was committed after that state was written (the tail of a WAL) counts as sealed like the rest. What is missing
  of it is known from the `Mark`, which another file keeps.
- Epochs go on as they were, to be sent; new seals get numbers of a new one, so that none is given twice.
- A disk with less room than the rows need keeps those that were found first; the others are declared with their count.
- The new file is complete and synced before the old one is moved to the quarantine: a crash at any moment leaves one
  of the two, and at worst the work is done again. Memory does not grow with the file.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from fieldwatch_proto.schema import CLASSES, Kind
from fieldwatch_proto.v1.agent_pb2 import GapReason

from fieldwatch_agent.spool.ballast import BALLAST_BYTES
from fieldwatch_agent.spool.file import RENEWED_NAME, connect, create, renew
from fieldwatch_agent.spool.image import Image, Value, form
from fieldwatch_agent.spool.items import Batch, Gap
from fieldwatch_agent.spool.numbers import Numbers
from fieldwatch_agent.spool.rows import (
    BATCH_COLUMNS,
    GAP_COLUMNS,
    Head,
    added,
    batch_crc,
    body_sound,
    gap_of,
    gap_row,
)
from fieldwatch_agent.spool.state import KEY, Mark, State, Stream, count_rows, save_state, state_of

BATCH_FORM = form("iiiiiiiiiiidv")
GAP_FORM = form("iiiviiiivi")
STATE_FORM = form("vv", key=KEY, index=True)
COMMIT_BYTES = 1 << 20
BESIDE = ("-wal", "-shm", "-journal")
DETAIL = "lost in a damaged spool file"
_ROWID_SEQ_BITS = 40


class Salvaged(NamedTuple):
    """What became of a file."""

    why: str
    place: Path
    batches: int
    gaps: int  # that the file had
    lost: int  # gaps that say what it has no more


def newest_state(image: Image) -> State | None:
    """Of all copies that are whole, the one that was written last."""
    newest: State | None = None
    for _, text in image.records(STATE_FORM):
        found = state_of(text.decode("utf-8", "replace")) if isinstance(text, bytes) else None
        if found is not None and (newest is None or found.changes > newest.changes):
            newest = found
    return newest


def salvage(
    folder: Path,
    image: Image,
    why: str,
    *,
    mark: Mark | None = None,
    state: State | None = None,
    release: Callable[[], object] = lambda: None,
) -> Salvaged:
    """Make the folder's file anew from its image. `state`: as a running store has it, better than any on disk.

    The caller holds the lock; `release` closes the file when the new one is complete. Raises sqlite3.Error, OSError:
    then nothing has changed.
    """
    path = folder / RENEWED_NAME
    _remove(path)
    image.overlay_wal()
    db = connect(path)
    try:
        db.execute("PRAGMA journal_mode=DELETE").fetchall()  # until it is complete, nothing is to be kept of it
        db.execute("PRAGMA journal_mode=OFF").fetchall()
        db.execute("PRAGMA synchronous=OFF")
        create(db)
        work = _Salvage(image, db, state or newest_state(image), mark, _room(folder), runs=state is not None)
        batches, gaps, lost = work.run(why)
    except BaseException:
        db.close()
        _remove(path)
        raise
    db.close()
    for suffix in BESIDE:  # SQLite keeps an empty journal of a file that it has for itself
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    release()
    return Salvaged(why, renew(folder), batches, gaps, lost)


def survey(image: Image) -> tuple[int, int, int | None]:
    """What a salvage would give: batches and gaps kept, numbers that are lost (None: nothing tells how many)."""
    image.overlay_wal()
    state = newest_state(image)
    done = {stream.epoch: stream.done for stream in state.streams} if state else {}
    there: dict[int, Numbers] = {}

    def is_new(epoch: int, low: int, high: int) -> bool:
        if state is not None and epoch not in done:
            return False
        numbers = there.setdefault(epoch, Numbers(done[epoch].ranges() if epoch in done else ()))
        if numbers.covers(low, high):
            return False
        numbers.add(low, high)
        return True

    gaps = sum(is_new(gap.epoch, gap.from_seq, gap.to_seq) for gap in _gaps(image))
    whole = (head for head, _, body in _heads(image) if body_sound(head.crc, body))
    batches = sum(is_new(head.epoch, head.seq, head.seq) for head in whole)
    if state is None:
        return batches, gaps, None
    last = {stream.epoch: stream.next_seq - 1 for stream in state.streams}
    return batches, gaps, sum(max(0, last[epoch] - len(there.get(epoch, done[epoch]))) for epoch in last)


def _gaps(image: Image) -> Iterator[Gap]:
    """Every gap that is whole, in each of the forms that it had."""
    for values in image.records(GAP_FORM):
        with contextlib.suppress(UnicodeDecodeError):
            texts = tuple(value.decode("utf-8") if isinstance(value, bytes) else value for value in values)
            if (gap := gap_of(texts)) is not None:
                yield gap


def _heads(image: Image) -> Iterator[tuple[Head, Value, Value]]:
    """Head, class and body of every row whose numbers are whole."""
    for epoch, seq, eviction_class, *numbers, crc, digest, body in image.records(BATCH_FORM):
        head = Head(epoch, seq, *numbers, digest, crc)  # type: ignore[arg-type,call-arg]  # `sound` looks
        if head.sound:
            yield head, eviction_class, body


def _room(folder: Path) -> int:
    """Octets of bodies that may be copied: the old file stays, and others need something too."""
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize - BALLAST_BYTES
    return max(0, free - free // 8)


def _remove(path: Path) -> None:
    for name in (path.name, *(path.name + suffix for suffix in BESIDE)):
        path.with_name(name).unlink(missing_ok=True)


class _Salvage:
    """`runs`: the state is that of a running store; numbers that it has not given are of transactions that failed."""

    def __init__(
        self,
        image: Image,
        db: sqlite3.Connection,
        state: State | None,
        mark: Mark | None,
        room_bytes: int,
        *,
        runs: bool,
    ) -> None:
        self.image, self.db, self.mark, self.room_bytes, self.runs = image, db, mark, room_bytes, runs
        self.known = state is not None
        self.state = state or State()
        if not self.known and mark is not None:
            self.state.run, self.state.account_frames = mark.run, mark.frames
            self.state.account_records = dict(mark.records)
        self.streams = {stream.epoch: stream for stream in self.state.streams}
        # Numbers from here on were given after the state was written.
        self.given_later = {stream.epoch: stream.next_seq for stream in self.state.streams}
        self.lost = 0
        self._pending = 0
        if mark is not None and mark.epoch not in self.streams and (not self.known or mark.run == self.state.run):
            self._add_stream(mark.epoch)

    def run(self, why: str) -> tuple[int, int, int]:
        """(batches kept, gaps kept, gaps made)."""
        db = self.db
        db.execute(
            "CREATE TEMP TABLE torn(epoch INT, seq INT, kind INT, records INT, frames INT, PRIMARY KEY(epoch, seq))"
        )
        db.execute("BEGIN IMMEDIATE")
        for gap in _gaps(self.image):
            self._gap(gap)
        gaps: int = db.execute("SELECT count(*) FROM gap").fetchone()[0]
        for head, eviction_class, body in _heads(self.image):
            self._row(head, eviction_class, body)
        self._declare_torn()
        for stream in list(self.streams.values()):
            self._declare_missing(stream)
        count_rows(db, self.state)
        self._begin_epoch(why)
        save_state(db, self.state)
        db.execute("COMMIT")
        db.execute("DROP TABLE torn")
        return self.state.batches, gaps, self.lost

    def _add_stream(self, epoch: int) -> Stream:
        ordinal = max((stream.ordinal for stream in self.streams.values()), default=0) + 1
        stream = self.streams[epoch] = Stream(epoch, ordinal, 1)
        self.given_later.setdefault(epoch, 1)
        return stream

    def _stream(self, epoch: int) -> Stream | None:
        """Epochs that a whole state does not name were finished before it was written."""
        found = self.streams.get(epoch)
        return found if found or self.known else self._add_stream(epoch)

    def _wanted(self, epoch: int, low: int, high: int) -> bool:
        """Whether these numbers are waited for; the stream goes on behind them."""
        if not 0 < low <= high < 1 << _ROWID_SEQ_BITS:
            return False
        stream = self._stream(epoch)
        if stream is None or stream.done.covers(low, high):
            return False
        if self.runs and high >= self.given_later[epoch]:
            return False
        stream.next_seq = max(stream.next_seq, high + 1)
        return True

    # --- what there is ------------------------------------------------------------------------------------------

    def _gap(self, gap: Gap) -> None:
        if not self._wanted(gap.epoch, gap.from_seq, gap.to_seq):
            return
        # Gaps grow; of copies that share numbers the one that says most is the newest.
        span = (gap.epoch, gap.to_seq, gap.from_seq)
        query = f"SELECT {GAP_COLUMNS}, crc FROM gap WHERE epoch=? AND from_seq<=? AND to_seq>=?"  # noqa: S608
        others = [other for row in self.db.execute(query, span) if (other := gap_of(row)) is not None]
        if any(_weight(other) >= _weight(gap) for other in others):
            return
        self.db.execute("DELETE FROM gap WHERE epoch=? AND from_seq<=? AND to_seq>=?", span)
        self._insert_gap(gap)

    def _row(self, head: Head, eviction_class: Value, body: Value) -> None:
        if self._is_in_a_gap(head) or not self._wanted(head.epoch, head.seq, head.seq):
            return
        stream = self.streams[head.epoch]
        rowid = stream.ordinal << _ROWID_SEQ_BITS | head.seq  # the oldest first, see `eviction`
        if not isinstance(body, bytes) or not body_sound(head.crc, body) or self.room_bytes < len(body):
            self.db.execute("INSERT OR IGNORE INTO torn VALUES(?, ?, ?, ?, ?)", (*head[:3], *head[4:6]))
            return
        with contextlib.suppress(ValueError):
            eviction_class = int(CLASSES[Kind(head.kind)])
        batch = Batch(*head[:10], body)
        new = self.db.execute(
            f"INSERT OR IGNORE INTO batch(rowid, {BATCH_COLUMNS}, class, crc)"
            " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (rowid, *batch, eviction_class, batch_crc(batch)),
        ).rowcount
        if new and head.seq >= self.given_later[head.epoch]:
            self.state.account_frames += head.frames
            self.state.account_records = added(self.state.account_records, head.lost_records)
        self.room_bytes -= new * len(body)
        self._pending += new * len(body)
        if self._pending > COMMIT_BYTES:
            self._pending = 0
            self.db.execute("COMMIT")
            self.db.execute("BEGIN IMMEDIATE")

    def _is_in_a_gap(self, head: Head) -> bool:
        query = "SELECT EXISTS(SELECT 1 FROM gap WHERE epoch=? AND from_seq<=? AND to_seq>=?)"
        return bool(self.db.execute(query, (head.epoch, head.seq, head.seq)).fetchone()[0])

    # --- what there is not --------------------------------------------------------------------------------------

    def _insert_gap(self, gap: Gap) -> None:
        self.db.execute(
            f"INSERT INTO gap({GAP_COLUMNS}, crc) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            gap_row(gap),
        )

    def _declare(self, epoch: int, low: int, high: int, frames: int = 0, records: dict[int, int] | None = None) -> None:
        """A gap of ours; its count is known where `records` is given."""
        known = records is not None
        self._insert_gap(Gap(epoch, low, high, records or {}, frames, GapReason.CORRUPT, known, time.time_ns(), DETAIL))
        self.lost += 1
        self.state.declared_frames += frames
        self.state.declared_records += sum((records or {}).values())

    def _declare_torn(self) -> None:
        """Rows whose numbers are whole and whose body is nowhere, or had no room."""
        torn = self.db.execute(
            "SELECT epoch, seq, kind, records, frames FROM torn AS t WHERE NOT EXISTS"
            " (SELECT 1 FROM batch WHERE batch.epoch=t.epoch AND batch.seq=t.seq)"
        )
        for epoch, seq, kind, records, frames in torn:
            self._declare(epoch, seq, seq, frames, {kind: records})
            if seq >= self.given_later[epoch]:
                self.state.account_frames += frames
                self.state.account_records = added(self.state.account_records, {kind: records})

    def _declare_missing(self, stream: Stream) -> None:
        """Numbers that were given and have neither a row nor a gap."""
        mark = self.mark if self.mark is not None and self.mark.epoch == stream.epoch else None
        if mark is not None:
            stream.next_seq = max(stream.next_seq, mark.next_seq)
        first = 1 if self.known else self._first(stream)
        later = self.given_later[stream.epoch]
        there = Numbers(stream.done.ranges())
        for low, high in self._there(stream.epoch):
            there.add(low, high)
        if not self.known:
            stream.done.add(1, first - 1)
        holes = list(there.holes(first, min(later, stream.next_seq) - 1) if self.known else ())
        tail = list(there.holes(max(first, later), stream.next_seq - 1))
        for low, high in holes:
            self._declare(stream.epoch, low, high)
        for low, high in tail:
            if mark is not None and len(tail) == 1 and mark.run == self.state.run:
                self._declare_tail(mark, low, high)
            else:
                self._declare(stream.epoch, low, high)

    def _declare_tail(self, mark: Mark, low: int, high: int) -> None:
        """All that is missing of what was committed last: what the mark counts and the rows do not."""
        state = self.state
        frames = max(0, mark.frames - state.account_frames)
        records = {kind: mark.records.get(kind, 0) - state.account_records.get(kind, 0) for kind in mark.records}
        records = {kind: count for kind, count in records.items() if count > 0}
        self._declare(mark.epoch, low, high, frames, records)
        state.account_frames += frames
        state.account_records = added(state.account_records, records)

    def _first(self, stream: Stream) -> int:
        """Where the numbers begin that are still there; what was before is not known."""
        return min((low for low, _ in self._there(stream.epoch)), default=stream.next_seq)

    def _there(self, epoch: int) -> Iterator[tuple[int, int]]:
        yield from self.db.execute("SELECT seq, seq FROM batch WHERE epoch=? ORDER BY seq", (epoch,))
        yield from self.db.execute("SELECT from_seq, to_seq FROM gap WHERE epoch=? ORDER BY from_seq", (epoch,))

    def _begin_epoch(self, why: str) -> None:
        """For new seals. It begins with a gap where nobody can say what the file had."""
        epoch = 0
        while epoch == 0 or epoch in self.streams:
            epoch = int.from_bytes(os.urandom(8)) >> 1
        fresh = self._add_stream(epoch)
        if not self.known:
            gap = Gap(epoch, 1, 1, {}, 0, GapReason.CORRUPT, False, time.time_ns(), f"spool file: {why}")
            self._insert_gap(gap)
            self.lost += 1
            self.state.gaps += 1
            fresh.next_seq = 2
        self.state.streams = sorted(self.streams.values(), key=lambda stream: stream.ordinal)
        self.state.marks = [mark for mark in self.state.marks if mark[1] in self.streams]
        self.state.open_losses = {}


def _weight(gap: Gap) -> tuple[int, int, int]:
    return gap.to_seq - gap.from_seq, gap.frames, sum(gap.records.values())
