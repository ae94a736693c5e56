"""Link layer discovery protocol (IEEE 802.1AB-2016 clause 8), with the inventory of LLDP-MED (TIA-1057)."""

from __future__ import annotations

from collections.abc import Iterator

from fieldwatch_ext.engine import Slow
from fieldwatch_proto.identity import is_unicast_mac
from fieldwatch_proto.schema import ip_text, mac_text

from fieldwatch_agent.dissectors.notes import MalformedError, fact, is_host_ip
from fieldwatch_agent.facts import Binding, Fact

MAX_TLVS = 64

END, CHASSIS_ID, PORT_ID, TTL, PORT_DESCRIPTION, SYSTEM_NAME = range(6)
SYSTEM_DESCRIPTION, CAPABILITIES, MANAGEMENT_ADDRESS, ORGANISATION = 6, 7, 8, 127
MANDATORY = (CHASSIS_ID, PORT_ID, TTL)  # and in this order, else receivers discard the LLDPDU (clause 9.2.7.7)
TEXT_FACTS = {
    PORT_DESCRIPTION: ("port_description", "LLDP port description"),
    SYSTEM_NAME: ("system_name", "LLDP system name"),
    SYSTEM_DESCRIPTION: ("system_description", "LLDP system description"),
}

CHASSIS_MAC, CHASSIS_ADDRESS = 4, 5
PORT_MAC, PORT_ADDRESS = 3, 4
FAMILY_LEN = {1: 4, 2: 16}  # IANA address family -> octets: IPv4, IPv6

CAPABILITY_NAMES = (
    "other",
    "repeater",
    "bridge",
    "access-point",
    "router",
    "telephone",
    "docsis",
    "station",
    "c-vlan",
    "s-vlan",
    "two-port-relay",
)

IEEE_802_1_PORT_VLAN = b"\x00\x80\xc2\x01"
MED = b"\x00\x12\xbb"
MED_FACTS = {9: ("manufacturer", "LLDP-MED manufacturer"), 10: ("model", "LLDP-MED model")}


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """Facts about the system at the other end of the wire; its subject is the MAC that sent the frame."""
    subject = mac_text(slow.src_mac) if is_unicast_mac(slow.src_mac) else ""
    for kind, value in read_tlvs(slow.payload):
        if kind == CHASSIS_ID:
            # Only where the link has no MAC of its own does the chassis stand for the device.
            if not subject and value[:1] == bytes([CHASSIS_MAC]) and is_unicast_mac(value[1:]):
                subject = mac_text(value[1:])
            yield fact(slow, subject, "chassis_id", id_text(value, CHASSIS_MAC, CHASSIS_ADDRESS), "LLDP chassis id", 95)
        elif kind == PORT_ID:
            yield fact(slow, subject, "port_id", id_text(value, PORT_MAC, PORT_ADDRESS), "LLDP port id", 95)
        elif kind in TEXT_FACTS:
            key, evidence = TEXT_FACTS[kind]
            yield fact(slow, subject, key, value, evidence, 95)
        elif kind == CAPABILITIES:
            if len(value) < 4:
                raise MalformedError
            yield fact(slow, subject, "capabilities", capability_text(value), "LLDP enabled capabilities", 95)
        elif kind == MANAGEMENT_ADDRESS:
            address = management_address(value)
            if is_host_ip(address):
                yield fact(slow, subject, "management_ip", ip_text(address), "LLDP management address", 95)
        elif kind == ORGANISATION:
            yield from _organisation(slow, subject, value)


def read_tlvs(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) up to the end TLV, at most `MAX_TLVS`.

    Raises MalformedError where one is cut, the end is missing, or a mandatory one is not in its place.
    """
    offset = 0
    for place in range(MAX_TLVS):
        if offset + 2 > len(payload):
            raise MalformedError
        kind, length = payload[offset] >> 1, (payload[offset] & 1) << 8 | payload[offset + 1]
        if place < len(MANDATORY) and kind != MANDATORY[place]:
            raise MalformedError
        if kind == END:
            return
        value = payload[offset + 2 : offset + 2 + length]
        if len(value) < length:
            raise MalformedError
        yield kind, value
        offset += 2 + length


def id_text(value: bytes, mac_subtype: int, address_subtype: int) -> bytes | str:
    """A chassis or port id by its subtype: MAC, network address, or text (octets that are no text as hex)."""
    if len(value) < 2:
        raise MalformedError
    subtype, octets = value[0], value[1:]
    if subtype == mac_subtype and len(octets) == 6:
        return mac_text(octets)
    if subtype == address_subtype and FAMILY_LEN.get(octets[0]) == len(octets) - 1:
        return ip_text(octets[1:])
    return octets if octets.rstrip(b"\0").isascii() and octets.rstrip(b"\0").decode().isprintable() else octets.hex(":")


def capability_text(value: bytes) -> str:
    """The enabled capabilities, comma-separated."""
    enabled = int.from_bytes(value[2:4], "big")
    return ",".join(name for bit, name in enumerate(CAPABILITY_NAMES) if enabled >> bit & 1)


def management_address(value: bytes) -> bytes:
    """The 4 or 16 octets of an IPv4 or IPv6 management address; empty for other families. Raises MalformedError."""
    length = value[0] if value else 0  # counts the subtype as well
    if length < 2 or 1 + length > len(value):
        raise MalformedError
    address = value[2 : 1 + length]
    return address if FAMILY_LEN.get(value[1]) == len(address) else b""


def _organisation(slow: Slow, subject: str, value: bytes) -> Iterator[Fact]:
    if len(value) < 4:
        raise MalformedError
    if value[:4] == IEEE_802_1_PORT_VLAN and len(value) >= 6:
        vlan = int.from_bytes(value[4:6], "big")
        if vlan:  # 0 = the port has none
            yield fact(slow, subject, "native_vlan", str(vlan), "LLDP port VLAN", 95)
    elif value[:3] == MED and value[3] in MED_FACTS:
        key, evidence = MED_FACTS[value[3]]
        yield fact(slow, subject, key, value[4:], evidence, 90)
