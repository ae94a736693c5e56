"""On real captures, the HTTP dissector reads the programs and names that tshark reads."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from fieldwatch_agent.dissectors import http
from fieldwatch_agent.dissectors.notes import MalformedError
from fieldwatch_agent.dissectors.text import clean
from fieldwatch_agent.facts import Fact
from support import tshark

CAPTURES = tshark.captures(rb" HTTP/1\.")

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


def expected(packet: tshark.Fields) -> Said:
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


def actual(packet: tshark.Fields) -> Said:
    number = packet["frame.number"][0]
    payload = tshark.octets_of(tshark.last(packet, "tcp.payload"))
    found: Said = set()
    try:
        for item in http.dissect(tshark.slow_with(packet, "http", payload)):
            assert isinstance(item, Fact)
            if item.value:
                found.add((number, item.key, item.value))
    except MalformedError:
        pass
    return found


def whole_heads(capture: Path) -> list[tshark.Fields]:
    """Packets whose payload begins with a head and holds all of it; one message in each."""
    start = re.compile(rb"(?s)([A-Z-]+ \S+ HTTP/1\.\d|HTTP/1\.\d \d{3}\b[^\n]*?)\r?\n.*?\n\r?\n")
    return [
        packet
        for packet in tshark.fields(capture, "http && tcp.payload && !ipv6.fraghdr", FIELDS)
        if len(packet.get("http.request.uri", [])) + len(packet.get("http.response.code", [])) == 1
        and start.match(tshark.octets_of(tshark.last(packet, "tcp.payload")))
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
