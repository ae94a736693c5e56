"""Acks that the collector has given and whose rows are not deleted yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from fieldwatch_agent import faults
from fieldwatch_agent.spool.items import StreamState

if TYPE_CHECKING:
    from fieldwatch_agent.spool.store import Store


class Acks:
    """For each epoch a high-water mark and ranges above it. Emptied by the transaction that deletes the rows."""

    def __init__(self) -> None:
        self._upto: dict[int, int] = {}
        self._ranges: dict[int, set[tuple[int, int]]] = {}
        self.messages = 0

    def add(self, epoch: int, upto: int, also: Iterable[tuple[int, int]] = ()) -> None:
        self.messages += 1
        mark = self._upto[epoch] = max(self._upto.get(epoch, 0), upto)
        ranges = self._ranges.setdefault(epoch, set())
        ranges.update(also)
        ranges.difference_update([pair for pair in ranges if pair[1] <= mark])

    def covers(self, epoch: int, from_seq: int, to_seq: int) -> bool:
        if to_seq <= self._upto.get(epoch, 0):
            return True
        return any(low <= from_seq and to_seq <= high for low, high in self._ranges.get(epoch, ()))

    def spans(self) -> Iterator[tuple[int, int, int]]:
        """(epoch, from, to) of everything acked."""
        for epoch, upto in self._upto.items():
            if upto:
                yield epoch, 0, upto
            for low, high in sorted(self._ranges.get(epoch, ())):
                yield epoch, low, high

    def __bool__(self) -> bool:
        return self.messages > 0

    def clear(self) -> None:
        self._upto.clear()
        self._ranges.clear()
        self.messages = 0


def first_unacked(stream: StreamState, acks: Acks) -> StreamState:
    """The stream with the acks that are known but not on disk yet."""
    first = stream.first_unacked
    for epoch, low, high in acks.spans():
        if epoch == stream.epoch and low <= first <= high:
            first = high + 1
    return stream._replace(first_unacked=min(first, stream.next_seq))


def delete_acked(store: Store) -> None:
    """Delete what is acked, and epochs of which nothing is left. Within the store's transaction."""
    if not store.acks:
        return
    faults.reach("ack-before-delete")
    state = store.state
    known = {stream.epoch: stream for stream in state.streams}
    for span in store.acks.spans():
        if span[0] not in known:
            continue
        batches, records, frames, octets = store.sums(*span)
        if batches:
            store.db.execute("DELETE FROM batch WHERE epoch=? AND seq BETWEEN ? AND ?", span)
            state.batches -= batches
            state.records -= records
            state.frames -= frames
            state.body_bytes -= octets
        gone = store.db.execute("DELETE FROM gap WHERE epoch=? AND from_seq >= ? AND to_seq <= ?", span)
        state.gaps -= gone.rowcount
        known[span[0]].done.add(max(1, span[1]), min(span[2], known[span[0]].next_seq - 1))
    for stream in state.streams[:-1]:
        left = store.db.execute(
            "SELECT EXISTS(SELECT 1 FROM batch WHERE epoch=?1) OR EXISTS(SELECT 1 FROM gap WHERE epoch=?1)",
            (stream.epoch,),
        ).fetchone()
        if not left[0]:
            store.db.execute("DELETE FROM stream WHERE epoch=?", (stream.epoch,))
            state.streams.remove(stream)
