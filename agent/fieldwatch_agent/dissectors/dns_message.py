"""DNS messages, also as mDNS and LLMNR carry them (RFC 1035 section 4, RFC 6762 section 18), read as far as they go.

- The header is dpkt's; the records are walked here, because dpkt gives up the whole message at the first record type
  that it does not know (NSEC, which every Bonjour host sends) or the first octet that is not UTF-8.
- A record whose data is bad is skipped, and the cursor goes on behind it by its stated length.
- Names are tuples of labels, so that a dot inside a label is not taken for a separator.
- Work is bounded: pointers only go backwards, at most `MAX_POINTERS` a name and `MAX_RECORDS` records a message.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import dpkt
from dpkt import dns

from fieldwatch_agent.dissectors.notes import MalformedError

MAX_NAME_OCTETS = 255  # RFC 1035 section 2.3.4
MAX_POINTERS = 32
MAX_RECORDS = 128
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

Name = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One record of class IN. `target` of PTR, SRV and CNAME, `address` of A and AAAA, `strings` of TXT."""

    section: str
    name: Name
    type: int
    ttl: int
    target: Name = ()
    address: bytes = b""
    strings: tuple[bytes, ...] = ()


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
        try:
            offset = self.__hdr_len__
            for _ in range(min(self.qd, MAX_RECORDS)):
                name, offset = read_name(buf, offset)
                self.questions.append(name)
                offset += _TYPE_CLASS.size
            for section, count in ((ANSWER, self.an), (AUTHORITY, self.ns), (ADDITIONAL, self.ar)):
                for _ in range(min(count, MAX_RECORDS - len(self.records))):
                    offset = self._read_record(buf, offset, section)
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
        return Record(section, name, kind, ttl, address=buf[start:end])
    if kind in (TYPE_PTR, TYPE_SRV, TYPE_CNAME):
        at = start + (_SRV_TARGET if kind == TYPE_SRV else 0)
        target, behind = read_name(buf, at)
        if behind > end:
            raise MalformedError
        return Record(section, name, kind, ttl, target=target)
    if kind == TYPE_TXT:
        return Record(section, name, kind, ttl, strings=tuple(_strings(buf[start:end])))
    return Record(section, name, kind, ttl)


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


def plain_name(data: bytes) -> Name:
    """Uncompressed labels that fill `data`; the ending zero may be missing (RFC 4704 section 4.2).

    Raises MalformedError.
    """
    labels = []
    offset = 0
    while offset < len(data) and data[offset]:
        behind = offset + 1 + data[offset]
        if data[offset] >= 0x40 or behind > min(len(data), MAX_NAME_OCTETS):
            raise MalformedError
        labels.append(data[offset + 1 : behind])
        offset = behind
    return tuple(labels)


def lower(name: Name) -> Name:
    """The name as it is compared (RFC 1035 section 2.3.3)."""
    return tuple(label.lower() for label in name)


def reverse_address(name: Name) -> bytes:
    """The address of a reverse name (RFC 1035 section 3.5, RFC 3596 section 2.5); empty where it is none."""
    name = lower(name)
    try:
        if name[-2:] == (b"in-addr", b"arpa") and len(name) == 6:
            return bytes(int(label) for label in reversed(name[:4]))
        if name[-2:] == (b"ip6", b"arpa") and len(name) == 34 and all(len(label) == 1 for label in name[:32]):
            return bytes.fromhex(b"".join(reversed(name[:32])).decode("ascii"))
    except ValueError:
        pass
    return b""
