"""What was sent and waits for its ack: bounded by what the collector grants, in messages and in octets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fieldwatch_proto.v1 import agent_pb2

from fieldwatch_agent.spool.items import Batch, Gap

DEFAULT_MESSAGES = 8
DEFAULT_BYTES = 1 << 20
MAX_MESSAGES = 64  # whatever the collector grants: memory is bounded here
MAX_BYTES = 4 << 20


@dataclass
class Flight:
    """One message in flight. `due`: monotonic time at which it is to be sent again, None while it waits for its ack."""

    epoch: int
    from_seq: int
    to_seq: int
    octets: int
    message: agent_pb2.Up
    due: float | None = None


class Window:
    """The messages in flight, by (epoch, first number)."""

    def __init__(self) -> None:
        self.messages = DEFAULT_MESSAGES
        self.octets = DEFAULT_BYTES
        self.in_flight_bytes = 0
        self._flights: dict[tuple[int, int], Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def grant(self, messages: int, octets: int) -> None:
        """What the collector allows from now on; 0 of either pauses."""
        self.messages = min(messages, MAX_MESSAGES)
        self.octets = min(octets, MAX_BYTES)

    @property
    def paused(self) -> bool:
        return self.messages == 0 or self.octets == 0

    def room(self) -> tuple[int, int]:
        """Messages and octets that may be sent now. One message always may when nothing is in flight, however large."""
        if self.paused or len(self) >= self.messages:
            return 0, 0
        octets = self.octets - self.in_flight_bytes
        if octets <= 0:
            return 0, 0
        return self.messages - len(self), octets

    def add(self, item: Batch | Gap, message: agent_pb2.Up) -> Flight:
        octets = len(item.body) if isinstance(item, Batch) else 0
        first, last = (item.seq, item.seq) if isinstance(item, Batch) else (item.from_seq, item.to_seq)
        flight = self._flights[item.epoch, first] = Flight(item.epoch, first, last, octets, message)
        self.in_flight_bytes += octets
        return flight

    def get(self, epoch: int, seq: int) -> Flight | None:
        return self._flights.get((epoch, seq))

    def remove(self, flight: Flight) -> None:
        if self._flights.pop((flight.epoch, flight.from_seq), None) is not None:
            self.in_flight_bytes -= flight.octets

    def ack(self, epoch: int, upto: int, also: Iterable[tuple[int, int]]) -> list[Flight]:
        """Take out what is acked."""
        ranges = [(0, upto), *also]
        acked = [
            flight
            for flight in self._flights.values()
            if flight.epoch == epoch and any(low <= flight.from_seq and flight.to_seq <= high for low, high in ranges)
        ]
        for flight in acked:
            self.remove(flight)
        return acked

    def due(self, now: float) -> list[Flight]:
        """Messages whose time to be sent again has come."""
        return [flight for flight in self._flights.values() if flight.due is not None and flight.due <= now]

    def next_due(self) -> float | None:
        return min((flight.due for flight in self._flights.values() if flight.due is not None), default=None)
