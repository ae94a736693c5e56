"""How much the spool may take: octets, age, and what must stay free for others."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_MAX_BYTES = 1 << 30
DEFAULT_MIN_FREE_BYTES = 256 << 20
ALWAYS_BYTES = 1 << 20  # granted even where less than the free floor is left


@dataclass(frozen=True)
class Limits:
    """`max_age_s` is time that the agent ran: a clock that is wrong or set never ages a batch."""

    max_bytes: int
    min_free_bytes: int
    max_age_s: float

    @classmethod
    def on(cls, folder: Path, *, max_bytes: int = 0, min_free_bytes: int = 0, max_age_s: float = 7 * 86_400) -> Limits:
        """0 = the default: a fifth of the filesystem, at most 1 GiB; 5 % left free, at least 256 MiB."""
        disk = os.statvfs(folder)
        total = disk.f_blocks * disk.f_frsize
        return cls(
            max_bytes or min(DEFAULT_MAX_BYTES, total // 5),
            min_free_bytes or max(DEFAULT_MIN_FREE_BYTES, total // 20),
            max_age_s,
        )

    def allowed(self, folder: Path, used_bytes: int) -> int:
        """The bound that holds now: below the free floor the spool does not grow."""
        if not self.min_free_bytes:
            return self.max_bytes
        disk = os.statvfs(folder)
        if disk.f_bavail * disk.f_frsize >= self.min_free_bytes:
            return self.max_bytes
        return min(self.max_bytes, max(used_bytes, ALWAYS_BYTES))
