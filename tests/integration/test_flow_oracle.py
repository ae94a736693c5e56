"""On real captures, the flows of this project are the conversations that tshark counts: frames and octets by direction.

A frame counts differently here and there, for reasons, where it

- is an ICMP error: it is credited to the flow that it quotes; tshark leaves it out;
- is a fragment: all pieces count for the flow of their first; tshark counts the piece that has the ports;
- stands in a UDP tunnel: the innermost header keys the flow; tshark counts every UDP header on the way;
- contradicts itself (an IP packet longer than what carries it): malformed, outside all flows; tshark reads on.

Such frames are left out on both sides, by tshark's word. Everything else has to agree: a flow that ended and began
again, a port used twice, segments after the end, tags, padding.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from fieldwatch_ext.capture import FileSource, MemorySource
from fieldwatch_ext.engine import Engine
from fieldwatch_proto.schema import ip_octets, ip_text
from support import tshark
from support.engine_compare import drain

CORPUS = os.environ.get("FIELDWATCH_CORPUS")
CAPTURES = sorted(Path(CORPUS, "core").glob("*.pcap")) if CORPUS else []

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.skipif(not CAPTURES, reason="external captures: set FIELDWATCH_CORPUS"),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

Endpoint = tuple[str, int]
Direction = tuple[str, Endpoint, Endpoint]
"""("tcp" or "udp", from, to)."""

ODD = (
    "icmp or icmpv6 or ip.flags.mf == 1 or ip.frag_offset > 0 or ipv6.fraghdr or udp.port == 4789 or udp.port == 6081"
    " or ip.bogus_ip_length"
)
ROW = re.compile(r"(\S+):(\d+)\s+<->\s+(\S+):(\d+)\s+(\d+) (\d+) (\S+)\s+(\d+) (\d+) (\S+)")
PROTOCOLS = {6: "tcp", 17: "udp"}


def conversations(capture: Path) -> tuple[Counter[Direction], Counter[Direction], set[int]]:
    """(frames, octets) by direction, and the numbers of the odd frames. Octets that tshark rounds ("12 kB") are -1."""
    statistics = [f"conv,{protocol},not ({ODD})" for protocol in PROTOCOLS.values()]
    options = ("-z", statistics[0], "-z", statistics[1], "-Y", ODD, "-T", "fields", "-e", "frame.number")
    told = tshark.run(capture, *tshark.IN_PIECES, *options).decode()
    frames: Counter[Direction] = Counter()
    octets: Counter[Direction] = Counter()
    odd: set[int] = set()
    protocol = ""
    for line in told.splitlines():
        if line.isdigit():
            odd.add(int(line))
        elif line.endswith(" Conversations"):
            protocol = line.split()[0].lower()
        elif row := ROW.match(line):
            a, b = (row[1], int(row[2])), (row[3], int(row[4]))
            for source, destination, at in ((b, a, 5), (a, b, 8)):
                direction = (protocol, source, destination)
                frames[direction] += int(row[at])
                exact = row[at + 2] == "bytes" and octets[direction] >= 0
                octets[direction] = octets[direction] + int(row[at + 1]) if exact else -1
    return +frames, octets, odd


def flows(capture: Path, odd: set[int]) -> tuple[Counter[Direction], Counter[Direction]]:
    """The same of this project: all records of a pair of endpoints together, whatever their VLAN and tunnel."""
    frames: Counter[Direction] = Counter()
    octets: Counter[Direction] = Counter()
    engine = Engine()
    number = 0
    with capture.open("rb") as stream:
        source = FileSource(stream.fileno(), name=capture.name)
        while (block := source.read_block()) is not None:
            for frame in block:
                number += 1
                if number in odd:
                    continue
                kept = MemorySource([(frame.ts_ns, frame.octets, frame.original)], linktype=frame.linktype)
                engine.process(kept)
    for row in drain(engine, MemorySource([])).flows:
        if row["protocol"] not in PROTOCOLS:
            continue
        name = PROTOCOLS[row["protocol"]]
        a = (ip_text(ip_octets(row["ip_version"], row["src"])), row["src_port"])
        b = (ip_text(ip_octets(row["ip_version"], row["dst"])), row["dst_port"])
        frames[name, a, b] += row["packets"]
        octets[name, a, b] += row["bytes"]
        frames[name, b, a] += row["reply_packets"]
        octets[name, b, a] += row["reply_bytes"]
    return +frames, octets


def test_flows_are_the_conversations_of_tshark() -> None:
    """Frames exactly; octets exactly where tshark shows them exactly, which is in most conversations."""
    different: list[tuple[str, Direction, tuple[int, int], tuple[int, int]]] = []
    compared = exact = 0
    for capture in CAPTURES:
        expected_frames, expected_octets, odd = conversations(capture)
        actual_frames, actual_octets = flows(capture, odd)
        for direction in sorted(expected_frames | actual_frames):
            known = expected_octets[direction] if expected_octets[direction] >= 0 else actual_octets[direction]
            expected = (expected_frames[direction], known)
            actual = (actual_frames[direction], actual_octets[direction])
            compared += 1
            exact += expected_octets[direction] >= 0
            if expected != actual:
                different.append((capture.name, direction, expected, actual))

    assert different == []
    assert compared > 1_000
    assert exact > compared // 2
