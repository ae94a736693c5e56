"""What may be acked on one stream: only numbers whose octets this agent has shown us and that are durable.

The store may hold more numbers of an epoch than this agent ever sent: a card that was cloned or rolled back issues used
numbers anew, for other data. An ack "up to" the store's high-water mark would make the agent delete what we never saw.
So a stream starts from what the agent says it has given up already (`first_unacked`), and grows by the batches and gaps
that came and were compared by their digest. A lost ack costs one resend.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fieldwatch_proto.v1 import agent_pb2 as pb

from fieldwatch_collector.store import MAX_SEQ, Held, Item
from fieldwatch_collector.store.ranges import add


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

    def confirm(self, items: Iterable[Item]) -> list[pb.Ack]:
        """Acks that cover these durable items, one per epoch."""
        beyond: dict[int, list[pb.Range]] = {}
        for item in items:
            low, high = item.span
            shown = self._shown.get(item.epoch, Held())
            grown = add(shown, low, high)
            if grown is None:  # too many holes to remember: name this one alone
                beyond.setdefault(item.epoch, []).append(pb.Range(from_seq=low, to_seq=high))
            else:
                self._shown[item.epoch] = grown
                beyond.setdefault(item.epoch, [])
        return [self._ack(epoch, single) for epoch, single in beyond.items()]

    def _ack(self, epoch: int, single: list[pb.Range]) -> pb.Ack:
        shown = self._shown.get(epoch, Held())
        ranges = [pb.Range(from_seq=low, to_seq=high) for low, high in shown.also]
        return pb.Ack(epoch=epoch, upto=shown.high_water, also=ranges + single)
