"""Row 28 of the failure matrix: an agent whose clock says 1970 or ten years on, and one whose clock is set meanwhile.

A real agent and a real collector, judged by the equation of `system.kills`, and by the times of what the agent itself
puts a time to (see `support.wrong_clock`): every batch of metrics, corrected as the projections do it, lies between its
making and its receipt. Delivery under a clock that is set in mid-stream, message by message: `test_matrix_network.py`.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fieldwatch_proto.schema import ClockQuality
from support.net import require_namespaces, wire
from support.stack import wait_for
from support.wrong_clock import WrongClock

from system.clocks import HOUR_S, SECOND, YEARS_S, assert_right, send_until_metrics_came, told_offset_s
from system.kills import QUICK, RATE, TargetSite, target_site

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(180)]


@pytest.mark.parametrize("year", ["1970", "ten years on"])
def test_row_28_a_clock_that_is_wrong_from_the_enrolment_on(tmp_path: Path, year: str) -> None:
    """It enrols, is let in, ships, and asks for no other certificate; its times are set right, and it is told so."""
    require_namespaces()
    clock = WrongClock(tmp_path, 600 - int(time.time()) if year == "1970" else YEARS_S)
    with target_site(tmp_path, {**QUICK, **clock.environ}) as made:
        send_until_metrics_came(made, 3)
        offset_s = told_offset_s(made)
        made.finish()
        corrections = assert_right(made)
        certificates = made.collector.ask("SELECT count(*) FROM agent_certificate")[0][0]
        marks = made.collector.ask("SELECT DISTINCT clock FROM flow")

    assert abs(offset_s + clock.offset_s) < 2
    assert {one.quality for one in corrections} == {ClockQuality.CORRECTED}
    assert all(abs(one.shift_ns / SECOND + clock.offset_s) < 2 for one in corrections)
    assert marks == [(ClockQuality.CORRECTED,)]
    assert certificates == 1


@pytest.mark.parametrize("years_s", [YEARS_S, -YEARS_S])
def test_row_28_a_collector_whose_clock_is_set_right(tmp_path: Path, years_s: int) -> None:
    """Its certificates begin in years, or have ended long ago: agents get others by their keys, nobody is needed."""
    require_namespaces()
    clock = WrongClock(tmp_path, years_s)
    with wire() as over:
        made = TargetSite(tmp_path, over, QUICK, RATE)
        made.collector.environ.update(clock.environ)
        try:
            made.start()
            send_until_metrics_came(made, 1)
            assert made.agent.stop() == 0, made.agent.tail()
            made.collector.kill()
            clock.set(0)
            made.collector.start()
            made.start_agent()
            wait_for(lambda: "the certificate was renewed" in made.agent.log.read_text(), "another certificate", 60)
            send_until_metrics_came(made, 1)
            made.finish()
            verdict = made.verdict(0)
            certificates = made.collector.ask("SELECT count(*) FROM agent_certificate")[0][0]
        finally:
            made.close()

    assert verdict.holds, verdict
    assert certificates == 2


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S])
def test_row_28_a_clock_that_steps_while_the_agent_runs(tmp_path: Path, step_s: int) -> None:
    """Before the step times are believed, after it they are set right; nothing waits for the clock to catch up."""
    require_namespaces()
    clock = WrongClock(tmp_path, 0)
    with target_site(tmp_path, {**QUICK, **clock.environ}) as made:
        send_until_metrics_came(made, 2)
        made.sender.say("go")
        clock.set(step_s)
        wait_for(lambda: "the clock was set" in made.agent.log.read_text(), "the agent notices")
        send_until_metrics_came(made, 2)
        made.finish()
        corrections = assert_right(made)

    qualities = [one.quality for one in corrections]
    assert qualities[0] in (ClockQuality.AGREES, ClockQuality.NTP)
    assert qualities[-1] is ClockQuality.CORRECTED
    assert abs(corrections[-1].shift_ns / SECOND + step_s) < 2
