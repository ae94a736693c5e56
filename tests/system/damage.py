"""Spool files cut at random, started by the real daemon: ``python -m system.damage --cuts 500``.

``--every-octet`` cuts a spool of a few pages at every octet instead, in this process. Each start must take
under ten seconds, keep every row that is whole, and declare the others. The last line says how many starts there were,
and how many rows were kept and lost; a broken promise is an AssertionError that names it.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fieldwatch_agent.ledger import Ledger
from fieldwatch_agent.spool.file import FILE_NAME
from support.capture_files import pcap
from support.damage import WAL_NAME, Left, cut, drain, judge, leave, promised
from support.sender import frame
from support.stack import Agent

MOST_START_S = 10.0
BATCHES = 60


def spool_of_a_mebibyte(folder: Path) -> Left:
    """Sixty batches, the last of them only in the WAL, and the ledger of the killed agent."""
    left = leave(folder, [17_000] * BATCHES, checkpoint_after=40)
    ledger = Ledger(left.folder, left.mark.run)
    ledger.remember(left.mark)
    ledger.close()
    return left


def start(left: Left, folder: Path, capture: Path) -> tuple[float, set[int]]:
    """Run the daemon on a folder to its end: how long it took, and which rows are lost."""
    agent = Agent(folder)
    begun = time.monotonic()
    done = subprocess.run(
        agent.command("run", "--data", str(folder), "--local-only", "--replay", str(capture)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    seconds = time.monotonic() - begun
    assert done.returncode == 0, done.stderr
    batches, gaps, _ = drain(folder, None)
    return seconds, promised(left, [*batches, *gaps])


def daemon_cuts(folder: Path, count: int, seed: int) -> tuple[int, int, float]:
    """(rows kept, rows lost, seconds of the slowest start)."""
    dice = random.Random(seed)
    left = spool_of_a_mebibyte(folder)
    capture = folder / "one.pcap"
    capture.write_bytes(pcap([(1_700_000_000_000_000_000, frame(1))]))
    kept = gone = 0
    slowest = 0.0
    for _ in range(count):
        copy = left.copy(folder / "cut")
        name = dice.choice((FILE_NAME, WAL_NAME))
        cut(copy / name, dice.randrange((copy / name).stat().st_size))
        seconds, lost = start(left, copy, capture)
        assert seconds < MOST_START_S, f"a start took {seconds:.1f} s"
        slowest = max(slowest, seconds)
        gone += len(lost)
        kept += BATCHES - len(lost)
    return kept, gone, slowest


def every_octet(folder: Path) -> Iterator[int]:
    """The rows that are lost with each cut of a small spool."""
    left = leave(folder, [100, 700, 100, 3_000], checkpoint_after=4)
    for octets in range((left.folder / FILE_NAME).stat().st_size):
        copy = left.copy(folder / "cut")
        cut(copy / FILE_NAME, octets)
        yield judge(left, copy, len(left.bodies))[0]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m system.damage")
    parser.add_argument("--cuts", type=int, default=500)
    parser.add_argument("--every-octet", action="store_true")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="fieldwatch-damage-") as name:
        if options.every_octet:
            losses = list(every_octet(Path(name)))
            print(f"starts {len(losses)} rows kept {4 * len(losses) - sum(losses)} lost and declared {sum(losses)}")
        else:
            kept, gone, slowest = daemon_cuts(Path(name), options.cuts, options.seed)
            print(f"starts {options.cuts} rows kept {kept} lost and declared {gone} slowest {slowest:.1f} s")


if __name__ == "__main__":
    main()
