"""Cisco discovery protocol, versions 1 and 2: what a switch, router, phone or access point says of itself.

The header is dpkt's. The TLVs are walked here: dpkt gives up the whole message at the first one that is cut.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import dpkt
from dpkt import cdp
from fieldwatch_ext.engine import Slow
from fieldwatch_proto.identity import is_unicast_mac
from fieldwatch_proto.schema import ip_text, mac_text

from fieldwatch_agent.dissectors.notes import MalformedError, fact, is_host_ip
from fieldwatch_agent.facts import Binding, Fact

MAX_TLVS = 64
MAX_ADDRESSES = 16
_TLV_HEADER = struct.Struct(">HH")  # type, length of the whole TLV
TLV_HEADER_LEN = _TLV_HEADER.size

TEXT_FACTS = {
    cdp.CDP_DEVID: ("system_name", "CDP device id"),
    cdp.CDP_SYSTEM_NAME: ("system_name", "CDP system name"),
    cdp.CDP_PORTID: ("port_id", "CDP port id"),
    cdp.CDP_VERSION: ("system_description", "CDP software version"),
    cdp.CDP_PLATFORM: ("platform", "CDP platform"),
}
ADDRESS_TLVS = (cdp.CDP_ADDRESS, cdp.CDP_MGMT_ADDRESS)
PROTOCOL_LEN = {b"\xcc": 4, b"\xaa\xaa\x03\x00\x00\x00\x86\xdd": 16}  # NLPID of IP, SNAP of IPv6 -> octets

CAPABILITY_NAMES = (
    "router",
    "transparent-bridge",
    "source-route-bridge",
    "switch",
    "host",
    "igmp",
    "repeater",
    "telephone",
    "remote",
    "cvta",
    "two-port-relay",
)


class Message(dpkt.cdp.CDP):  # type: ignore[misc]  # dpkt has no types
    """`tlvs` is [(type, value)]; `complete` is False where one was cut. Raises dpkt.NeedData without a header."""

    tlvs: list[tuple[int, bytes]]
    complete: bool

    def unpack(self, buf: bytes) -> None:
        dpkt.Packet.unpack(self, buf)
        self.tlvs = []
        self.complete = True
        offset, octets = self.__hdr_len__, len(buf)
        for _ in range(MAX_TLVS):
            if offset >= octets:
                return
            kind, length = _TLV_HEADER.unpack_from(buf, offset) if offset + TLV_HEADER_LEN <= octets else (0, 0)
            if length < TLV_HEADER_LEN or offset + length > octets:
                self.complete = False
                return
            self.tlvs.append((kind, buf[offset + TLV_HEADER_LEN : offset + length]))
            offset += length


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """Facts about the system at the other end of the wire; its subject is the MAC that sent the frame."""
    message = Message(slow.payload)
    subject = mac_text(slow.src_mac) if is_unicast_mac(slow.src_mac) else ""
    for kind, value in message.tlvs:
        if kind in TEXT_FACTS:
            key, evidence = TEXT_FACTS[kind]
            yield fact(slow, subject, key, value, evidence, 95)
        elif kind == cdp.CDP_CAPABILITIES:
            bits = int.from_bytes(value, "big")
            text = ",".join(name for bit, name in enumerate(CAPABILITY_NAMES) if bits >> bit & 1)
            yield fact(slow, subject, "capabilities", text, "CDP capabilities", 95)
        elif kind == cdp.CDP_NATIVE_VLAN:
            yield fact(slow, subject, "native_vlan", str(int.from_bytes(value[:2], "big")), "CDP native VLAN", 95)
        elif kind in ADDRESS_TLVS:
            evidence = "CDP address" if kind == cdp.CDP_ADDRESS else "CDP management address"
            for address in read_addresses(value):
                yield fact(slow, subject, "management_ip", ip_text(address), evidence, 95)
    if not message.complete:
        raise MalformedError


def read_addresses(value: bytes) -> Iterator[bytes]:
    """The IPv4 and IPv6 addresses of an address TLV that a host can hold. Raises MalformedError."""
    count = int.from_bytes(value[:4], "big")
    offset = 4
    for _ in range(min(count, MAX_ADDRESSES)):
        if offset + 2 > len(value):
            raise MalformedError
        protocol_end = offset + 2 + value[offset + 1]
        start = protocol_end + 2
        end = start + int.from_bytes(value[protocol_end:start], "big")
        if start > len(value) or end > len(value):
            raise MalformedError
        address = value[start:end]
        if PROTOCOL_LEN.get(value[offset + 2 : protocol_end]) == len(address) and is_host_ip(address):
            yield address
        offset = end
