"""What `read` takes to read a capture of 1 GB: its resident memory at the highest, and its CPU time.

    ./dev bench large [--octets N]

The captures are written into the folder for temporary files: frames of 60 octets in 10,000 and in a million
conversations, and real traffic as in `mix.py`. `read --json` in a process of its own; what it prints is dropped.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.kernel import FRAME, make_capture
from bench.measuring import cached, machine, table
from bench.mixture import captures_of, write_mix

TESTS = Path(__file__).resolve().parents[1]
RECORD_HEADER_LEN = 16
SAMPLE_FRAMES = 100_000  # of the mix, for the size of one


def _write_mix(path: Path, octets: int) -> int:
    captures = captures_of(os.environ.get("FIELDWATCH_CORPUS"))
    write_mix(path, captures, frames=SAMPLE_FRAMES)
    frames = round(SAMPLE_FRAMES * octets / path.stat().st_size)
    write_mix(path, captures, frames=frames)
    return frames


def _write_small(flows: int) -> Callable[[Path, int], int]:
    def write(path: Path, octets: int) -> int:
        frames = octets // (FRAME + RECORD_HEADER_LEN)
        make_capture(path, frames, flows)
        return frames

    return write


CAPTURES = {
    "60 octets, 10,000 flows": _write_small(10_000),
    "60 octets, 1,000,000 flows": _write_small(1_000_000),
    "real traffic": _write_mix,
}


def read(path: Path) -> tuple[float, float]:
    """(resident at the highest, in MB; CPU seconds)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "bench.reading", "--json", "--quiet", str(path)]
    done = subprocess.run(command, cwd=TESTS, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    resident_kib = int(done.stderr.split()[-2])
    return resident_kib * 1024 / 1e6, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--octets", type=int, default=1_000_000_000)
    arguments = parser.parse_args()
    print(f"{machine()}\n")
    rows = []
    for name, write in CAPTURES.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "large.pcap")
            frames = write(path, arguments.octets)
            rows.append((name, path.stat().st_size, frames, *read(cached(path))))
    print(table(["capture", "octets", "frames", "resident, MB", "CPU, s"], rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
