"""Frames that somebody damaged, and the judgement of a run: nothing raised, every frame in the accounts."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable, Iterator

from fieldwatch_agent.dissectors import dissect
from fieldwatch_ext.capture import MemorySource, Source
from fieldwatch_ext.engine import Counters, Engine, Slow
from fieldwatch_proto.records import Records
from fieldwatch_proto.schema import Kind

from support.engine_compare import Captured
from support.frames import ACK, Datagram, ethernet, ethernet_802_3, ipv4, ipv6, snap, tcp, udp

MAX_FACTS_A_FRAME = 64
EDGES = (b"\0\0", b"\0\1", b"\xff\xff")
APART_NS = 200_000_000_000
"""Beyond the idle timeout: each frame begins a flow of its own, and its sender's allowance is full."""


def run_engine(source: Source, engine: Engine) -> Counters:
    """Everything the source holds through engine and dissectors; the accounts are checked at the end."""
    exported = 0
    while True:
        done = engine.process(source)
        exported += _taken(engine)
        if done < 0:
            break
    while engine.flush():
        exported += _taken(engine)
    exported += _taken(engine)
    counters = engine.counters()
    assert counters.frames == counters.decoded + counters.truncated + counters.malformed + counters.unsupported
    assert counters.frames == counters.in_flows + counters.outside_flows
    assert counters.slow_dropped == 0
    assert exported == counters.in_flows
    return counters


def _taken(engine: Engine) -> int:
    """Take all that the engine holds ready; frames in the flow records."""
    for slow in engine.take_slow():
        assert len(dissect(slow)) <= MAX_FACTS_A_FRAME
    engine.take_sightings()
    flows = engine.take_flows()
    if not flows.count:
        return 0
    columns = Records(Kind.FLOW, flows.count, flows.columns)
    return sum(columns.values("packets")) + sum(columns.values("reply_packets"))


def judge(frames: Iterable[tuple[bytes, int]], *, linktype: int = 1) -> Counters:
    """Run (octets, length on the wire) through one engine, each as if nothing had been before it."""
    return run_engine(MemorySource(list(_apart(frames)), linktype=linktype), Engine(max_flows=64))


def _apart(frames: Iterable[tuple[bytes, int]]) -> Iterator[Captured]:
    for number, (octets, original) in enumerate(frames):
        yield number * APART_NS, octets, original


def prefixes(octets: bytes) -> Iterator[tuple[bytes, int]]:
    """The frame ending at each of its octets: on the wire, and in the capture alone."""
    for end in range(len(octets) + 1):
        yield octets[:end], end
        yield octets[:end], len(octets)


def flipped(octets: bytes, dice: random.Random, times: int) -> Iterator[tuple[bytes, int]]:
    """The frame with one bit flipped, at `times` places."""
    for place in sorted(dice.sample(range(8 * len(octets)), min(times, 8 * len(octets)))):
        damaged = bytearray(octets)
        damaged[place // 8] ^= 1 << place % 8
        yield bytes(damaged), len(octets)


def at_the_edges(octets: bytes, places: Iterable[int]) -> Iterator[tuple[bytes, int]]:
    """The frame with two octets set to 0, to 1 and to all ones, at each place: each length field among them."""
    for place in places:
        for edge in EDGES:
            yield octets[:place] + edge + octets[place + 2 :], len(octets)


def on_the_wire(slow: Slow) -> bytes:
    """A frame that brings the kernel to hand over such a message."""
    src_mac, dst_mac = slow.src_mac.hex(":"), slow.dst_mac.hex(":")
    if slow.protocol == "lldp":
        return ethernet(slow.payload, src=src_mac, dst=dst_mac, ethertype=0x88CC)
    if slow.protocol == "cdp":
        return ethernet_802_3(snap(0x00000C, 0x2000, slow.payload), src=src_mac, dst=dst_mac)
    if slow.protocol == "tcp_syn":
        return ethernet(slow.payload, src=src_mac, dst=dst_mac)
    src, dst = (str(ipaddress.ip_address(octets)) for octets in (slow.src_ip, slow.dst_ip))
    if slow.protocol == "igmp" and len(slow.src_ip) == 16:  # MLD is of the link alone (RFC 3810 section 5)
        return ethernet(ipv6(src, dst, Datagram(58, slow.payload), hop_limit=1), src=src_mac, dst=dst_mac)
    packet = ipv4 if len(slow.src_ip) == 4 else ipv6
    return ethernet(packet(src, dst, _carrier(slow)), src=src_mac, dst=dst_mac)


def _carrier(slow: Slow) -> Datagram:
    if slow.protocol == "igmp":
        return Datagram(2, slow.payload)
    if slow.protocol in ("tls", "http", "smb"):
        return tcp(slow.src_port, slow.dst_port, ACK, slow.payload, seq=1)
    return udp(slow.src_port, slow.dst_port, slow.payload)
