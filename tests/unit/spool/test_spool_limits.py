"""What the spool may take where nothing is configured, and the room that it keeps in reserve."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fieldwatch_agent.spool import ballast
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.thread import SpoolThread
from support.spooling import WIDE

MIB, GIB, WEEK_S = 1 << 20, 1 << 30, 7 * 86_400


@pytest.mark.parametrize("folder", [Path("/"), Path("/dev/shm")])
def test_defaults_follow_the_filesystem(folder: Path) -> None:
    """A fifth of it, at most 1 GiB; 5 % is left free, at least 256 MiB; a week."""
    disk = os.statvfs(folder)
    total = disk.f_blocks * disk.f_frsize

    assert Limits.on(folder) == Limits(min(GIB, total // 5), max(256 * MIB, total // 20), WEEK_S)
    assert Limits.on(folder, max_bytes=5, min_free_bytes=6, max_age_s=7) == Limits(5, 6, 7)


def test_the_ballast_is_really_on_the_disk(tmp_path: Path) -> None:
    """Twice what the WAL may take, and a mebibyte, not as a hole; it is there as soon as the spool is."""
    thread = SpoolThread(tmp_path, WIDE)
    thread.start()
    thread.close(clean=True)

    there = (tmp_path / ballast.FILE_NAME).stat()
    assert there.st_size == 3 * MIB
    assert 512 * there.st_blocks >= there.st_size
    assert there.st_mode & 0o777 == 0o600
