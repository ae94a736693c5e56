"""When a certificate is due, by which clock: a wrong one neither renews without end nor keeps from renewing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fieldwatch_agent.certificate_care import HEARING_S, CertificateCare
from fieldwatch_agent.clock import Clock
from fieldwatch_agent.enrolment.identity import Identity
from fieldwatch_proto.schema import ClockQuality

SECOND = 1_000_000_000
DAY = 86_400
ISSUED = 1_800_000_000  # 2027
YEARS = 10 * 365 * DAY
IDENTITY = Identity("a", "hq", "127.0.0.1", 1, 2, ISSUED, ISSUED + 8 * DAY)


def care_of(folder: Path, says_s: int, quality: ClockQuality = ClockQuality.UNSYNCED) -> tuple[CertificateCare, Clock]:
    """Of an agent whose clock says so; `heard` by it is what the collector tells."""
    clock = Clock(bytes(16), realtime=lambda: says_s * SECOND, boottime=lambda: 0, ask_quality=lambda: quality)
    return CertificateCare(folder, "127.0.0.1:1", IDENTITY, clock, lambda: False, lambda: None), clock


@pytest.mark.parametrize("says_s", [0, ISSUED + YEARS, ISSUED - 3_600, ISSUED + DAY])
def test_the_collectors_clock_decides(tmp_path: Path, says_s: int) -> None:
    """Whatever our own says: not due after a day, due after six."""
    care, clock = care_of(tmp_path, says_s)
    due = []
    for days in (1, 6):
        clock.hear((ISSUED + days * DAY) * SECOND)
        due.append(care.is_due)

    assert due == [False, True]


def test_a_clock_that_nobody_keeps_right_is_given_time_to_be_contradicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten years ahead at the start: nothing is asked for before the collector could say what time it is. If it does
    not, the certificate may have ended indeed. A time service is believed at once, and 1970 is never now."""
    ahead, _ = care_of(tmp_path, ISSUED + YEARS)
    kept_right, _ = care_of(tmp_path, ISSUED + YEARS, ClockQuality.NTP)
    behind, _ = care_of(tmp_path, 0)
    at_once = [care.is_due for care in (ahead, kept_right, behind)]
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + HEARING_S + 1)

    assert at_once == [False, True, False]
    assert [care.is_due for care in (ahead, kept_right, behind)] == [True, True, False]
    assert behind.now_s == ISSUED
