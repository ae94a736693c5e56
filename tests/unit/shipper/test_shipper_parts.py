"""Pauses, window and heartbeat, each on its own."""

from __future__ import annotations

import random
from pathlib import Path

from fieldwatch_agent.heartbeat import Heartbeat
from fieldwatch_agent.shipper.backoff import Backoff
from fieldwatch_agent.shipper.shipper import open_channel
from fieldwatch_agent.shipper.window import Window
from fieldwatch_agent.spool.items import Gap
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.scripted import Authority, Conversation, ScriptedCollector
from support.stack import wait_for


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


def test_the_heart_beats_on_time_and_on_change(tmp_path: Path) -> None:
    """A status at once, one each period, one when something changes; none without a channel."""
    authority = Authority()
    asked: list[int] = []

    def status() -> pb.AgentStatus:
        asked.append(1)
        return pb.AgentStatus(version="1", frames_seen=len(asked))

    async def silent(talk: Conversation) -> None:
        await talk.hear()

    with ScriptedCollector(authority, silent) as collector:
        address = authority.enrol(tmp_path, collector.port).address
        heart = Heartbeat(status, period_s=60)
        heart.start()
        channel = open_channel(tmp_path, address)
        heart.use(channel)
        wait_for(lambda: len(collector.statuses) == 1, "the first beat")
        heart.change()
        wait_for(lambda: len(collector.statuses) == 2, "the beat on change")
        heart.use(None)
        heart.change()
        heart.stop()
        channel.close()

    assert [beat.frames_seen for beat in collector.statuses] == [1, 2]
