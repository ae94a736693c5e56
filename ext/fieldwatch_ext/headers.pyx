"""Header fields, on the rare frames that a dissector looks into. The contract stands in headers.pyi."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memchr

MAX_HEADERS = HEADERS_MOST

cdef enum:
    HEADERS_MOST = 32
    NAME_OCTETS_MOST = 63       # of a field that somebody wants


cdef struct Span:
    const uint8_t* start
    const uint8_t* end


cdef inline bint _is_blank(uint8_t octet) noexcept nogil:
    return octet == 0x20 or 0x09 <= octet <= 0x0D


cdef inline Span _stripped(const uint8_t* start, const uint8_t* end) noexcept nogil:
    cdef Span s
    while start < end and _is_blank(start[0]):
        start += 1
    while start < end and _is_blank((end - 1)[0]):
        end -= 1
    s.start = start
    s.end = end
    return s


cdef bytes _lower(Span s):
    cdef bytes name = PyBytes_FromStringAndSize(<const char*>s.start, s.end - s.start)
    cdef uint8_t* p = <uint8_t*>PyBytes_AS_STRING(name)
    cdef Py_ssize_t i
    if s.end - s.start > 1:     # a bytes object of one octet is shared
        for i in range(s.end - s.start):
            if 0x41 <= p[i] <= 0x5A:
                p[i] |= 0x20
        return name
    return name.lower()


def read_headers(bytes payload not None, Py_ssize_t offset, frozenset wanted not None):
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef const uint8_t* end = at + PyBytes_GET_SIZE(payload)
    cdef const uint8_t* line_end
    cdef const uint8_t* colon
    cdef Span line, name, value
    cdef uint64_t lengths = 0   # of the wanted names, by bit: most others differ in it and are not made
    cdef int _i
    cdef dict found = {}
    for field in wanted:
        lengths |= <uint64_t>1 << (len(field) & NAME_OCTETS_MOST)
    if not 0 <= offset <= end - at:
        raise IndexError(f"offset is {offset}, the payload has {end - at} octets")
    at += offset
    for _i in range(HEADERS_MOST):
        line_end = <const uint8_t*>memchr(at, 0x0A, end - at)
        if line_end == NULL:
            break
        line = _stripped(at, line_end)
        if line.start == line.end:
            return found, True
        colon = <const uint8_t*>memchr(line.start, 0x3A, line.end - line.start)
        if colon != NULL and at[0] != 0x20 and at[0] != 0x09:
            name = _stripped(line.start, colon)
            if name.end - name.start <= NAME_OCTETS_MOST and lengths >> (name.end - name.start) & 1:
                field = _lower(name)
                if field in wanted and field not in found:
                    value = _stripped(colon + 1, line.end)
                    found[field] = PyBytes_FromStringAndSize(<const char*>value.start, value.end - value.start)
        at = line_end + 1
    line = _stripped(at, end)
    return found, line.start == line.end
