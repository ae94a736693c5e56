"""Octets to text, where nothing about them needs care. The contract stands in text.pyi."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from fieldwatch_ext.text cimport plain
from fieldwatch_ext.wire cimport lowest_bit

cdef uint16_t numbers[65536]    # of the places in use, while a call lasts: the GIL is held


def plain_text(value not None, Py_ssize_t most_octets):
    return plain(value, most_octets)


def used_places(bytes places not None):
    cdef Py_ssize_t count = PyBytes_GET_SIZE(places) // 2
    cdef const char* column = PyBytes_AS_STRING(places)
    cdef bytes indices = PyBytes_FromStringAndSize(NULL, 4 * count)
    cdef char* into = PyBytes_AS_STRING(indices)
    cdef uint64_t used[1024]
    cdef uint64_t left
    cdef uint32_t index
    cdef uint16_t place
    cdef uint16_t most = 0
    cdef Py_ssize_t row
    cdef int word
    found = []
    memset(used, 0, sizeof(used))
    for row in range(count):
        memcpy(&place, column + 2 * row, 2)
        used[place >> 6] |= <uint64_t>1 << (place & 63)
        most = max(most, place)
    for word in range((most >> 6) + 1):
        left = used[word]
        while left:
            place = <uint16_t>(64 * word + lowest_bit(left))
            left &= left - 1
            numbers[place] = <uint16_t>len(found)
            found.append(place)
    for row in range(count):
        memcpy(&place, column + 2 * row, 2)
        index = numbers[place]
        memcpy(into + 4 * row, &index, 4)
    return found, indices
