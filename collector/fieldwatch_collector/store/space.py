"""The last of the disk, which batches do not get: events, accounts and what makes room again need it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

LOOK_EVERY_S = 1.0
DEFAULT_BYTES, DEFAULT_SHARE = 256 << 20, 0.05  # the lesser of them


class Floor:
    """How much stays free. `min_free_bytes` 0: the lesser of 256 MiB and a twentieth of the filesystem.

    May be asked from any thread, at any rate: it looks at the disk once a second.
    """

    def __init__(self, folder: Path, min_free_bytes: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._clock = clock
        self.spare_bytes = 0  # inside the database file: pages that batches may take without making it larger
        self._seen = (float("-inf"), "")

    def problem(self) -> str:
        """Empty where there is room; else one line with what mends it."""
        now = self._clock()
        looked, said = self._seen
        if now - looked >= LOOK_EVERY_S:
            said = self._look()
            self._seen = now, said
        return said

    def _look(self) -> str:
        try:
            disk = os.statvfs(self._folder)
        except OSError as failure:
            return (
                f"{self._folder}: cannot be looked at: {failure.strerror}; check the disk and the owner of the folder"
            )
        free = disk.f_bavail * disk.f_frsize + self.spare_bytes
        floor = self._min_free_bytes or min(DEFAULT_BYTES, int(DEFAULT_SHARE * disk.f_blocks * disk.f_frsize))
        if free >= floor:
            return ""
        return (
            f"{self._folder}: {free / 1e6:,.0f} MB free, and the last {floor / 1e6:,.0f} MB are not for batches"
            " (limits.min_free_bytes); free some space, agents keep their data until then"
        )
