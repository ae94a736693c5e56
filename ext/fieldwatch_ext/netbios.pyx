"""NetBIOS names and datagrams, on the rare frames that a dissector looks into. The contract stands in netbios.pyi.

A name is a chain of labels as in DNS; its first label holds the 16 octets of the NetBIOS name, each as two letters
(RFC 1001 section 14.1). Pointers are followed backwards only, so a chain always ends.
"""

from typing import NamedTuple

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint16_t

from fieldwatch_ext.wire cimport be16

cdef enum:
    ENCODED_LEN = 32            # letters of a first-level encoded name
    NAME_LEN = 16               # octets of a name: 15 and the suffix
    MAX_LABELS = 64
    MAX_TEXT = 255              # octets of a whole name on the wire
    MAX_RECORDS = 64            # of one message; real ones have a handful
    MAX_NAMES = 128             # of a node status reply: its count is one octet
    MESSAGE_HEADER_LEN = 12
    RECORD_FIXED_LEN = 10       # type, class, TTL, length
    STATUS_NAME_LEN = 18
    TYPE_NB = 0x20
    TYPE_NBSTAT = 0x21
    NB_ENTRY_LEN = 6            # flags, address
    GROUP = 0x8000
    DATAGRAM_HEADER_LEN = 10
    DATAGRAM_NAMES = 14         # with length and offset
    DATAGRAM_ERROR_LEN = 11


class NetbiosName(NamedTuple):
    name: str
    suffix: int
    scope: str


class NameRecord(NamedTuple):
    section: str
    kind: int
    name: NetbiosName
    group: bool
    addresses: list
    unit_id: bytes


class NameMessage(NamedTuple):
    transaction: int
    opcode: int
    response: bool
    rcode: int
    records: list


class Datagram(NamedTuple):
    kind: int
    source_ip: bytes
    source_port: int
    source: NetbiosName | None
    destination: NetbiosName | None
    payload: bytes


cdef bint _decode_label(const uint8_t* letters, uint8_t* into) noexcept nogil:
    cdef int i
    cdef uint8_t high, low
    for i in range(NAME_LEN):
        high = letters[2 * i]
        low = letters[2 * i + 1]
        if high < 0x41 or high > 0x50 or low < 0x41 or low > 0x50:      # "A" to "P"
            return False
        into[i] = <uint8_t>((high - 0x41) << 4 | (low - 0x41))
    return True


cdef str _text(bytes octets):
    # What people can read; anything else as \xNN, so that a name never holds a control character.
    return "".join([chr(octet) if 0x20 <= octet < 0x7F else f"\\x{octet:02x}" for octet in octets])


cdef _name_of(bytes sixteen, str scope):
    return NetbiosName(_text(sixteen[:15].rstrip(b" \0")), sixteen[15], scope)


cdef tuple _read_name(const uint8_t* p, Py_ssize_t length, Py_ssize_t at):
    # (name, offset behind it), or None where there is no NetBIOS name.
    cdef Py_ssize_t behind = -1
    cdef Py_ssize_t bound = at              # pointers go to before this: backwards only
    cdef Py_ssize_t target
    cdef int labels = 0
    cdef int total = 0
    cdef uint8_t octets
    cdef uint8_t sixteen[16]
    cdef bint first = True
    scope = []
    while True:
        if at >= length:
            return None
        octets = p[at]
        if octets & 0xC0 == 0xC0:
            if length - at < 2:
                return None
            target = be16(p + at) & 0x3FFF
            if behind < 0:
                behind = at + 2
            if target >= bound:
                return None
            bound = target
            at = target
            continue
        if octets & 0xC0:
            return None
        at += 1
        if octets == 0:
            break
        total += octets + 1
        labels += 1
        if labels > MAX_LABELS or total > MAX_TEXT or length - at < octets:
            return None
        if first:
            if octets != ENCODED_LEN or not _decode_label(p + at, sixteen):
                return None
            first = False
        else:
            scope.append(_text((<const char*>(p + at))[:octets]))
        at += octets
    if first:
        return None
    return _name_of((<const char*>sixteen)[:NAME_LEN], ".".join(scope)), at if behind < 0 else behind


