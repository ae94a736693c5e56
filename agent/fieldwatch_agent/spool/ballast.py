"""Room in reserve: on a full disk SQLite can neither delete rows nor checkpoint, because both write to the WAL first.

The ballast is a file twice as large as the WAL may grow, plus a mebibyte. When the disk is full: give the ballast up,
checkpoint, evict, checkpoint, make it again. The order matters: with the WAL still full only one delete gets through.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

from fieldwatch_agent.ownership import give
from fieldwatch_agent.spool.file import WAL_BYTES

FILE_NAME = "ballast"
BALLAST_BYTES = 2 * WAL_BYTES + (1 << 20)


def make(folder: Path) -> bool:
    """Make the ballast if it is not there; False where there is no room for it."""
    path = folder / FILE_NAME
    if path.exists():
        return True
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        give(fd, folder)
        os.posix_fallocate(fd, 0, BALLAST_BYTES)
    except OSError:
        path.unlink()
        return False
    finally:
        os.close(fd)
    return True


def drop(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        (folder / FILE_NAME).unlink()


def is_full(problem: BaseException) -> bool:
    """Whether an error means that there is no room on the disk."""
    if isinstance(problem, sqlite3.Error):
        return getattr(problem, "sqlite_errorname", "") == "SQLITE_FULL"
    return isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)
