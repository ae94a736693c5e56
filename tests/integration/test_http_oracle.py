"""On real captures, the HTTP dissector reads the programs and names that tshark reads."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import tshark_fields as oracle
from fieldwatch_agent.dissectors import http
from fieldwatch_agent.dissectors.notes import MalformedError
from fieldwatch_agent.dissectors.text import clean
from fieldwatch_agent.facts import Fact

CAPTURES = [path for path in oracle.captures() if b" HTTP/1." in path.read_bytes()]

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not CAPTURES, reason="external captures: set FIELDWATCH_CORPUS"),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

FIELDS = (
    "tcp.payload",
    "http.request.uri",
    "http.response.code",
    "http.user_agent",
    "http.host",
    "http.server",
    "http.request.line",
    "http.response.line",
)
PASSED_ON = re.compile(r"(?i)(via|forwarded|x-forwarded-for) *:")
NAME = re.compile(r"([\w.-]*[A-Za-z_-][\w-]*)\.?(:\d*)?", re.ASCII)
LONGER_THAN_NAMES = 260  # with a port; a capture has one of 300

Said = set[tuple[str, str, str]]


def expected(packet: oracle.Packet) -> Said:
    """(frame, key, value) by what tshark read; the rules stand here a second time, from the documentation."""
    number = packet["frame.number"][0]
    lines = packet.get("http.request.line", []) + packet.get("http.response.line", [])
    found: Said = set()
    if not any(PASSED_ON.match(line) for line in lines):
        for key, name in (("user_agent", "http.user_agent"), ("server", "http.server")):
            found |= {(number, key, clean(value)) for value in packet.get(name, [])[:1]}
    host = packet.get("http.host", [""])[0]
    name = NAME.fullmatch(host) if len(host) < LONGER_THAN_NAMES else None
    if name and packet.get("http.request.uri", [""])[0].startswith(("/", "*")):
        found.add((number, "http_host", name[1].lower()))
    return {item for item in found if item[2]}


def actual(packet: oracle.Packet) -> Said:
    number = packet["frame.number"][0]
    payload = bytes.fromhex(oracle.last(packet, "tcp.payload").replace(":", ""))
    found: Said = set()
    try:
        for item in http.dissect(oracle.as_slow(packet, "http", payload)):
            assert isinstance(item, Fact)
            if item.value:
                found.add((number, item.key, item.value))
    except MalformedError:
        pass
    return found


def whole_heads(capture: Path) -> list[oracle.Packet]:
    """Packets whose payload begins with a head and holds all of it; one message in each."""
    start = re.compile(rb"(?s)([A-Z-]+ \S+ HTTP/1\.\d|HTTP/1\.\d \d{3}\b[^\n]*?)\r?\n.*?\n\r?\n")
    return [
        packet
        for packet in oracle.fields(capture, "http && tcp.payload && !ipv6.fraghdr", FIELDS)
        if len(packet.get("http.request.uri", [])) + len(packet.get("http.response.code", [])) == 1
        and start.match(bytes.fromhex(oracle.last(packet, "tcp.payload").replace(":", "")))
    ]


def test_heads_say_what_tshark_reads() -> None:
    """Over all captures at once: how many facts agree is part of what is pinned, lest the oracle go blind."""
    agreed = 0
    differences = []
    for capture in CAPTURES:
        for packet in whole_heads(capture):
            theirs, ours = expected(packet), actual(packet)
            agreed += len(theirs & ours)
            differences += [(capture.name, *item) for item in sorted(theirs ^ ours)]

    assert differences == []
    assert agreed > 900
