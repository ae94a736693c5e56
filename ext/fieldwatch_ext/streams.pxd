# What TCP streams begin with: told by its first octets, and handed to dissectors.
#
# Constraints:
# - The first segment with payload of each side of a flow is looked at, once. Nothing else of the stream costs anything.
# - A ClientHello may take several segments: its octets are collected in one of STREAMS buffers, in order. A segment
#   that was overtaken is waited for (it will be sent again); one that overlaps counts from where it is new.
# - A buffer that is needed by another flow, or not whole within ten seconds, is handed over as far as it goes.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fieldwatch_ext.content cimport (
    CONTENT_HTTP, CONTENT_SMB, CONTENT_TLS, CONTENT_UNKNOWN, content_of, hello_octets, is_smb
)
from fieldwatch_ext.flow cimport STREAM_READ, Flow, FlowRest
from fieldwatch_ext.packet cimport SLOW_HTTP, SLOW_SMB, SLOW_TLS, Packet
from fieldwatch_ext.slow cimport SlowFrame, SlowRing, slow_add, slow_wants, slow_head, slow_reserve

cdef enum:
    STREAMS = 64
    STREAM_OCTETS = 8192        # of a ClientHello; those with large tickets or key shares have about 2,000
    SMB_MESSAGES = 6            # of each side: negotiation and session setup

cdef struct Stream:
    SlowFrame head
    uint64_t hash               # of the flow's key
    uint32_t next_seq
    uint32_t have
    uint32_t needed
    uint8_t side
    uint8_t used
    uint8_t octets[8192]

cdef struct Streams:
    uint32_t hand               # the buffer that is taken next
    size_t held                 # octets in all buffers
    Stream item[64]


cdef inline void stream_end(Streams* t, Stream* s, SlowRing* ring) noexcept nogil:
    # Hand over what was collected.
    slow_add(ring, &s.head, s.octets, s.have)
    t.held -= s.have
    s.used = 0


cdef inline void streams_flush(Streams* t, SlowRing* ring, int64_t now_ns, bint all_of_them) noexcept nogil:
    cdef int64_t waited_ns
    cdef int i
    slow_reserve(ring, t.held + STREAMS * (sizeof(SlowFrame) + 8))
    for i in range(STREAMS):
        waited_ns = <int64_t>(<uint64_t>now_ns - <uint64_t>t.item[i].head.ts_ns)    # strangers choose times: it wraps
        if t.item[i].used and (all_of_them or waited_ns >= <int64_t>10_000_000_000):
            stream_end(t, &t.item[i], ring)


cdef inline void _collect(Streams* t, Stream* s, SlowRing* ring, const Packet* k) noexcept nogil:
    # One more segment of the side whose octets the buffer collects.
    cdef int32_t behind = <int32_t>(s.next_seq - k.tcp_seq)
    cdef size_t octets
    if behind < 0 or <uint32_t>behind >= k.data_octets:
        return
    octets = k.data_octets - <uint32_t>behind
    if octets > s.needed - s.have:
        octets = s.needed - s.have
    memcpy(s.octets + s.have, k.data + behind, octets)
    s.have += <uint32_t>octets
    t.held += octets
    s.next_seq = k.tcp_seq + k.data_octets
    if s.have == s.needed or k.data_octets < k.tcp_octets:
        stream_end(t, s, ring)              # whole, or the capture cut the segment: no more will fit behind it


cdef inline void _begin(
    Streams* t, SlowRing* ring, FlowRest* rest, const Packet* k, const SlowFrame* head, size_t needed
) noexcept nogil:
    cdef Stream* s = &t.item[t.hand]
    rest.stream = <uint8_t>(t.hand + 1)
    t.hand = (t.hand + 1) % STREAMS
    if s.used:
        stream_end(t, s, ring)
    s.head = head[0]
    s.hash = k.hash
    s.side = k.side
    s.used = 1
    s.have = 0
    s.needed = <uint32_t>needed if needed < STREAM_OCTETS else STREAM_OCTETS
    s.next_seq = k.tcp_seq
    _collect(t, s, ring, k)


cdef inline int _slow_kind(int content) noexcept nogil:
    if content == CONTENT_TLS:
        return SLOW_TLS
    if content == CONTENT_HTTP:
        return SLOW_HTTP
    return SLOW_SMB if content == CONTENT_SMB else 0


cdef inline void _first_octets(
    Streams* t, SlowRing* ring, Flow* f, FlowRest* rest, const Packet* k, uint64_t number,
    uint16_t src_port, uint16_t dst_port,
) noexcept nogil:
    cdef int content = content_of(k.data, k.data_octets)
    cdef int kind = _slow_kind(content)
    cdef size_t needed = k.data_octets
    cdef SlowFrame head
    if content == CONTENT_UNKNOWN:
        return
    f.content = <uint8_t>content
    if content == CONTENT_SMB:
        rest.messages[k.side] = SMB_MESSAGES - 1
    elif content == CONTENT_TLS:
        needed = hello_octets(k.data, k.data_octets)
        if needed == 0:
            return                          # the server's side
    if kind == 0 or not slow_wants(ring, k, kind):
        return
    slow_head(&head, k, kind, number, src_port, dst_port)
    if needed > k.data_octets and k.data_octets == k.tcp_octets:
        _begin(t, ring, rest, k, &head, needed)
    else:
        slow_add(ring, &head, k.data, k.data_octets)


cdef inline void stream_segment(
    Streams* t, SlowRing* ring, Flow* f, FlowRest* rest, const Packet* k, uint64_t number,
    uint16_t src_port, uint16_t dst_port,
) noexcept nogil:
    # A segment with payload.
    cdef SlowFrame head
    cdef Stream* s
    if not f.known & (STREAM_READ << k.side):
        f.known |= <uint8_t>(STREAM_READ << k.side)
        _first_octets(t, ring, f, rest, k, number, src_port, dst_port)
        return
    if f.content != CONTENT_TLS and f.content != CONTENT_SMB:
        return                              # nothing more of it is wanted
    if rest.stream:
        s = &t.item[rest.stream - 1]
        if not s.used or s.hash != k.hash:
            rest.stream = 0
        elif s.side == k.side:
            _collect(t, s, ring, k)
            return
    if rest.messages[k.side] and is_smb(k.data, k.data_octets):
        rest.messages[k.side] -= 1
        if slow_wants(ring, k, SLOW_SMB):
            slow_head(&head, k, SLOW_SMB, number, src_port, dst_port)
            slow_add(ring, &head, k.data, k.data_octets)
