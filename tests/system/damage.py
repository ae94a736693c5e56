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
PAGE_BYTES, WAL_HEAD_BYTES, FRAME_BYTES = 4_096, 32, 24 + 4_096  # fileformat2.html, 1.2, 4.1
OVERFLOW_BYTES = 4_092  # of a body in a page of its own, ibid. 1.6
PART_BYTES, PART_EVERY = 64, 1_000  # of a body: some of each page that it lies on


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


class Places:
    """Where each body lies in a file: the end of the last page (of a -wal: frame) that holds a part of it."""

    def __init__(self, left: Left, name: str) -> None:
        octets = (left.folder / name).read_bytes()
        head, unit = (WAL_HEAD_BYTES, FRAME_BYTES) if name == WAL_NAME else (0, PAGE_BYTES)
        self.ends: dict[int, int] = {}
        for seq, content in left.bodies.items():
            starts = (*range(0, len(content) - PART_BYTES, PART_EVERY), len(content) - PART_BYTES)
            parts = [content[start : start + PART_BYTES] for start in starts]
            found = [place for place in map(octets.rfind, parts) if place >= 0]
            if len(found) >= len(parts) - len(content) // OVERFLOW_BYTES - 1:  # the others go over the end of a page
                self.ends[seq] = head + ((max(found) - head) // unit + 1) * unit


def daemon_cuts(folder: Path, count: int, seed: int) -> tuple[int, int, float]:
    """(rows kept, rows lost, seconds of the slowest start)."""
    dice = random.Random(seed)
    left = spool_of_a_mebibyte(folder)
    places = {name: Places(left, name) for name in (FILE_NAME, WAL_NAME)}
    assert places[FILE_NAME].ends.keys() | places[WAL_NAME].ends.keys() == left.bodies.keys()
    capture = folder / "one.pcap"
    capture.write_bytes(pcap([(1_700_000_000_000_000_000, frame(1))]))
    kept = gone = 0
    slowest = 0.0
    for _ in range(count):
        copy = left.copy(folder / "cut")
        name = dice.choice((FILE_NAME, WAL_NAME))
        other = WAL_NAME if name == FILE_NAME else FILE_NAME
        octets = dice.randrange((copy / name).stat().st_size)
        cut(copy / name, octets)
        whole = places[other].ends.keys() | {seq for seq, end in places[name].ends.items() if end <= octets}
        seconds, lost = start(left, copy, capture)
        assert seconds < MOST_START_S, f"a start took {seconds:.1f} s"
        assert not lost & whole, f"{name} cut at {octets}: rows {sorted(lost & whole)} are whole and were not sent"
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
