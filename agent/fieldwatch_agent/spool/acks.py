"""Acks that the collector has given and whose rows are not deleted yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from fieldwatch_agent import faults
from fieldwatch_agent.spool.items import StreamState
from fieldwatch_agent.spool.numbers import Numbers

if TYPE_CHECKING:
    from fieldwatch_agent.spool.store import Store


class Acks:
    """The numbers of each epoch. Emptied by the transaction that deletes the rows."""

    def __init__(self) -> None:
        self._numbers: dict[int, Numbers] = {}
        self.messages = 0

    def add(self, epoch: int, upto: int, also: Iterable[tuple[int, int]] = ()) -> None:
        self.messages += 1
        numbers = self._numbers.setdefault(epoch, Numbers())
        numbers.add(1, upto)
        for low, high in also:
            numbers.add(low, high)

    def covers(self, epoch: int, from_seq: int, to_seq: int) -> bool:
        numbers = self._numbers.get(epoch)
        return numbers is not None and numbers.covers(from_seq, to_seq)

    def spans(self) -> Iterator[tuple[int, int, int]]:
        """(epoch, from, to) of everything acked, in the order of the numbers."""
        for epoch, numbers in self._numbers.items():
            for low, high in numbers.ranges():
                yield epoch, low, high

    def __bool__(self) -> bool:
        return self.messages > 0

    def clear(self) -> None:
        self._numbers.clear()
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
        known[span[0]].done.add(span[1], min(span[2], known[span[0]].next_seq - 1))
    drop_empty(store)


def drop_empty(store: Store) -> None:
    """Delete epochs of which nothing is left, but for the newest. Within the store's transaction."""
    state = store.state
    for stream in state.streams[:-1]:
        left = store.db.execute(
            "SELECT EXISTS(SELECT 1 FROM batch WHERE epoch=?1) OR EXISTS(SELECT 1 FROM gap WHERE epoch=?1)",
            (stream.epoch,),
        ).fetchone()
        if not left[0]:
            store.db.execute("DELETE FROM stream WHERE epoch=?", (stream.epoch,))
            state.streams.remove(stream)
