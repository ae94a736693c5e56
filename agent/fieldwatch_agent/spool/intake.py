"""What comes into the spool: sealed batches, and losses that are declared. Each takes the next number."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fieldwatch_proto.schema import CLASSES, SCHEMA_VERSION, Kind

from fieldwatch_agent.spool.items import Batch, Gap, Loss, Put
from fieldwatch_agent.spool.rows import BATCH_COLUMNS, GAP_COLUMNS, added, batch_crc, gap_of
from fieldwatch_agent.spool.state import Stream

if TYPE_CHECKING:
    from fieldwatch_agent.spool.store import Store

JOIN_LOSSES_NS = 60 * 1_000_000_000


class Intake:
    """Works inside the store's transaction."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def put(self, put: Put) -> None:
        store, sealed = self.store, put.sealed
        epoch, seq = store.take_number()
        batch = Batch(
            epoch,
            seq,
            int(sealed.kind),
            SCHEMA_VERSION,
            sealed.records,
            put.frames,
            sealed.t_min,
            sealed.t_max,
            sealed.raw_bytes,
            sealed.digest,
            sealed.body,
        )
        store.db.execute(
            f"INSERT INTO batch({BATCH_COLUMNS}, class, crc) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*batch, int(CLASSES[Kind(sealed.kind)]), batch_crc(batch)),
        )
        state = store.state
        state.batches += 1
        state.records += sealed.records
        state.frames += put.frames
        state.body_bytes += len(sealed.body)
        state.account_frames += put.frames
        state.account_records = added(state.account_records, {int(sealed.kind): sealed.records})

    def declare(self, loss: Loss) -> None:
        """A gap of its own number; or the one before grows, while it is of this minute and nobody can have seen it."""
        store, state, now_ns = self.store, self.store.state, time.time_ns()
        if loss.accounted:
            state.account_frames += loss.frames
            state.account_records = added(state.account_records, loss.records)
        key = (loss.reason, loss.detail, loss.count_known)
        epoch, seq, since_ns = state.open_losses.get(key, (0, 0, 0))
        if store.may_grow(epoch, seq) and abs(now_ns - since_ns) < JOIN_LOSSES_NS:
            kept = self._read_gap(epoch, seq)
            if kept is not None:
                self._count(loss)
                records = added(kept.records, loss.records)
                store.write_gap(kept._replace(frames=kept.frames + loss.frames, records=records))
                return
        epoch, seq = store.take_number()
        self._new_gap(epoch, seq, seq, loss, now_ns)
        state.open_losses[key] = (epoch, seq, now_ns)

    def declare_epoch(self, epoch: int, from_seq: int, to_seq: int, loss: Loss) -> None:
        """A loss under the numbers that it had in an epoch that went on after the file had heard of it last, if ever.

        The numbers between are done with.
        """
        store = self.store
        lost = next((stream for stream in store.state.streams if stream.epoch == epoch), None)
        if lost is None:
            lost = Stream(epoch, store.current.ordinal, 1)
            store.current.ordinal += 1
            store.state.streams.insert(-1, lost)
        lost.done.add(lost.next_seq, from_seq - 1)
        lost.next_seq = to_seq + 1
        self._new_gap(epoch, from_seq, to_seq, loss, time.time_ns())

    def _new_gap(self, epoch: int, from_seq: int, to_seq: int, loss: Loss, now_ns: int) -> None:
        self._count(loss)
        self.store.state.gaps += 1
        counts = loss.records
        gap = Gap(epoch, from_seq, to_seq, counts, loss.frames, loss.reason, loss.count_known, now_ns, loss.detail)
        self.store.write_gap(gap)

    def _count(self, loss: Loss) -> None:
        state = self.store.state
        state.declared_frames += loss.frames
        state.declared_records += sum(loss.records.values())

    def _read_gap(self, epoch: int, from_seq: int) -> Gap | None:
        row = self.store.db.execute(
            f"SELECT {GAP_COLUMNS}, crc FROM gap WHERE epoch=? AND from_seq=?",  # noqa: S608
            (epoch, from_seq),
        ).fetchone()
        return gap_of(row) if row else None
