"""Acks that the collector has given and whose rows are not deleted yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fieldwatch_agent.spool.items import StreamState


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
