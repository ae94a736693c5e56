"""Floods that mean to exhaust a table, a cache or the dissectors, and what they cost: memory, CPU, and what was lost.

``python -m system.attacks NAME [--frames N]`` runs one of them in this process and prints one line of JSON. Each pass
has an engine of its own: harmless frames, the attack with the dissectors off, the attack with all of them on.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from fieldwatch_agent.config import AgentConfig, Privacy
from fieldwatch_agent.dissectors import DISSECTORS
from fieldwatch_agent.pipeline import Pipeline, make_engine
from fieldwatch_ext.capture import MemorySource
from fieldwatch_ext.engine import Counters
from fieldwatch_proto.records import ColumnData, Records
from fieldwatch_proto.schema import Kind
from support.frames import ACK, SYN, ethernet, ipv4, netbios_label, tcp, udp

PORTION = 10_000  # frames that are in memory at once
MILLION = 1_000_000
START_NS = 1_700_000_000_000_000_000
SERVER, GROUP = "10.255.0.1", "224.0.0.251"
SOURCE_MAC, SOURCE_IP, SOURCE_PORT = 6, 26, 34  # octets of an Ethernet frame with an IPv4 header without options
TCP_WINDOW, TCP_MSS = 48, 56
IP_IDENT, IP_BEHIND_FRAGMENT = 18, 22
QUIC_ID = 48


@dataclass(frozen=True)
class Pass:
    """What one pass over the frames came to."""

    frames: int
    cpu_ns_a_frame: float
    in_records: int  # frames that flow records hold
    growth_kib: int  # of the peak of resident memory, since before the pass
    late_growth_kib: int  # of that, in the second half
    counters: Counters


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def _host(number: int) -> bytes:
    """One of 2^24 private addresses, in an order that no table likes better than another."""
    return b"\x0a" + ((number * 0x9E3779) & 0xFFFFFF).to_bytes(3, "big")


# ---- what is sent


def harmless(count: int) -> Iterator[bytes]:
    """Segments of ten thousand connections of two hundred hosts, in any order."""
    dice = random.Random(1)
    frames = []
    for number in range(10_000):
        station = number % 200
        segment = tcp(32_768 + number, 8_443, ACK)
        frames.append(ethernet(ipv4(f"10.0.0.{station}", SERVER, segment), src=f"02:00:00:00:00:{station:02x}"))
    for _ in range(count):
        yield frames[dice.randrange(len(frames))]


def macs(count: int) -> Iterator[bytes]:
    """Each frame from a MAC and an address of its own."""
    frame = ethernet(ipv4("10.0.0.0", SERVER, udp(9, 9, bytes(18))))
    for number in range(count):
        yield frame[:SOURCE_MAC] + b"\x02\0" + _u32(number) + frame[12:SOURCE_IP] + _host(number) + frame[30:]


def half_open(count: int) -> Iterator[bytes]:
    """SYNs that are never answered, each of a flow of its own."""
    frame = ethernet(ipv4("10.0.0.0", SERVER, tcp(0, 443, SYN)))
    for number in range(count):
        port = (1_024 + number % 60_000).to_bytes(2, "big")
        yield frame[:SOURCE_IP] + _host(number) + frame[30:SOURCE_PORT] + port + frame[36:]


def names(count: int) -> Iterator[bytes]:
    """One host that gives itself another name each time: in mDNS, in NetBIOS, and by answers of DNS."""
    for number in range(count):
        text = f"name-{number:09}".encode()
        answer = bytes([len(text)]) + text + b"\x05local\0" + struct.pack(">HHIH", 1, 1, 120, 4) + b"\x0a\0\0\1"
        question = bytes([len(text)]) + text + b"\x05local\0\0\1\0\1"
        label = netbios_label(text.decode(), 0x20)
        registration = label + b"\0\x20\0\1\xc0\x0c\0\x20\0\1" + struct.pack(">IHH", 300_000, 6, 0) + b"\x0a\0\0\1"
        yield (
            ethernet(ipv4("10.0.0.1", GROUP, udp(5353, 5353, struct.pack(">6H", 0, 0x8400, 0, 1, 0, 0) + answer))),
            ethernet(
                ipv4("10.0.0.1", SERVER, udp(53, 40_000, struct.pack(">6H", 1, 0x8180, 1, 1, 0, 0) + question + answer))
            ),
            ethernet(ipv4("10.0.0.1", SERVER, udp(137, 137, struct.pack(">6H", 1, 0x2910, 1, 0, 0, 1) + registration))),
        )[number % 3]


def compression_loops(count: int) -> Iterator[bytes]:
    """Names that point to themselves, at each other, and in long chains; from a host of its own each."""
    itself = (
        struct.pack(">6H", 0, 0x8400, 0, 60, 0, 0) + (b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + bytes(4)) * 60
    )
    mutual = struct.pack(">6H", 0, 0x8400, 0, 60, 0, 0) + b"\xc0\x0e\xc0\x0c" * 300
    chain = struct.pack(">6H", 0, 0x8400, 0, 90, 0, 0) + b"".join(
        struct.pack(">H", 0xC000 | 14 + 2 * n) for n in range(700)
    )
    frames = [
        ethernet(ipv4("10.0.0.0", SERVER, udp(port, port if port != 53 else 40_000, message)))
        for message in (itself, mutual, chain)
        for port in (53, 5353, 5355, 137)
    ]
    for number in range(count):
        frame = frames[number % len(frames)]
        yield frame[:SOURCE_IP] + _host(number) + frame[30:]


def fragments(count: int) -> Iterator[bytes]:
    """First fragments that nothing follows, and later ones whose first never came."""
    frame = ethernet(ipv4("10.0.0.0", SERVER, bytes(24), protocol=17))
    for number in range(count):
        place = b"\0\x10" if number % 2 else b"\x20\0"
        ident = (number >> 1 & 0xFFFF).to_bytes(2, "big")
        yield frame[:IP_IDENT] + ident + place + frame[IP_BEHIND_FRAGMENT:SOURCE_IP] + _host(number) + frame[30:]


def hellos(count: int) -> Iterator[bytes]:
    """The beginning of a ClientHello that never ends, each in a flow of its own."""
    record = b"\x16\x03\x01\x20\0\x01\0\x1f\xfc\x03\x03" + bytes(80)
    frame = ethernet(ipv4("10.0.0.0", SERVER, tcp(0, 443, ACK, record, seq=1)))
    for number in range(count):
        port = (1_024 + number % 60_000).to_bytes(2, "big")
        yield frame[:SOURCE_IP] + _host(number) + frame[30:SOURCE_PORT] + port + frame[36:]


def quic_initials(count: int) -> Iterator[bytes]:
    """Initial packets of connections that nobody has: keys are derived, nothing opens."""
    rest = b"\0\0\x44\x9e" + random.Random(2).randbytes(1_182)
    frame = ethernet(ipv4("10.0.0.0", SERVER, udp(50_000, 443, b"\xc3\0\0\0\1\x08" + bytes(8) + rest)))
    for number in range(count):
        yield frame[:SOURCE_IP] + _host(number) + frame[30:QUIC_ID] + number.to_bytes(8, "big") + rest


def syn_options(count: int) -> Iterator[bytes]:
    """SYNs of a thousand hosts, no two with the same options and window."""
    options = b"\x02\x04\0\0\x01\x03\x03\0\x04\x02\x08\x0a" + bytes(8)
    frame = ethernet(ipv4("10.0.0.0", SERVER, tcp(40_000, 443, SYN, options=options)))
    for number in range(count):
        window, mss = (number >> 16).to_bytes(2, "big"), (number & 0xFFFF).to_bytes(2, "big")
        segment = frame[30:TCP_WINDOW] + window + frame[50:TCP_MSS] + mss + frame[58:]
        yield frame[:SOURCE_IP] + _host(number % 1_000) + segment


@dataclass(frozen=True)
class Attack:
    frames: Callable[[int], Iterator[bytes]]
    count: int = MILLION
    every_ns: int = 1_000  # a million frames a second


ATTACKS = {
    "macs": Attack(macs),
    "half_open": Attack(half_open),
    "names": Attack(names, 100_000, 1_000_000),
    "compression_loops": Attack(compression_loops, 300_000),
    "fragments": Attack(fragments),
    "hellos": Attack(hellos),
    "quic_initials": Attack(quic_initials, 200_000),
    "syn_options": Attack(syn_options),
}


# ---- what it costs


def _peak_kib() -> int:
    """VmHWM of proc_pid_status(5)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def measure(frames: Iterator[bytes], count: int, every_ns: int, *, dissect: bool) -> Pass:
    """Run frames through the agent's pipeline, a tick each second; making them is not counted."""
    in_records = 0
    packets: list[ColumnData] = []

    def emit(records: Records) -> None:
        if records.kind is Kind.FLOW:
            packets.extend((records.columns["packets"], records.columns["reply_packets"]))

    engine = make_engine(AgentConfig(privacy=Privacy(() if dissect else DISSECTORS)))
    pipeline = Pipeline(engine, "eth0", emit)
    cpu_s, done, ticked_ns = 0.0, 0, START_NS
    before_kib = half_kib = _peak_kib()
    while portion := [(START_NS + (done + n) * every_ns, octets) for n, octets in enumerate(islice(frames, PORTION))]:
        source = MemorySource(portion)
        start_s = time.process_time()
        while pipeline.step(source) >= 0:
            pass
        if portion[-1][0] - ticked_ns >= 1_000_000_000:
            ticked_ns = portion[-1][0]
            pipeline.tick(ticked_ns)
        cpu_s += time.process_time() - start_s
        in_records += _sum_of(packets)
        done += len(portion)
        if done <= count // 2:
            half_kib = _peak_kib()
    start_s = time.process_time()
    pipeline.finish()
    cpu_s += time.process_time() - start_s
    in_records += _sum_of(packets)
    peak_kib = _peak_kib()
    return Pass(done, cpu_s / done * 1e9, in_records, peak_kib - before_kib, peak_kib - half_kib, engine.counters())


def _sum_of(columns: list[ColumnData]) -> int:
    """The sum of u64 columns, which are forgotten with that."""
    total = sum(sum(array("Q", column)) for column in columns)
    columns.clear()
    return total


def run(attack: Attack, count: int) -> dict[str, Pass]:
    """The three passes, by name."""
    return {
        "harmless": measure(harmless(count), count, attack.every_ns, dissect=True),
        "kernel": measure(attack.frames(count), count, attack.every_ns, dissect=False),
        "whole": measure(attack.frames(count), count, attack.every_ns, dissect=True),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m system.attacks")
    parser.add_argument("name", choices=ATTACKS)
    parser.add_argument("--frames", type=int, default=0, help="how many (default: what the attack is meant to have)")
    options = parser.parse_args()
    attack = ATTACKS[options.name]
    passes = run(attack, options.frames or attack.count)
    print(json.dumps({name: {**asdict(p), "counters": p.counters._asdict()} for name, p in passes.items()}))


if __name__ == "__main__":
    main()
