"""What is sent next: rows in the order of their numbers, each checked before it leaves.

A row whose body is damaged becomes a gap under its number, and says how much it held. A row whose numbers are damaged,
or a gap's, says nothing any more: what stood where it stands is a gap with a count that is not known. A number that has
no row, no gap, and is not done with means that the file has lost it: `Damage`, and the whole file is salvaged.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fieldwatch_proto.v1.agent_pb2 import GapReason

from fieldwatch_agent.spool.items import START, Batch, Gap, Place
from fieldwatch_agent.spool.rows import GAP_COLUMNS, HEAD_COLUMNS, Head, batch_crc, body_sound, gap_of
from fieldwatch_agent.spool.state import Damage, Stream, count_rows

if TYPE_CHECKING:
    from fieldwatch_agent.spool.store import Store


class Sending:
    """The store's rows as they are sent."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def peek(
        self, after: Place = START, max_items: int = 8, max_bytes: int = 1 << 20
    ) -> list[tuple[Place, Batch | Gap]]:
        found: list[tuple[Place, Batch | Gap]] = []
        octets = 0
        for stream in list(self.store.state.streams):
            if stream.ordinal < after.ordinal:
                continue
            place = after if stream.ordinal == after.ordinal else Place(stream.ordinal, 0)
            while len(found) < max_items:
                item = self._next_item(stream, place.seq)
                if item is None:
                    break
                size = len(item.body) if isinstance(item, Batch) else 0
                if found and octets + size > max_bytes:
                    return found
                first = item.seq if isinstance(item, Batch) else item.from_seq
                place = Place(stream.ordinal, item.seq if isinstance(item, Batch) else item.to_seq)
                if not self.store.acks.covers(stream.epoch, first, place.seq):
                    found.append((place, item))
                    octets += size
        return found

    def _next_item(self, stream: Stream, after_seq: int) -> Batch | Gap | None:
        db = self.store.db
        head = db.execute(
            f"SELECT {HEAD_COLUMNS} FROM batch WHERE epoch=? AND seq>? ORDER BY seq LIMIT 1",  # noqa: S608
            (stream.epoch, after_seq),
        ).fetchone()
        gap = db.execute(
            f"SELECT {GAP_COLUMNS}, crc FROM gap WHERE epoch=? AND from_seq>? ORDER BY from_seq LIMIT 1",  # noqa: S608
            (stream.epoch, after_seq),
        ).fetchone()
        first = min((row[1] for row in (head, gap) if row is not None), default=stream.next_seq)
        self._expect(stream, after_seq, first)
        if gap is not None and gap[1] == first:
            return gap_of(gap) or self._replace_gap(stream, first, head)
        if head is None:
            return None
        known = Head(*head)
        (body,) = db.execute("SELECT body FROM batch WHERE epoch=? AND seq=?", known[:2]).fetchone()
        if known.sound and body_sound(known.crc, body):
            return Batch(*known[:10], body)
        return self.give_up(known, GapReason.CORRUPT, "checksum of the row", own_transaction=True)

    def _expect(self, stream: Stream, after_seq: int, found: int) -> None:
        """Every number between the two is done with, or inside a gap that has grown. Raises Damage."""
        expected = stream.done.following(after_seq)
        while expected < found:
            row = self.store.db.execute(
                "SELECT to_seq FROM gap WHERE epoch=? AND from_seq<=? ORDER BY from_seq DESC LIMIT 1",
                (stream.epoch, expected),
            ).fetchone()
            if row is None or not isinstance(row[0], int) or row[0] < expected:
                raise Damage(f"what had the numbers {expected} to {found - 1} is not in the file any more")
            expected = stream.done.following(row[0])

    def give_up(self, head: Head, reason: int, detail: str, *, own_transaction: bool = False) -> Gap:
        """Delete a batch and leave a gap under its number. The count is known where the row's numbers are sound."""
        store = self.store
        if own_transaction:
            with store.transaction():
                return self.give_up(head, reason, detail)
        gap = self.gap_for(head, reason, detail)
        state = store.state
        _, records, frames, octets = store.sums(head.epoch, head.seq, head.seq)
        store.db.execute("DELETE FROM batch WHERE epoch=? AND seq=?", head[:2])
        store.write_gap(gap)
        if gap.count_known:
            state.batches -= 1
            state.records -= records
            state.frames -= frames
            state.body_bytes -= octets
            state.gaps += 1
        else:  # what it added to the counts when it was put is not known any more
            count_rows(store.db, state)
        state.declared_frames += gap.frames
        state.declared_records += sum(gap.records.values())
        return gap

    @staticmethod
    def gap_for(head: Head, reason: int, detail: str) -> Gap:
        """What stands in the place of a batch that is given up."""
        sound = head.sound
        records, frames = (head.lost_records, head.frames) if sound else ({}, 0)
        return Gap(head.epoch, head.seq, head.seq, records, frames, reason, sound, time.time_ns(), detail)

    def head(self, epoch: int, seq: int) -> Head | None:
        query = f"SELECT {HEAD_COLUMNS} FROM batch WHERE epoch=? AND seq=?"  # noqa: S608
        row = self.store.db.execute(query, (epoch, seq)).fetchone()
        return Head(*row) if row else None

    def relabel(self, epoch: int, seq: int) -> tuple[int, int] | None:
        store, head = self.store, self.head(epoch, seq)
        if head is None:
            return None
        (body,) = store.db.execute("SELECT body FROM batch WHERE epoch=? AND seq=?", (epoch, seq)).fetchone()
        if not (head.sound and body_sound(head.crc, body)):
            self.give_up(head, GapReason.CORRUPT, "checksum of the row", own_transaction=True)
            return None
        with store.transaction():
            if store.current.epoch == epoch:
                store.replace_stream()
            new = store.take_number()
            next(stream for stream in store.state.streams if stream.epoch == epoch).done.add(seq, seq)
            # What became of batches that are gone is nobody's question any more: no more rows than batches.
            store.db.execute(
                "DELETE FROM relabelled WHERE NOT EXISTS (SELECT 1 FROM batch"
                " WHERE batch.epoch = relabelled.epoch AND batch.seq = relabelled.seq)"
            )
            moved = Batch(*head[:10], body)._replace(epoch=new[0], seq=new[1])
            store.db.execute(
                "UPDATE batch SET epoch=?, seq=?, crc=? WHERE epoch=? AND seq=?",
                (*new, batch_crc(moved), epoch, seq),
            )
            store.db.execute(
                "INSERT OR REPLACE INTO relabelled VALUES(?, ?, ?, ?, ?)", (epoch, seq, *new, time.time_ns())
            )
        return new

    def _replace_gap(self, stream: Stream, from_seq: int, head: Sequence[Any] | None) -> Gap:
        """A gap whose row is damaged: numbers up to the next row stay covered, what it counted is no longer known."""
        store = self.store
        behind = store.db.execute(
            "SELECT min(from_seq) FROM gap WHERE epoch=? AND from_seq>?", (stream.epoch, from_seq)
        ).fetchone()[0]
        rows = [number for number in (behind, head[1] if head else None) if number is not None]
        following = min([stream.next_seq, *rows])
        last = next((high for _, high in stream.done.holes(from_seq, following - 1)), from_seq)
        gap = Gap(
            stream.epoch, from_seq, last, {}, 0, GapReason.CORRUPT, False, time.time_ns(), "checksum of a gap's row"
        )
        self._put_in_place(gap)
        return gap

    def _put_in_place(self, gap: Gap) -> None:
        with self.store.transaction():
            self.store.write_gap(gap)
