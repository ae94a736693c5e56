"""DNS messages, on the rare frames that a dissector looks into. The contract stands in dns.pyi."""

from typing import NamedTuple

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t

from fieldwatch_ext.wire cimport be16, be32

MAX_POINTERS = POINTERS_MOST
MAX_RECORDS = RECORDS_MOST

cdef enum:
    POINTERS_MOST = 32
    RECORDS_MOST = 128
    STRINGS_MOST = 128          # of one TXT record
    NAME_OCTETS_MOST = 255      # RFC 1035 section 2.3.4
    LABELS_MOST = 128
    HEADER_LEN = 12
    QUESTION_FIXED_LEN = 4      # type, class
    RECORD_FIXED_LEN = 10       # type, class, TTL, length
    RESPONSE = 0x8000
    CLASS_IN = 1
    CLASS_MASK = 0x7FFF         # the top bit says "cache flush" (RFC 6762 section 10.2)
    SRV_TARGET = 6
    TYPE_A = 1
    TYPE_CNAME = 5
    TYPE_PTR = 12
    TYPE_TXT = 16
    TYPE_AAAA = 28
    TYPE_SRV = 33
    IN_ADDR_LABELS = 6          # of a reverse name: four octets, in-addr, arpa (RFC 1035 section 3.5)
    IP6_LABELS = 34             # 32 halves of octets, ip6, arpa (RFC 3596 section 2.5)

Name = tuple[bytes, ...]
_SECTIONS = ("answer", "authority", "additional")


class Record(NamedTuple):
    section: str
    name: tuple
    type: int
    ttl: int
    target: tuple
    address: bytes
    strings: tuple


class Message(NamedTuple):
    response: bool
    opcode: int
    rcode: int
    questions: list
    records: list
    complete: bool


cdef object _make = tuple.__new__      # without the call of a function that checks the number of fields


cdef struct Labels:
    int count
    Py_ssize_t start[128]
    uint8_t octets[128]


cdef Py_ssize_t _walk(const uint8_t* p, Py_ssize_t have, Py_ssize_t at, Labels* found) noexcept nogil:
    # Where the labels of the name stand, and the offset behind it; -1 = it is none.
    cdef Py_ssize_t behind = -1
    cdef Py_ssize_t lowest = at     # a pointer must lead before every place the name has been at: no loop can be made
    cdef int octets = 1
    cdef int pointers = 0
    found.count = 0
    while at < have:
        if p[at] == 0:
            return at + 1 if behind < 0 else behind
        if p[at] < 0x40:
            octets += 1 + p[at]
            if octets > NAME_OCTETS_MOST or at + 1 + p[at] > have:
                return -1
            found.start[found.count] = at + 1
            found.octets[found.count] = p[at]
            found.count += 1        # fewer than LABELS_MOST: each takes two octets of the name at least
            at += 1 + p[at]
            continue
        if p[at] < 0xC0 or at + 2 > have:
            return -1
        if behind < 0:
            behind = at + 2
        at = (p[at] & 0x3F) << 8 | p[at + 1]
        pointers += 1
        if at >= lowest or pointers > POINTERS_MOST:
            return -1
        lowest = at
    return -1


cdef bytes _octets(const uint8_t* p, Py_ssize_t octets):
    return PyBytes_FromStringAndSize(<const char*>p, octets)


cdef tuple _labels(const uint8_t* p, const Labels* found):
    cdef int i
    return tuple([_octets(p + found.start[i], found.octets[i]) for i in range(found.count)])


def read_name(bytes payload not None, Py_ssize_t offset):
    cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef Labels found
    cdef Py_ssize_t behind = _walk(p, PyBytes_GET_SIZE(payload), offset, &found) if offset >= 0 else -1
    return None if behind < 0 else (_labels(p, &found), behind)


cdef bint _has_upper(bytes label):
    cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(label)
    cdef Py_ssize_t i
    for i in range(PyBytes_GET_SIZE(label)):
        if 0x41 <= p[i] <= 0x5A:
            return True
    return False


def lower(tuple name not None):
    for label in name:
        if _has_upper(label):
            return tuple([label.lower() for label in name])
    return name             # as most are


cdef bytes _label(tuple name, Py_ssize_t at):
    return <bytes?>name[at]


cdef bint _is_label(bytes label, const char* text, Py_ssize_t octets):
    # Whatever its case; the text is in lower case, and of letters, digits and hyphens.
    cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(label)
    cdef Py_ssize_t i
    cdef uint8_t octet
    if PyBytes_GET_SIZE(label) != octets:
        return False
    for i in range(octets):
        octet = p[i] | 0x20 if 0x41 <= p[i] <= 0x5A else p[i]
        if octet != <uint8_t>text[i]:
            return False
    return True


