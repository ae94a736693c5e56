# GTP-U version 1 (3GPP TS 29.281): the packets of mobile devices between the nodes of a mobile network.
#
# The tunnel is the pair of nodes. The TEID is no part of it: each end gives its own, so that the two directions of a
# connection have different ones, which only the control plane (GTP-C, PFCP) brings together.
from libc.stdint cimport uint8_t

from fieldwatch_ext.decoder cimport MAX_TAGS, Decoder, enter_tunnel
from fieldwatch_ext.packet cimport *
from fieldwatch_ext.tunnels cimport TUNNEL_GTPU
from fieldwatch_ext.wire cimport be16

cdef enum:
    GTPU_PORT = 2152
    GTPU_TYPE = 1
    GTPU_LENGTH = 2             # of what follows the 8 octets
    GTPU_HEADER_LEN = 8
    GTPU_NEXT = 11              # type of the first extension header
    GTPU_OPTIONAL_LEN = 4       # sequence number, N-PDU number and type of the first extension header, all or none
    GTPU_VERSION = 0x30         # version 1, and not GTP'
    GTPU_EXTENDED = 0x04
    GTPU_OPTIONS = 0x07
    GTPU_G_PDU = 255


cdef inline int _gtpu_ends(const Cursor* c, Packet* k, size_t octets) noexcept nogil:
    # So many octets of it were to be read.
    return STEP_DONE if c.wire < octets else cut_inside(k, TRUNCATED, LAYER_GTPU)


cdef inline int read_gtpu(Cursor* c, Packet* k, Decoder* d) noexcept nogil:
    # The caller has seen to it that the 8 octets are there and that a tunnel may be entered. No step rejects: it is the
    # port alone that says what this is. What its lengths contradict is payload.
    cdef size_t octets = GTPU_HEADER_LEN
    cdef size_t length = be16(c.at + GTPU_LENGTH)
    cdef size_t extension
    cdef uint8_t following = 0
    cdef int headers = 0
    if c.at[0] & 0xF0 != GTPU_VERSION or length > c.wire - GTPU_HEADER_LEN:
        return STEP_DONE
    narrow(c, GTPU_HEADER_LEN + length)
    if c.at[0] & GTPU_OPTIONS:
        octets += GTPU_OPTIONAL_LEN
        if c.have < octets:
            return _gtpu_ends(c, k, octets)
        if c.at[0] & GTPU_EXTENDED:
            following = c.at[GTPU_NEXT]
    while following != 0:
        if c.have <= octets:
            return _gtpu_ends(c, k, octets + 1)
        extension = <size_t>c.at[octets] * 4
        octets += extension
        headers += 1
        if extension == 0 or headers > MAX_TAGS:
            return STEP_DONE
        if c.have < octets:
            return _gtpu_ends(c, k, octets)
        following = c.at[octets - 1]
    mark(k, LAYER_GTPU)
    if c.at[GTPU_TYPE] != GTPU_G_PDU or c.wire == octets:
        return STEP_DONE                    # of the tunnel itself: echo, error indication, end marker
    if c.have == octets:
        return _gtpu_ends(c, k, octets + 1)
    if c.at[octets] >> 4 != 4 and c.at[octets] >> 4 != 6:
        return STEP_DONE                    # PPP or Ethernet: which of them is agreed outside the tunnel
    enter_tunnel(d, k, TUNNEL_GTPU, 0)
    advance(c, octets)
    return STEP_IP
