"""What the agent writes to the disk, what that does to an SD card, and how to write less.

- Written is what the kernel counts for this process (``write_bytes`` of /proc/self/io, proc_pid_io(5)): spool, ledger
  and logs of its own, not the journal of the filesystem. A filesystem in memory is not counted, and that is said.
- The rate is that of the last `WINDOW_S`, a day long.
- Card life = capacity of the disk x `CYCLES` / rate: a card whose controller levels wear perfectly and writes nothing
  beside what it is given. 3,000 cycles is the low end of what is quoted for MLC and 3D TLC flash (for instance
  http://micrometer.xyz/cdn/node/110); the cheapest cards may have a tenth of it.
- With a budget, batches grow older and larger until the rate fits: most of what a small batch costs is the pages around
  it. What has not been sealed yet is at risk, so the age is bounded and told.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fieldwatch_proto.quantities import parse_bytes

CYCLES = 3_000
DAY_S = 86_400
YEAR_S = 365 * DAY_S
WINDOW_S = 6 * 3_600
SAMPLE_S = 60.0
PACE_S = 600.0  # the rate that the pace follows is that of so long
LEAST_S = 60.0  # before that a rate says little
MAX_SEAL_AGE_S = 300.0
MAX_SEAL_BYTES = 512 << 10
IN_MEMORY = ("tmpfs", "ramfs")
_BUDGET = re.compile(r"\s*(.+?)\s*/\s*day\s*")


def parse_budget(text: str) -> int:
    """Bytes a day of "50 MB/day"; 0 for "", which is no budget. Raises ValueError."""
    if not text:
        return 0
    match = _BUDGET.fullmatch(text)
    octets = parse_bytes(match[1]) if match else 0
    if octets < 1_000_000:
        raise ValueError('accepted is a size a day of at least 1 MB, for instance "50 MB/day", or ""')
    return octets


def written_bytes() -> int:
    """What this process has caused to be written to disks since it began."""
    lines = Path("/proc/self/io").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def filesystem_type(folder: Path) -> str:
    """As /proc/self/mountinfo has it (proc_pid_mountinfo(5)); "" where it is not there."""
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split()[2] == number:
            return rest.split()[0]
    return ""


def capacity_bytes(folder: Path) -> int:
    """Of the whole disk that a folder is on, or of its filesystem where there is no telling."""
    device = folder.stat().st_dev
    place = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    for size in (place / "../size", place / "size"):  # a partition lies in the folder of its disk
        if (size.parent / "queue").exists() and size.exists():
            return int(size.read_text("ascii")) * 512
    disk = os.statvfs(folder)
    return disk.f_blocks * disk.f_frsize


class Sample(NamedTuple):
    """A reading: seconds of a clock that only goes forward, octets since the process began."""

    at_s: float
    octets: int


class Pace(NamedTuple):
    """How batches are sealed."""

    seal_bytes: int
    seal_age_s: float


class Wear:
    """`look` is called about once a second, by one thread; the rest may be read by any."""

    def __init__(
        self,
        folder: Path,
        pace: Pace,
        budget_bytes_day: int = 0,
        *,
        read: Callable[[], int] = written_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget_bytes_day = budget_bytes_day
        self.pace = self._configured = pace
        self.measured = filesystem_type(folder) not in IN_MEMORY
        self._capacity = capacity_bytes(folder)
        self._count, self._clock = read, clock
        self._octets = 0
        self._factor = 1.0
        self._samples: deque[Sample] = deque([Sample(clock(), self._read())], maxlen=int(WINDOW_S / SAMPLE_S))
        self._paced_at = clock()

    def _read(self) -> int:
        """The count, or the one before where it cannot be had: no file may be opened, say."""
        with contextlib.suppress(OSError):
            self._octets = self._count()
        return self._octets

    def look(self) -> Pace | None:
        """Take a reading when one is due; the pace, when it has changed."""
        now = self._clock()
        if now - self._samples[-1].at_s < SAMPLE_S:
            return None
        self._samples.append(Sample(now, self._read()))
        return self._follow(now) if self.budget_bytes_day and self.measured else None

    def rate(self, seconds: float = WINDOW_S) -> int:
        """Octets a day, at the rate of the last so many seconds; 0 = not known yet."""
        newest = Sample(self._clock(), self._read())
        samples = list(self._samples)
        first = next((sample for sample in samples if newest.at_s - sample.at_s <= seconds), samples[-1])
        passed = newest.at_s - first.at_s
        if not self.measured or passed < LEAST_S:
            return 0
        return int((newest.octets - first.octets) / passed * DAY_S)

    def _follow(self, now: float) -> Pace | None:
        """Batches twice as old cost about half: towards nine tenths of the budget, slowly where it is not overdrawn."""
        rate = self.rate(min(PACE_S, max(LEAST_S, now - self._paced_at + SAMPLE_S)))
        wanted = self._factor * rate / (0.9 * self.budget_bytes_day)
        most = MAX_SEAL_AGE_S / self._configured.seal_age_s
        factor = min(max(1.0, most), max(1.0, min(4 * self._factor, max(wanted, self._factor / 1.25))))
        if factor == self._factor:
            return None
        self._factor, self._paced_at = factor, now
        seal_bytes = min(int(self._configured.seal_bytes * factor), max(MAX_SEAL_BYTES, self._configured.seal_bytes))
        self.pace = Pace(seal_bytes, self._configured.seal_age_s * factor)
        return self.pace

    @property
    def card_life_years(self) -> float:
        """At the rate of the last hours; 0 = not known."""
        rate = self.rate()
        return self._capacity * CYCLES / rate / (YEAR_S / DAY_S) if rate else 0.0

    @property
    def octets(self) -> int:
        return self._read() if self.measured else 0

    def describe(self) -> dict[str, Any]:
        """For `spool status`."""
        rate = self.rate()
        return {
            "write_measured": self.measured,
            "written_bytes": self.octets,
            "written_bytes_day": rate,
            "write_budget_bytes_day": self.budget_bytes_day,
            "card_life_years": float(f"{self.card_life_years:.3g}"),
            "card_capacity_bytes": self._capacity,
            "card_cycles": CYCLES,
            "seal_age_s": round(self.pace.seal_age_s, 1),
        }
