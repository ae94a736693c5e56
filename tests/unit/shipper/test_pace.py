"""How much is in flight, and how long acks are waited for, over links of every kind: a link that is simulated, octet by
octet, with the real pace and the real window.
"""

from __future__ import annotations

import pytest
from fieldwatch_agent.shipper.pace import ACK_TIMEOUT_S, AHEAD_S, FIRST_BYTES, MAX_ACK_TIMEOUT_S, Pace
from fieldwatch_agent.shipper.window import DEFAULT_BYTES, DEFAULT_MESSAGES

BATCH = 48 << 10


class Link:
    """Carries batches one after the other; each is acked a round trip after its last octet left."""

    def __init__(self, bytes_per_s: float, round_trip_s: float) -> None:
        self.bytes_per_s, self.round_trip_s = bytes_per_s, round_trip_s
        self.now = self.free_at = 0.0
        self.flights: list[tuple[float, float]] = []  # (sent, acked)
        self.most_in_flight = 0
        self.longest_wait_s = 0.0

    def carry(self, pace: Pace, batches: int, size: int = BATCH) -> float:
        """Send so many, as many at a time as the pace allows; the seconds that it took."""
        begun, sent, acked_at = self.now, 0, self.now
        while sent < batches or self.flights:
            room = min(pace.limit(), DEFAULT_BYTES)
            while sent < batches and len(self.flights) < DEFAULT_MESSAGES:
                if self.flights and (len(self.flights) + 1) * size > room:
                    break
                self.free_at = max(self.free_at, self.now) + size / self.bytes_per_s
                self.flights.append((self.now, self.free_at + self.round_trip_s))
                sent += 1
            self.most_in_flight = max(self.most_in_flight, len(self.flights) * size)
            was_sent, self.now = self.flights.pop(0)
            self.longest_wait_s = max(self.longest_wait_s, self.now - acked_at)
            assert self.now - acked_at < pace.patience((len(self.flights) + 1) * size), "the stream was given up"
            acked_at = self.now
            pace.acked(size, was_sent, self.now)
        return self.now - begun


@pytest.mark.parametrize(
    ("bytes_per_s", "round_trip_s"),
    [(100e6, 0.0005), (1e6, 0.05), (8_000, 2.0), (2_000, 2.0), (1_000, 0.5)],
    ids=["LAN", "DSL", "64 kbit/s", "16 kbit/s", "8 kbit/s"],
)
def test_the_link_is_used_and_never_drowned(bytes_per_s: float, round_trip_s: float) -> None:
    """What is in flight takes some ten seconds at most, or is one batch; the link is busy nearly all the time."""
    link, pace = Link(bytes_per_s, round_trip_s), Pace()
    link.carry(pace, 20)
    link.most_in_flight = 0

    took = link.carry(pace, 100)

    assert link.most_in_flight <= max(BATCH, bytes_per_s * AHEAD_S * 1.2)
    window = min(DEFAULT_BYTES, DEFAULT_MESSAGES * BATCH)
    ideal = 100 * max(BATCH / bytes_per_s, round_trip_s * BATCH / window)
    assert took < 1.5 * ideal + round_trip_s


def test_a_link_that_gets_worse_and_better_is_followed() -> None:
    """From a LAN to 16 kbit/s and back: within a few batches what is in flight is what the link can bear."""
    link, pace = Link(10e6, 0.01), Pace()
    link.carry(pace, 50)
    assert pace.limit() > DEFAULT_BYTES

    link.bytes_per_s, link.round_trip_s = 2_000.0, 2.0
    link.carry(pace, 25)
    assert pace.limit() < BATCH

    link.bytes_per_s, link.round_trip_s = 10e6, 0.01
    link.carry(pace, 25)
    assert pace.limit() > DEFAULT_BYTES


def test_small_messages_over_a_long_way_do_not_narrow_the_window_for_long() -> None:
    """A quiet agent behind a satellite has a low rate for want of records; a backlog soon goes at the link's."""
    link, pace = Link(100_000.0, 0.6), Pace()
    for _ in range(20):
        link.carry(pace, 1, size=500)
        link.now += 5.0
    assert pace.limit() < BATCH

    link.carry(pace, 10)

    assert pace.limit() > 4 * BATCH


def test_acks_that_do_not_come_are_waited_for_longer_each_time() -> None:
    """A timeout never storms: each wait is longer than the one before, and less is in flight, until acks come."""
    pace = Pace()
    assert (pace.limit(), pace.patience(FIRST_BYTES)) == (FIRST_BYTES, ACK_TIMEOUT_S)

    waits, limits = [], []
    for _ in range(6):
        waits.append(pace.patience(BATCH))
        limits.append(pace.limit())
        pace.timed_out(BATCH, waits[-1])

    assert waits == sorted(waits)
    assert waits[0] == ACK_TIMEOUT_S
    assert waits[-1] == MAX_ACK_TIMEOUT_S
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] < BATCH
    for number in range(10):
        pace.acked(BATCH, float(number), number + 0.5)
    assert pace.patience(BATCH) == ACK_TIMEOUT_S
