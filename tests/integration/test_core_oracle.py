"""On real captures, what this project finds is what tshark finds: bindings, and the names that devices give themselves.

Both directions: nothing is missed, nothing is made up. Where the two differ for a reason, the difference stands in
`EXCEPTIONS` with who is right.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tshark_names as oracle
from fieldwatch_ext.capture import FileSource
from fieldwatch_ext.engine import Engine
from fieldwatch_proto.records import Records
from fieldwatch_proto.schema import Kind, SightingSource, ip_octets, ip_text, mac_text

CORPUS = os.environ.get("FIELDWATCH_CORPUS")
CAPTURES = sorted(Path(CORPUS, "core").glob("*.pcap")) if CORPUS else []

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.skipif(not CAPTURES, reason="external captures: set FIELDWATCH_CORPUS"),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

# (capture, topic) -> what only tshark has, what only this project has, who is right and why.
EXCEPTIONS: dict[tuple[str, str], tuple[oracle.Said, oracle.Said, str]] = {}

# topic -> the oracle, and which facts answer it: sources and keys.
NAMES: dict[str, tuple[Callable[[list[oracle.Tree]], oracle.Said], frozenset[str], frozenset[str]]] = {
    "dhcp": (oracle.dhcp, frozenset({"dhcp", "dhcpv6"}), frozenset({"hostname"})),
    "netbios": (oracle.netbios, frozenset({"nbns", "nbds"}), frozenset({"netbios_name", "netbios_group"})),
    "neighbours": (oracle.neighbours, frozenset({"lldp", "cdp"}), frozenset({"system_name"})),
    "mdns": (oracle.mdns, frozenset({"mdns"}), frozenset({"hostname"})),
    "llmnr": (oracle.llmnr, frozenset({"llmnr"}), frozenset({"hostname"})),
}
BINDINGS: dict[str, tuple[Callable[[list[oracle.Tree]], oracle.Said], SightingSource]] = {
    "arp": (oracle.arp, SightingSource.ARP),
    "ndp": (oracle.ndp, SightingSource.NDP),
}


@cache
def packets(capture: Path) -> list[oracle.Tree]:
    return oracle.packets(capture)


@cache
def read(capture: Path) -> list[dict[str, Any]]:
    """Every object that `read --json` prints."""
    command = [sys.executable, "-m", "fieldwatch_agent.cli.main", "read", "--json", "--quiet", str(capture)]
    result = subprocess.run(command, capture_output=True, timeout=60, check=True)
    return [json.loads(line) for line in result.stdout.splitlines()]


@cache
def sightings(capture: Path) -> frozenset[tuple[SightingSource, str, str]]:
    """(source, MAC, IP) of all that the kernel saw."""
    engine = Engine()
    found: set[tuple[SightingSource, str, str]] = set()
    fd = os.open(capture, os.O_RDONLY)
    try:
        source = FileSource(fd, name=capture.name)
        more = 0
        while more >= 0:
            more = engine.process(source)
            engine.take_slow()
            engine.take_flows()
            taken = engine.take_sightings()
            records = Records(Kind.SIGHTING, taken.count, taken.columns)
            columns = (records.values(name) for name in ("source", "mac", "ip_version", "ip"))
            for kind, mac, version, ip in zip(*columns, strict=True):
                found.add((SightingSource(kind), mac_text(mac), ip_text(ip_octets(version, ip))))
        source.close()
    finally:
        os.close(fd)
    return frozenset(found)


def compare(capture: Path, topic: str, expected: oracle.Said, actual: oracle.Said) -> None:
    missing, extra, _ = EXCEPTIONS.get((capture.name, topic), (set(), set(), ""))

    assert (missing, extra) == (expected - actual, actual - expected)


def by_name(capture: Path) -> str:
    return capture.stem


@pytest.mark.parametrize("capture", CAPTURES, ids=by_name)
@pytest.mark.parametrize("topic", NAMES)
def test_names_are_those_that_tshark_reads(capture: Path, topic: str) -> None:
    ask, sources, keys = NAMES[topic]
    actual = {
        (fact["subject"], fact["key"], fact["value"])
        for fact in read(capture)
        if fact["type"] == "fact" and fact["source"] in sources and fact["key"] in keys
    }

    compare(capture, topic, ask(packets(capture)), actual)


@pytest.mark.parametrize("capture", CAPTURES, ids=by_name)
@pytest.mark.parametrize("topic", BINDINGS)
def test_bindings_are_those_that_tshark_reads(capture: Path, topic: str) -> None:
    ask, source = BINDINGS[topic]
    actual = {(mac, ip) for kind, mac, ip in sightings(capture) if kind is source}

    compare(capture, topic, ask(packets(capture)), actual)


@pytest.mark.parametrize("capture", CAPTURES, ids=by_name)
def test_every_binding_and_name_reaches_its_device(capture: Path) -> None:
    """What the devices of `read --json` hold: the addresses bound to them, and the names of their own MAC."""
    devices = {item["mac"]: item for item in read(capture) if item["type"] == "device" and item["mac"]}
    lost = []
    for topic, (ask, _) in BINDINGS.items():
        gone = EXCEPTIONS.get((capture.name, topic), (set(), set(), ""))[0]
        lost += [pair for pair in ask(packets(capture)) - gone if pair[1] not in devices[pair[0]]["ips"]]
    for topic, (ask, _, _) in NAMES.items():
        gone = EXCEPTIONS.get((capture.name, topic), (set(), set(), ""))[0]
        for subject, key, value in ask(packets(capture)) - gone:
            if key != "netbios_group" and subject in devices:
                names = {name["name"] for name in devices[subject]["names"]}
                lost += [] if value in names else [(subject, value)]

    assert lost == []


def test_the_core_set_holds_something_of_every_topic() -> None:
    """Else an oracle that has gone blind would agree with everything."""
    topics = {topic: ask for topic, (ask, *_) in (NAMES | BINDINGS).items()}
    silent = {topic for topic, ask in topics.items() if not any(ask(packets(capture)) for capture in CAPTURES)}

    assert silent == set()
