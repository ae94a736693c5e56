"""Pauses and window, each on its own."""

from __future__ import annotations

import random

from fieldwatch_agent.shipper.backoff import Backoff
from fieldwatch_agent.shipper.window import Window
from fieldwatch_agent.spool.items import Gap
from fieldwatch_proto.v1 import agent_pb2 as pb


def test_pauses_double_to_a_bound_with_full_jitter() -> None:
    """The nth pause is anywhere between 0 and min(max, min * 2^n); after an ack it begins anew."""
    tries = [[pause.next() for _ in range(12)] for pause in (Backoff(1.0, 300.0, random.Random(n)) for n in range(300))]

    bounds = [min(300.0, 2.0**n) for n in range(12)]
    greatest = [max(column) for column in zip(*tries, strict=True)]
    least = [min(column) for column in zip(*tries, strict=True)]

    assert all(seen <= bound for seen, bound in zip(greatest, bounds, strict=True))
    assert all(seen > 0.9 * bound for seen, bound in zip(greatest, bounds, strict=True))
    assert all(seen < 0.1 * bound for seen, bound in zip(least, bounds, strict=True))
    pause = Backoff(1.0, 300.0, random.Random(1))
    for _ in range(20):
        pause.next()
    pause.reset()
    assert pause.next() <= 1.0
    assert 150.0 <= pause.slowest() <= 300.0


def test_a_window_counts_messages_and_octets() -> None:
    """Gaps count as messages; a range is acked when all of it is."""
    window = Window()
    window.grant(2, 100)
    gap = Gap(1, 3, 5, {}, 0, 1, True, 0, "")
    window.add(gap, pb.Up())

    assert window.room() == (1, 100)
    assert window.ack(1, 4, []) == []
    assert window.ack(2, 9, []) == []
    assert [flight.from_seq for flight in window.ack(1, 0, [(3, 5)])] == [3]
    assert (len(window), window.room()) == (0, (2, 100))
    window.grant(10_000, 1 << 40)
    assert window.room() == (64, 4 << 20)
    window.grant(0, 100)
    assert (window.room(), window.paused) == ((0, 0), True)
