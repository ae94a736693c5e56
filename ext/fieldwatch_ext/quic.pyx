"""QUIC, on the rare frames that a dissector looks into. The contract stands in quic.pyi."""

from typing import NamedTuple

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fieldwatch_ext.content cimport QUIC_V1, QUIC_V2
from fieldwatch_ext.wire cimport be32

MAX_PACKETS = PACKETS_MOST
MAX_FRAMES = FRAMES_MOST
MAX_ACK_RANGES = ACK_RANGES_MOST

cdef enum:
    PACKETS_MOST = 8            # of one datagram
    FRAMES_MOST = 128           # of one packet, without padding; browsers scatter a hello over some twenty
    ACK_RANGES_MOST = 32
    LONG_HEADER = 0x80
    VERSION = 1
    VERSION_LEN = 4
    CONNECTION_ID = 5
    CONNECTION_ID_MOST = 20
    FRAME_PADDING = 0x00        # section 19
    FRAME_PING = 0x01
    FRAME_ACK = 0x02
    FRAME_ACK_ECN = 0x03
    FRAME_CRYPTO = 0x06
    FRAME_CONNECTION_CLOSE = 0x1C


class Packet(NamedTuple):
    version: bytes
    connection_id: bytes
    header: bytes
    rest: bytes


cdef object _make = tuple.__new__      # without the call of a function that checks the number of fields


cdef struct Reader:
    const uint8_t* p
    size_t have
    size_t at
    bint failed                 # something ended before its end; nothing is read from then on


cdef uint64_t _varint(Reader* r) noexcept nogil:
    # A number of 1, 2, 4 or 8 octets (section 16).
    cdef uint64_t value
    cdef size_t width, i
    if r.failed or r.at >= r.have:
        r.failed = True
        return 0
    width = <size_t>1 << (r.p[r.at] >> 6)
    if width > r.have - r.at:
        r.failed = True
        return 0
    value = r.p[r.at] & 0x3F
    for i in range(1, width):
        value = value << 8 | r.p[r.at + i]
    r.at += width
    return value


cdef size_t _skip(Reader* r, uint64_t octets) noexcept nogil:
    # The offset of so many octets, with the reader behind them.
    cdef size_t start = r.at
    if r.failed or octets > r.have - r.at:
        r.failed = True
    else:
        r.at += <size_t>octets
    return start


cdef size_t _connection_id(Reader* r) noexcept nogil:
    # The offset of its octets, which end where the reader stands then.
    if r.failed or r.at >= r.have or r.p[r.at] > CONNECTION_ID_MOST:
        r.failed = True
        return 0
    r.at += 1
    return _skip(r, r.p[r.at - 1])


cdef bytes _between(const Reader* r, size_t start, size_t end):
    return PyBytes_FromStringAndSize(<const char*>r.p + start, end - start)


def read_packets(bytes datagram not None):
    cdef Reader r
    cdef size_t start, id_at, id_end, number_at
    cdef uint32_t version
    cdef uint8_t kind
    cdef bint is_initial
    cdef int _i
    packets = []
    r.p = <const uint8_t*>PyBytes_AS_STRING(datagram)
    r.have = PyBytes_GET_SIZE(datagram)
    r.at = 0
    r.failed = False
    for _i in range(PACKETS_MOST):
        start = r.at
        if start == r.have or not r.p[start] & LONG_HEADER:
            break
        if r.have - start < CONNECTION_ID:
            return packets, False
        version = be32(r.p + start + VERSION)
        kind = r.p[start] >> 4 & 3
        if version == QUIC_V2:
            kind = (kind - 1) & 3           # its types are those of version 1, each one higher (RFC 9369 section 3.2)
        elif version != QUIC_V1:
            break
        if kind == 3:                       # a Retry, which has no length
            break
        is_initial = kind == 0
        r.at += CONNECTION_ID
        id_at = _connection_id(&r)
        id_end = r.at
        _connection_id(&r)
        if is_initial:
            _skip(&r, _varint(&r))          # the token
        number_at = _skip(&r, _varint(&r))
        if r.failed:
            return packets, False
        if is_initial:
            packets.append(_make(Packet, (
                _between(&r, start + VERSION, start + VERSION + VERSION_LEN), _between(&r, id_at, id_end),
                _between(&r, start, number_at), _between(&r, number_at, r.at),
            )))
    return packets, True


cdef void _skip_ack(Reader* r, bint counts) noexcept nogil:
    # Section 19.3: largest, delay, number of ranges, the first range, two numbers for each range, three counts of ECN.
    cdef uint64_t ranges
    cdef int _i
    _varint(r)
    _varint(r)
    ranges = _varint(r)
    if ranges > ACK_RANGES_MOST:
        r.failed = True
        return
    for _i in range(1 + 2 * <int>ranges + (3 if counts else 0)):
        _varint(r)


def read_crypto(bytes payload not None):
    cdef Reader r
    cdef size_t start
    cdef uint64_t offset
    cdef uint8_t kind
    cdef int _i
    pieces = []
    r.p = <const uint8_t*>PyBytes_AS_STRING(payload)
    r.have = PyBytes_GET_SIZE(payload)
    r.at = 0
    r.failed = False
    for _i in range(FRAMES_MOST):
        while r.at < r.have and r.p[r.at] == FRAME_PADDING:
            r.at += 1
        if r.at == r.have:
            return pieces, True
        kind = r.p[r.at]
        r.at += 1
        if kind == FRAME_CRYPTO:
            offset = _varint(&r)
            start = _skip(&r, _varint(&r))
            if not r.failed:
                pieces.append((offset, _between(&r, start, r.at)))
        elif kind == FRAME_ACK or kind == FRAME_ACK_ECN:
            _skip_ack(&r, kind == FRAME_ACK_ECN)
        elif kind == FRAME_CONNECTION_CLOSE:
            return pieces, True             # nothing of use comes behind
        elif kind != FRAME_PING:
            break
        if r.failed:
            break
    return pieces, False
