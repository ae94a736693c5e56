"""RADIUS (RFC 2865, accounting RFC 2866): what access points and switches (NAS) say of the stations that they let in.

- Only requests count: they are the NAS's own. Of a station it is hearsay, and only where Calling-Station-Id is a MAC.
- User-Name is a person's, mostly. It is taken from accounting alone, where the NAS tells who was let in; in an
  Access-Request it is what somebody tried. `[privacy] ignore_protocols` leaves the whole protocol out.
- The header is dpkt's; the attributes are walked here, because dpkt takes no notice of the length of the message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import dpkt
from dpkt import radius
from fieldwatch_ext.engine import Slow
from fieldwatch_proto.identity import is_unicast_mac
from fieldwatch_proto.schema import ip_text, mac_text

from fieldwatch_agent.dissectors.notes import MalformedError, fact, holder, is_host_ip, sender
from fieldwatch_agent.facts import Binding, Fact

MAX_LEN = 4096  # RFC 2865 section 3
ATTRIBUTE_HEADER_LEN = 2

REQUESTS = {radius.RADIUS_ACCESS_REQUEST: "access", radius.RADIUS_ACCT_REQUEST: "accounting"}
NAS_IPV6_ADDRESS = 95  # RFC 3162 section 2.1
FRAMED_IPV6_ADDRESS = 168  # RFC 6911 section 3.1
ADDRESS_LEN = {
    radius.RADIUS_NAS_IP_ADDR: 4,
    NAS_IPV6_ADDRESS: 16,
    radius.RADIUS_FRAMED_IP_ADDR: 4,
    FRAMED_IPV6_ADDRESS: 16,
}
PORTS_WITH_MAC = (15, 19)  # NAS-Port-Type: Ethernet, Wireless - IEEE 802.11 (RFC 2865 section 5.41)

# As equipment writes it: 02-00-00-00-00-01 (RFC 3580 section 3.21), 02:00:..., 0200.0000.0001, 020000-000001, bare.
_PAIR = rb"[0-9A-Fa-f]{2}"
_MAC = re.compile(
    rb"%(p)s(?P<by2>[-:. ]?)(?:%(p)s(?P=by2)){4}%(p)s"
    rb"|%(p)s%(p)s(?P<by4>[-:. ])%(p)s%(p)s(?P=by4)%(p)s%(p)s"
    rb"|%(p)s%(p)s%(p)s[-:. ]%(p)s%(p)s%(p)s" % {b"p": _PAIR}
)
_SEPARATORS = b"-:. "


class Message(dpkt.radius.RADIUS):  # type: ignore[misc]  # dpkt has no types
    """`attrs` is {type: octets}, the first of each; `complete` is False where they broke off.

    Raises dpkt.NeedData where there is not even a header.
    """

    attrs: dict[int, bytes]
    complete: bool

    def unpack(self, buf: bytes) -> None:
        dpkt.Packet.unpack(self, buf)
        self.attrs = {}
        end = min(self.len, len(buf))  # what stands behind the length is padding (RFC 2865 section 3)
        self.complete = self.__hdr_len__ <= self.len <= min(len(buf), MAX_LEN)
        offset = self.__hdr_len__
        while offset < end:
            behind = offset + buf[offset + 1] if offset + 1 < end else offset
            if not offset + ATTRIBUTE_HEADER_LEN <= behind <= end:
                self.complete = False
                return
            self.attrs.setdefault(buf[offset], buf[offset + ATTRIBUTE_HEADER_LEN : behind])
            offset = behind


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """Facts about the NAS and about the station that a request is for."""
    message = Message(slow.payload)
    request = REQUESTS.get(message.code)
    if request is not None:
        if message.complete:
            yield from _nas(slow, message.attrs, request)
        mac = _station(message.attrs)
        if is_unicast_mac(mac):
            yield from _facts(slow, mac_text(mac), message.attrs, request)
    if not message.complete:
        raise MalformedError


def _nas(slow: Slow, attributes: dict[int, bytes], request: str) -> Iterator[Fact]:
    """What the NAS is called. Behind a proxy, which marks what it passes on, it is not the sender."""
    name = attributes.get(radius.RADIUS_NAS_ID, b"")
    if read_mac(name):
        return  # access points that nobody named give their MAC
    if radius.RADIUS_PROXY_STATE in attributes:
        address = _address(attributes, radius.RADIUS_NAS_IP_ADDR) or _address(attributes, NAS_IPV6_ADDRESS)
        subject = holder(slow, address) if address else ""
    else:
        subject = sender(slow)
    yield fact(slow, subject, "system_name", name, f"RADIUS {request} request NAS-Identifier", 60)


def _station(attributes: dict[int, bytes]) -> bytes:
    """The station's MAC; empty where it has none. Twelve digits may be a telephone number."""
    text = attributes.get(radius.RADIUS_CALLING_STATION_ID, b"")
    port_type = int.from_bytes(attributes.get(radius.RADIUS_NAS_PORT_TYPE, b""), "big")
    return b"" if text.isdigit() and port_type not in PORTS_WITH_MAC else read_mac(text)


def _facts(slow: Slow, subject: str, attributes: dict[int, bytes], request: str) -> Iterator[Fact]:
    evidence = f"RADIUS {request} request"
    ssid = read_ssid(attributes.get(radius.RADIUS_CALLED_STATION_ID, b""))
    yield fact(slow, subject, "ssid", ssid, f"{evidence} Called-Station-Id", 70)
    if request != "accounting":
        return
    for kind, name in (
        (radius.RADIUS_FRAMED_IP_ADDR, "Framed-IP-Address"),
        (FRAMED_IPV6_ADDRESS, "Framed-IPv6-Address"),
    ):
        address = _address(attributes, kind)
        if is_host_ip(address):
            yield fact(slow, subject, "framed_ip", ip_text(address), f"{evidence} {name}", 60)
    user = attributes.get(radius.RADIUS_USER_NAME, b"")
    if not read_mac(user):  # a station without a person is let in by its MAC
        yield fact(slow, subject, "user_name", user, f"{evidence} User-Name", 60)


def _address(attributes: dict[int, bytes], kind: int) -> bytes:
    """The octets of an address attribute; empty where it has none or another length."""
    address = attributes.get(kind, b"")
    return address if len(address) == ADDRESS_LEN[kind] else b""


def read_mac(text: bytes) -> bytes:
    """The octets of a MAC, however it is written; empty where it is none."""
    return bytes.fromhex(text.translate(None, _SEPARATORS).decode("ascii")) if _MAC.fullmatch(text) else b""


def read_ssid(text: bytes) -> bytes:
    """The network's name behind the MAC of the access point and a colon (RFC 3580 section 3.20); empty without."""
    found = _MAC.match(text)
    return text[found.end() + 1 :] if found and text[found.end() : found.end() + 1] == b":" else b""
