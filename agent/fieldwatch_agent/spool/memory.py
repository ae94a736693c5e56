"""A spool in memory, for the time in which the disk cannot be written, or should not be.

- It is a store like the other, with the same bounds by class and the same declared gaps, but on a file that only this
  process has. Its numbers are those of an epoch of its own: none of them can be given again after a crash.
- The account goes on in it. `move_to_disk` brings everything into the file, in one transaction, under the same numbers.
- What a kill takes with it is known all the same: the `Mark` says where the account stood when nothing waited here, and
  the next start declares what was observed since, under the numbers that were in use: a collector that has some of
  these batches takes them off.
- Batches of the file wait until the file is in use again; what is acked of them meanwhile is remembered.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from fieldwatch_agent.spool.eviction import Eviction
from fieldwatch_agent.spool.file import create
from fieldwatch_agent.spool.items import Loss, Put, Status, StreamState
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.rows import BATCH_COLUMNS, GAP_COLUMNS, added, differences
from fieldwatch_agent.spool.state import Mark, State, Stream
from fieldwatch_agent.spool.store import Store

MEMORY_BYTES = 8 << 20
SAVER = "saver mode: written when the collector does not ack"


class MemoryStore(Store):
    """In the place of `disk` until its rows are moved there."""

    def __init__(self, disk: Store, why: str, max_bytes: int = MEMORY_BYTES) -> None:
        self.disk, self.why = disk, why
        super().__init__(disk.folder, Limits(min(max_bytes, disk.limits.max_bytes), 0, disk.limits.max_age_s))

    def _open(self, mark: Mark | None) -> None:
        before = self.disk.state
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        create(self.db)
        self.state = State(
            declared_records=before.declared_records,
            declared_frames=before.declared_frames,
            account_frames=before.account_frames,
            account_records=dict(before.account_records),
            run=before.run,
            meta=dict(before.meta),
        )
        self._clock_before_s = self.disk.state.clock_s
        with self.transaction():
            self.add_stream(behind=before.streams[-1].ordinal)
        self._settle()

    def _settle(self) -> None:
        """Nothing waits here: what the account holds by now cannot be lost with the process."""
        self._settled_seq = self.current.next_seq
        self._settled_frames = self.state.account_frames
        self._settled_records = dict(self.state.account_records)

    @property
    def mark(self) -> Mark:
        if not self.state.batches + self.state.gaps:
            self._settle()
        newest = self.current
        waiting = max(0, newest.next_seq - self._settled_seq)
        return Mark(
            newest.epoch,
            newest.next_seq,
            self.state.run,
            self._settled_frames,
            self._settled_records,
            waiting=waiting,
            volatile=True,
            waiting_frames=self.state.account_frames - self._settled_frames,
            waiting_records=differences(self.state.account_records, self._settled_records),
        )

    def commit(self, puts: Sequence[Put], losses: Sequence[Loss] = (), meta: Mapping[str, str] | None = None) -> None:
        """In saver mode losses, and what explains them, are rare and go to the disk: no kill may part the two."""
        if self.why == SAVER and (losses or meta):
            try:
                self.disk.commit([], losses, meta)
            except (sqlite3.Error, OSError) as problem:
                self.why = str(problem)
            else:
                self._take_over(losses, meta or {})
                losses, meta = (), None
        super().commit(puts, losses, meta)

    def _take_over(self, losses: Sequence[Loss], meta: Mapping[str, str]) -> None:
        """What the disk has just been told is true here as well."""
        state = self.state
        state.meta.update(meta)
        for loss in losses:
            state.declared_frames += loss.frames
            state.declared_records += sum(loss.records.values())
            if loss.accounted:
                state.account_frames += loss.frames
                state.account_records = added(state.account_records, loss.records)
                self._settled_frames += loss.frames  # a kill does not take it, and must not declare it again
                self._settled_records = added(self._settled_records, loss.records)

    def ack(self, epoch: int, upto: int, also: Sequence[tuple[int, int]] = ()) -> None:
        if any(stream.epoch == epoch for stream in self.state.streams):
            super().ack(epoch, upto, also)
            self.commit([])  # it costs no sync, and memory is short
        else:
            self.disk.ack(epoch, upto, also)

    def streams(self) -> list[StreamState]:
        """Those of the file as well: the collector tells what it has of them. The file is not read."""
        waiting = [
            StreamState(stream.epoch, min(stream.done.following(0), stream.next_seq), stream.next_seq)
            for stream in self.disk.state.streams
        ]
        return waiting + super().streams()

    def with_others(self, status: Status) -> Status:
        here, there = status, self.disk.state
        return here._replace(
            records=here.records + there.records,
            batches=here.batches + there.batches,
            frames=here.frames + there.frames,
            gaps=here.gaps + there.gaps,
            body_bytes=here.body_bytes + there.body_bytes,
            used_bytes=here.used_bytes + there.used_bytes,
            max_bytes=self.disk.limits.max_bytes,
            memory_only=self.why,
            memory_records=here.records,
        )

    def move_to_disk(self) -> None:
        """Everything, under its own numbers. Raises sqlite3.Error, OSError: then nothing has moved.

        What waited on the disk is sent behind it, so that a stream that is being sent goes on where it is.
        """
        self.commit([])
        disk, mine = self.disk, self.state
        allowed = disk.limits.allowed(disk.folder, disk.state.used_bytes + mine.used_bytes)
        with disk.transaction():
            disk.delete_acked()
            before = disk.state.streams
            disk.state.streams = [Stream(s.epoch, s.ordinal, s.next_seq, s.done) for s in mine.streams]
            for stream in before:
                stream.ordinal = disk.current.ordinal + 1
                disk.state.streams.append(stream)
            disk.add_stream()
            self._copy_rows()
            for name in ("batches", "records", "frames", "body_bytes", "gaps"):
                setattr(disk.state, name, getattr(disk.state, name) + getattr(mine, name))
            for name in ("declared_records", "declared_frames", "account_frames", "account_records", "run", "meta"):
                setattr(disk.state, name, getattr(mine, name))
            disk.state.open_losses = {}
            Eviction(disk).fit(allowed)
        disk.acks.clear()
        disk.adopt_numbers(self)
        self.db.close()

    def _copy_rows(self) -> None:
        columns = f"{BATCH_COLUMNS}, class, crc"
        for row in self.db.execute(f"SELECT {columns} FROM batch ORDER BY rowid"):  # noqa: S608
            self.disk.db.execute(
                f"INSERT INTO batch({columns}) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
        for row in self.db.execute(f"SELECT {GAP_COLUMNS}, crc FROM gap"):  # noqa: S608
            self.disk.db.execute(
                f"INSERT INTO gap({GAP_COLUMNS}, crc) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )

    def close(self, *, clean: bool) -> None:
        """Raises what `move_to_disk` raises, with the file closed: then what waits here is lost with the process."""
        try:
            self.move_to_disk()
        except BaseException:
            self.disk.close(clean=False)
            raise
        self.disk.close(clean=clean)
