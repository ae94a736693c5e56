# What a flow record says beside its sums: sizes, inter-arrival times, repeated segments, round trips of the handshake.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fieldwatch_ext.flow cimport (
    CLIENT_TIMED, SEQ_KNOWN, SERVER_TIMED, SYN_ACK_TIMED, SYN_TIMED, Flow, FlowRest
)
from fieldwatch_ext.packet cimport Packet
from fieldwatch_ext.tcp_state cimport TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN


cdef inline void measures_restart(Flow* f, FlowRest* rest) noexcept nogil:
    # The record has been written: what is measured anew. The handshake belongs to the whole flow.
    rest.retransmits[0] = rest.retransmits[1] = 0
    f.least_octets[0] = f.least_octets[1] = 0xFFFF
    f.most_octets[0] = f.most_octets[1] = 0
    f.least_gap_us = <uint32_t>0xFFFFFFFF
    f.most_gap_us = 0


cdef inline void measure_frame(Flow* f, int side, uint32_t octets, int64_t last_ns, int64_t ts_ns) noexcept nogil:
    # `last_ns`: the frame before this one in the same record, or `ts_ns`.
    cdef uint16_t size = <uint16_t>octets if octets < 0xFFFF else 0xFFFF
    cdef uint64_t gap_us = (<uint64_t>ts_ns - <uint64_t>last_ns) // 1_000
    # Sizes and gaps come in any order: what is stored is chosen, there is nothing to mispredict.
    f.least_octets[side] = min(size, f.least_octets[side])
    f.most_octets[side] = max(size, f.most_octets[side])
    if ts_ns <= last_ns:
        return                              # the first of its record, or overtaken on the way
    gap_us = min(gap_us, <uint64_t><uint32_t>0xFFFFFFFF)
    f.least_gap_us = <uint32_t>min(gap_us, <uint64_t>f.least_gap_us)
    f.most_gap_us = <uint32_t>max(gap_us, <uint64_t>f.most_gap_us)


cdef inline uint32_t _time_us(int64_t ts_ns) noexcept nogil:
    # Modulo 2^32: a difference of two is right up to 71 minutes.
    return <uint32_t>(<uint64_t>ts_ns // 1_000)


cdef inline uint32_t _since_us(int64_t ts_ns, uint32_t start_us) noexcept nogil:
    cdef uint32_t taken = _time_us(ts_ns) - start_us
    return taken if taken else 1            # 0 says "not known"


cdef inline void _time_handshake(Flow* f, FlowRest* rest, const Packet* k, bint by_opener) noexcept nogil:
    # A SYN or SYN-ACK that is repeated makes its round trip ambiguous (RFC 6298 section 3): then there is none.
    if k.tcp_flags & TCP_SYN and not k.tcp_flags & TCP_ACK:
        if f.known & SYN_TIMED:
            f.known &= <uint8_t>~SYN_TIMED
            f.known |= SERVER_TIMED
            rest.rtt_us[0] = 0
        elif not f.known & SERVER_TIMED:
            f.known |= SYN_TIMED
            rest.rtt_us[0] = _time_us(k.ts_ns)
    elif k.tcp_flags & TCP_SYN:
        if f.known & SYN_TIMED:
            f.known &= <uint8_t>~SYN_TIMED
            f.known |= SERVER_TIMED
            rest.rtt_us[0] = _since_us(k.ts_ns, rest.rtt_us[0])
        if f.known & SYN_ACK_TIMED:
            f.known &= <uint8_t>~SYN_ACK_TIMED
            f.known |= CLIENT_TIMED
            rest.rtt_us[1] = 0
        elif not f.known & CLIENT_TIMED:
            f.known |= SYN_ACK_TIMED
            rest.rtt_us[1] = _time_us(k.ts_ns)
    elif f.known & SYN_ACK_TIMED and by_opener and k.tcp_flags & TCP_ACK:
        f.known &= <uint8_t>~SYN_ACK_TIMED
        f.known |= CLIENT_TIMED
        rest.rtt_us[1] = 0 if k.tcp_flags & TCP_RST else _since_us(k.ts_ns, rest.rtt_us[1])


cdef inline void measure_segment(Flow* f, FlowRest* rest, const Packet* k, bint by_opener) noexcept nogil:
    cdef uint32_t octets = k.tcp_octets + (1 if k.tcp_flags & TCP_SYN else 0) + (1 if k.tcp_flags & TCP_FIN else 0)
    cdef uint32_t end = k.tcp_seq + octets
    if k.tcp_flags & TCP_SYN or f.known & SYN_ACK_TIMED:
        _time_handshake(f, rest, k, by_opener)
    if octets == 0 or k.tcp_flags & TCP_RST:
        return
    if not f.known & (SEQ_KNOWN << k.side):
        f.known |= <uint8_t>(SEQ_KNOWN << k.side)
        f.next_seq[k.side] = end
    elif <int32_t>(end - f.next_seq[k.side]) > 0:
        f.next_seq[k.side] = end
    elif octets > 1 or k.tcp_flags & (TCP_SYN | TCP_FIN) or end != f.next_seq[k.side]:
        rest.retransmits[k.side] += 1          # one octet that was sent before is a keep-alive (RFC 9293 section 3.8.4)


cdef inline uint32_t rtt_of(const Flow* f, const FlowRest* rest, int which) noexcept nogil:
    # 0 = not known.
    return rest.rtt_us[which] if f.known & (CLIENT_TIMED if which else SERVER_TIMED) else 0
