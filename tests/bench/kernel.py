"""What a frame costs in each stage of the kernel, beside a dpkt loop over the same file in the same run.

    python tests/bench/kernel.py [--frames N] [--flows N] [--repeat N] [--capture FILE]

CPU seconds of the process, the file in the page cache, best and median of the repetitions. Without --capture it makes
one of 60-octet TCP and UDP frames, both directions of --flows conversations in random order.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dpkt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fieldwatch_ext import engine
from fieldwatch_ext.capture import FileSource
from support.capture_files import pcap
from support.frames import ACK, Datagram, ethernet, ipv4, tcp, udp

STAGES = {
    "read": engine.STAGE_READ,
    "decode": engine.STAGE_DECODE,
    "decode+flows+sightings": engine.STAGE_FLOWS,
    "everything": engine.STAGE_ALL,
}
DPKT_FRAMES = 200_000


def make_capture(path: Path, frames: int, flows: int) -> None:
    """`frames` frames of 60 octets, three quarters TCP, spread evenly at random over `flows` conversations."""
    chance = random.Random(1)
    conversations: list[tuple[bytes, bytes]] = []
    for number in range(flows):
        client = f"10.{number >> 14 & 0x3F}.{number >> 7 & 0x7F}.{1 + (number & 0x7F)}"
        server = f"192.0.2.{1 + number % 200}" if number % 3 else f"10.200.0.{1 + number % 200}"
        client_port, port = 32_768 + number % 28_000, (443, 80, 53, 8080)[number % 4]
        there: Datagram
        back: Datagram
        if number % 4 == 2:
            there, back = udp(client_port, port, bytes(18)), udp(port, client_port, bytes(18))
        else:
            there, back = tcp(client_port, port, ACK), tcp(port, client_port, ACK)
        mac = f"02:00:00:00:{number % 200:02x}:01"
        router = "02:00:00:00:ff:01"
        conversations.append(
            (
                ethernet(ipv4(client, server, there), src=mac, dst=router, pad=True),
                ethernet(ipv4(server, client, back), src=router, dst=mac, pad=True),
            )
        )
    start_ns = 1_700_000_000_000_000_000
    path.write_bytes(
        pcap(
            (start_ns + 1_000 * number, conversations[chance.randrange(flows)][chance.randrange(2)])
            for number in range(frames)
        )
    )


def run_stage(path: Path, stage: int) -> tuple[float, int]:
    """(CPU seconds, frames) of one pass."""
    fd = os.open(path, os.O_RDONLY)
    try:
        made = engine.Engine(stage=stage)
        source = FileSource(fd)
        start = time.process_time()
        while made.process(source) >= 0:
            if stage >= engine.STAGE_FLOWS:
                made.take_flows()
            if stage == engine.STAGE_ALL:
                made.take_slow()
        return time.process_time() - start, made.counters().frames
    finally:
        os.close(fd)


def run_dpkt(path: Path) -> tuple[float, int]:
    """The same work as plain people do it: dpkt objects and a dict of flows, for the first frames of the file."""
    flows: dict[tuple[bytes, bytes, int, int, int], list[int]] = {}
    frames = 0
    start = time.process_time()
    with path.open("rb") as stream:
        for _, octets in dpkt.pcap.UniversalReader(stream):
            frames += 1
            packet = dpkt.ethernet.Ethernet(octets).data
            if isinstance(packet, dpkt.ip.IP | dpkt.ip6.IP6) and isinstance(packet.data, dpkt.tcp.TCP | dpkt.udp.UDP):
                key = (packet.src, packet.dst, packet.data.sport, packet.data.dport, packet.p)
                totals = flows.setdefault(key, [0, 0])
                totals[0] += 1
                totals[1] += len(octets)
            if frames == DPKT_FRAMES:
                break
    return time.process_time() - start, frames


def measure(what: Callable[[], tuple[float, int]], repeat: int) -> tuple[float, float]:
    """Best and median nanoseconds a frame."""
    costs = []
    for _ in range(repeat):
        seconds, frames = what()
        costs.append(seconds / frames * 1e9)
    return min(costs), statistics.median(costs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--flows", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--capture", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.capture
        if path is None:
            path = Path(folder, "bench.pcap")
            make_capture(path, arguments.frames, arguments.flows)
        path.read_bytes()  # into the page cache
        dpkt_best, dpkt_median = measure(lambda: run_dpkt(path), 2)
        print(f"{'stage':<24} {'best ns':>9} {'median':>9} {'frames/s':>14} {'x dpkt':>8}")
        for name, stage in STAGES.items():
            best, median = measure(lambda stage=stage: run_stage(path, stage), arguments.repeat)  # type: ignore[misc]
            print(f"{name:<24} {best:>9.1f} {median:>9.1f} {1e9 / best:>14,.0f} {dpkt_best / best:>8.1f}")
        print(f"{'dpkt':<24} {dpkt_best:>9.1f} {dpkt_median:>9.1f} {1e9 / dpkt_best:>14,.0f} {1.0:>8.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