cdef list _status_records(const uint8_t* p, Py_ssize_t length):
    # RDATA of a node status reply (RFC 1002 section 4.2.18): a count, names of 18 octets, then the unit id (a MAC).
    cdef Py_ssize_t at = 1
    cdef int count, _entry
    if length < 1:
        return []
    count = min(p[0], MAX_NAMES)
    found = []
    for _entry in range(count):
        if length - at < STATUS_NAME_LEN:
            break
        name = _name_of((<const char*>(p + at))[:NAME_LEN], "")
        found.append((name, bool(be16(p + at + NAME_LEN) & GROUP)))
        at += STATUS_NAME_LEN
    unit_id = b""
    if len(found) == p[0] and length - at >= 6:
        unit_id = (<const char*>(p + at))[:6]
    return [NameRecord("node_status", TYPE_NBSTAT, name, group, [], unit_id) for name, group in found]


def decode_first_level(bytes label not None):
    cdef uint8_t sixteen[16]
    if len(label) != ENCODED_LEN or not _decode_label(<const uint8_t*>PyBytes_AS_STRING(label), sixteen):
        return None
    return <bytes>(<const char*>sixteen)[:NAME_LEN]


def read_names(bytes payload not None):
    cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef Py_ssize_t length = len(payload)
    cdef Py_ssize_t at = MESSAGE_HEADER_LEN
    cdef Py_ssize_t data, entry
    cdef uint16_t flags, kind
    cdef int place, _record
    if length < MESSAGE_HEADER_LEN:
        return None
    flags = be16(p + 2)
    sections = ("question", "answer", "authority", "additional")
    records = []
    for place in range(4):
        for _record in range(be16(p + 4 + 2 * place)):
            if len(records) >= MAX_RECORDS:
                break
            read = _read_name(p, length, at)
            if read is None:
                break
            name, at = read
            if length - at < 4:
                break
            kind = be16(p + at)
            if place == 0:
                at += 4
                records.append(NameRecord("question", kind, name, False, [], b""))
                continue
            if length - at < RECORD_FIXED_LEN:
                break
            data = be16(p + at + 8)
            at += RECORD_FIXED_LEN
            if length - at < data:
                data = length - at          # the capture ends here: what is there still counts
            if kind == TYPE_NBSTAT:
                records.extend(_status_records(p + at, data))
            elif kind == TYPE_NB:
                addresses = []
                group = False
                for entry in range(data // NB_ENTRY_LEN):
                    group = group or bool(be16(p + at + entry * NB_ENTRY_LEN) & GROUP)
                    addresses.append((<const char*>(p + at + entry * NB_ENTRY_LEN + 2))[:4])
                records.append(NameRecord(sections[place], kind, name, group, addresses, b""))
            at += data
        else:
            continue
        break
    if not records:
        return None
    return NameMessage(be16(p), flags >> 11 & 0x0F, bool(flags & 0x8000), flags & 0x0F, records)


def read_datagram(bytes payload not None):
    cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef Py_ssize_t length = len(payload)
    cdef Py_ssize_t at
    cdef uint8_t kind
    if length < DATAGRAM_HEADER_LEN:
        return None
    kind = p[0]
    source = destination = None
    if 0x10 <= kind <= 0x12:                # direct unique, direct group, broadcast: two names and data
        if length < DATAGRAM_NAMES:
            return None
        read = _read_name(p, length, DATAGRAM_NAMES)
        if read is None:
            return None
        source, at = read
        read = _read_name(p, length, at)
        if read is None:
            at = length                     # where the data begins is unknown; who sent it is not
        else:
            destination, at = read
    elif kind == 0x13:                      # error: one octet
        if length < DATAGRAM_ERROR_LEN:
            return None
        at = DATAGRAM_HEADER_LEN
    elif 0x14 <= kind <= 0x16:              # query request, positive and negative response: the destination's name
        read = _read_name(p, length, DATAGRAM_HEADER_LEN)
        if read is None:
            return None
        destination, at = read
    else:
        return None
    return Datagram(kind, payload[4:8], be16(p + 8), source, destination, payload[at:])
