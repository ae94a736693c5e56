"""The wall clock, which may be wrong and may be set at any moment, and what is made of it.

- CLOCK_BOOTTIME counts from the boot and is never set. The *anchor* is CLOCK_REALTIME less CLOCK_BOOTTIME: it is
  constant until somebody sets the clock, and time less anchor is time since the boot, whatever the clock says.
- A batch says which anchor and boot its times belong to (`schema.CLOCK_COLUMNS`). The collector knows the right anchor
  of the boot from each Hello, and moves times that a wrong clock has made.
- When the clock is set while the agent runs, what is not sealed yet holds times of before. A time that cannot be of the
  clock as it is now, but can be of an earlier *era* of it, is moved into the present one: a sealed batch has one
  anchor. After a step back, times of both eras overlap for as long as the step was; there the present one is believed.
  Flows end long before that matters.
- Whether the certificate has ended is asked by the collector's clock, once it was heard.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fieldwatch_ext.clock import is_disciplined
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.records import ColumnData, Records, time_columns
from fieldwatch_proto.schema import ClockQuality

STEP_NS = 1_000_000_000  # a jump of the anchor beyond it is a step
MAX_ERAS = 8
MAX_WALL_NS = 1 << 62  # the year 2116: whatever a collector says, sums with it stay in 64 bits
# systemd-timesyncd makes it once the clock is right; asked where adjtimex(2) is forbidden (ProtectClock=).
TIMESYNC_FILE = Path("/run/systemd/timesync/synchronized")

_READS = 5
_PREEMPTED_NS = 100_000

log = get_logger(__name__)


def realtime_ns() -> int:
    return time.time_ns()


def boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def quality() -> ClockQuality:
    """NTP or UNSYNCED; what cannot be found out is not relied on."""
    try:
        disciplined = is_disciplined()
    except OSError:
        disciplined = TIMESYNC_FILE.exists()
    return ClockQuality.NTP if disciplined else ClockQuality.UNSYNCED


@dataclass
class _Era:
    """The clock between two steps. `since_ns`, `until_ns`: boot time, each as wide as it may have been."""

    anchor_ns: int
    since_ns: int
    until_ns: int

    def moved(self, moment_ns: int, anchor_ns: int) -> int | None:
        """The moment of this era under another anchor; None where it is not of this era."""
        since_boot = moment_ns - self.anchor_ns
        return since_boot + anchor_ns if self.since_ns <= since_boot <= self.until_ns else None


class Clock:
    """One per agent; any thread. `boot`: the boot's id, as `ledger.boot_id` gives it."""

    def __init__(
        self,
        boot: bytes,
        *,
        realtime: Callable[[], int] = realtime_ns,
        boottime: Callable[[], int] = boottime_ns,
        ask_quality: Callable[[], ClockQuality] = quality,
    ) -> None:
        self.steps = 0  # since the start
        self._boot = int.from_bytes(boot[:8], "little")
        self._realtime, self._boottime, self._ask_quality = realtime, boottime, ask_quality
        self._lock = threading.Lock()
        self._collector_anchor_ns: int | None = None
        self._eras = [_Era(self.anchor_ns(), 0, self._boottime())]

    def anchor_ns(self) -> int:
        """CLOCK_REALTIME less CLOCK_BOOTTIME, to about the time that reading them takes."""
        best: tuple[int, int] | None = None
        for _ in range(_READS):
            before = self._boottime()
            real = self._realtime()
            after = self._boottime()
            read = after - before, real - (before + after) // 2
            best = read if best is None else min(best, read)
            if best[0] < _PREEMPTED_NS:
                break
        assert best is not None
        return best[1]

    @property
    def quality(self) -> ClockQuality:
        return self._ask_quality()

    def look(self) -> None:
        """Notice whether the clock was set. To be called every second or so: so well is the moment known."""
        with self._lock:
            self._look()

    def _look(self) -> int:
        """The anchor now; under the lock."""
        anchor, present = self.anchor_ns(), self._eras[-1]
        step = anchor - present.anchor_ns
        looked_ns, now_ns = present.until_ns, self._boottime()
        present.until_ns = now_ns
        if abs(step) > STEP_NS:
            self.steps += 1
            self._eras.append(_Era(anchor, looked_ns, now_ns))
            del self._eras[:-MAX_ERAS]
            log.warning("the clock was set while the agent runs", by_s=round(step / 1e9, 3))
        return anchor

    # --- times of records -----------------------------------------------------------------------------------------

    def stamp(self, records: Records) -> Records:
        """The records with the columns that tell their clock, and with all their times by the clock as it is now."""
        with self._lock:
            anchor = self._look()
            columns: dict[str, ColumnData] = {**records.columns, **self._moved(records)}
        values = {
            "clock_anchor_ns": ("q", anchor),
            "clock_boot": ("Q", self._boot),
            "clock_quality": ("B", self.quality),
        }
        for name, (code, value) in values.items():
            columns[name] = array(code, [value]).tobytes() * records.count
        return Records(records.kind, records.count, columns)

    def _moved(self, records: Records) -> dict[str, bytes]:
        """The columns of times that an earlier era has made, moved into the present one."""
        *earlier, present = self._eras
        if not earlier:
            return {}
        first_ns, last_ns = present.since_ns + present.anchor_ns, present.until_ns + present.anchor_ns
        found = {}
        for name in time_columns(records.kind):
            times = array("q", records.columns[name])  # type: ignore[arg-type]  # no column of times is Texts
            if min(times) < first_ns or max(times) > last_ns:
                found[name] = array("q", map(self._present, times)).tobytes()
        return found

    def _present(self, moment_ns: int) -> int:
        anchor = self._eras[-1].anchor_ns
        for era in reversed(self._eras):
            moved = era.moved(moment_ns, anchor)
            if moved is not None:
                return moved
        return moment_ns

    # --- the collector's clock --------------------------------------------------------------------------------------

    def hear(self, collector_ns: int) -> None:
        """The collector's clock, as it was a moment ago; 0 = it did not say."""
        if collector_ns:
            self._collector_anchor_ns = min(collector_ns, MAX_WALL_NS) - self._boottime()

    @property
    def offset_ns(self) -> int | None:
        """The collector's clock less ours; None while nothing was heard of it."""
        anchor = self._collector_anchor_ns
        return None if anchor is None else anchor - self.anchor_ns()

    def now_s(self, not_before_s: float = 0.0) -> float:
        """Unix seconds by the collector's clock where it was heard, else by ours, and never before `not_before_s`."""
        return max(not_before_s, (self._realtime() + (self.offset_ns or 0)) / 1e9)

    @property
    def is_known(self) -> bool:
        """Whether `now_s` is more than the word of a clock that nobody keeps right."""
        return self._collector_anchor_ns is not None or self.quality is ClockQuality.NTP
