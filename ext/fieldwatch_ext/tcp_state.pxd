# How far a TCP connection has come, by the flags of the segments that were seen (RFC 9293 section 3.3.2, from outside).
#
#   segment                        from                    to
#   SYN                            ACTIVE                  SYN
#   SYN-ACK                        ACTIVE, SYN             SYN_ACK
#   without SYN, with ACK          SYN, SYN_ACK            ESTABLISHED
#   without SYN, with ACK          ACTIVE, both seen       ESTABLISHED   (picked up midway)
#   FIN                            any before CLOSING      CLOSING
#   FIN of the other side          CLOSING                 CLOSED
#   RST                            any before CLOSED       RESET
from libc.stdint cimport uint8_t

cdef enum:
    TCP_FIN = 0x01
    TCP_SYN = 0x02
    TCP_RST = 0x04
    TCP_ACK = 0x10

cdef enum FlowState:            # of the schema
    STATE_ACTIVE = 0
    STATE_SYN = 1
    STATE_SYN_ACK = 2
    STATE_ESTABLISHED = 3
    STATE_CLOSING = 4
    STATE_CLOSED = 5
    STATE_RESET = 6

cdef enum:
    BIT_OPENER = 1              # the upper side of the key opened the flow
    BIT_SYN = 2                 # a SYN or SYN-ACK has said who opened it
    BIT_FIN = 4                 # FIN of the lower side; the upper side's is the next bit


cdef inline uint8_t opener_by_flags(uint8_t bits, uint8_t side, uint8_t flags) noexcept nogil:
    # The sender of the SYN opened it, the receiver of a SYN-ACK likewise; the first of them decides.
    if not flags & TCP_SYN or bits & BIT_SYN:
        return bits
    if flags & TCP_ACK:
        side = 1 - side
    return <uint8_t>((bits & ~BIT_OPENER) | BIT_SYN | (BIT_OPENER if side else 0))


cdef inline uint8_t tcp_next(uint8_t state, uint8_t* bits, uint8_t side, uint8_t flags, bint both) noexcept nogil:
    if state >= STATE_CLOSED:
        return state
    if flags & TCP_RST:
        return STATE_RESET
    if flags & TCP_SYN:
        if flags & TCP_ACK:
            return STATE_SYN_ACK if state <= STATE_SYN else state
        return STATE_SYN if state == STATE_ACTIVE else state
    if flags & TCP_FIN:
        bits[0] |= <uint8_t>(BIT_FIN << side)
        if (bits[0] & (BIT_FIN | BIT_FIN << 1)) == (BIT_FIN | BIT_FIN << 1):
            return STATE_CLOSED
        return STATE_CLOSING
    if flags & TCP_ACK and (state == STATE_SYN or state == STATE_SYN_ACK or (state == STATE_ACTIVE and both)):
        return STATE_ESTABLISHED
    return state
