"""What may be acked on one stream: only numbers whose octets this agent has shown us and that are durable.

The store may hold more numbers of an epoch than this agent ever sent: a card that was cloned or rolled back issues used
numbers anew, for other data. An ack "up to" the store's high-water mark would make the agent delete what we never saw.
So a stream starts from what the agent says it has given up already (`first_unacked`), and grows by the batches and gaps
that came and were compared by their digest. A lost ack costs one resend.

An Ack names the mark and, above it, only the ranges that the items it answers are in: those that are new or have grown.
Agents take out what an Ack names and remember nothing of the one before, so that a stream of a thousand ranges costs no
more than one that is in order. None is missed: a stream delivers every Ack in its order, or breaks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Protocol

from fieldwatch_proto.v1 import agent_pb2 as pb

from fieldwatch_collector.store import MAX_SEQ, Held
from fieldwatch_collector.store.ranges import add

Span = tuple[int, int]


class Numbered(Protocol):
    """What an ack may cover: all that is remembered of an item, whose octets are the store's."""

    @property
    def epoch(self) -> int: ...

    @property
    def span(self) -> Span: ...


class Acks:
    """One per stream."""

    def __init__(self) -> None:
        self._shown: dict[int, Held] = {}

    def greet(self, streams: Iterable[pb.Stream], held: Mapping[int, Held]) -> list[pb.Have]:
        """Begin with what a Hello says; what the Welcome answers."""
        have = []
        for stream in streams:
            given_up = min(max(stream.first_unacked, 1) - 1, MAX_SEQ)
            self._shown[stream.epoch] = Held(min(given_up, held[stream.epoch].high_water))
            have.append(pb.Have(epoch=stream.epoch, upto=self._shown[stream.epoch].high_water))
        return have

    def confirm(self, items: Iterable[Numbered]) -> list[pb.Ack]:
        """Acks that cover these durable items, one per epoch."""
        spans: dict[int, set[Span]] = {}
        for item in items:
            grown = add(self._shown.get(item.epoch, Held()), *item.span)
            if grown is not None:  # else there are too many holes to remember: this one is named alone
                self._shown[item.epoch] = grown
            spans.setdefault(item.epoch, set()).add(item.span)
        return [self._ack(epoch, named) for epoch, named in spans.items()]

    def _ack(self, epoch: int, spans: Iterable[Span]) -> pb.Ack:
        shown = self._shown.get(epoch, Held())
        ranges = {_around(shown, span) for span in spans if span[1] > shown.high_water}
        also = [pb.Range(from_seq=low, to_seq=high) for low, high in sorted(ranges)]
        return pb.Ack(epoch=epoch, upto=shown.high_water, also=also)


def _around(held: Held, span: Span) -> Span:
    """The range of those above the mark that the span is in; the span itself where it is in none."""
    at = bisect_right(held.also, (span[0], MAX_SEQ)) - 1
    return held.also[at] if at >= 0 and span[1] <= held.also[at][1] else span
