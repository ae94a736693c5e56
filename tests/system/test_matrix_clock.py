"""Row 28 of the failure matrix: an agent whose clock says 1970 or ten years on, and one whose clock is set meanwhile.

A real agent and a real collector, judged by the equation of `system.kills`, and by the times of what the agent itself
puts a time to (see `support.wrong_clock`): every batch of metrics, corrected as the projections do it, lies between its
making and its receipt. Delivery under a clock that is set in mid-stream, message by message: `test_matrix_network.py`.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
from fieldwatch_collector.clocks import Correction, correction
from fieldwatch_proto.columns import open_body
from fieldwatch_proto.schema import ClockQuality, Kind
from support.net import require_namespaces
from support.stack import wait_for
from support.wrong_clock import WrongClock

from system.kills import QUICK, TargetSite, target_site

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(180)]
SECOND = 1_000_000_000
YEARS_S = 10 * 365 * 86_400
HOUR_S = 3_600
WAITS_S = 30.0  # from the making of a record to its receipt, on a busy machine


def corrected(made: TargetSite) -> list[tuple[Correction, int, int, int]]:
    """(correction, first time, last time, receipt) of every batch of metrics, times set right."""
    connection = sqlite3.connect(f"file:{made.collector.data / 'collector.db'}?mode=ro", uri=True, timeout=10)
    found = []
    try:
        batches = connection.execute(
            "SELECT agent, position, received_ns, records, raw_bytes, body FROM batch WHERE kind = ?", (Kind.METRIC,)
        ).fetchall()
        for agent, position, received_ns, records, raw_bytes, body in batches:
            opened = open_body(Kind.METRIC, records, raw_bytes, body)
            correct = correction(connection, agent, position, received_ns, opened)
            times = [moment + correct.shift_ns for moment in opened.values("ts_ns")]
            found.append((correct, min(times), max(times), received_ns))
    finally:
        connection.close()
    return found


def assert_right(made: TargetSite) -> list[Correction]:
    """Every time is right within a second; all that was sent is there once. The corrections, in order."""
    verdict = made.verdict(0)
    batches = corrected(made)

    assert verdict.holds, verdict
    assert verdict.stored > 0
    for _, first_ns, last_ns, received_ns in batches:
        assert received_ns - WAITS_S * SECOND < first_ns <= last_ns < received_ns + SECOND
    return [correct for correct, *_ in batches]


def metrics_stored(made: TargetSite) -> int:
    return int(made.collector.ask("SELECT count(*) FROM batch WHERE kind = ?", Kind.METRIC)[0][0])


def send_until_metrics_came(made: TargetSite, more: int) -> None:
    wanted = metrics_stored(made) + more
    made.sender.say("go")
    wait_for(lambda: metrics_stored(made) >= wanted, f"{more} more batches of metrics", 60)
    made.sender.say("pause")


@pytest.mark.parametrize("year", ["1970", "ten years on"])
def test_row_28_a_clock_that_is_wrong_from_the_enrolment_on(tmp_path: Path, year: str) -> None:
    """It enrols, is let in, ships, and asks for no other certificate; its times are set right, and it is told so."""
    require_namespaces()
    clock = WrongClock(tmp_path, 600 - int(time.time()) if year == "1970" else YEARS_S)
    with target_site(tmp_path, {**QUICK, **clock.environ}) as made:
        send_until_metrics_came(made, 3)
        offset = wait_for(
            lambda: made.collector.ask("SELECT json_extract(status, '$.clock_offset_ns') FROM agent")[0][0],
            "the agent tells how its clock stands",
        )
        made.finish()
        corrections = assert_right(made)
        certificates = made.collector.ask("SELECT count(*) FROM agent_certificate")[0][0]
        marks = made.collector.ask("SELECT DISTINCT clock FROM flow")

    assert abs(int(offset) / SECOND + clock.offset_s) < 2
    assert {one.quality for one in corrections} == {ClockQuality.CORRECTED}
    assert all(abs(one.shift_ns / SECOND + clock.offset_s) < 2 for one in corrections)
    assert marks == [(ClockQuality.CORRECTED,)]
    assert certificates == 1


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
