"""Frames for tests, built octet by octet with correct lengths and checksums. Addresses are text, payloads octets.

Every builder gives the octets of its header and what it is given to carry, so that they nest:
``ethernet(ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"x")), src="02:00:00:00:00:01")``.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

BROADCAST = "ff:ff:ff:ff:ff:ff"
NO_MAC = "00:00:00:00:00:00"
MAC_A = "02:00:00:00:00:0a"
MAC_B = "02:00:00:00:00:0b"

ETHERTYPES = {"ipv4": 0x0800, "arp": 0x0806, "ipv6": 0x86DD, "lldp": 0x88CC}
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10


@dataclass(frozen=True)
class Datagram:
    """A transport header and payload that still wants the pseudo header of its IP packet for its checksum."""

    protocol: int
    octets: bytes
    checksum_at: int | None = None

    def sealed(self, src: bytes, dst: bytes) -> bytes:
        """The octets with their checksum (RFC 768, RFC 9293, RFC 4443)."""
        if self.checksum_at is None:
            return self.octets
        length = len(self.octets)
        if len(src) == 4:
            pseudo = src + dst + struct.pack(">BBH", 0, self.protocol, length)
        else:
            pseudo = src + dst + struct.pack(">II", length, self.protocol)
        value = checksum(pseudo + self.octets)
        if value == 0 and self.protocol == 17:
            value = 0xFFFF
        at = self.checksum_at
        return self.octets[:at] + struct.pack(">H", value) + self.octets[at + 2 :]


Payload = bytes | Datagram


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def checksum(octets: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(octets) % 2:
        octets += b"\0"
    total: int = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# ---- links


def ethernet(
    payload: bytes,
    *,
    src: str = MAC_A,
    dst: str = MAC_B,
    ethertype: int | None = None,
    vlans: Sequence[int] = (),
    tpids: Sequence[int] = (),
    pad: bool = False,
) -> bytes:
    """An Ethernet II frame; `vlans` outermost first. Without `ethertype` the IP version of the payload says it."""
    if ethertype is None:
        ethertype = ETHERTYPES["ipv6" if payload[:1] and payload[0] >> 4 == 6 else "ipv4"]
    types = [*(tpids or [0x8100] * len(vlans)), ethertype]
    tags = b"".join(struct.pack(">HH", vlan, following) for vlan, following in zip(vlans, types[1:], strict=True))
    frame = mac(dst) + mac(src) + struct.pack(">H", types[0]) + tags + payload
    return frame.ljust(60, b"\0") if pad else frame


def ethernet_802_3(payload: bytes, *, src: str = MAC_A, dst: str = "01:80:c2:00:00:00") -> bytes:
    """An IEEE 802.3 frame: the payload begins with LLC."""
    return mac(dst) + mac(src) + struct.pack(">H", len(payload)) + payload


def llc(dsap: int, ssap: int, control: int, payload: bytes = b"") -> bytes:
    return bytes([dsap, ssap, control]) + payload


def snap(oui: int, pid: int, payload: bytes = b"") -> bytes:
    """LLC and SNAP (RFC 1042)."""
    return llc(0xAA, 0xAA, 0x03, oui.to_bytes(3, "big") + struct.pack(">H", pid) + payload)


def stp() -> bytes:
    """A configuration BPDU behind its LLC header."""
    return llc(0x42, 0x42, 0x03, bytes(35))


def pbb(frame: bytes, service: int = 1) -> bytes:
    """The service tag of IEEE 802.1ah and the customer's frame, behind EtherType 0x88E7."""
    return struct.pack(">I", service) + frame


def mpls(labels: Sequence[int], payload: bytes) -> bytes:
    """A label stack (RFC 3032) and what it carries."""
    last = len(labels) - 1
    stack = b"".join(struct.pack(">I", label << 12 | (place == last) << 8 | 64) for place, label in enumerate(labels))
    return stack + payload


def pppoe(payload: bytes, *, protocol: int = 0x0021, session: int = 1) -> bytes:
    """A PPPoE session packet (RFC 2516) with its PPP protocol field."""
    inner = struct.pack(">H", protocol) + payload
    return struct.pack(">BBHH", 0x11, 0, session, len(inner)) + inner


