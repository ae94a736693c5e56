# What a flow record says beside its sums: sizes, inter-arrival times, repeated segments, round trips of the handshake;
# and what the first octets of a stream told about its content.
#
# They stand beside the flow entries in an array of their own: the two cache lines of an entry are what every frame
# needs to find and count its flow.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from fieldwatch_ext.packet cimport Packet
from fieldwatch_ext.tcp_state cimport TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN

cdef enum:
    SEQ_KNOWN = 1               # of the lower side; the upper side's is the next bit
    SYN_TIMED = 4               # `rtt_us[0]` holds the time of the SYN
    SYN_ACK_TIMED = 8           # `rtt_us[1]` holds the time of the SYN-ACK
    SERVER_TIMED = 16           # `rtt_us[0]` is the round trip
    CLIENT_TIMED = 32
    STREAM_READ = 64            # the first octets of the lower side were looked at; the upper side's is the next bit

cdef struct Measures:
    # First what every frame may touch, in 32 octets: three of four entries have it in one cache line.
    uint32_t next_seq[2]        # TCP: behind the highest sequence number seen, by side of the key
    uint16_t least_octets[2]    # of a frame
    uint16_t most_octets[2]
    uint32_t least_gap_us       # between two frames, whoever sent them
    uint32_t most_gap_us
    uint16_t content            # `Content`
    uint8_t known               # bits above
    uint8_t stream              # number of the buffer that collects one side's first octets, 0 = none
    uint8_t messages[2]         # that a dissector still wants to see of a side
    # What few touch.
    uint32_t retransmits[2]     # segments whose octets end at or before `next_seq`
    uint32_t rtt_us[2]          # vantage point to server and back, to client and back; at least 1


cdef inline void measures_restart(Measures* m) noexcept nogil:
    # The record has been written: what is measured anew. The handshake belongs to the whole flow.
    m.retransmits[0] = m.retransmits[1] = 0
    m.least_octets[0] = m.least_octets[1] = 0xFFFF
    m.most_octets[0] = m.most_octets[1] = 0
    m.least_gap_us = <uint32_t>0xFFFFFFFF
    m.most_gap_us = 0


cdef inline void measures_begin(Measures* m) noexcept nogil:
    memset(m, 0, sizeof(Measures))
    measures_restart(m)


cdef inline void measure_frame(Measures* m, int side, uint32_t octets, int64_t last_ns, int64_t ts_ns) noexcept nogil:
    # `last_ns`: the frame before this one in the same record, or `ts_ns`.
    cdef uint16_t size = <uint16_t>octets if octets < 0xFFFF else 0xFFFF
    cdef uint64_t gap_us = (<uint64_t>ts_ns - <uint64_t>last_ns) // 1_000
    if size < m.least_octets[side]:
        m.least_octets[side] = size
    if size > m.most_octets[side]:
        m.most_octets[side] = size
    if ts_ns <= last_ns:
        return                              # the first of its record, or overtaken on the way
    if gap_us > <uint32_t>0xFFFFFFFF:
        gap_us = <uint32_t>0xFFFFFFFF
    if gap_us < m.least_gap_us:
        m.least_gap_us = <uint32_t>gap_us
    if gap_us > m.most_gap_us:
        m.most_gap_us = <uint32_t>gap_us


cdef inline uint32_t _time_us(int64_t ts_ns) noexcept nogil:
    # Modulo 2^32: a difference of two is right up to 71 minutes.
    return <uint32_t>(<uint64_t>ts_ns // 1_000)


cdef inline uint32_t _since_us(int64_t ts_ns, uint32_t start_us) noexcept nogil:
    cdef uint32_t taken = _time_us(ts_ns) - start_us
    return taken if taken else 1            # 0 says "not known"


cdef inline void _time_handshake(Measures* m, const Packet* k, bint by_opener) noexcept nogil:
    # A SYN or SYN-ACK that is repeated makes its round trip ambiguous (RFC 6298 section 3): then there is none.
    if k.tcp_flags & TCP_SYN and not k.tcp_flags & TCP_ACK:
        if m.known & SYN_TIMED:
            m.known &= <uint8_t>~SYN_TIMED
            m.known |= SERVER_TIMED
            m.rtt_us[0] = 0
        elif not m.known & SERVER_TIMED:
            m.known |= SYN_TIMED
            m.rtt_us[0] = _time_us(k.ts_ns)
    elif k.tcp_flags & TCP_SYN:
        if m.known & SYN_TIMED:
            m.known &= <uint8_t>~SYN_TIMED
            m.known |= SERVER_TIMED
            m.rtt_us[0] = _since_us(k.ts_ns, m.rtt_us[0])
        if m.known & SYN_ACK_TIMED:
            m.known &= <uint8_t>~SYN_ACK_TIMED
            m.known |= CLIENT_TIMED
            m.rtt_us[1] = 0
        elif not m.known & CLIENT_TIMED:
            m.known |= SYN_ACK_TIMED
            m.rtt_us[1] = _time_us(k.ts_ns)
    elif m.known & SYN_ACK_TIMED and by_opener and k.tcp_flags & TCP_ACK:
        m.known &= <uint8_t>~SYN_ACK_TIMED
        m.known |= CLIENT_TIMED
        m.rtt_us[1] = 0 if k.tcp_flags & TCP_RST else _since_us(k.ts_ns, m.rtt_us[1])


cdef inline void measure_segment(Measures* m, const Packet* k, bint by_opener) noexcept nogil:
    cdef uint32_t octets = k.tcp_octets + (1 if k.tcp_flags & TCP_SYN else 0) + (1 if k.tcp_flags & TCP_FIN else 0)
    cdef uint32_t end = k.tcp_seq + octets
    if k.tcp_flags & TCP_SYN or m.known & SYN_ACK_TIMED:
        _time_handshake(m, k, by_opener)
    if octets == 0 or k.tcp_flags & TCP_RST:
        return
    if not m.known & (SEQ_KNOWN << k.side):
        m.known |= <uint8_t>(SEQ_KNOWN << k.side)
        m.next_seq[k.side] = end
    elif <int32_t>(end - m.next_seq[k.side]) > 0:
        m.next_seq[k.side] = end
    elif octets > 1 or k.tcp_flags & (TCP_SYN | TCP_FIN) or end != m.next_seq[k.side]:
        m.retransmits[k.side] += 1          # one octet that was sent before is a keep-alive (RFC 9293 section 3.8.4)


cdef inline uint32_t rtt_of(const Measures* m, int which) noexcept nogil:
    # 0 = not known.
    return m.rtt_us[which] if m.known & (CLIENT_TIMED if which else SERVER_TIMED) else 0
