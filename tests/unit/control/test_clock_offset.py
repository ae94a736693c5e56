"""How the agent's clock stands to the collector's: learnt at the Welcome, true also after the clock was set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fieldwatch_agent.shipper.shipper import Shipper, open_channel
from fieldwatch_agent.spool.thread import SpoolThread
from support.scripted import Authority, Conversation, ScriptedCollector
from support.spooling import WIDE
from support.stack import wait_for

HOUR_NS = 3_600 * 1_000_000_000
NEAR_NS = 20 * 1_000_000_000  # how long the test may take


@contextmanager
def welcomed(folder: Path, wall_ns: int) -> Iterator[Shipper]:
    """A shipper whose collector says that it is `wall_ns`."""

    async def script(talk: Conversation) -> None:
        await talk.welcome(wall_ns=wall_ns)
        await talk.hear()

    spool = SpoolThread(folder, WIDE)
    spool.start()
    with ScriptedCollector(Authority(), script) as collector:
        address = collector.authority.enrol(folder, collector.port).address
        shipper = Shipper(
            spool,
            address,
            lambda patience_s: open_channel(folder, address, patience_s),
            b"boot",
            retry_min_s=0.01,
            retry_max_s=0.1,
        )
        shipper.start()
        try:
            wait_for(lambda: shipper.state == "connected", "the collector has welcomed it")
            yield shipper
        finally:
            shipper.stop()
            spool.close(clean=True)


def test_the_offset_to_the_collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour ahead of us; once our clock is set right, nothing, without another Welcome."""
    wall_ns = time.time_ns()
    with welcomed(tmp_path, wall_ns + HOUR_NS) as shipper:
        before = shipper.clock_offset_ns
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() + HOUR_NS)
        after = shipper.clock_offset_ns

    assert before is not None
    assert after is not None
    assert abs(before - HOUR_NS) < NEAR_NS
    assert abs(after) < NEAR_NS


@pytest.mark.parametrize(("wall_ns", "known"), [(0, False), ((1 << 64) - 1, True)])
def test_what_a_collector_may_say(tmp_path: Path, wall_ns: int, known: bool) -> None:
    """Nothing of its clock: it is not known. Whatever it says fits the heartbeat's 64 bits."""
    with welcomed(tmp_path, wall_ns) as shipper:
        offset = shipper.clock_offset_ns

    assert (offset is not None) == known
    assert abs(offset or 0) < 1 << 63
