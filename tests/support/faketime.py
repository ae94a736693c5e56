"""A wall clock that is wrong by the real libfaketime (0.9.10 in Debian 12), for one process and its children.

FAKETIME_DONT_FAKE_MONOTONIC leaves CLOCK_MONOTONIC and CLOCK_BOOTTIME to the machine; FAKETIME_NO_CACHE has the file
with the offset read at every look at the clock, so that the clock can be set meanwhile. Its sleeps are mended by
`faketime.c`. `support.wrong_clock` does the same without a library.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

# The library makes these for each process; one that ends by SIGKILL or exec(3) leaves them behind.
_SHARED = Path("/dev/shm")
_LEFT_BEHIND = ("faketime_shm_", "sem.faketime_sem_")


def require_faketime() -> Path:
    """The library; skip, with the reason, where it is missing. In CI that is a failure instead."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if found:
        return found[0]
    reason = "needs libfaketime (apt-get install libfaketime)"
    if os.environ.get("FIELDWATCH_CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Faketime:
    """`environ` is for the process; `set` moves its clock at once, by seconds from the true time."""

    def __init__(self, folder: Path, offset_s: int) -> None:
        library, sleeps = require_faketime(), folder / "faketime.so"
        source = Path(__file__).with_suffix(".c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-o", sleeps, source], check=True)
        self._file = folder / "faketime"
        self.environ = {
            "LD_PRELOAD": f"{sleeps}:{library}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
        }
        self.set(offset_s)

    def set(self, offset_s: int) -> None:
        self.offset_s = offset_s
        written = self._file.with_suffix(".new")
        written.write_text(f"{offset_s:+d}")
        written.replace(self._file)  # whoever reads it reads one or the other


@contextlib.contextmanager
def faketime(folder: Path, offset_s: int) -> Iterator[Faketime]:
    """What the library leaves in shared memory is taken away at the end, once its processes have ended."""
    before = set(_left_behind())
    try:
        yield Faketime(folder, offset_s)
    finally:
        for path in set(_left_behind()) - before:
            if not Path("/proc", path.name.rpartition("_")[2]).exists():
                path.unlink(missing_ok=True)


def _left_behind() -> list[Path]:
    return [path for path in _SHARED.iterdir() if path.name.startswith(_LEFT_BEHIND)]
