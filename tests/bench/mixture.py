"""The mix: frames of many captures, interleaved as if their networks were one, over and over with other hosts.

    write_mix(path, captures, frames=3_000_000, seed=1)

- The order within a capture stays, and with it every handshake; which capture comes next is drawn by lot.
- Each repetition has hosts of its own: MAC, IPv4 and IPv6 addresses are numbered anew, where headers, ARP, neighbour
  discovery and what ICMP errors quote name them, inside VXLAN too. Groups, broadcast and "no address" stay; private
  IPv4 addresses stay private, public ones public; of IPv6 addresses the first 64 bits stay. Checksums are not made
  right, and payloads are not touched: a DNS answer names the address that it always named.
- Times increase evenly, `GAP_NS` apart.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fieldwatch_ext.capture import FileSource
from fieldwatch_ext.errors import CaptureError
from support.capture_files import ETHERNET, pcap
from support.sample import sample_frames

Captures = Sequence[Sequence[bytes]]

START_NS = 1_700_000_000_000_000_000
GAP_NS = 10_000  # 100,000 frames a second: a busy link, not a burst
AT_ONCE = 20_000  # frames written together

TAGS = (0x8100, 0x88A8, 0x9100)
PRIVATE = ((0x0A000000, 8), (0xAC100000, 12), (0xC0A80000, 16), (0xA9FE0000, 16))
NEW_PRIVATE, NEW_PUBLIC = 0x0A000001, 0x20000001  # 10.0.0.1, 32.0.0.1: there is room for 16 million and a billion
VXLAN_PORT, VXLAN_HEADERS = 4789, 16
ICMP_ERRORS, ICMP6_ERRORS, SOLICIT_ADVERTISE = (3, 4, 5, 11, 12), (1, 2, 3, 4), (135, 136)


class Frame(NamedTuple):
    """Octets, and where addresses stand in them: (offset, octets, number of the address among those of its length)."""

    octets: bytes
    places: list[tuple[int, int, int]]


def captures_of(corpus: str | None) -> Captures:
    """The Ethernet captures of the folder, or the sample capture that the code generates."""
    if corpus is None:
        return [[octets for _, octets in sample_frames()]]
    found = []
    for path in sorted(path for path in Path(corpus).rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            try:
                frames = _ethernet(FileSource(stream.fileno(), name=path.name))
            except CaptureError:
                continue
        if frames:
            found.append(frames)
    return found


def _ethernet(source: FileSource) -> list[bytes]:
    frames: list[bytes] = []
    while (block := source.read_block()) is not None:
        frames += [frame.octets for frame in block if frame.linktype == ETHERNET]
    return frames


def address_places(octets: bytes) -> Iterator[tuple[int, int]]:
    """(offset, octets) of every address of one host in the headers: MAC 6, IPv4 4, IPv6 16."""
    for at, length in _ethernet_places(octets, 0):
        if at + length <= len(octets) and _is_host(octets[at : at + length]):
            yield at, length


def _is_host(address: bytes) -> bool:
    if not any(address) or set(address) == {0xFF}:
        return False
    if len(address) == 6:
        return not address[0] & 1
    return 1 <= address[0] < 224 and address[0] != 127 if len(address) == 4 else address[0] != 0xFF and any(address[:8])


def _u16(octets: bytes, at: int) -> int:
    return int.from_bytes(octets[at : at + 2], "big")


def _ethernet_places(octets: bytes, at: int) -> Iterator[tuple[int, int]]:
    yield at, 6
    yield at + 6, 6
    at += 12
    while _u16(octets, at) in TAGS:
        at += 4
    ethertype, at = _u16(octets, at), at + 2
    if ethertype == 0x8864:  # PPPoE: its header, then the protocol of PPP
        ethertype, at = {0x21: 0x0800, 0x57: 0x86DD}.get(_u16(octets, at + 6), 0), at + 8
    if ethertype in (0x8847, 0x8848):
        while at + 4 <= len(octets) and not octets[at + 2] & 1:
            at += 4
        at += 4
        ethertype = {4: 0x0800, 6: 0x86DD}.get(octets[at] >> 4, 0) if at < len(octets) else 0
    if ethertype == 0x0806 and octets[at + 4 : at + 6] == b"\6\4":
        yield from ((at + 8, 6), (at + 14, 4), (at + 18, 6), (at + 24, 4))
    elif ethertype in (0x0800, 0x86DD):
        yield from _ip_places(octets, at)


def _ip_places(octets: bytes, at: int) -> Iterator[tuple[int, int]]:
    if at + 20 > len(octets):
        return
    if octets[at] >> 4 == 4:
        yield from ((at + 12, 4), (at + 16, 4))
        protocol, inner = octets[at + 9], at + 4 * (octets[at] & 15)
        if _u16(octets, at + 6) & 0x1FFF:
            return
    elif octets[at] >> 4 == 6:
        yield from ((at + 8, 16), (at + 24, 16))
        protocol, inner = octets[at + 6], at + 40
    else:
        return
    if inner + 8 > len(octets):
        return
    if protocol in (4, 41):
        yield from _ip_places(octets, inner)
    elif protocol == 17 and _u16(octets, inner + 2) == VXLAN_PORT:
        yield from _ethernet_places(octets, inner + VXLAN_HEADERS)
    elif (protocol == 1 and octets[inner] in ICMP_ERRORS) or (protocol == 58 and octets[inner] in ICMP6_ERRORS):
        yield from _ip_places(octets, inner + 8)
    elif protocol == 58 and octets[inner] in SOLICIT_ADVERTISE:
        yield inner + 8, 16
        if octets[inner + 24 : inner + 26] in (b"\1\1", b"\2\1"):  # a link-layer address of one unit of 8 octets
            yield inner + 26, 6


def _is_private(address: bytes) -> bool:
    number = int.from_bytes(address, "big")
    return any(number >> (32 - length) == prefix >> (32 - length) for prefix, length in PRIVATE)


class Mix:
    """Captures, taken apart once; `frames` deals them out without end."""

    def __init__(self, captures: Captures, seed: int) -> None:
        self._chance = random.Random(seed)
        self._hosts: dict[bytes, int] = {}
        self._captures = [[self._apart(octets) for octets in capture] for capture in captures]
        self._known = list(self._hosts)
        self._order = [number for number, capture in enumerate(captures) for _ in capture]

    def _apart(self, octets: bytes) -> Frame:
        places = []
        for at, length in address_places(octets):
            address = octets[at : at + length]
            places.append((at, length, self._hosts.setdefault(address, len(self._hosts))))
        return Frame(octets, places)

    def frames(self) -> Iterator[bytes]:
        repetition = 0
        while True:
            new = [self._renamed(address, repetition * len(self._known)) for address in self._known]
            self._chance.shuffle(self._order)
            dealt = [iter(capture) for capture in self._captures]
            for number in self._order:
                octets, places = next(dealt[number])
                moved = bytearray(octets)
                for at, length, host in places:
                    moved[at : at + length] = new[host]
                yield bytes(moved)
            repetition += 1

    def _renamed(self, address: bytes, base: int) -> bytes:
        number = base + self._hosts[address]
        if len(address) == 6:
            return b"\2" + number.to_bytes(5, "big")
        if len(address) == 16:
            return address[:8] + struct.pack(">Q", 1 + number)
        return struct.pack(">I", (NEW_PRIVATE if _is_private(address) else NEW_PUBLIC) + number)


def write_mix(path: Path, captures: Captures, *, frames: int, seed: int = 1) -> None:
    """A pcap file (microseconds) of exactly `frames` frames; the same seed gives the same octets."""
    dealt = Mix(captures, seed).frames()
    with path.open("wb") as stream:
        header = pcap([])
        stream.write(header)
        for begin in range(0, frames, AT_ONCE):
            numbers = range(begin, min(begin + AT_ONCE, frames))
            records = pcap((START_NS + GAP_NS * number, next(dealt)) for number in numbers)
            stream.write(records[len(header) :])
