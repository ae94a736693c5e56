# The ring for dissectors: copies of the rare frames that Python looks into, until they are taken.
#
# It is emptied whole, so it fills from its start and never wraps. Before a block is processed there is room made for
# all of the block's octets: as long as the frames are taken when the ring is more than half full, none is dropped.
#
# Python costs a thousand times what the kernel does, and strangers choose what they send:
# - What tells nothing that its dissector looks for is not handed over (silent.pxd, names.pxd, head.pxd). It is counted.
# - What a host says again a short time later is not handed over (repeats.pxd). It is counted.
# - Each host has an allowance of frames (a bucket that refills with packet time), and all of them together have one.
#   What exceeds it is counted.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport malloc, realloc
from libc.string cimport memcpy, memset

from fieldwatch_ext.hashing cimport copy_words
from fieldwatch_ext.packet cimport SLOW_CDP, SLOW_HTTP, SLOW_LLDP, SLOW_SMB, SLOW_TLS, Packet
from fieldwatch_ext.repeats cimport (
    WORTH_NOTHING, WORTH_REPEAT, Repeats, head_worth, host_hash, is_known_hello, is_repeat
)
from fieldwatch_ext.silent cimport is_silent, smb_is_silent

cdef enum:
    HOSTS = 4096                # buckets; hosts that meet in one take it from each other
    HOST_BURST = 1_000          # frames
    HOST_PERIOD_NS = 20_000_000     # one more each
    SUM_BURST = 50_000
    SUM_PERIOD_NS = 250_000

cdef struct SlowFrame:
    uint64_t number
    int64_t ts_ns
    uint64_t vlans
    uint64_t src[2]
    uint64_t dst[2]
    uint32_t payload_octets     # behind this header, padded to 8
    uint16_t src_port
    uint16_t dst_port
    uint8_t kind
    uint8_t version
    uint8_t mac[2][6]           # source, destination

cdef struct Bucket:
    int64_t last_ns             # up to here it was refilled
    uint32_t used
    uint32_t tag                # of the host

cdef struct SlowRing:
    uint8_t* octets
    size_t capacity
    size_t agreed               # what the user allowed; beyond it only for the length of one block
    size_t used
    uint64_t frames
    uint64_t dropped
    uint64_t limited
    uint64_t repeated
    uint64_t silent
    uint32_t unwanted           # kinds that nobody looks into, by bit
    Bucket sum
    Bucket hosts[4096]
    Repeats repeats


cdef inline int slow_make(SlowRing* r, size_t capacity) noexcept nogil:
    r.octets = <uint8_t*>malloc(capacity)
    r.capacity = capacity
    r.agreed = capacity
    return 0 if r.octets != NULL else -1


cdef inline void slow_reserve(SlowRing* r, size_t octets) noexcept nogil:
    cdef uint8_t* larger
    if octets <= r.capacity - r.used:
        return
    larger = <uint8_t*>realloc(r.octets, r.used + octets)
    if larger != NULL:
        r.octets = larger
        r.capacity = r.used + octets


cdef inline void slow_clear(SlowRing* r) noexcept nogil:
    cdef uint8_t* smaller
    r.used = 0
    if r.capacity > r.agreed:
        smaller = <uint8_t*>realloc(r.octets, r.agreed)
        if smaller != NULL:
            r.octets = smaller
            r.capacity = r.agreed


cdef inline bint _take(Bucket* b, int64_t ts_ns, uint32_t burst, int64_t period_ns) noexcept nogil:
    # One frame out of the bucket. A clock that was set back refills nothing, and does not stop it either.
    cdef uint64_t since_ns = <uint64_t>ts_ns - <uint64_t>b.last_ns
    cdef uint64_t more
    if ts_ns < b.last_ns:
        b.last_ns = ts_ns
    else:
        more = since_ns // <uint64_t>period_ns
        if more >= b.used:
            b.used = 0
            b.last_ns = ts_ns
        elif more:
            b.used -= <uint32_t>more
            b.last_ns += <int64_t>more * period_ns
    if b.used >= burst:
        return False
    b.used += 1
    return True


cdef inline bint _allowed(SlowRing* r, const Packet* k) noexcept nogil:
    # Whether a dissector may look at this frame: its sender has not asked for too much.
    cdef uint64_t hash = host_hash(&r.repeats, k)
    cdef Bucket* b = &r.hosts[hash & (HOSTS - 1)]
    if b.tag != <uint32_t>(hash >> 32):
        b.tag = <uint32_t>(hash >> 32)
        b.used = 0
        b.last_ns = k.ts_ns
    if _take(b, k.ts_ns, HOST_BURST, HOST_PERIOD_NS) and _take(&r.sum, k.ts_ns, SUM_BURST, SUM_PERIOD_NS):
        return True
    r.limited += 1
    return False


cdef inline bint slow_wants(SlowRing* r, const Packet* k, int kind) noexcept nogil:
    # Whether a dissector is to look at this segment, by which a stream or a message of one begins.
    cdef int worth
    if r.unwanted >> kind & 1:
        return False
    if kind == SLOW_HTTP:
        worth = head_worth(&r.repeats, k)
        r.silent += worth == WORTH_NOTHING
        r.repeated += worth == WORTH_REPEAT
        if worth == WORTH_NOTHING or worth == WORTH_REPEAT:
            return False
    if kind == SLOW_SMB and smb_is_silent(k.data, k.data_octets):
        r.silent += 1
        return False
    if kind == SLOW_TLS and is_known_hello(&r.repeats, k):
        r.repeated += 1
        return False
    return _allowed(r, k)


cdef inline void slow_head(
    SlowFrame* s, const Packet* k, int kind, uint64_t number, uint16_t src_port, uint16_t dst_port
) noexcept nogil:
    s.number = number
    s.ts_ns = k.ts_ns
    s.vlans = k.vlans
    copy_words(s.src, k.src, 2)
    copy_words(s.dst, k.dst, 2)
    s.src_port = src_port
    s.dst_port = dst_port
    s.kind = <uint8_t>kind
    s.version = 0 if kind == SLOW_LLDP or kind == SLOW_CDP else k.version
    memset(s.mac, 0, 12)
    if k.src_mac != NULL:
        memcpy(s.mac[0], k.src_mac, 6)
    if k.dst_mac != NULL:
        memcpy(s.mac[1], k.dst_mac, 6)


cdef inline void slow_add(SlowRing* r, const SlowFrame* head, const uint8_t* payload, size_t octets) noexcept nogil:
    cdef size_t room = sizeof(SlowFrame) + ((octets + 7) & ~<size_t>7)
    cdef SlowFrame* s
    if room > r.capacity - r.used:
        r.dropped += 1
        return
    s = <SlowFrame*>(r.octets + r.used)
    r.used += room
    r.frames += 1
    s[0] = head[0]
    s.payload_octets = <uint32_t>octets
    memcpy(s + 1, payload, octets)


cdef inline void slow_keep(SlowRing* r, const Packet* k, uint64_t number) noexcept nogil:
    cdef SlowFrame head
    if r.unwanted >> k.slow & 1:
        return
    if is_silent(k):
        r.silent += 1
    elif is_repeat(&r.repeats, k):
        r.repeated += 1
    elif _allowed(r, k):
        slow_head(&head, k, k.slow, number, k.src_port, k.dst_port)
        slow_add(r, &head, k.payload, k.payload_octets)
