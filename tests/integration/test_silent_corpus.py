"""On real captures, no dissector finds a fact in what the kernel withholds from it."""

from __future__ import annotations

import os
from pathlib import Path

import dpkt
import pytest
from fieldwatch_agent.dissectors import dissect
from fieldwatch_ext.capture import FileSource, Frame, MemorySource
from fieldwatch_ext.engine import Engine, Slow
from fieldwatch_ext.errors import CaptureError

CORPUS = os.environ.get("FIELDWATCH_CORPUS")
PORTS = {53: "dns", 5353: "mdns", 5355: "llmnr", 137: "nbns", 1900: "ssdp", 67: "dhcp", 443: "quic", 3702: "wsd"}
ETHERNET = 1

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CORPUS is None, reason="FIELDWATCH_CORPUS names no folder of captures"),
]


def frames_of(path: Path) -> list[Frame]:
    frames: list[Frame] = []
    with path.open("rb") as stream:
        try:
            source = FileSource(stream.fileno())
        except CaptureError:
            return []
        while (block := source.read_block()) is not None:
            frames += [frame for frame in block if frame.linktype == ETHERNET]
    return frames


def message_in(octets: bytes) -> Slow | None:
    """What the frame carries, by dpkt's word; None where it reads no UDP, TCP, IGMP or MLD behind the IP header."""
    try:
        frame = dpkt.ethernet.Ethernet(octets)
    except dpkt.Error:
        return None
    packet = frame.data
    unit = getattr(packet, "data", None)
    if isinstance(unit, dpkt.igmp.IGMP | dpkt.icmp6.ICMP6):
        return Slow(1, 0, "igmp", frame.src, frame.dst, 0, packet.src, packet.dst, 0, 0, bytes(unit))
    if not isinstance(unit, dpkt.udp.UDP | dpkt.tcp.TCP):
        return None
    payload = bytes(unit.data)
    if isinstance(unit, dpkt.tcp.TCP):
        protocol = "smb" if payload[4:8] in (b"\xffSMB", b"\xfeSMB") else "http"
    else:
        protocol = next((PORTS[port] for port in (unit.dport, unit.sport) if port in PORTS), "")
    ends = packet.src, packet.dst, unit.sport, unit.dport
    return Slow(1, 0, protocol, frame.src, frame.dst, 0, *ends, payload)


def test_nothing_is_lost_by_what_is_withheld() -> None:
    assert CORPUS is not None
    lost = []
    compared = 0
    for path in sorted(path for path in Path(CORPUS).rglob("*") if path.is_file()):
        engine = Engine(max_flows=4096, max_sightings=4096)
        before = 0
        for number, frame in enumerate(frames_of(path), 1):
            engine.process(MemorySource([(frame.ts_ns, frame.octets, frame.original)]))
            engine.take_slow()
            engine.take_flows()
            silent = engine.counters().slow_silent
            message = message_in(frame.octets) if silent != before else None
            if message is not None:
                compared += 1
                lost += [(path.name, number, found) for found in dissect(message)]
            before = silent

    assert lost == []
    assert compared > 1_000
