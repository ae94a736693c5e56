"""Row 28 of the failure matrix once more, through libfaketime, which is what people test clocks with.

A real agent and a real collector, one of them under libfaketime with FAKETIME_DONT_FAKE_MONOTONIC=1; judged as in
`test_matrix_clock.py`, whose clock is a library of ours. What the two have in common, and what this one cannot do:

- It moves what is asked through the C library: Python, SQLite, and the TLS within gRPC, as a collector in 1970 shows,
  whose agent's certificate ends in 1970.
- CLOCK_BOOTTIME and CLOCK_MONOTONIC are the machine's, as they are where somebody sets a clock. So are times that the
  kernel gives to frames, which on a real machine are wrong as well: what is judged are metrics, timed by the agent.
- By itself it breaks every absolute sleep, and with it `time.sleep` of Python: see `support/faketime.c`.
- A deadline handed to the kernel in wall time (FUTEX_CLOCK_REALTIME) would be judged by the right clock; neither
  process has one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fieldwatch_proto.schema import ClockQuality
from support.faketime import Faketime, faketime, require_faketime
from support.net import require_namespaces, wire
from support.stack import wait_for

from system.clocks import HOUR_S, SECOND, YEARS_S, assert_right, corrected, send_until_metrics_came, told_offset_s
from system.kills import QUICK, RATE, TargetSite

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(180)]
CONNECTED = "connected to the collector"


@contextmanager
def site_under(folder: Path, offset_s: int, whose: str) -> Iterator[tuple[TargetSite, Faketime]]:
    """A site that captures; the clock of the agent or of the collector is wrong."""
    require_namespaces()
    require_faketime()
    with faketime(folder, offset_s) as clock, wire() as over:
        made = TargetSite(folder, over, QUICK, RATE)
        (made.agent if whose == "agent" else made.collector).environ.update(clock.environ)
        try:
            made.start()
            yield made, clock
        finally:
            made.close()


@pytest.mark.parametrize("whose", ["agent", "collector"])
@pytest.mark.parametrize("year", ["1970", "ten years on"])
def test_row_28_libfaketime_from_the_enrolment_on(tmp_path: Path, year: str, whose: str) -> None:
    """It enrols, TLS works, all is delivered; times are by the collector's clock, whichever is wrong, and say so."""
    offset_s = 600 - int(time.time()) if year == "1970" else YEARS_S
    with site_under(tmp_path, offset_s, whose) as (made, _):
        send_until_metrics_came(made, 1)
        told_s = told_offset_s(made)
        made.finish()
        corrections = assert_right(made)
        certificates = made.collector.ask("SELECT count(*) FROM agent_certificate")[0][0]
        marks = made.collector.ask("SELECT DISTINCT clock FROM flow")

    right_s = -offset_s if whose == "agent" else offset_s
    assert abs(told_s - right_s) < 2
    assert {one.quality for one in corrections} == {ClockQuality.CORRECTED}
    assert all(abs(one.shift_ns / SECOND - right_s) < 2 for one in corrections)
    assert marks == [(ClockQuality.CORRECTED,)]
    assert certificates == 1


def test_row_28_libfaketime_steps_the_agent_back(tmp_path: Path) -> None:
    """The session lasts, nothing waits for the clock to catch up, and times are set right from the step on."""
    with site_under(tmp_path, 0, "agent") as (made, clock):
        send_until_metrics_came(made, 1)
        made.sender.say("go")
        clock.set(-HOUR_S)
        wait_for(lambda: "the clock was set" in made.agent.log.read_text(), "the agent notices")
        send_until_metrics_came(made, 1)
        sessions = made.agent.log.read_text().count(CONNECTED)
        made.finish()
        corrections = assert_right(made)

    assert sessions == 1
    assert corrections[0].quality in (ClockQuality.AGREES, ClockQuality.NTP)
    assert corrections[-1].quality is ClockQuality.CORRECTED
    assert abs(corrections[-1].shift_ns / SECOND - HOUR_S) < 2


def test_row_28_libfaketime_steps_the_collector_back(tmp_path: Path) -> None:
    """Its session lasts and all is delivered; the next one tells it what its clock makes of the agent's."""
    with site_under(tmp_path, 0, "collector") as (made, clock):
        send_until_metrics_came(made, 1)
        clock.set(-HOUR_S)
        send_until_metrics_came(made, 1)
        sessions = made.agent.log.read_text().count(CONNECTED)
        assert made.agent.stop() == 0, made.agent.tail()
        made.start_agent()
        send_until_metrics_came(made, 1)
        made.finish()
        verdict = made.verdict(0)
        batches = corrected(made)

    last, first_ns, last_ns, received_ns = batches[-1]
    assert sessions == 1
    assert verdict.holds, verdict
    assert verdict.declared == 0
    assert batches[0][0].quality in (ClockQuality.AGREES, ClockQuality.NTP)
    assert last.quality is ClockQuality.CORRECTED
    assert abs(last.shift_ns / SECOND + HOUR_S) < 2
    assert first_ns <= last_ns < received_ns + SECOND
