"""The soak: faults at random over a running site, judged by the sender's own count.

``python -m system.soak --minutes M [--seed N]``. In the first part anything may happen, kills included; in the second
both processes live on while everything else goes wrong around them, and their memory and handles are read. The last
line of output is ``kills K records R lost L duplicated D``; the exit code is 1 unless L and D are 0, a fresh record
passed after each fault, and neither memory nor handles grew.
"""

from __future__ import annotations

import argparse
import errno
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from support.disk import WatchedDisk
from support.stack import Daemon, wait_for

from system.kills import QUICK, TargetSite, Verdict, strike, target_site

FIRST_PART = 0.5
RATE = 6_000  # frames a second
WARM_UP_S = 60.0
SMALL_CACHE = {"FIELDWATCH_COLLECTOR__LIMITS__CACHE_BYTES": "4 MiB"}  # full at once, not after ten minutes
READ_EVERY_S = 2.0
MOST_KIB_A_MINUTE = 64.0
ALWAYS_KIB = 2_048.0  # what a process may still take after the warm-up: over few minutes that is no slope yet
MOST_HANDLES = 8  # more at the end than at the beginning: a stream that is opened anew has some of its own for a moment
FRESH_S = 60.0


@dataclass
class Readings:
    """Resident memory and file handles of one process over time."""

    daemon: Daemon
    at: list[float] = field(default_factory=list)
    kib: list[int] = field(default_factory=list)
    handles: list[int] = field(default_factory=list)

    def read(self) -> None:
        assert self.daemon.process is not None
        process = Path(f"/proc/{self.daemon.process.pid}")
        lines = (process / "status").read_text().splitlines()
        self.at.append(time.monotonic())
        self.kib.append(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")))
        self.handles.append(sum(1 for _ in (process / "fd").iterdir()))

    @property
    def kib_a_minute(self) -> float:
        """Theil-Sen: the median of the slopes between any two readings; a single peak does not move it."""
        pairs = combinations(zip(self.at, self.kib, strict=True), 2)
        return 60 * statistics.median((later[1] - first[1]) / (later[0] - first[0]) for first, later in pairs)

    @property
    def grew(self) -> bool:
        """Whether it took more than its bound, by the slope, over the time that it was read."""
        minutes = (self.at[-1] - self.at[0]) / 60
        return self.kib_a_minute * minutes > max(ALWAYS_KIB, MOST_KIB_A_MINUTE * minutes)

    @property
    def more_handles(self) -> int:
        third = max(1, len(self.handles) // 3)
        return max(self.handles[-third:]) - max(self.handles[:third])


@dataclass
class Soak:
    """A site and what can happen to it. Every fault leaves both processes running and the disk well."""

    site: TargetSite
    disk: WatchedDisk
    dice: random.Random
    happened: Counter[str] = field(default_factory=Counter)

    @property
    def deadly(self) -> dict[str, Callable[[], None]]:
        return {
            "kill agent": lambda: strike(self.site, "agent", self.dice),
            "kill collector": lambda: strike(self.site, "collector", self.dice),
        }

    @property
    def harmful(self) -> dict[str, Callable[[], None]]:
        return {
            "freeze agent": lambda: self._freeze(self.site.agent, 2.0),
            "freeze collector": lambda: self._freeze(self.site.collector, 5.0),
            "partition": self._partition,
            "disk error": lambda: self._disk("write_errno", errno.EIO),
            "sync error": lambda: self._disk("sync_errno", errno.EIO),
            "disk full": lambda: self._disk("write_errno", errno.ENOSPC),
            "slow disk": lambda: self._disk("sync_delay_ms", 700),
        }

    def one(self, choice: dict[str, Callable[[], None]]) -> None:
        """One fault of these, and a fresh record after it."""
        name = self.dice.choice(sorted(choice))
        self.site.sender.say("go")
        choice[name]()
        self.happened[name] += 1
        self.site.sender.say("go")
        before = self._stored()
        wait_for(lambda: self._stored() > before, f"a fresh record passes after: {name}", FRESH_S)

    def _stored(self) -> int:
        return int(self.site.collector.ask("SELECT coalesce(max(position), 0) FROM batch")[0][0])

    def _last(self, most_s: float) -> None:
        time.sleep(self.dice.uniform(0.1, most_s))  # how long a fault lasts is random input, nothing is awaited

    def _freeze(self, daemon: Daemon, most_s: float) -> None:
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGSTOP)
        self._last(most_s)
        daemon.process.send_signal(signal.SIGCONT)

    def _partition(self) -> None:
        """Agent and collector speak over the loopback of the near namespace."""
        for state in ("down", "up"):
            subprocess.run(["ip", "-n", self.site.over.near, "link", "set", "lo", state], check=True)
            self._last(5.0)

    def _disk(self, fault: str, value: int) -> None:
        setattr(self.disk.faults, fault, value)
        self._last(3.0)
        setattr(self.disk.faults, fault, 0)


@dataclass(frozen=True)
class Outcome:
    """What a soak came to."""

    verdict: Verdict
    happened: Counter[str]
    agent: Readings
    collector: Readings

    @property
    def grew(self) -> list[str]:
        """What grew beyond its bound."""
        found = []
        for name, readings in (("agent", self.agent), ("collector", self.collector)):
            if readings.grew:
                found.append(f"memory of the {name}")
            if readings.more_handles > MOST_HANDLES:
                found.append(f"file handles of the {name}")
        return found

    def lines(self) -> list[str]:
        shown = [", ".join(f"{name} {times}" for name, times in sorted(self.happened.items()))]
        for name, readings in (("agent", self.agent), ("collector", self.collector)):
            shown.append(
                f"{name}: {readings.kib[-1] / 1024:.1f} MiB at the end, {readings.kib_a_minute:+.0f} KiB a minute over"
                f" {(readings.at[-1] - readings.at[0]) / 60:.1f} min, {readings.more_handles:+d} file handles"
            )
        verdict = self.verdict
        shown.append(f"frames sent {verdict.sent} stored {verdict.stored} declared lost {verdict.declared}")
        return shown


def run(folder: Path, *, minutes: float, seed: int) -> Outcome:
    """Faults for so long."""
    dice = random.Random(seed)
    scratch, data = folder / "scratch", folder / "site"
    scratch.mkdir(parents=True)
    disk = WatchedDisk(data / "agent", scratch, logs=False)
    begun = time.monotonic()
    with target_site(data, {**QUICK, **SMALL_CACHE, **disk.environ}, RATE) as site:
        soak = Soak(site, disk, dice)
        while time.monotonic() - begun < minutes * 60 * FIRST_PART:
            soak.one({**soak.deadly, **soak.harmful})
        agent, collector = Readings(site.agent), Readings(site.collector)
        reading_from = time.monotonic() + min(WARM_UP_S, minutes * 60 * (1 - FIRST_PART) / 2)
        next_reading = 0.0
        while time.monotonic() - begun < minutes * 60 or len(agent.at) < 3:
            soak.one(soak.harmful)
            if time.monotonic() >= max(next_reading, reading_from):
                next_reading = time.monotonic() + READ_EVERY_S
                agent.read()
                collector.read()
        site.finish()
        kills = soak.happened["kill agent"] + soak.happened["kill collector"]
        return Outcome(site.verdict(kills), soak.happened, agent, collector)


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev soak")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr)
    folder = Path(tempfile.mkdtemp(prefix="fieldwatch-soak-"))
    try:
        outcome = run(folder, minutes=options.minutes, seed=options.seed)
    except BaseException:
        print(f"databases and logs are in {folder}", file=sys.stderr)
        raise
    if outcome.verdict.holds:
        shutil.rmtree(folder)
    else:
        print(f"databases and logs are in {folder}", file=sys.stderr)
    print("\n".join(outcome.lines()))
    for name in outcome.grew:
        print(f"grew: {name}")
    print(outcome.verdict.line())
    sys.exit(0 if outcome.verdict.holds and not outcome.grew else 1)


if __name__ == "__main__":
    main()
