"""Frames as the kernel hands them to dissectors, and messages built octet by octet from the RFCs' drawings."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

from fieldwatch_agent.dissectors import dissect
from fieldwatch_agent.facts import Binding, Fact
from fieldwatch_ext.engine import Slow

MAC = bytes.fromhex("020000000001")
MAC_TEXT = "02:00:00:00:00:01"
PEER_MAC = bytes.fromhex("020000000002")
BROADCAST = b"\xff" * 6
IP = bytes([192, 168, 1, 10])
IP_TEXT = "192.168.1.10"
IP6 = ipaddress.ip_address("fe80::1").packed
TS_NS = 1_700_000_000_000_000_000

# protocol -> destination MAC, destination IP, port
_DESTINATIONS: dict[str, tuple[bytes, bytes, int]] = {
    "dhcp": (BROADCAST, b"\xff" * 4, 67),
    "dhcpv6": (bytes.fromhex("333300010002"), ipaddress.ip_address("ff02::1:2").packed, 547),
    "mdns": (bytes.fromhex("01005e0000fb"), bytes([224, 0, 0, 251]), 5353),
    "llmnr": (bytes.fromhex("01005e0000fc"), bytes([224, 0, 0, 252]), 5355),
    "nbns": (BROADCAST, bytes([192, 168, 1, 255]), 137),
    "nbds": (BROADCAST, bytes([192, 168, 1, 255]), 138),
    "ssdp": (bytes.fromhex("01005e7ffffa"), bytes([239, 255, 255, 250]), 1900),
    "lldp": (bytes.fromhex("0180c200000e"), b"", 0),
    "cdp": (bytes.fromhex("01000ccccccc"), b"", 0),
    "dns": (PEER_MAC, bytes([192, 168, 1, 20]), 53),
    "smb": (PEER_MAC, bytes([192, 168, 1, 20]), 445),
    "radius": (PEER_MAC, bytes([192, 168, 1, 20]), 1813),
    "tls": (PEER_MAC, bytes([203, 0, 113, 5]), 443),
    "quic": (PEER_MAC, bytes([203, 0, 113, 5]), 443),
    "http": (PEER_MAC, bytes([192, 168, 1, 20]), 80),
    "tcp_syn": (PEER_MAC, bytes([192, 168, 1, 20]), 80),
    "wsd": (bytes.fromhex("01005e7ffffa"), bytes([239, 255, 255, 250]), 3702),
    "igmp": (bytes.fromhex("01005e000016"), bytes([224, 0, 0, 22]), 0),
}


def slow(protocol: str, payload: bytes, **changes: Any) -> Slow:
    """A frame of a local host to the protocol's usual destination; `changes` replace single fields."""
    dst_mac, dst_ip, port = _DESTINATIONS[protocol]
    src_ip = b"" if not dst_ip else IP if len(dst_ip) == 4 else IP6
    frame = Slow(7, TS_NS, protocol, MAC, dst_mac, 0x1064, src_ip, dst_ip, port, port, payload)
    return frame._replace(**changes)


def said(frame: Slow) -> list[tuple[str, str, str]]:
    """(subject, key, value) of the facts, in order."""
    return [(item.subject, item.key, item.value) for item in dissect(frame) if isinstance(item, Fact)]


def of_sender(frame: Slow) -> list[tuple[str, str]]:
    """(key, value) of the facts about the frame's source MAC, in order."""
    return [(key, value) for subject, key, value in said(frame) if subject == MAC_TEXT]


def bindings(frame: Slow) -> list[tuple[bytes, bytes]]:
    """(MAC, IP) of the bindings, in order."""
    return [(item.mac, item.ip) for item in dissect(frame) if isinstance(item, Binding)]


# DNS


