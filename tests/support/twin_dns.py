"""The plain-Python twin of `fieldwatch_ext.dns`.

The header is dpkt's; the records are walked here, because dpkt gives up the whole message at the first record type that
it does not know or the first octet that is not UTF-8.
"""

from __future__ import annotations

import re
import struct

import dpkt
from dpkt import dns
from fieldwatch_ext.dns import MAX_POINTERS, MAX_RECORDS, Name, Record

MAX_NAME_OCTETS = 255  # RFC 1035 section 2.3.4
MAX_STRINGS = 128

CLASS_IN = dns.DNS_IN
CLASS_MASK = 0x7FFF  # the top bit says "cache flush" (RFC 6762 section 10.2)
TYPE_A: int = dns.DNS_A
TYPE_AAAA: int = dns.DNS_AAAA
TYPE_CNAME: int = dns.DNS_CNAME
TYPE_PTR: int = dns.DNS_PTR
TYPE_SRV: int = dns.DNS_SRV
TYPE_TXT: int = dns.DNS_TXT

ANSWER, AUTHORITY, ADDITIONAL = "answer", "authority", "additional"

_TYPE_CLASS = struct.Struct(">HH")
_RECORD = struct.Struct(">HHIH")
_SRV_TARGET = 6


class MalformedError(Exception):
    """It is no name, or the data of a record is bad."""


class Message(dpkt.dns.DNS):  # type: ignore[misc]  # dpkt has no types
    """`records`, and the names of `questions`; `complete` is False where the message broke off or a record was bad.

    Raises dpkt.NeedData where there is not even a header.
    """

    questions: list[Name]
    records: list[Record]
    complete: bool

    def unpack(self, buf: bytes) -> None:
        dpkt.Packet.unpack(self, buf)
        self.questions = []
        self.records = []
        self.complete = True
        looked_at = 0
        try:
            offset = self.__hdr_len__
            for _ in range(min(self.qd, MAX_RECORDS)):
                name, offset = read_name(buf, offset)
                self.questions.append(name)
                offset += _TYPE_CLASS.size
            for section, count in ((ANSWER, self.an), (AUTHORITY, self.ns), (ADDITIONAL, self.ar)):
                for _ in range(min(count, MAX_RECORDS - looked_at)):
                    offset = self._read_record(buf, offset, section)
                    looked_at += 1
        except MalformedError:
            self.complete = False

    def _read_record(self, buf: bytes, offset: int, section: str) -> int:
        name, offset = read_name(buf, offset)
        start = offset + _RECORD.size
        if start > len(buf):
            raise MalformedError
        kind, klass, ttl, length = _RECORD.unpack_from(buf, offset)
        end = start + length
        if end > len(buf):
            raise MalformedError
        if klass & CLASS_MASK == CLASS_IN:
            try:
                self.records.append(_record(buf, start, end, section, name, kind, ttl))
            except MalformedError:
                self.complete = False
        return int(end)


def _record(buf: bytes, start: int, end: int, section: str, name: Name, kind: int, ttl: int) -> Record:
    if kind in (TYPE_A, TYPE_AAAA):
        if end - start != (4 if kind == TYPE_A else 16):
            raise MalformedError
        return Record(section, name, kind, ttl, (), buf[start:end], ())
    if kind in (TYPE_PTR, TYPE_SRV, TYPE_CNAME):
        at = start + (_SRV_TARGET if kind == TYPE_SRV else 0)
        target, behind = read_name(buf, at)
        if behind > end:
            raise MalformedError
        return Record(section, name, kind, ttl, target, b"", ())
    if kind == TYPE_TXT:
        return Record(section, name, kind, ttl, (), b"", tuple(_strings(buf[start:end])))
    return Record(section, name, kind, ttl, (), b"", ())


def _strings(data: bytes) -> list[bytes]:
    """Character strings of a TXT record (RFC 1035 section 3.3.14), at most `MAX_STRINGS`."""
    found: list[bytes] = []
    offset = 0
    while offset < len(data) and len(found) < MAX_STRINGS:
        behind = offset + 1 + data[offset]
        if behind > len(data):
            raise MalformedError
        found.append(data[offset + 1 : behind])
        offset = behind
    return found


def read_name(buf: bytes, offset: int) -> tuple[Name, int]:
    """The labels of the name at `offset`, and the offset behind it. Raises MalformedError."""
    labels: list[bytes] = []
    octets = 1
    pointers = 0
    behind = -1
    lowest = offset  # a pointer must lead before every place the name has been at: no loop can be made
    while True:
        if offset >= len(buf):
            raise MalformedError
        length = buf[offset]
        if length == 0:
            return tuple(labels), offset + 1 if behind < 0 else behind
        if length < 0x40:
            octets += 1 + length
            if octets > MAX_NAME_OCTETS or offset + 1 + length > len(buf):
                raise MalformedError
            labels.append(buf[offset + 1 : offset + 1 + length])
            offset += 1 + length
            continue
        if length < 0xC0 or offset + 2 > len(buf):
            raise MalformedError
        if behind < 0:
            behind = offset + 2
        offset = (length & 0x3F) << 8 | buf[offset + 1]
        pointers += 1
        if offset >= lowest or pointers > MAX_POINTERS:
            raise MalformedError
        lowest = offset


def reverse_address(name: Name) -> bytes:
    """The address of a reverse name; empty where it is none."""
    *labels, zone, top = [label.lower() for label in name[-34:]] if len(name) > 1 else (b"", b"")
    if (zone, top) == (b"in-addr", b"arpa") and len(name) == 6 and all(label.isdigit() for label in labels):
        numbers = [int(label) for label in reversed(labels)]
        return bytes(numbers) if max(numbers) < 256 else b""
    if (zone, top) == (b"ip6", b"arpa") and len(name) == 34 and all(len(label) == 1 for label in labels):
        digits = b"".join(reversed(labels))
        return bytes.fromhex(digits.decode()) if re.fullmatch(rb"[0-9a-f]{32}", digits) else b""
    return b""
