"""What a long outage leaves, and what it costs: ``python -m system.backlog --bytes "1 GiB"``.

Makes a spool of that size (batches of 48 kB) and does with it, each in a process of its own, what an agent and its
commands do: start after a clean stop and after a kill, drain, export, fsck, salvage. One line each: seconds, and the
peak of resident memory above that of a process that does the same with a spool of one batch.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fieldwatch_agent.spool.check import check
from fieldwatch_agent.spool.control import export_lines
from fieldwatch_agent.spool.items import START, Put
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_proto.columns import Sealed, digest
from fieldwatch_proto.quantities import parse_bytes
from fieldwatch_proto.schema import Kind

LIMITS = Limits(4 << 30, 0, 1e9)
BATCH_BYTES = 48_000
TESTS = Path(__file__).resolve().parents[1]
RUN = 7


def make(folder: Path, octets: int) -> None:
    """A spool that was stopped cleanly with so much in it. Its bodies differ, and do not compress."""
    folder.mkdir()
    store = Store(folder, LIMITS)
    store.begin_run(RUN, [], {})
    store.db.execute("PRAGMA synchronous=OFF")
    noise = random.Random(1).randbytes(2 * BATCH_BYTES)
    for first in range(0, max(1, octets // BATCH_BYTES), 40):
        puts = []
        for number in range(first, min(first + 40, max(1, octets // BATCH_BYTES))):
            body = number.to_bytes(8) + noise[number % BATCH_BYTES :][: BATCH_BYTES - 8]
            sealed = Sealed(Kind.FLOW, 1_000, 4 * BATCH_BYTES, number, number, digest(body), body)
            puts.append(Put(sealed, 1_000))
        store.commit(puts)
    store.close(clean=True)


def start(folder: Path) -> None:
    thread = SpoolThread(folder, LIMITS)
    thread.start()
    thread.call(Store.status)
    thread.close(clean=True)


def killed(folder: Path) -> None:
    """A start after a kill: the check of the whole file begins behind it."""
    store = Store(folder, LIMITS)
    store.begin_run(RUN, [], {})
    store.db.close()
    thread = SpoolThread(folder, LIMITS)
    thread.start()
    thread.call(Store.status)
    assert thread.recovery.check.running or thread.call(Store.status).batches < 4
    thread.close(clean=True)


def drain(folder: Path) -> None:
    """As the shipper does: eight messages in flight, an ack for each window."""
    thread = SpoolThread(folder, LIMITS)
    thread.start()
    place = START
    while items := thread.call(lambda store, place=place: store.lease(place, 8)):  # type: ignore[misc]
        place, item = items[-1]
        thread.ack(item.epoch, [(1, place.seq)])
    thread.close(clean=True)
    store = Store(folder, LIMITS)
    assert store.status().batches == 0


def export(folder: Path) -> None:
    assert sum(1 for _ in export_lines(folder)) > 0


def fsck(folder: Path) -> None:
    assert check(folder).problems == []


def salvage(folder: Path) -> None:
    store = Store(folder, LIMITS)
    before = store.status().frames
    assert store.salvage("measured").status().frames == before


STEPS: dict[str, Callable[[Path], None]] = {
    step.__name__: step for step in (start, killed, export, fsck, salvage, drain)
}


def peak_bytes() -> int:
    """The most that was ever resident of this program (VmHWM, proc_pid_status(5))."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


def measure(name: str, folder: Path) -> tuple[float, int]:
    """Seconds and peak resident octets of a step in a process of its own."""
    command = [sys.executable, "-m", "system.backlog", "--step", name, str(folder)]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=True, timeout=1_800)
    shown = done.stdout.split()
    return float(shown[0]), int(shown[1])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m system.backlog")
    parser.add_argument("--bytes", type=parse_bytes, default=parse_bytes("1 GiB"))
    parser.add_argument("--step", nargs=2, metavar=("NAME", "FOLDER"))
    options = parser.parse_args()
    if options.step:
        begun = time.monotonic()
        STEPS[options.step[0]](Path(options.step[1]))
        print(time.monotonic() - begun, peak_bytes())
        return
    base = Path(tempfile.mkdtemp(prefix="fieldwatch-backlog-"))
    try:
        make(base / "large", options.bytes)
        make(base / "small", 1)
        for name in STEPS:
            _, idle = measure(name, base / "small")
            seconds, peak = measure(name, base / "large")
            print(f"{name:<8} {seconds:6.2f} s {(peak - idle) / 1e6:6.1f} MB above a spool of one batch", flush=True)
    finally:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