def cooked(payload: bytes, *, ethertype: int = 0x0800, src: str = MAC_A, hardware: int = 1, version: int = 1) -> bytes:
    """LINKTYPE_LINUX_SLL (113) or, with version 2, LINKTYPE_LINUX_SLL2 (276)."""
    if version == 1:
        return struct.pack(">HHH", 0, hardware, 6) + mac(src) + bytes(2) + struct.pack(">H", ethertype) + payload
    return struct.pack(">HHIHBB", ethertype, 0, 2, hardware, 0, 6) + mac(src) + bytes(2) + payload


def loopback(payload: bytes, *, family: int = 2, big_endian: bool = False) -> bytes:
    """LINKTYPE_NULL (0), or LINKTYPE_LOOP (108) when big-endian."""
    return family.to_bytes(4, "big" if big_endian else "little") + payload


def lldp(*tlvs: tuple[int, bytes]) -> bytes:
    """An LLDPDU (IEEE 802.1AB) with an end TLV."""
    body = b"".join(struct.pack(">H", kind << 9 | len(value)) + value for kind, value in tlvs)
    return body + b"\0\0"


def arp(
    operation: int,
    sender_mac: str,
    sender_ip: str,
    target_mac: str,
    target_ip: str,
    *,
    hardware: int = 1,
    hlen: int = 6,
    plen: int = 4,
) -> bytes:
    fixed = struct.pack(">HHBBH", hardware, 0x0800, hlen, plen, operation)
    return fixed + mac(sender_mac) + ip(sender_ip) + mac(target_mac) + ip(target_ip)


# ---- IP


