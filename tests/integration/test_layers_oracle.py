"""On real captures of tunnels and of the air, the innermost packets are those that tshark finds: addresses, by frame,
and what ARP inside them binds.

`SOMEBODY_RIGHT` names the captures where the two differ for a reason, which stands there.

Left out on both sides, by tshark's word: fragments (the tunnel of a datagram in pieces is not entered), ICMP errors
(credited to the flow that they quote), packets that are longer than what carries them, GTP of 1998 (version 0), and
mirrored frames of other networks (unsupported, and as such outside all flows).
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from fieldwatch_ext.capture import FileSource, MemorySource
from fieldwatch_ext.engine import Engine
from fieldwatch_proto.schema import SightingSource, ip_octets, ip_text, mac_text
from support import tshark
from support.engine_compare import drain

CORPUS = os.environ.get("FIELDWATCH_CORPUS")
PATTERNS = (
    *("*gtp*", "*erspan*", "*vxlan*", "*geneve*", "*-gre-*", "*_gre*", "*dccp*", "*pbb*"),
    *("*wlanmon*", "*radiotap*", "*802.11*", "*someip_sd*"),
)
FOUND = {path for pattern in PATTERNS for path in Path(CORPUS, "wide").glob(f"*/{pattern}.pcap*")} if CORPUS else set()
CAPTURES = sorted(FOUND)

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.skipif(not CAPTURES, reason="external captures: set FIELDWATCH_CORPUS"),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

Pair = tuple[str, str]

SOMEBODY_RIGHT = {
    "tests__bigtcp-ipv4-geneve-ipv6": "a frame of more than 64 KiB: tshark does not look behind the UDP header, we do",
    "tests__bigtcp-ipv4-vxlan-ipv6": "likewise",
    "tests__wccp_redirect_gre": "WCCP redirection has a header of its own behind GRE, which we do not read",
    "testing__btest__Traces__pbb-recursive-frames": "fifty backbones, one in the other: malformed here",
    "testing__btest__Traces__tunnels__gre-aruba-amsdu": "802.11 in GRE under the numbers of one maker: not read",
}

ODD = (
    "ip.flags.mf == 1 or ip.frag_offset > 0 or ipv6.fraghdr or ip.bogus_ip_length or icmp.type in {3, 4, 5, 11, 12}"
    " or udp.port == 3386 or (erspan and llc and not stp)"
)
FIELDS = ("frame.number", "frame.protocols", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst")


def innermost(capture: Path) -> dict[int, Pair]:
    """Frame number -> addresses of the innermost IP header, for frames that have one and are not odd."""
    found: dict[int, Pair] = {}
    for row in tshark.innermost_rows(capture, f"(ip or ipv6) and not ({ODD})", FIELDS):
        family = [name for name in row["frame.protocols"].split(":") if name in ("ip", "ipv6")][-1]
        found[int(row["frame.number"])] = row[f"{family}.src"], row[f"{family}.dst"]
    return found


def pairs(capture: Path, numbers: set[int]) -> Counter[Pair]:
    """The same of this project, by the records of those frames."""
    engine = Engine()
    number = 0
    with capture.open("rb") as stream:
        source = FileSource(stream.fileno(), name=capture.name)
        while (block := source.read_block()) is not None:
            for frame in block:
                number += 1
                if number in numbers:
                    kept = MemorySource([(frame.ts_ns, frame.octets, frame.original)], linktype=frame.linktype)
                    engine.process(kept)
    found: Counter[Pair] = Counter()
    for row in drain(engine, MemorySource([])).flows:
        a, b = (ip_text(ip_octets(row["ip_version"], row[end])) for end in ("src", "dst"))
        found[a, b] += row["packets"]
        found[b, a] += row["reply_packets"]
    return +found


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture.stem)
def test_innermost_packets_are_those_of_tshark(capture: Path) -> None:
    told = innermost(capture)
    expected, actual = Counter(told.values()), pairs(capture, set(told))

    if capture.stem in SOMEBODY_RIGHT:
        assert expected != actual
    else:
        assert expected == actual


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture.stem)
def test_arp_inside_binds_what_tshark_reads(capture: Path) -> None:
    """Sender pairs of requests and replies, however deep they stand."""
    pair = ("arp.src.hw_mac", "arp.src.proto_ipv4")
    told = tshark.innermost_rows(capture, "arp.opcode in {1, 2} and arp.src.proto_ipv4 != 0.0.0.0", pair)
    with capture.open("rb") as stream:
        seen = drain(Engine(), FileSource(stream.fileno(), name=capture.name)).sightings
    actual = {(mac_text(mac), ip_text(ip)) for _, mac, ip, source in seen if source == SightingSource.ARP}

    assert {tuple(row.values()) for row in told} == actual
