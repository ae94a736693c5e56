"""On real captures, what WS-Discovery messages say is what a reader of whole documents finds in them.

tshark has no dissector of WS-Discovery: it gives the payloads, and the elements are looked up in their trees.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fieldwatch_agent.dissectors import wsd
from fieldwatch_agent.facts import Fact
from support import tshark

NAMESPACE = rb"schemas\.xmlsoap\.org/ws/2005/04/discovery|ws-dd/ns/discovery/2009/01"
CAPTURES = tshark.captures(NAMESPACE)

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not CAPTURES, reason="external captures: set FIELDWATCH_CORPUS"),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

Said = set[tuple[str, str, str]]


def text(tree: ElementTree.Element, name: str) -> str:
    """Of the first element of that name, whatever its namespace."""
    return next((element.text or "" for element in tree.iter() if element.tag.endswith(f"}}{name}")), "")


def expected(number: str, payload: bytes) -> Said:
    found: Said = set()
    for told in ElementTree.fromstring(payload).iter():
        if told.tag.rpartition("}")[2] in ("Hello", "ProbeMatch", "ResolveMatch"):
            types = [name.split(":")[-1] for name in text(told, "Types").split()]
            found |= {(number, "device_type", name) for name in types if name != "Device"}
            found |= {(number, "location", url) for url in text(told, "XAddrs").split()}
        elif told.tag.rpartition("}")[2] != "Bye":
            continue
        found.add((number, "device_uuid", text(told, "Address").strip().removeprefix("urn:uuid:").lower()))
    return found


def actual(packet: tshark.Fields, payload: bytes) -> Said:
    items = wsd.dissect(tshark.slow_with(packet, "wsd", payload))
    return {(packet["frame.number"][0], item.key, item.value) for item in items if isinstance(item, Fact)}


def compare(capture: Path) -> tuple[Said, Said]:
    """What the trees say of a capture, and what the dissector says."""
    theirs: Said = set()
    ours: Said = set()
    for packet in tshark.fields(capture, "udp.port == 3702 && !icmp && !icmpv6", ("udp.payload",)):
        payload = tshark.octets_of(tshark.last(packet, "udp.payload"))
        theirs |= expected(packet["frame.number"][0], payload)
        ours |= actual(packet, payload)
    return theirs, ours


def test_messages_say_what_their_trees_hold() -> None:
    outcomes = {capture.name: compare(capture) for capture in CAPTURES}
    differences = {name: sorted(theirs ^ ours) for name, (theirs, ours) in outcomes.items() if theirs != ours}

    assert differences == {}
    assert len([item for theirs, _ in outcomes.values() for item in theirs]) > 10
