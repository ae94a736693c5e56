"""RADIUS beside tshark: on real captures the attributes, octet by octet; on an accounting message what they mean.

No external capture holds accounting of a station: that message is made here, and tshark reads it from a file.
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import dpkt
import pytest
from fieldwatch_agent.dissectors import radius
from support import tshark

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

PORTS_OF_RADIUS = rb"(?:\x07[\x14\x15]|\x06[\x6d\x6e]).{4,6}[\x01-\x05\x0b]"  # UDP from or to one, a code behind it
ONLY = "udp && radius && !icmp"

# The length is one octet more than there is: tshark shows no attribute then, this project those that are whole.
BROKEN = {"tests__radius_rfc5447_invalid_length.pcap"}


def attributes(packet: tshark.Tree) -> dict[int, bytes]:
    """{type: octets}, the first of each, by tshark's word."""
    found: dict[int, bytes] = {}
    for text in tshark.every(packet["radius"], "radius.avp"):
        octets = tshark.octets_of(text)
        found.setdefault(octets[0], octets[2:])
    return found


@pytest.mark.corpus
@pytest.mark.skipif(not tshark.CORPUS, reason="external captures: set FIELDWATCH_CORPUS")
def test_attributes_are_those_that_tshark_reads() -> None:
    different = []
    compared = 0
    for capture in tshark.captures(PORTS_OF_RADIUS):
        for packet in tshark.messages(capture, ONLY, "radius"):
            message = radius.Message(tshark.slow_of(packet, "radius").payload)
            expected = attributes(packet)
            compared += len(expected)
            if (expected, True) != (message.attrs, message.complete) and capture.name not in BROKEN:
                different.append((capture.name, tshark.first(packet, "frame.number"), expected, message.attrs))

    assert different == []
    assert compared > 100


ACCOUNTING = (
    (40, struct.pack(">I", 1)),
    (1, b"guest"),
    (31, b"0200.0000.0077"),
    (30, b"02-00-00-00-00-02:Guests"),
    (8, bytes([192, 168, 1, 77])),
    (32, b"ap-hall"),
)


def test_an_accounting_message_means_what_tshark_reads_in_it(tmp_path: Path) -> None:
    data = b"".join(bytes([kind, 2 + len(value)]) + value for kind, value in ACCOUNTING)
    payload = struct.pack(">BBH16s", 4, 1, 20 + len(data), bytes(16)) + data
    datagram = dpkt.udp.UDP(sport=50_000, dport=1813, data=payload)
    datagram.ulen = len(datagram)
    packet = dpkt.ip.IP(src=bytes([192, 168, 1, 10]), dst=bytes([192, 168, 1, 20]), p=17, data=datagram)
    ethernet = dpkt.ethernet.Ethernet(src=bytes.fromhex("020000000001"), dst=bytes.fromhex("020000000002"), data=packet)
    capture = tmp_path / "accounting.pcap"
    with capture.open("wb") as file:
        dpkt.pcap.Writer(file).writepkt(bytes(ethernet), ts=1)
    (read,) = tshark.messages(capture, ONLY, "radius")
    station = tshark.first(read, "radius.Calling_Station_Id").replace(".", "")
    mac = ":".join(station[at : at + 2] for at in range(0, 12, 2))

    assert [
        ("192.168.1.10", "system_name", tshark.first(read, "radius.NAS_Identifier")),
        (mac, "ssid", tshark.first(read, "radius.Called_Station_Id").partition(":")[2]),
        (mac, "framed_ip", tshark.first(read, "radius.Framed-IP-Address")),
        (mac, "user_name", tshark.first(read, "radius.User_Name")),
    ] == [fact[:3] for fact in tshark.facts(radius.dissect, tshark.slow_of(read, "radius"))]
