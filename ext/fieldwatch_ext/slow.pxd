# The ring for dissectors: copies of the rare frames that Python looks into, until they are taken.
#
# It is emptied whole, so it fills from its start and never wraps. Before a block is processed there is room made for
# all of the block's octets: as long as the frames are taken when the ring is more than half full, none is dropped.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport malloc, realloc
from libc.string cimport memcpy, memset

from fieldwatch_ext.hashing cimport copy_words
from fieldwatch_ext.packet cimport SLOW_CDP, SLOW_LLDP, Packet

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

cdef struct SlowRing:
    uint8_t* octets
    size_t capacity
    size_t agreed               # what the user allowed; beyond it only for the length of one block
    size_t used
    uint64_t frames
    uint64_t dropped


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


cdef inline void slow_keep(SlowRing* r, const Packet* k, uint64_t number) noexcept nogil:
    cdef size_t octets = sizeof(SlowFrame) + ((k.payload_octets + 7) & ~<size_t>7)
    cdef SlowFrame* s
    if octets > r.capacity - r.used:
        r.dropped += 1
        return
    s = <SlowFrame*>(r.octets + r.used)
    r.used += octets
    r.frames += 1
    s.number = number
    s.ts_ns = k.ts_ns
    s.vlans = k.vlans
    copy_words(s.src, k.src, 2)
    copy_words(s.dst, k.dst, 2)
    s.payload_octets = <uint32_t>k.payload_octets
    s.src_port = k.src_port
    s.dst_port = k.dst_port
    s.kind = k.slow
    s.version = 0 if k.slow == SLOW_LLDP or k.slow == SLOW_CDP else k.version
    memset(s.mac, 0, 12)
    if k.src_mac != NULL:
        memcpy(s.mac[0], k.src_mac, 6)
    if k.dst_mac != NULL:
        memcpy(s.mac[1], k.dst_mac, 6)
    memcpy(s + 1, k.payload, k.payload_octets)
