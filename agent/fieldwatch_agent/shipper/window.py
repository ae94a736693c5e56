"""What was sent and waits for its ack: bounded by what the collector grants, in messages and in octets."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from fieldwatch_proto.v1 import agent_pb2

from fieldwatch_agent.spool.items import START, Batch, Gap, Place

DEFAULT_MESSAGES = 8
DEFAULT_BYTES = 1 << 20
MAX_MESSAGES = 64  # whatever the collector grants: memory is bounded here
MAX_BYTES = 4 << 20


@dataclass(slots=True)
class Flight:
    """One message in flight, made once and sent as often as it takes.

    `backlog`: it goes on the backlog's share; `due`: monotonic time at which it is to be sent again, None while it
    waits for its ack.
    """

    epoch: int
    from_seq: int
    to_seq: int
    octets: int
    message: agent_pb2.Up
    place: Place
    backlog: bool
    sent_at: float
    due: float | None = None


def weight(item: Batch | Gap) -> int:
    """Octets that an item takes of the window: those of its body."""
    return len(item.body) if isinstance(item, Batch) else 0


def span(item: Batch | Gap) -> tuple[int, int]:
    """The first and the last number that an item takes."""
    return (item.seq, item.seq) if isinstance(item, Batch) else (item.from_seq, item.to_seq)


class Window:
    """The messages in flight, by (epoch, first number). The backlog gets half of it at most."""

    def __init__(self) -> None:
        self.messages = DEFAULT_MESSAGES
        self.octets = DEFAULT_BYTES
        self.in_flight_bytes = 0
        self.backlog_bytes = 0
        self.backlog_messages = 0
        self._flights: dict[tuple[int, int], Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, number: tuple[int, int]) -> bool:
        return number in self._flights

    def grant(self, messages: int, octets: int) -> None:
        """What the collector allows from now on; 0 of either pauses."""
        self.messages = min(messages, MAX_MESSAGES)
        self.octets = min(octets, MAX_BYTES)

    @property
    def paused(self) -> bool:
        return self.messages == 0 or self.octets == 0

    def room(self, pace_bytes: int = MAX_BYTES) -> tuple[int, int]:
        """Messages and octets that may be sent now. One message always may when nothing is in flight, however large."""
        if self.paused or len(self) >= self.messages:
            return 0, 0
        octets = min(self.octets, max(1, pace_bytes)) - self.in_flight_bytes
        if octets <= 0:
            return 0, 0
        return self.messages - len(self), octets

    def backlog_room(self, pace_bytes: int = MAX_BYTES) -> tuple[int, int]:
        """The same for the backlog: at most half of what is granted, but one message at least."""
        messages, octets = self.room(pace_bytes)
        messages = min(messages, max(1, self.messages // 2) - self.backlog_messages)
        octets = min(octets, min(self.octets, max(1, pace_bytes)) // 2 - self.backlog_bytes)
        if messages <= 0 or (octets <= 0 and self.backlog_messages):
            return 0, 0
        return messages, max(0, octets)

    def add(
        self,
        item: Batch | Gap,
        message: agent_pb2.Up,
        *,
        place: Place = START,
        backlog: bool = False,
        now: float = 0.0,
    ) -> Flight:
        first, last = span(item)
        flight = Flight(item.epoch, first, last, weight(item), message, place, backlog, now)
        self._flights[item.epoch, first] = flight
        self._count(flight, 1)
        return flight

    def _count(self, flight: Flight, sign: int) -> None:
        self.in_flight_bytes += sign * flight.octets
        if flight.backlog:
            self.backlog_bytes += sign * flight.octets
            self.backlog_messages += sign

    def get(self, epoch: int, seq: int) -> Flight | None:
        return self._flights.get((epoch, seq))

    def remove(self, flight: Flight) -> None:
        if self._flights.pop((flight.epoch, flight.from_seq), None) is not None:
            self._count(flight, -1)

    def ack(self, epoch: int, upto: int, also: Iterable[tuple[int, int]]) -> list[Flight]:
        """Take out what is acked. The ranges of `also` do not overlap."""
        ranges = sorted(also)
        lows = [low for low, _ in ranges]

        def is_acked(flight: Flight) -> bool:
            if flight.to_seq <= upto:
                return True
            at = bisect_right(lows, flight.from_seq) - 1
            return at >= 0 and flight.to_seq <= ranges[at][1]

        acked = [flight for flight in self._flights.values() if flight.epoch == epoch and is_acked(flight)]
        for flight in acked:
            self.remove(flight)
        return acked

    def due(self, now: float) -> list[Flight]:
        """Messages whose time to be sent again has come."""
        return [flight for flight in self._flights.values() if flight.due is not None and flight.due <= now]

    def next_due(self) -> float | None:
        return min((flight.due for flight in self._flights.values() if flight.due is not None), default=None)
