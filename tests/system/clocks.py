"""What the tests of wrong clocks ask of a site: its batches of metrics, corrected as the projections do it.

The agent itself puts a time to them, by its wall clock; frames bring theirs from the kernel, whose clock no test moves.
"""

from __future__ import annotations

import sqlite3

from fieldwatch_collector.clocks import Correction, correction
from fieldwatch_proto.columns import open_body
from fieldwatch_proto.schema import Kind
from support.stack import wait_for

from system.kills import TargetSite

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


def told_offset_s(made: TargetSite) -> float:
    """The collector's clock less the agent's, as the agent tells it."""
    offset_ns = wait_for(
        lambda: made.collector.ask("SELECT json_extract(status, '$.clock_offset_ns') FROM agent")[0][0],
        "the agent tells how its clock stands",
    )
    return int(offset_ns) / SECOND
