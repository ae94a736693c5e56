"""The mix through what others have written, and through the kernel: the same file in the same run.

    ./dev bench peers [--frames N] [--repeat N]

CPU seconds, user and system, of each one's whole tree of processes. What it costs to start is measured on a file of
one frame and subtracted; both are shown. The slow ones get the first frames of the file only, and their cost a frame is
taken to be the same for the rest. NFStream runs one meter; softflowd exports NetFlow 9 to a port that nobody reads.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.measuring import cached, machine, table
from bench.mixture import captures_of, write_mix

HERE = Path(__file__).resolve().parent
LOOPS_PYTHON = HERE.parents[1] / "build" / "bench-venv" / "bin" / "python"
OURS = "Fieldwatch"
TIMEOUT_S = 900


class Peer(NamedTuple):
    """Somebody's program; `command` gives its words for a capture and a folder for what it writes."""

    name: str
    program: str
    install: str
    most_frames: int  # that it is given
    command: Callable[[Path, Path], list[str]]


def _loop(name: str, title: str, most_frames: int) -> Peer:
    def command(capture: Path, _: Path) -> list[str]:
        return [str(LOOPS_PYTHON), str(HERE / "peer_loops.py"), name, str(capture)]

    return Peer(title, str(LOOPS_PYTHON), "./dev bench peers", most_frames, command)


def peers(frames: int, port: int) -> list[Peer]:
    return [
        Peer(
            OURS, sys.executable, "./dev", frames, lambda capture, _: [sys.executable, "-m", "bench.ours", str(capture)]
        ),
        Peer(
            "softflowd",
            "softflowd",
            "apt-get install softflowd",
            frames,
            lambda capture, folder: _softflowd(capture, folder, port),
        ),
        Peer(
            "nfpcapd",
            "nfpcapd",
            "apt-get install nfdump",
            frames,
            lambda capture, folder: ["nfpcapd", "-r", str(capture), "-w", str(folder)],
        ),
        Peer(
            "tshark",
            "tshark",
            "apt-get install tshark",
            200_000,
            lambda capture, _: ["tshark", "-n", "-r", str(capture), "-q", "-z", "conv,ip"],
        ),
        _loop("nfstream", "NFStream", frames),
        _loop("dpkt", "dpkt", 200_000),
        _loop("scapy", "scapy", 10_000),
    ]


def _softflowd(capture: Path, folder: Path, port: int) -> list[str]:
    where = ["-n", f"127.0.0.1:{port}", "-v", "9", "-m", "65536"]
    return ["softflowd", "-d", "-r", str(capture), *where, "-p", str(folder / "pid"), "-c", "none"]


def cpu_s(peer: Peer, capture: Path) -> float:
    """Of one run and the processes that it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        words = peer.command(capture, Path(folder))
        subprocess.run(words, check=True, capture_output=True, timeout=TIMEOUT_S)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    captures = captures_of(os.environ.get("FIELDWATCH_CORPUS"))
    print(f"{machine()}\n")
    rows: list[tuple[object, ...]] = []
    missing = []
    ours_ns = 0.0
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        for peer in peers(arguments.frames, collector.getsockname()[1]):
            if shutil.which(peer.program) is None:
                missing.append(f"{peer.name} is not installed: {peer.install}")
                continue
            frames = min(peer.most_frames, arguments.frames)
            capture, one = Path(folder, f"{frames}.pcap"), Path(folder, "one.pcap")
            for path, count in ((capture, frames), (one, 1)):
                if not path.exists():
                    write_mix(path, captures, frames=count)
                cached(path)
            start_s = statistics.median(cpu_s(peer, one) for _ in range(arguments.repeat))
            costs = [max(cpu_s(peer, capture) - start_s, 1e-9) for _ in range(arguments.repeat)]
            ns = statistics.median(costs) / frames * 1e9
            ours_ns = ours_ns or ns
            best = min(costs) / frames * 1e9
            rows.append((peer.name, frames, f"{start_s:.2f}", ns, best, round(1e9 / ns), ns / ours_ns))
    print(table(["program", "frames", "start, s", "ns a frame, median", "best", "frames/s", "x ours"], rows))
    print("".join(f"\n{line}" for line in missing))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