cdef int _decimal(bytes label):
    # A number up to 255; -1 where it is none.
    cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(label)
    cdef int value = 0
    cdef Py_ssize_t i
    for i in range(PyBytes_GET_SIZE(label)):
        if not 0x30 <= p[i] <= 0x39:
            return -1
        value = 10 * value + p[i] - 0x30
        if value > 255:
            return -1
    return value if PyBytes_GET_SIZE(label) else -1


cdef int _nibble(bytes label):
    # One hexadecimal digit; -1 where it is none.
    cdef uint8_t octet
    if PyBytes_GET_SIZE(label) != 1:
        return -1
    octet = <uint8_t>PyBytes_AS_STRING(label)[0]
    if 0x30 <= octet <= 0x39:
        return octet - 0x30
    octet |= 0x20
    return octet - 0x61 + 10 if 0x61 <= octet <= 0x66 else -1


def reverse_address(tuple name not None):
    cdef Py_ssize_t labels = len(name)
    cdef uint8_t address[16]
    cdef int high, low, i
    if labels != IN_ADDR_LABELS and labels != IP6_LABELS or not _is_label(_label(name, labels - 1), b"arpa", 4):
        return b""
    if labels == IN_ADDR_LABELS:
        if not _is_label(_label(name, 4), b"in-addr", 7):
            return b""
        for i in range(4):
            low = _decimal(_label(name, 3 - i))
            if low < 0:
                return b""
            address[i] = <uint8_t>low
        return _octets(address, 4)
    if not _is_label(_label(name, 32), b"ip6", 3):
        return b""
    for i in range(16):
        low = _nibble(_label(name, 30 - 2 * i))
        high = _nibble(_label(name, 31 - 2 * i))
        if low < 0 or high < 0:
            return b""
        address[i] = <uint8_t>(high << 4 | low)
    return _octets(address, 16)


cdef tuple _strings(const uint8_t* p, Py_ssize_t octets):
    # Character strings of a TXT record (RFC 1035 section 3.3.14); None where one is longer than the record.
    cdef Py_ssize_t at = 0
    found = []
    while at < octets and len(found) < STRINGS_MOST:
        if at + 1 + p[at] > octets:
            return None
        found.append(_octets(p + at + 1, p[at]))
        at += 1 + p[at]
    return tuple(found)


cdef object _record(
    const uint8_t* p, Py_ssize_t have, Py_ssize_t start, Py_ssize_t end, str section, tuple name, int kind, object ttl
):
    # None where its data is bad.
    cdef tuple target = ()
    cdef tuple strings = ()
    cdef bytes address = b""
    cdef Labels found
    cdef Py_ssize_t behind
    if kind == TYPE_A or kind == TYPE_AAAA:
        if end - start != (4 if kind == TYPE_A else 16):
            return None
        address = _octets(p + start, end - start)
    elif kind == TYPE_PTR or kind == TYPE_SRV or kind == TYPE_CNAME:
        behind = _walk(p, have, start + (SRV_TARGET if kind == TYPE_SRV else 0), &found)
        if behind < 0 or behind > end:
            return None
        target = _labels(p, &found)
    elif kind == TYPE_TXT:
        strings = _strings(p + start, end - start)
        if strings is None:
            return None
    return _make(Record, (section, name, kind, ttl, target, address, strings))


def read_message(bytes payload not None):
    cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef Py_ssize_t have = PyBytes_GET_SIZE(payload)
    cdef Py_ssize_t at = HEADER_LEN
    cdef Py_ssize_t end
    cdef uint16_t flags
    cdef bint complete = True
    cdef int looked_at = 0
    cdef int kind, section, _i
    cdef Labels found
    if have < HEADER_LEN:
        return None
    flags = be16(p + 2)
    questions = []
    records = []
    for _i in range(min(<int>be16(p + 4), <int>RECORDS_MOST)):
        at = _walk(p, have, at, &found)
        if at < 0:
            break
        questions.append(_labels(p, &found))
        at += QUESTION_FIXED_LEN
    for section in range(3):
        for _i in range(be16(p + 6 + 2 * section)):
            if at < 0 or looked_at == RECORDS_MOST:
                break
            at = _walk(p, have, at, &found)
            if at < 0 or at + RECORD_FIXED_LEN > have:
                at = -1
                break
            kind = be16(p + at)
            end = at + RECORD_FIXED_LEN + be16(p + at + 8)
            if end > have:
                at = -1
                break
            looked_at += 1
            if be16(p + at + 2) & CLASS_MASK == CLASS_IN:
                record = _record(
                    p, have, at + RECORD_FIXED_LEN, end, _SECTIONS[section], _labels(p, &found), kind, be32(p + at + 4)
                )
                if record is None:
                    complete = False
                else:
                    records.append(record)
            at = end
    return _make(
        Message, ((flags & RESPONSE) != 0, flags >> 11 & 0xF, flags & 0xF, questions, records, complete and at >= 0)
    )
