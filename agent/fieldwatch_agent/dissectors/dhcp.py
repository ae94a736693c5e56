"""DHCP (RFC 2131, options RFC 2132): what clients call themselves, and which address a server gave them.

The header is dpkt's. The options are walked here: a cut option does not take those before it along, an option that
comes in pieces is joined (RFC 3396), and overloaded `file` and `sname` fields are read (RFC 2132 section 9.3).
"""

from __future__ import annotations

from collections.abc import Iterator

import dpkt
from dpkt import dhcp
from fieldwatch_ext.engine import Slow
from fieldwatch_proto.identity import is_unicast_mac
from fieldwatch_proto.schema import SightingSource, ip_text, mac_text

from fieldwatch_agent.dissectors.dns_message import plain_name
from fieldwatch_agent.dissectors.notes import MalformedError, fact, is_host_ip
from fieldwatch_agent.dissectors.text import host_text
from fieldwatch_agent.facts import Binding, Fact

OPTION_PAD, OPTION_END = 0, 255
OPTION_OVERLOAD = 52
OPTION_FQDN = 81  # RFC 4702
FQDN_FLAGS_LEN = 3
FQDN_WIRE_FORMAT = 0x04  # E bit: DNS labels; else ASCII (deprecated, and what most clients send)

HARDWARE_TYPES = (1, 6)  # Ethernet, IEEE 802: chaddr is a MAC
MAC_LEN = 6

MESSAGES = {
    dhcp.DHCPDISCOVER: "DISCOVER",
    dhcp.DHCPOFFER: "OFFER",
    dhcp.DHCPREQUEST: "REQUEST",
    dhcp.DHCPDECLINE: "DECLINE",
    dhcp.DHCPACK: "ACK",
    dhcp.DHCPNAK: "NAK",
    dhcp.DHCPRELEASE: "RELEASE",
    dhcp.DHCPINFORM: "INFORM",
}


class Message(dpkt.dhcp.DHCP):  # type: ignore[misc]  # dpkt has no types
    """`opts` is {code: octets}; `complete` is False where they broke off. Raises dpkt.NeedData without a header."""

    opts: dict[int, bytes]
    complete: bool

    def unpack(self, buf: bytes) -> None:
        dpkt.Packet.unpack(self, buf)
        self.opts = {}
        self.complete = self._read_options(self.data)
        overload = self.opts.get(OPTION_OVERLOAD, b"\0")[:1]
        if overload in (b"\1", b"\3"):
            self.complete &= self._read_options(self.file)
        if overload in (b"\2", b"\3"):
            self.complete &= self._read_options(self.sname)

    def _read_options(self, data: bytes) -> bool:
        offset = 0
        while offset < len(data):
            code = data[offset]
            if code == OPTION_END:
                return True
            if code == OPTION_PAD:
                offset += 1
                continue
            if offset + 2 > len(data) or offset + 2 + data[offset + 1] > len(data):
                return False
            behind = offset + 2 + data[offset + 1]
            self.opts[code] = self.opts.get(code, b"") + data[offset + 2 : behind]
            offset = behind
        return True  # the end option is missing: old BOOTP clients, and harmless


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """Facts about the client (chaddr), from either side; bindings from ACK, and from a client that uses its address."""
    message = Message(slow.payload)
    if message.magic != dhcp.DHCP_MAGIC:
        raise MalformedError
    options = message.opts
    kind = options.get(dhcp.DHCP_OPT_MSGTYPE, b"\0")[:1] or b"\0"
    name = MESSAGES.get(kind[0], "BOOTP")
    client_address = message.ciaddr.to_bytes(4, "big")
    your_address = message.yiaddr.to_bytes(4, "big")
    mac = message.chaddr[:MAC_LEN]
    if message.hrd in HARDWARE_TYPES and message.hln == MAC_LEN and is_unicast_mac(mac):
        subject = mac_text(mac)
        from_client = message.op == dhcp.DHCP_OP_REQUEST
        held = client_address if from_client and name in ("REQUEST", "INFORM") else b""
        if message.op == dhcp.DHCP_OP_REPLY and name in ("ACK", "BOOTP"):
            held = your_address
        if is_host_ip(held):
            yield Binding(mac, held, SightingSource.DHCP, slow.ts_ns, slow.vlans)
        yield from _names(slow, subject, name, options, from_client)
        if from_client:
            yield from _client(slow, subject, name, options, mac)
    elif is_host_ip(client_address):
        yield from _names(slow, ip_text(client_address), name, options, True)
    if not message.complete:
        raise MalformedError


def _names(slow: Slow, subject: str, name: str, options: dict[int, bytes], from_client: bool) -> Iterator[Fact]:
    host = options.get(dhcp.DHCP_OPT_HOSTNAME)
    if host:
        yield fact(slow, subject, "hostname", host, f"DHCP {name} option 12", 90 if from_client else 80)
    fqdn = options.get(OPTION_FQDN, b"")
    if len(fqdn) > FQDN_FLAGS_LEN:
        text = fqdn[FQDN_FLAGS_LEN:]
        value = host_text(plain_name(text)) if fqdn[0] & FQDN_WIRE_FORMAT else text.rstrip(b"\0.")
        yield fact(slow, subject, "hostname", value, f"DHCP {name} option 81", 85 if from_client else 80)


def _client(slow: Slow, subject: str, name: str, options: dict[int, bytes], mac: bytes) -> Iterator[Fact]:
    vendor = options.get(dhcp.DHCP_OPT_VENDOR_ID)
    if vendor:
        yield fact(slow, subject, "vendor_class", vendor, f"DHCP {name} option 60", 80)
    requested = options.get(dhcp.DHCP_OPT_PARAM_REQ)
    if requested:
        value = ",".join(map(str, requested))
        yield fact(slow, subject, "dhcp_fingerprint", value, f"DHCP {name} option 55", 80)
    client = options.get(dhcp.DHCP_OPT_CLIENT_ID, b"")
    if len(client) > 1 and client != b"\1" + mac:  # the usual form repeats chaddr and says nothing
        yield fact(slow, subject, "client_id", client_id_text(client), f"DHCP {name} option 61", 80)


def client_id_text(client: bytes) -> bytes | str:
    """Type 0 is text, hardware types stand before an address, everything else is opaque (RFC 2132 section 9.14)."""
    if client[0] == 0 and client[1:].isascii():
        return client[1:]
    if client[0] in HARDWARE_TYPES and len(client) == 1 + MAC_LEN:
        return mac_text(client[1:])
    return client.hex(":")
