"""On real captures, the groups and queriers are those that tshark reads."""

from __future__ import annotations

import ipaddress
import re
import shutil
from pathlib import Path

import pytest
from fieldwatch_agent.dissectors import igmp
from fieldwatch_agent.dissectors.notes import MalformedError
from fieldwatch_agent.facts import Fact
from support import tshark

# Of the wide set by name, so that the others need not be read.
NAMES = re.compile(r"(?i)igmp|mld|mtrace|capwap|dcb_qcn|kill_router|fragments-1_|ip6_esp|ayiya3|smtp-attachment-md5")
CAPTURES = [path for path in tshark.captures() if path.parent.name == "core" or NAMES.search(path.name)]

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not CAPTURES, reason="external captures: set FIELDWATCH_CORPUS"),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

FILTER = "((igmp && !icmp) || icmpv6.type in {130, 131, 143}) && !_ws.malformed"
FIELDS = (
    "igmp.type",
    "igmp.maddr",
    "igmp.record_type",
    "igmp.num_src",
    "icmpv6.type",
    "icmpv6.mld.multicast_address",
    "icmpv6.mldr.mar.record_type",
    "icmpv6.mldr.mar.nb_sources",
    "icmpv6.mldr.mar.multicast_address",
)
EVERYBODY = [ipaddress.ip_network(text) for text in ("224.0.0.0/24", "ff02::1/128", "ff02::1:ff00:0/104")]

Said = set[tuple[str, str, str]]


def expected(packet: tshark.Fields) -> Said:
    number, kind = packet["frame.number"][0], tshark.last(packet, "igmp.type") or tshark.last(packet, "icmpv6.type")
    if kind in ("0x11", "130"):
        return {(number, "role", "multicast querier")}
    groups: list[str] = []
    if kind in ("0x12", "0x16"):
        groups = packet["igmp.maddr"]
    elif kind == "131":
        groups = packet["icmpv6.mld.multicast_address"]
    elif kind in ("0x22", "143"):
        names = ("igmp.record_type", "igmp.num_src", "igmp.maddr")
        if kind == "143":
            names = tuple(f"icmpv6.mldr.mar.{name}" for name in ("record_type", "nb_sources", "multicast_address"))
        records = zip(*(packet.get(name, []) for name in names), strict=True)
        groups = [group for of, sources, group in records if of in ("2", "4") or (of in "135" and sources != "0")]
    telling = [text for text in groups if not any(ipaddress.ip_address(text) in network for network in EVERYBODY)]
    return {(number, "multicast_group", text) for text in telling}


def compare(capture: Path) -> tuple[Said, Said]:
    """(What agrees, what only one says)."""
    agreed: Said = set()
    different: Said = set()
    packets = tshark.fields(capture, FILTER, FIELDS)
    raws = tshark.octets(capture, FILTER, "igmp", "icmpv6") if packets else iter(())
    for packet, raw in zip(packets, raws, strict=True):
        theirs = expected(packet)
        ours: Said = set()
        try:
            for item in igmp.dissect(tshark.slow_with(packet, "igmp", raw["igmp"] or raw["icmpv6"])):
                assert isinstance(item, Fact)
                ours.add((packet["frame.number"][0], item.key, item.value))
        except MalformedError:
            ours.add((packet["frame.number"][0], "malformed", ""))
        agreed |= theirs & ours
        different |= theirs ^ ours
    return agreed, different


def test_groups_and_queriers_are_those_that_tshark_reads() -> None:
    """Over all captures at once: how many facts agree is part of what is pinned, lest the oracle go blind."""
    outcomes = {capture.name: compare(capture) for capture in CAPTURES}
    different = {name: sorted(outcome[1]) for name, outcome in outcomes.items() if outcome[1]}
    agreed = [(name, *item) for name, outcome in outcomes.items() for item in outcome[0]]

    assert different == {}
    assert {key for _, _, key, _ in agreed} == {"multicast_group", "role"}
    assert len(agreed) > 30
