"""A bound on CPU time as systemd's CPUQuota= sets it: a cgroup of our own with `cpu.max`, or its like of version 1.

Needs root and a cgroup file system with the cpu controller that may be written to.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PERIOD_US = 100_000  # of systemd and of the kernel


@contextmanager
def cpu_quota(pid: int, cores: float) -> Iterator[Path]:
    """Hold a process with all its threads to so many cores; its cgroup, whose `cpu.stat` counts `nr_throttled`.

    The process is where it was at the end. Skips, with the reason, where no such cgroup can be made.
    """
    quota_us = int(cores * PERIOD_US)
    second, first = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/cpu")
    group = None
    with suppress(OSError):
        if (second / "cgroup.controllers").exists():
            (second / "cgroup.subtree_control").write_text("+cpu")
            group = _made(second, pid, {"cpu.max": f"{quota_us} {PERIOD_US}"})
        else:
            group = _made(first, pid, {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(quota_us)})
    if group is None:
        pytest.skip("needs root and a cgroup file system with the cpu controller that may be written to")
    try:
        (group / "cgroup.procs").write_text(str(pid))
        yield group
    finally:
        with suppress(OSError):  # it may have ended
            (group.parent / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def throttled(group: Path) -> int:
    """In how many periods the quota was used up."""
    lines = (group / "cpu.stat").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("nr_throttled "))


def cpu_s(pid: int) -> float:
    """CPU time of a process, its threads included, finer than ticks: its clock as clock_getcpuclockid(3) makes it."""
    return time.clock_gettime((~pid << 3) | 2)


def _made(parent: Path, pid: int, settings: dict[str, str]) -> Path:
    group = parent / f"fieldwatch-test-{pid}"
    group.mkdir()
    try:
        for name, value in settings.items():
            (group / name).write_text(value)
    except OSError:
        group.rmdir()
        raise
    return group
