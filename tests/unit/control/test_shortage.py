"""What runs out is noticed once, also where counting itself fails for it, and so is its end."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_agent.control.shortage import KEPT_S, Shortage


class Told:
    """Alarms and heartbeats that were asked for, and the clock."""

    def __init__(self, folder: Path) -> None:
        self.alarms: list[tuple[str, dict[str, Any]]] = []
        self.beats = 0
        self.now_s = 1_000.0
        self.shortage = Shortage(
            folder, lambda kind, data: self.alarms.append((kind, data)), self.beat, clock=lambda: self.now_s
        )

    def beat(self) -> None:
        self.beats += 1


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def test_it_counts_what_this_process_has(told: Told) -> None:
    """Descriptors as the kernel lists them, and its limit."""
    told.shortage.look()
    before = told.shortage.vitals
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
    try:
        told.shortage.look()
        after = told.shortage.vitals
    finally:
        for fd in opened:
            os.close(fd)

    assert after.descriptors - before.descriptors == 5
    assert after.max_descriptors == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert (told.alarms, told.beats) == ([], 0)


def test_none_is_left_to_count_with(told: Told) -> None:
    """One alarm with its remedy however long it lasts; over once nothing has failed for it for a while."""
    told.shortage.look()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        for _ in range(3):
            told.now_s += 1
            told.shortage.look()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    told.now_s += KEPT_S - 1
    told.shortage.look()
    during = (len(told.alarms), told.beats, told.shortage.vitals.no_descriptor)
    told.now_s += 1
    told.shortage.look()

    assert during == (1, 1, True)
    assert told.alarms[0][0] == "agent.resource_trouble"
    assert "raise LimitNOFILE=" in told.alarms[0][1]["trouble"]
    assert (len(told.alarms), told.beats, told.shortage.vitals.no_descriptor) == (1, 2, False)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_what_failed_between_two_looks_counts(told: Told, number: int) -> None:
    told.shortage.look()
    told.shortage.met(OSError(number, "too many"))
    told.shortage.look()

    assert (len(told.alarms), told.beats) == (1, 1)


def test_a_disk_that_fails_ends_nothing(told: Told, tmp_path: Path) -> None:
    """What was counted last stands."""
    told.shortage.look()
    counted = told.shortage.vitals.inodes
    tmp_path.rmdir()
    told.shortage.look()

    assert counted > 0
    assert told.shortage.vitals.inodes == counted
    assert told.alarms == []


def test_other_errors_are_not_of_this_kind(told: Told) -> None:
    """A full disk that has inodes is the spool's to tell."""
    told.shortage.look()
    for number in (errno.ENOSPC, errno.EIO, errno.EACCES):
        told.shortage.met(OSError(number, "else"))
    told.shortage.look()

    assert (told.alarms, told.beats) == ([], 0)
