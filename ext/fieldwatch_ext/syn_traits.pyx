"""What two SYNs of one stack have in common, on the rare frames that a dissector looks into. See syn_traits.pyi."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memset

from fieldwatch_ext.network cimport IP4_HEADER_LEN, IP4_TOTAL_LENGTH, IP6_HEADER_LEN, IP6_NEXT, IP6_SRC
from fieldwatch_ext.syn cimport blank_timestamps
from fieldwatch_ext.transport cimport PROTOCOL_TCP, TCP_HEADER_LEN, TCP_OFFSET

cdef enum:
    IP4_CHECKSUM = 10
    IP6_LABEL = 1               # with half of the traffic class
    TCP_CHECKSUM = 16


cdef void _blank(uint8_t* p, Py_ssize_t have) noexcept nogil:
    cdef Py_ssize_t tcp
    if have < IP4_HEADER_LEN:
        return
    if p[0] >> 4 == 6:
        if have < IP6_HEADER_LEN or p[IP6_NEXT] != PROTOCOL_TCP:
            return
        tcp = IP6_HEADER_LEN
        memset(p + IP6_LABEL, 0, 5)         # and the payload's length
        memset(p + IP6_SRC, 0, 32)          # and the destination
    else:
        tcp = (p[0] & 0x0F) * 4
        memset(p + IP4_TOTAL_LENGTH, 0, 4)  # and the identification
        memset(p + IP4_CHECKSUM, 0, 10)     # and the addresses
    if tcp < IP4_HEADER_LEN or tcp + TCP_HEADER_LEN > have:
        return
    memset(p + tcp, 0, TCP_OFFSET)          # ports, sequence numbers
    memset(p + tcp + TCP_CHECKSUM, 0, 4)    # and the urgent pointer
    blank_timestamps(p + tcp + TCP_HEADER_LEN, have - tcp - TCP_HEADER_LEN)


def traits(bytes packet not None):
    cdef Py_ssize_t have = PyBytes_GET_SIZE(packet)
    cdef bytes kept
    if have < IP4_HEADER_LEN:
        return packet
    kept = PyBytes_FromStringAndSize(PyBytes_AS_STRING(packet), have)
    _blank(<uint8_t*>PyBytes_AS_STRING(kept), have)
    return kept
