"""DHCPv6 (RFC 8415): client names (option 39, RFC 4704), DUIDs, vendor classes and the addresses that servers gave.

Who the client is, best first: the link-layer address that its relay saw (option 79, RFC 6939); the MAC at the other end
of a message of link scope; the MAC inside its DUID, which may be that of another interface of the same host.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fieldwatch_ext.engine import Slow
from fieldwatch_proto.identity import is_unicast_mac
from fieldwatch_proto.schema import SightingSource, ip_text, mac_text

from fieldwatch_agent.dissectors.dns_message import plain_name
from fieldwatch_agent.dissectors.notes import MalformedError, fact, is_host_ip
from fieldwatch_agent.dissectors.text import host_text
from fieldwatch_agent.facts import Binding, Fact

HEADER_LEN = 4  # message type, transaction
RELAY_HEADER_LEN = 34  # message type, hop count, link address, peer address
RELAY_PEER = 18
MAX_RELAYS = 8  # HOP_COUNT_LIMIT of RFC 8415 section 7.6
MAX_OPTIONS = 64

RELAY_FORWARD, RELAY_REPLY = 12, 13
MESSAGES = {
    1: "SOLICIT",
    2: "ADVERTISE",
    3: "REQUEST",
    4: "CONFIRM",
    5: "RENEW",
    6: "REBIND",
    7: "REPLY",
    8: "RELEASE",
    9: "DECLINE",
    11: "INFORMATION-REQUEST",
}
SERVER_MESSAGES = ("ADVERTISE", "REPLY")
HOLDING_MESSAGES = ("REPLY", "RENEW", "REBIND")  # the addresses in it are the client's, by word of the server or in use

OPTION_CLIENT_ID = 1
OPTION_IA_NA = 3
OPTION_IA_TA = 4
OPTION_IA_ADDRESS = 5
OPTION_RELAY_MESSAGE = 9
OPTION_STATUS = 13
OPTION_VENDOR_CLASS = 16
OPTION_FQDN = 39
OPTION_LINK_LAYER = 79

IA_HEADER_LEN = {OPTION_IA_NA: 12, OPTION_IA_TA: 4}
IA_ADDRESS_LEN = 24  # address, preferred and valid lifetime
DUID_LLT, DUID_LL = 1, 3
DUID_MAC_AT = {DUID_LLT: 8, DUID_LL: 4}
ETHERNET = b"\x00\x01"

Options = list[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Message:
    """The client's or server's own message, out of its relays."""

    name: str
    options: Options
    complete: bool
    peer: bytes  # the client's address as the nearest relay knows it; empty without a relay
    link_layer: bytes  # the client's MAC by option 79, else empty


def read_options(data: bytes) -> tuple[Options, bool]:
    """(code, octets) in order, at most `MAX_OPTIONS`, and whether they were whole."""
    found: Options = []
    offset = 0
    while offset < len(data) and len(found) < MAX_OPTIONS:
        behind = offset + 4 + int.from_bytes(data[offset + 2 : offset + 4], "big")
        if offset + 4 > len(data) or behind > len(data):
            return found, False
        found.append((int.from_bytes(data[offset : offset + 2], "big"), data[offset + 4 : behind]))
        offset = behind
    return found, True


def read_message(payload: bytes) -> Message:
    """The message inside up to `MAX_RELAYS` relays. Raises MalformedError."""
    peer = link_layer = b""
    for _ in range(1 + MAX_RELAYS):
        if len(payload) < HEADER_LEN:
            raise MalformedError
        if payload[0] not in (RELAY_FORWARD, RELAY_REPLY):
            name = MESSAGES.get(payload[0])
            if name is None:
                raise MalformedError
            options, complete = read_options(payload[HEADER_LEN:])
            return Message(name, options, complete, peer, link_layer)
        if len(payload) < RELAY_HEADER_LEN:
            raise MalformedError
        peer = payload[RELAY_PEER:RELAY_HEADER_LEN]
        options, _ = read_options(payload[RELAY_HEADER_LEN:])
        carried = dict(options)
        seen = carried.get(OPTION_LINK_LAYER, b"")
        link_layer = seen[2:] if seen[:2] == ETHERNET and is_unicast_mac(seen[2:]) else b""
        payload = carried.get(OPTION_RELAY_MESSAGE, b"")
    raise MalformedError


def duid_mac(duid: bytes) -> bytes:
    """The Ethernet address inside a DUID-LLT or DUID-LL (RFC 8415 sections 11.2, 11.4); empty where there is none."""
    at = DUID_MAC_AT.get(int.from_bytes(duid[:2], "big"), 0)
    mac = duid[at:]
    return mac if at and duid[2:4] == ETHERNET and is_unicast_mac(mac) else b""


def _client_mac(slow: Slow, message: Message, duid: bytes) -> bytes:
    if message.link_layer:
        return message.link_layer
    from_server = message.name in SERVER_MESSAGES
    ip, mac = (slow.dst_ip, slow.dst_mac) if from_server else (slow.src_ip, slow.src_mac)
    if not message.peer and ip[:2] == b"\xfe\x80" and is_unicast_mac(mac):
        return mac
    return duid_mac(duid)


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """Facts about the client, from either side; bindings of the addresses it holds."""
    message = read_message(slow.payload)
    options = dict(reversed(message.options))  # the first of its kind counts
    duid = options.get(OPTION_CLIENT_ID, b"")
    mac = _client_mac(slow, message, duid)
    address = message.peer or (slow.dst_ip if message.name in SERVER_MESSAGES else slow.src_ip)
    subject = mac_text(mac) if mac else ip_text(address) if is_host_ip(address) else ""
    if subject:
        if mac and message.name in HOLDING_MESSAGES:
            for ip in held_addresses(message.options):
                yield Binding(mac, ip, SightingSource.DHCPV6, slow.ts_ns, slow.vlans)
        yield from _facts(slow, subject, message.name, options, duid)
    if not message.complete:
        raise MalformedError


def _facts(slow: Slow, subject: str, name: str, options: dict[int, bytes], duid: bytes) -> Iterator[Fact]:
    from_client = name not in SERVER_MESSAGES
    if len(duid) > 2:
        yield fact(slow, subject, "client_id", duid.hex(":"), f"DHCPv6 {name} option 1", 80)
    vendor = options.get(OPTION_VENDOR_CLASS, b"")
    if from_client and len(vendor) > 6:  # enterprise number, length, text
        length = int.from_bytes(vendor[4:6], "big")
        yield fact(slow, subject, "vendor_class", vendor[6 : 6 + length], f"DHCPv6 {name} option 16", 80)
    fqdn = options.get(OPTION_FQDN, b"")
    if len(fqdn) > 1:  # flags, labels
        value = host_text(plain_name(fqdn[1:]))
        yield fact(slow, subject, "hostname", value, f"DHCPv6 {name} option 39", 90 if from_client else 80)


def held_addresses(options: Options) -> Iterator[bytes]:
    """Addresses of the identity associations that are valid and carry no error (RFC 8415 sections 21.4 to 21.6)."""
    for code, data in options:
        header = IA_HEADER_LEN.get(code)
        if header is None:
            continue
        inner, _ = read_options(data[header:])
        if _failed(inner):
            continue
        for inner_code, value in inner:
            if inner_code != OPTION_IA_ADDRESS or len(value) < IA_ADDRESS_LEN:
                continue
            valid = int.from_bytes(value[20:24], "big")
            if valid and is_host_ip(value[:16]) and not _failed(read_options(value[IA_ADDRESS_LEN:])[0]):
                yield value[:16]


def _failed(options: Options) -> bool:
    return any(code == OPTION_STATUS and data[:2] != b"\0\0" for code, data in options)