def ipv4(
    src: str,
    dst: str,
    payload: Payload,
    *,
    protocol: int | None = None,
    ttl: int = 64,
    ident: int = 0,
    offset: int = 0,
    more: bool = False,
    options: bytes = b"",
    total: int | None = None,
) -> bytes:
    """`offset` in octets; `options` are padded to 4; `total` overrides the length field."""
    octets, protocol = _carried(ip(src), ip(dst), payload, protocol)
    options = options.ljust(-(-len(options) // 4) * 4, b"\0")
    words = 5 + len(options) // 4
    place = (0x2000 if more else 0) | offset // 8
    length = 4 * words + len(octets) if total is None else total
    header = struct.pack(">BBHHHBBH4s4s", 0x40 | words, 0, length, ident, place, ttl, protocol, 0, ip(src), ip(dst))
    header += options
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + octets


def ipv4_fragments(src: str, dst: str, payload: Payload, *, ident: int = 1, mtu: int = 1500) -> list[bytes]:
    """The packet in pieces whose payload is at most `mtu` - 20 octets."""
    octets, protocol = _carried(ip(src), ip(dst), payload, None)
    step = (mtu - 20) // 8 * 8
    starts = range(0, len(octets), step)
    return [
        ipv4(
            src,
            dst,
            octets[start : start + step],
            protocol=protocol,
            ident=ident,
            offset=start,
            more=start + step < len(octets),
        )
        for start in starts
    ]


def ipv6(
    src: str,
    dst: str,
    payload: Payload,
    *,
    protocol: int | None = None,
    hop_limit: int = 64,
    extensions: Sequence[tuple[int, bytes]] = (),
    length: int | None = None,
) -> bytes:
    """`extensions`: (header number, octets behind the next-header octet), in order; see `options6`, `fragment6`."""
    octets, protocol = _carried(ip(src), ip(dst), payload, protocol)
    numbers = [number for number, _ in extensions] + [protocol]
    for (_, rest), following in zip(reversed(extensions), reversed(numbers[1:]), strict=True):
        octets = bytes([following]) + rest + octets
    size = len(octets) if length is None else length
    return struct.pack(">IHBB", 6 << 28, size, numbers[0], hop_limit) + ip(src) + ip(dst) + octets


def options6(octets: int = 8) -> bytes:
    """The rest of a hop-by-hop (0), routing (43) or destination (60) header of so many octets, padded."""
    return bytes([octets // 8 - 1, 1, octets - 4]) + bytes(octets - 4)


def fragment6(ident: int, offset: int, more: bool) -> bytes:
    """The rest of a fragment header (44); `offset` in octets."""
    return struct.pack(">BHI", 0, offset | more, ident)


def ah(octets: int = 24) -> bytes:
    """The rest of an authentication header (51, RFC 4302) of so many octets."""
    return bytes([octets // 4 - 2]) + bytes(octets - 2)


def _carried(src: bytes, dst: bytes, payload: Payload, protocol: int | None) -> tuple[bytes, int]:
    if isinstance(payload, Datagram):
        return payload.sealed(src, dst), payload.protocol if protocol is None else protocol
    return payload, 59 if protocol is None else protocol


# ---- transport


def tcp(
    src_port: int,
    dst_port: int,
    flags: int = ACK,
    payload: bytes = b"",
    *,
    seq: int = 0,
    ack: int = 0,
    options: bytes = b"",
) -> Datagram:
    options = options.ljust(-(-len(options) // 4) * 4, b"\1")
    words = 5 + len(options) // 4
    header = struct.pack(">HHIIBBHHH", src_port, dst_port, seq, ack, words << 4, flags, 65_535, 0, 0)
    return Datagram(6, header + options + payload, 16)


def udp(src_port: int, dst_port: int, payload: bytes = b"", *, length: int | None = None) -> Datagram:
    size = 8 + len(payload) if length is None else length
    return Datagram(17, struct.pack(">HHHH", src_port, dst_port, size, 0) + payload, 6)


def sctp(src_port: int, dst_port: int, chunks: bytes = b"") -> Datagram:
    """Without its CRC32c: nothing here looks at it."""
    return Datagram(132, struct.pack(">HHII", src_port, dst_port, 0, 0) + chunks)


def udplite(src_port: int, dst_port: int, payload: bytes = b"", *, coverage: int = 0) -> Datagram:
    """RFC 3828; with coverage 0 its checksum is that of UDP."""
    return Datagram(136, struct.pack(">HHHH", src_port, dst_port, coverage, 0) + payload, 6)


def dccp(src_port: int, dst_port: int, *, words: int = 4, extended: bool = True) -> Datagram:
    """A DCCP-Data header (RFC 4340), `words` as its data offset; without its checksum: nothing here looks at it."""
    header = struct.pack(">HHBBHB", src_port, dst_port, words, 0, 0, 2 << 1 | extended)
    return Datagram(33, header + bytes(7 if extended else 3))


def icmp(kind: int, code: int = 0, rest: bytes = bytes(4), payload: bytes = b"") -> Datagram:
    """`rest` are the 4 octets that depend on the type."""
    body = struct.pack(">BBH", kind, code, 0) + rest + payload
    return Datagram(1, body[:2] + struct.pack(">H", checksum(body)) + body[4:])


def echo(reply: bool, ident: int, sequence: int = 1, payload: bytes = b"ping") -> Datagram:
    return icmp(0 if reply else 8, 0, struct.pack(">HH", ident, sequence), payload)


def icmp6(kind: int, code: int = 0, rest: bytes = bytes(4), payload: bytes = b"") -> Datagram:
    return Datagram(58, struct.pack(">BBH", kind, code, 0) + rest + payload, 2)


def echo6(reply: bool, ident: int, sequence: int = 1, payload: bytes = b"ping") -> Datagram:
    return icmp6(129 if reply else 128, 0, struct.pack(">HH", ident, sequence), payload)


def ndp_option(kind: int, address: str) -> bytes:
    """A link-layer address option: 1 source, 2 target."""
    return bytes([kind, 1]) + mac(address)


def neighbour_solicitation(target: str, source_mac: str | None = None) -> Datagram:
    return icmp6(135, 0, bytes(4), ip(target) + (ndp_option(1, source_mac) if source_mac else b""))


def neighbour_advertisement(target: str, target_mac: str | None = None) -> Datagram:
    return icmp6(136, 0, b"\x60\0\0\0", ip(target) + (ndp_option(2, target_mac) if target_mac else b""))


def router_solicitation(source_mac: str) -> Datagram:
    return icmp6(133, 0, bytes(4), ndp_option(1, source_mac))


def router_advertisement(source_mac: str) -> Datagram:
    return icmp6(134, 0, b"\x40\0\x07\x08", bytes(8) + ndp_option(1, source_mac))


def redirect6(target: str, destination: str, target_mac: str) -> Datagram:
    return icmp6(137, 0, bytes(4), ip(target) + ip(destination) + ndp_option(2, target_mac))


# ---- tunnels


def gre(
    payload: bytes, *, protocol: int = 0x0800, key: int | None = None, sequence: int | None = None, check: bool = False
) -> bytes:
    """GRE version 0 (RFC 2784, RFC 2890)."""
    flags = (0x8000 if check else 0) | (0x2000 if key is not None else 0) | (0x1000 if sequence is not None else 0)
    octets = struct.pack(">HH", flags, protocol)
    if check:
        octets += bytes(4)
    if key is not None:
        octets += struct.pack(">I", key)
    if sequence is not None:
        octets += struct.pack(">I", sequence)
    return octets + payload


def vxlan(payload: bytes, vni: int, *, src_port: int = 50_000) -> Datagram:
    """A whole Ethernet frame in UDP to port 4789 (RFC 7348)."""
    return udp(src_port, 4789, struct.pack(">II", 0x08 << 24, vni << 8) + payload)


def geneve(
    payload: bytes, vni: int, *, protocol: int = 0x6558, options: bytes = b"", src_port: int = 50_000
) -> Datagram:
    """UDP to port 6081 (RFC 8926)."""
    return udp(src_port, 6081, struct.pack(">BBHI", len(options) // 4, 0, protocol, vni << 8) + options + payload)


def gtpu(
    payload: bytes,
    teid: int,
    *,
    kind: int = 255,
    sequence: int | None = None,
    extensions: Sequence[tuple[int, bytes]] = (),
    length: int | None = None,
    src_port: int = 2152,
) -> Datagram:
    """UDP to port 2152 (3GPP TS 29.281); `extensions`: (type, content of 4n + 2 octets), in order."""
    flags = 0x30 | (0x02 if sequence is not None else 0) | (0x04 if extensions else 0)
    optional = b""
    if flags & 0x07:
        types = [number for number, _ in extensions] + [0]
        optional = struct.pack(">HBB", sequence or 0, 0, types[0])
        for (_, content), following in zip(extensions, types[1:], strict=True):
            optional += bytes([(len(content) + 2) // 4]) + content + bytes([following])
    octets = len(optional) + len(payload) if length is None else length
    return udp(src_port, 2152, struct.pack(">BBHI", flags, kind, octets, teid) + optional + payload)


def erspan(payload: bytes, session: int = 0, *, kind: int = 2, what: int = 0, cut: bool = False) -> bytes:
    """GRE with a mirrored frame of ERSPAN type `kind`; `what` are the last 16 bits of the type III header."""
    flags = session | (0x0400 if cut else 0)
    if kind == 1:
        return gre(payload, protocol=0x88BE)
    if kind == 2:
        return gre(struct.pack(">HHI", 0x1064, flags, 0) + payload, protocol=0x88BE, sequence=1)
    header = struct.pack(">HHIHH", 0x2064, flags, 0, 0, what) + (bytes(8) if what & 1 else b"")
    return gre(header + payload, protocol=0x22EB, sequence=1)


# ---- NetBIOS


def netbios_label(name: str, suffix: int = 0x20, scope: str = "") -> bytes:
    """A first-level encoded name with its scope (RFC 1001 section 14.1), ended."""
    sixteen = name.encode("ascii").ljust(15)[:15] + bytes([suffix])
    letters = b"".join(bytes([0x41 + (octet >> 4), 0x41 + (octet & 0x0F)]) for octet in sixteen)
    labels = [letters] + [label.encode("ascii") for label in scope.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def nbns(
    flags: int,
    *,
    questions: Sequence[tuple[bytes, int]] = (),
    answers: Sequence[tuple[bytes, int, bytes]] = (),
    authority: Sequence[tuple[bytes, int, bytes]] = (),
    additional: Sequence[tuple[bytes, int, bytes]] = (),
    transaction: int = 0x1234,
) -> bytes:
    """A name service message (RFC 1002 section 4.2): questions (name, type), records (name, type, data)."""
    octets = struct.pack(">HHHHHH", transaction, flags, len(questions), len(answers), len(authority), len(additional))
    for name, kind in questions:
        octets += name + struct.pack(">HH", kind, 1)
    for name, kind, data in [*answers, *authority, *additional]:
        octets += name + struct.pack(">HHIH", kind, 1, 300_000, len(data)) + data
    return octets


def nbds(source: bytes, destination: bytes, data: bytes = b"", *, kind: int = 0x11, ip_text: str = "10.0.0.1") -> bytes:
    """A datagram service message (RFC 1002 section 4.4)."""
    body = source + destination + data
    return struct.pack(">BBH4sHHH", kind, 0x02, 0x1234, ip(ip_text), 138, len(body), 0) + body


def with_flags(segment: Datagram, flags: int) -> Datagram:
    """The same TCP segment with other flags."""
    return replace(segment, octets=segment.octets[:13] + bytes([flags]) + segment.octets[14:])