def name(text: str) -> bytes:
    """An uncompressed name of dotted text."""
    labels = [label.encode() for label in text.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def record(owner: bytes, kind: int, data: bytes, *, ttl: int = 120, klass: int = 0x8001) -> bytes:
    return owner + struct.pack(">HHIH", kind, klass, ttl, len(data)) + data


def question(owner: bytes, kind: int = 255) -> bytes:
    return owner + struct.pack(">HH", kind, 1)


def dns(
    *,
    flags: int = 0x8400,
    questions: tuple[bytes, ...] = (),
    answers: tuple[bytes, ...] = (),
    authority: tuple[bytes, ...] = (),
    additional: tuple[bytes, ...] = (),
) -> bytes:
    sections = (questions, answers, authority, additional)
    return struct.pack(">6H", 0, flags, *map(len, sections)) + b"".join(map(b"".join, sections))


def address(owner: str, ip: str, **changes: int) -> bytes:
    packed = ipaddress.ip_address(ip).packed
    return record(name(owner), 1 if len(packed) == 4 else 28, packed, **changes)


def pointer(owner: str, target: str, **changes: int) -> bytes:
    return record(name(owner), 12, name(target), **changes)


def service(owner: str, target: str, port: int = 80, **changes: int) -> bytes:
    return record(name(owner), 33, struct.pack(">HHH", 0, 0, port) + name(target), **changes)


def text(owner: str, *strings: bytes, **changes: int) -> bytes:
    return record(name(owner), 16, b"".join(bytes([len(s)]) + s for s in strings), **changes)


# DHCP


def dhcp(
    options: bytes,
    *,
    op: int = 1,
    mac: bytes = MAC,
    hardware: int = 1,
    ciaddr: bytes = bytes(4),
    yiaddr: bytes = bytes(4),
    sname: bytes = b"",
    file: bytes = b"",
    magic: bytes = b"\x63\x82\x53\x63",
) -> bytes:
    head = struct.pack(">BBBBIHH", op, hardware, len(mac), 0, 0x1234, 0, 0) + ciaddr + yiaddr + bytes(8)
    return head + mac.ljust(16, b"\0") + sname.ljust(64, b"\0") + file.ljust(128, b"\0") + magic + options


def option(code: int, value: bytes) -> bytes:
    return bytes([code, len(value)]) + value


def option6(code: int, value: bytes) -> bytes:
    return struct.pack(">HH", code, len(value)) + value


# LLDP, CDP


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack(">H", kind << 9 | len(value)) + value


def cdp_tlv(kind: int, value: bytes) -> bytes:
    return struct.pack(">HH", kind, 4 + len(value)) + value


# NetBIOS


def netbios_name(text: str, suffix: int) -> bytes:
    """First-level encoding (RFC 1001 section 14.1) with an empty scope."""
    octets = text.encode().ljust(15, b" ") + bytes([suffix])
    return b"\x20" + b"".join(bytes([0x41 + (o >> 4), 0x41 + (o & 15)]) for o in octets) + b"\0"


def nb_record(owner: bytes, *holders: tuple[int, str], ttl: int = 300) -> bytes:
    """An NB record: (flags, address) of each holder; flag 0x8000 = group."""
    data = b"".join(struct.pack(">H", flags) + ipaddress.ip_address(ip).packed for flags, ip in holders)
    return owner + struct.pack(">HHIH", 0x20, 1, ttl, len(data)) + data


def nbns(
    flags: int,
    *,
    questions: tuple[bytes, ...] = (),
    answers: tuple[bytes, ...] = (),
    additional: tuple[bytes, ...] = (),
) -> bytes:
    sections = (questions, answers, (), additional)
    return struct.pack(">6H", 1, flags, *map(len, sections)) + b"".join(map(b"".join, sections))


def node_status(*names: tuple[str, int, int], unit_id: bytes = bytes(6)) -> bytes:
    """A node status reply (RFC 1002 section 4.2.18): (name, suffix, flags) of each entry."""
    table = b"".join(
        n.encode().ljust(15, b" ") + bytes([suffix]) + struct.pack(">H", flags) for n, suffix, flags in names
    )
    data = bytes([len(names)]) + table + unit_id + bytes(40)
    owner = b"\x20" + b"CK" + b"A" * 30 + b"\0"
    return nbns(0x8400, answers=(owner + struct.pack(">HHIH", 0x21, 1, 0, len(data)) + data,))


def datagram(source: bytes, destination: bytes, data: bytes, *, kind: int = 0x11, ip: bytes = IP) -> bytes:
    """A direct or broadcast datagram (RFC 1002 section 4.4.2)."""
    body = source + destination + data
    return struct.pack(">BBH4sHHH", kind, 0x02, 1, ip, 138, len(body), 0) + body


def mailslot(data: bytes, slot: bytes = b"\\MAILSLOT\\BROWSE") -> bytes:
    """An SMB transaction to a mailslot ([MS-CIFS] section 2.2.4.33)."""
    head = b"\xffSMB\x25" + bytes(27)
    tail = slot + b"\0"
    offset = 32 + 1 + 34 + 2 + len(tail)
    words = struct.pack(
        "<HHHHBBHIHHHHHBBHHH", 0, len(data), 0, 0, 0, 0, 0, 0, 0, 0, 0, len(data), offset, 3, 0, 1, 0, 2
    )
    return head + bytes([17]) + words + struct.pack("<H", len(tail) + len(data)) + tail + data


def announcement(command: int, host: bytes, comment: bytes) -> bytes:
    """A browser announcement ([MS-BRWS] section 2.2.1)."""
    head = struct.pack("<BBI", command, 0, 60_000)
    return head + host.ljust(16, b"\0") + struct.pack("<BBIBBH", 10, 0, 0x1003, 15, 1, 0xAA55) + comment + b"\0"
