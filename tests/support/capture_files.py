"""Capture files in every dialect, written octet by octet: the counterpart of `fieldwatch_ext.capture.FileSource`.

    Path("x.pcap").write_bytes(pcap([(ts_ns, octets), ...]))

`PcapngSection` builds one section block by block; a pcapng file is one or more sections, one after the other.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from fractions import Fraction
from typing import Literal

ByteOrder = Literal["<", ">"]
Record = tuple[int, bytes] | tuple[int, bytes, int]
"""(ts_ns, octets captured) or (ts_ns, octets captured, octets on the wire)."""

ETHERNET = 1
RAW_IP = 101
LINUX_SLL = 113
LINUX_SLL2 = 276

PCAP_US = 0xA1B2C3D4
PCAP_NS = 0xA1B23C4D
PCAP_MODIFIED = 0xA1B2CD34

SECTION = 0x0A0D0D0A
INTERFACE = 1
OBSOLETE_PACKET = 2
SIMPLE_PACKET = 3
NAME_RESOLUTION = 4
ENHANCED_PACKET = 6


def original_of(record: Record) -> int:
    return record[2] if len(record) == 3 else len(record[1])


def pcap(
    records: Iterable[Record],
    *,
    linktype: int = ETHERNET,
    byte_order: ByteOrder = "<",
    magic: int = PCAP_US,
    version: tuple[int, int] = (2, 4),
    snaplen: int = 262144,
) -> bytes:
    """A pcap file. `linktype` fills the whole 32-bit field (FCS bits may stand above); times are cut to the unit."""
    parts = [struct.pack(byte_order + "IHHiIII", magic, *version, 0, 0, snaplen, linktype)]
    parts += [pcap_record(record, byte_order=byte_order, magic=magic, version=version) for record in records]
    return b"".join(parts)


def pcap_record(
    record: Record, *, byte_order: ByteOrder = "<", magic: int = PCAP_US, version: tuple[int, int] = (2, 4)
) -> bytes:
    seconds, ns = divmod(record[0], 10**9)
    fraction = ns if magic == PCAP_NS else ns // 1000
    lengths = (len(record[1]), original_of(record))
    if version < (2, 3):
        lengths = lengths[::-1]
    header = struct.pack(byte_order + "IIII", seconds, fraction, *lengths)
    if magic == PCAP_MODIFIED:
        header += struct.pack(byte_order + "IHBB", 2, 0x0800, 0, 0)  # ifindex, protocol, packet type, padding
    return header + record[1]


def option(byte_order: ByteOrder, code: int, value: bytes) -> bytes:
    return struct.pack(byte_order + "HH", code, len(value)) + padded(value)


def padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)


def per_second_of(tsresol: int) -> int:
    """Units in a second, of the option's octet."""
    return 1 << (tsresol & 0x7F) if tsresol & 0x80 else int(10**tsresol)


def units_of(ts_ns: int, *, tsresol: int = 6, tsoffset_s: int = 0) -> int:
    """A time in an interface's own units, rounded up, so that a reader that rounds down finds it again."""
    per_second = per_second_of(tsresol)
    return -(-(ts_ns - tsoffset_s * 10**9) * per_second // 10**9)


def time_of(units: int, *, tsresol: int = 6, tsoffset_s: int = 0) -> int:
    """Units of an interface as nanoseconds, rounded down."""
    per_second = per_second_of(tsresol)
    return int(Fraction(units, per_second) * 10**9 // 1) + tsoffset_s * 10**9


class PcapngSection:
    """One section of a pcapng file: a section header, then whatever is added, in order."""

    def __init__(self, byte_order: ByteOrder = "<", *, options: bytes = b"", version: tuple[int, int] = (1, 0)) -> None:
        self.byte_order = byte_order
        self.interfaces: list[tuple[int, int]] = []  # (tsresol, tsoffset_s)
        self._blocks: list[bytes] = []
        self.block(SECTION, self.pack("IHHq", 0x1A2B3C4D, *version, -1) + options)

    def __bytes__(self) -> bytes:
        return b"".join(self._blocks)

    def pack(self, form: str, *values: int) -> bytes:
        return struct.pack(self.byte_order + form, *values)

    def option(self, code: int, value: bytes) -> bytes:
        return option(self.byte_order, code, value)

    def block(self, kind: int, body: bytes) -> PcapngSection:
        """Any block; the body is padded to 32 bits."""
        body = padded(body)
        length = len(body) + 12
        self._blocks.append(self.pack("II", kind, length) + body + self.pack("I", length))
        return self

    def interface(
        self,
        linktype: int = ETHERNET,
        *,
        snaplen: int = 262144,
        tsresol: int | None = None,
        tsoffset_s: int | None = None,
        options: bytes = b"",
    ) -> PcapngSection:
        """An interface description; `tsresol` is the option's octet (0x80 set = powers of two), else microseconds."""
        if tsresol is not None:
            options += self.option(9, bytes([tsresol]))
        if tsoffset_s is not None:
            options += self.option(14, self.pack("q", tsoffset_s))
        if options:
            options += self.option(0, b"")
        self.interfaces.append((6 if tsresol is None else tsresol, tsoffset_s or 0))
        return self.block(INTERFACE, self.pack("HHI", linktype, 0, snaplen) + options)

    def _time(self, interface: int, ts_ns: int) -> tuple[int, int]:
        tsresol, tsoffset_s = self.interfaces[interface]
        units = units_of(ts_ns, tsresol=tsresol, tsoffset_s=tsoffset_s)
        return units >> 32, units & 0xFFFFFFFF

    def enhanced(self, record: Record, *, interface: int = 0, options: bytes = b"") -> PcapngSection:
        head = self.pack("IIIII", interface, *self._time(interface, record[0]), len(record[1]), original_of(record))
        return self.block(ENHANCED_PACKET, head + padded(record[1]) + options)

    def obsolete(self, record: Record, *, interface: int = 0, drops: int = 0xFFFF) -> PcapngSection:
        head = self.pack(
            "HHIIII", interface, drops, *self._time(interface, record[0]), len(record[1]), original_of(record)
        )
        return self.block(OBSOLETE_PACKET, head + record[1])

    def simple(self, record: Record) -> PcapngSection:
        """Carries no time; the octets captured must be min(snaplen of interface 0, octets on the wire)."""
        return self.block(SIMPLE_PACKET, self.pack("I", original_of(record)) + record[1])


def pcapng(
    records: Iterable[Record],
    *,
    linktype: int = ETHERNET,
    byte_order: ByteOrder = "<",
    tsresol: int | None = 9,
    tsoffset_s: int | None = None,
) -> bytes:
    """A pcapng file of one section, one interface and enhanced packet blocks."""
    section = PcapngSection(byte_order).interface(linktype, tsresol=tsresol, tsoffset_s=tsoffset_s)
    for record in records:
        section.enhanced(record)
    return bytes(section)
