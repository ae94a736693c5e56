"""A spool in memory, for the time in which the disk cannot be written, or should not be.

- It is a store like the other, with the same bounds by class and the same declared gaps, but on a file that only this
  process has. Its numbers are those of an epoch of its own: none of them can be given again after a crash.
- The account goes on in it. `move_to_disk` brings everything into the file, in one transaction, under the same numbers.
- What a kill takes with it is known all the same: the `Mark` says where the account stood at the first number that
  waits here, and the next start declares what was observed since, under the numbers that were in use: a collector that
  has some of these batches takes them off.
- A transaction whose sync failed may be in the file after a kill, or not. What it held waits for the file (`hold`) and
  is not sent from here; and a move whose sync failed is tried again, while what was moved is sent on as it is.
- A loss that a value of meta explains, drops say, waits for the file too: a kill takes the value, the next start
  finds the loss again by the counters, and it must not be at the collector by then.
- Batches of the file wait until the file is in use again; what is acked of them meanwhile is remembered.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fieldwatch_agent.spool.acks import delete_acked, drop_empty
from fieldwatch_agent.spool.eviction import Eviction
from fieldwatch_agent.spool.file import create, is_outcome_unknown
from fieldwatch_agent.spool.items import Loss, Put, Status, StreamState, Work
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.queue import join_loss
from fieldwatch_agent.spool.rows import BATCH_COLUMNS, GAP_COLUMNS, added, differences
from fieldwatch_agent.spool.state import Mark, State, Stream
from fieldwatch_agent.spool.store import Store

MEMORY_BYTES = 8 << 20
SAVER = "saver mode: written when the collector does not ack"
MOVED = "moved"  # key of the file's meta: epoch and account of what was moved into it last
MOST_STEPS = 64


class Step(NamedTuple):
    """The account when all numbers below `next_seq` had been given."""

    next_seq: int
    frames: int
    records: Mapping[int, int]


class MemoryStore(Store):
    """In the place of `disk` until its rows are moved there. `held`: see `hold`."""

    def __init__(self, disk: Store, why: str, max_bytes: int = MEMORY_BYTES, held: Work | None = None) -> None:
        self.disk, self.why = disk, why
        self.held = Work()
        super().__init__(disk.folder, Limits(min(max_bytes, disk.limits.max_bytes), 0, disk.limits.max_age_s))
        if held is not None:
            self.hold(held)

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
        self._steps = [Step(1, self.state.account_frames, dict(self.state.account_records))]
        self._steps_epoch = self.current.epoch

    # --- what a kill would take ---------------------------------------------------------------------------------

    def hold(self, work: Work) -> None:
        """Keep it for the file. It counts in the account as if it were there; a kill leaves it to the next start."""
        held, state = self.held, self.state
        losses = list(held.losses)
        for loss in work.losses:
            join_loss(losses, loss)
        self.held = Work([*held.puts, *work.puts], losses, {**held.meta, **work.meta})
        frames, records = _account(work)
        state.account_frames += frames
        state.account_records = added(state.account_records, records)
        state.meta.update(work.meta)

    @property
    def holds(self) -> bool:
        return bool(self.held.puts or self.held.losses or self.held.meta)

    def _shared_account(self) -> tuple[int, dict[int, int]]:
        """The account of what is sent from here, the file's before it included."""
        frames, records = _account(self.held)
        return self.state.account_frames - frames, differences(self.state.account_records, records)

    def _note_step(self) -> None:
        """What was given by now, and what of it is with the collector for good."""
        frames, records = self._shared_account()
        epoch, steps = self.current.epoch, self._steps
        if epoch != self._steps_epoch:  # a conflict: what waits under older numbers counts as waiting
            self._steps_epoch = epoch
            steps[:] = [steps[0]._replace(next_seq=1)]
        step = Step(self.current.next_seq, frames, records)
        if len(steps) > 1 and steps[-1].next_seq == step.next_seq:
            steps.pop()
        steps.append(step)
        if len(steps) > MOST_STEPS:
            del steps[1:-1:2]
        if any(self._first_waiting(stream) < stream.next_seq for stream in self.state.streams[:-1]):
            return
        first = self._first_waiting(self.current)
        while len(steps) > 1 and steps[1].next_seq <= first:
            del steps[0]

    def _first_waiting(self, stream: Stream) -> int:
        firsts = self.db.execute(
            "SELECT (SELECT min(seq) FROM batch WHERE epoch=?1), (SELECT min(from_seq) FROM gap WHERE epoch=?1)",
            (stream.epoch,),
        ).fetchone()
        return min((number for number in firsts if number is not None), default=stream.next_seq)

    @property
    def mark(self) -> Mark:
        self._note_step()
        settled, newest, file = self._steps[0], self.current, self.disk.state
        frames, records = self._shared_account()
        return Mark(
            newest.epoch,
            newest.next_seq,
            self.state.run,
            settled.frames,
            settled.records,
            waiting=newest.next_seq - settled.next_seq,
            volatile=True,
            waiting_frames=frames - settled.frames,
            waiting_records=differences(records, settled.records),
            file_frames=file.account_frames,
            file_records=file.account_records,
        )

    # --- what comes in ------------------------------------------------------------------------------------------

    def commit(self, puts: Sequence[Put], losses: Sequence[Loss] = (), meta: Mapping[str, str] | None = None) -> None:
        """In saver mode losses, and what explains them, are rare and go to the disk: no kill may part the two."""
        if self.why == SAVER and (losses or meta):
            try:
                self.disk.commit([], losses, meta)
            except (sqlite3.Error, OSError) as problem:
                self.why = str(problem)
                if is_outcome_unknown(problem):
                    self.hold(Work((), losses, meta or {}))
                    losses, meta = (), None
            else:
                self._take_over(losses, meta or {})
                losses, meta = (), None
        explained = [loss for loss in losses if not loss.accounted]
        if explained or meta:
            self.hold(Work((), explained, meta or {}))
        super().commit(puts, [loss for loss in losses if loss.accounted])
        self._note_step()

    def begin_run(
        self,
        run: int,
        losses: Sequence[Loss],
        meta: Mapping[str, str],
        lost_epoch: tuple[int, int, int, Loss] | None = None,
    ) -> None:
        super().begin_run(run, losses, meta, lost_epoch)
        self._steps[:] = [Step(1, 0, {})]

    def _take_over(self, losses: Sequence[Loss], meta: Mapping[str, str]) -> None:
        """What the disk has just been told is true here as well; no kill takes it."""
        state = self.state
        state.meta.update(meta)
        frames, records = _account(Work((), losses))
        state.account_frames += frames
        state.account_records = added(state.account_records, records)
        self._steps[:] = [Step(s.next_seq, s.frames + frames, added(s.records, records)) for s in self._steps]
        for loss in losses:
            state.declared_frames += loss.frames
            state.declared_records += sum(loss.records.values())

    def may_grow(self, epoch: int, seq: int) -> bool:
        """Only the newest number: what is counted below a step must not change."""
        return super().may_grow(epoch, seq) and (epoch, seq + 1) == (self.current.epoch, self.current.next_seq)

    def keep_gaps(self) -> None:
        """What was moved by a failed sync may be in the file as it is now: no gap of it grows any more."""
        for stream in self.state.streams:
            self._leased[stream.epoch] = stream.next_seq - 1

    def ack(self, epoch: int, upto: int, also: Sequence[tuple[int, int]] = ()) -> None:
        if any(stream.epoch == epoch for stream in self.state.streams):
            super().ack(epoch, upto, also)
            super().commit([])  # it costs no sync, and memory is short
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
        here, there, held = status, self.disk.state, self.held
        here = here._replace(
            records=here.records + sum(put.sealed.records for put in held.puts),
            batches=here.batches + len(held.puts),
            frames=here.frames + sum(put.frames for put in held.puts),
            gaps=here.gaps + len(held.losses),
            body_bytes=here.body_bytes + held.octets,
        )
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
        super().commit([])
        disk, mine = self.disk, self.state
        frames, records = self._shared_account()
        moved = json.dumps([self.current.epoch, frames, records])
        allowed = disk.limits.allowed(disk.folder, disk.state.used_bytes + mine.used_bytes)
        with disk.transaction():
            delete_acked(disk)
            before = disk.state.streams
            disk.state.streams = [Stream(s.epoch, s.ordinal, s.next_seq, s.done) for s in mine.streams]
            for stream in before:
                stream.ordinal = disk.current.ordinal + 1
                disk.state.streams.append(stream)
            disk.add_stream()
            self._copy_rows()
            for name in ("batches", "records", "frames", "body_bytes", "gaps"):
                setattr(disk.state, name, getattr(disk.state, name) + getattr(mine, name))
            for name in ("declared_records", "declared_frames", "run"):
                setattr(disk.state, name, getattr(mine, name))
            disk.state.account_frames, disk.state.account_records = frames, records
            disk.state.meta = {**mine.meta, MOVED: moved}
            disk.state.open_losses = {}
            for put in self.held.puts:
                disk.intake.put(put)
            for loss in self.held.losses:
                disk.intake.declare(loss)
            Eviction(disk).fit(allowed)
            drop_empty(disk)
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


def _account(work: Work) -> tuple[int, dict[int, int]]:
    """What it adds to the account: frames, records of each kind."""
    frames = sum(put.frames for put in work.puts) + sum(loss.frames for loss in work.losses if loss.accounted)
    records: dict[int, int] = {}
    for put in work.puts:
        records = added(records, {int(put.sealed.kind): put.sealed.records})
    for loss in work.losses:
        records = added(records, loss.records if loss.accounted else {})
    return frames, records


def moved_account(store: Store, epoch: int) -> tuple[int, dict[int, int]] | None:
    """The account when an epoch was moved from memory into this file; None where that was never so."""
    kept, frames, records = json.loads(store.get_meta(MOVED) or "[0, 0, {}]")
    return (frames, {int(kind): count for kind, count in records.items()}) if kept == epoch else None
