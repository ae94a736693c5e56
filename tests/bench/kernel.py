"""What a frame of 60 octets costs in each stage of the kernel, and how that grows with the number of flows.

    ./dev bench kernel [--flows N,N,...] [--repeat N] [--capture FILE]

CPU seconds of the process, the file in the page cache. The stages run at the first number of flows, with a dpkt loop
beside them; decode+flows+sightings at every one, in tables a little larger than what comes. That a run touches its
tables for the first time is part of its cost, that it makes them is not, nor are the records of flows that still stand
at its end.
"""

from __future__ import annotations

import argparse
import os
import random
import struct
import tempfile
import time
from pathlib import Path

import dpkt
from fieldwatch_ext import engine
from fieldwatch_ext.capture import FileSource
from support.capture_files import pcap
from support.frames import ACK, Datagram, ethernet, ipv4, tcp, udp

from bench.measuring import cached, machine, measure, table

STAGES = {
    "read": engine.STAGE_READ,
    "decode": engine.STAGE_DECODE,
    "decode+flows+sightings": engine.STAGE_FLOWS,
    "everything": engine.STAGE_ALL,
}
FLOWS = (10_000, 100_000, 1_000_000)
LEAST_FRAMES, FRAMES_A_FLOW, MOST_FRAMES = 1_000_000, 20, 10_000_000
START_NS = 1_700_000_000_000_000_000
AT_ONCE = 50_000  # frames written together
DPKT_FRAMES = 200_000

FRAME = 60
SRC_MAC, SRC_IP, PORTS = 6, 26, 34  # offsets in a frame without VLAN tags and IPv4 options


def frames_for(flows: int) -> int:
    return min(max(flows * FRAMES_A_FLOW, LEAST_FRAMES), MOST_FRAMES)


def make_capture(path: Path, frames: int, flows: int) -> None:
    """`frames` frames of 60 octets, three quarters TCP, spread evenly at random over `flows` conversations."""
    chance = random.Random(1)
    packets = bytearray()
    for number in range(flows):
        packets += conversation(number)
    with path.open("wb") as stream:
        stream.write(pcap([]))
        header = len(pcap([]))
        for begin in range(0, frames, AT_ONCE):
            records = []
            for place in range(begin, min(begin + AT_ONCE, frames)):
                at = FRAME * chance.randrange(2 * flows)
                records.append((START_NS + 1_000 * place, bytes(packets[at : at + FRAME])))
            stream.write(pcap(records)[header:])


def _template(datagram: Datagram) -> bytes:
    return ethernet(ipv4("10.0.0.1", "10.0.0.2", datagram), pad=True)


TCP = _template(tcp(1, 2, ACK))
UDP = _template(udp(1, 2, bytes(18)))


def conversation(number: int) -> bytes:
    """A frame of its client and one of its server, with addresses of its own; the checksums are not right."""
    client = struct.pack(">BBBB", 10, number >> 14 & 0x3F, number >> 7 & 0x7F, 1 + (number & 0x7F))
    server = struct.pack(">BBBB", *((192, 0, 2) if number % 3 else (10, 200, 0)), 1 + number % 200)
    client_port, port = 32_768 + number % 28_000, (443, 80, 53, 8080)[number % 4]
    mac, router = bytes((2, 0, 0, 0, number % 200, 1)), b"\2\0\0\0\xff\1"
    packet = UDP if number % 4 == 2 else TCP
    head, rest = packet[2 * SRC_MAC : SRC_IP], packet[PORTS + 4 :]
    there = router + mac + head + client + server + struct.pack(">HH", client_port, port) + rest
    back = mac + router + head + server + client + struct.pack(">HH", port, client_port) + rest
    return there + back


def run_stage(path: Path, stage: int, flows: int) -> tuple[float, int]:
    """(CPU seconds, frames) of one pass."""
    room = flows + flows // 8 + 1_024
    fd = os.open(path, os.O_RDONLY)
    try:
        made = engine.Engine(stage=stage, max_flows=room, max_sightings=room)
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


def _stages(path: Path, flows: int, repeat: int) -> str:
    peer = measure(lambda: run_dpkt(path), 2)
    rows: list[tuple[object, ...]] = []
    for name, stage in STAGES.items():
        cost = measure(lambda stage=stage: run_stage(path, stage, flows), repeat)  # type: ignore[misc]
        rows.append((name, cost.median, cost.best, round(cost.frames_per_s), peer.median / cost.median))
    rows.append((f"dpkt, {DPKT_FRAMES:,} frames", peer.median, peer.best, round(peer.frames_per_s), 1.0))
    return table(["stage", "ns a frame, median", "best", "frames/s", "x dpkt"], rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flows", type=lambda text: tuple(map(int, text.split(","))), default=FLOWS, metavar="N,N")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--capture", type=Path, help="the stages alone, on a capture of your own")
    arguments = parser.parse_args()
    print(f"{machine()}\n")
    if arguments.capture is not None:
        print(_stages(cached(arguments.capture), arguments.flows[0], arguments.repeat))
        return 0
    growth: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bench.pcap")
        for number, flows in enumerate(arguments.flows):
            frames = frames_for(flows)
            make_capture(path, frames, flows)
            cached(path)
            if number == 0:
                print(_stages(path, flows, arguments.repeat))
            cost = measure(lambda flows=flows: run_stage(path, engine.STAGE_FLOWS, flows), arguments.repeat)  # type: ignore[misc]
            growth.append((f"{flows:,}", frames, cost.median, cost.best, round(cost.frames_per_s)))
    print()
    print(table(["flows", "frames", "ns a frame, median", "best", "frames/s"], growth))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
