# ERSPAN types I, II and III (draft-foschiano-erspan): what a switch mirrors, in GRE.
#
# The VLAN in the ERSPAN header is not taken over: it may be the port's own, of a frame that carried no tag.
from libc.stdint cimport uint16_t, uint32_t

from fieldwatch_ext.decoder cimport Decoder, enter_tunnel
from fieldwatch_ext.packet cimport *
from fieldwatch_ext.tunnels cimport TUNNEL_ERSPAN
from fieldwatch_ext.wire cimport be16

cdef enum:
    ERSPAN_SESSION = 2          # in the lower 10 bits
    ERSPAN_CUT = 0x0400         # with the session: the mirrored frame was longer
    ERSPAN_II_LEN = 8
    ERSPAN_III_KIND = 10        # FT in 5 bits; in the lowest bit, whether a subheader of the platform's follows
    ERSPAN_III_LEN = 12
    ERSPAN_SUBHEADER_LEN = 8
    ERSPAN_FRAME = 0
    ERSPAN_PACKET = 2


cdef inline int read_erspan(Cursor* c, Packet* k, Decoder* d, bint third, bint sequenced) noexcept nogil:
    # Type I has no header of its own; type II is told from it by the sequence number of GRE.
    cdef size_t octets = ERSPAN_III_LEN if third else ERSPAN_II_LEN if sequenced else 0
    cdef int kind = ERSPAN_FRAME
    cdef uint16_t session = 0
    cdef int verdict = lacks(c, octets)
    if verdict:
        return reject(k, verdict, LAYER_ERSPAN)
    if octets:
        if c.at[0] >> 4 != (2 if third else 1):
            return STEP_DONE                # a version that nobody has described: the flow is that of GRE
        session = be16(c.at + ERSPAN_SESSION)
        if third:
            kind = c.at[ERSPAN_III_KIND] >> 2 & 0x1F
            if c.at[ERSPAN_III_KIND + 1] & 1:
                octets += ERSPAN_SUBHEADER_LEN
                verdict = lacks(c, octets)
                if verdict:
                    return reject(k, verdict, LAYER_ERSPAN)
    mark(k, LAYER_ERSPAN)
    if (
        c.wire == octets or (kind != ERSPAN_FRAME and kind != ERSPAN_PACKET)
        or not enter_tunnel(d, k, TUNNEL_ERSPAN, <uint32_t>session & 0x03FF)
    ):
        return STEP_DONE
    advance(c, octets)
    if session & ERSPAN_CUT:
        cut_off(c)
    return STEP_ETHERNET if kind == ERSPAN_FRAME else STEP_IP
