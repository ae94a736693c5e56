# Which flow the later fragments of a datagram belong to: a small cache, filled by first fragments.
#
# Set-associative, so that look-up and replacement are bounded; the oldest of a set makes room. A later fragment whose
# first was not seen (or was forgotten, or came later) belongs to no flow: it is counted in `lost` and is outside.
# A datagram that is fragmented outside a tunnel keeps its outer flow: the tunnel is not entered.
from libc.stdint cimport int64_t, uint8_t, uint64_t

from fieldwatch_ext.hashing cimport Seed, copy_words, hash6, same6
from fieldwatch_ext.packet cimport Packet

cdef enum:
    FRAGMENT_SETS = 256
    FRAGMENT_WAYS = 4

cdef struct Fragment:
    uint64_t datagram[6]        # source (2), destination (2), identification | version | tunnel, VLANs
    uint64_t key[6]
    uint64_t hash
    int64_t ts_ns
    uint8_t side
    uint8_t icmp_type
    uint8_t icmp_code
    uint8_t used

cdef struct Fragments:
    Seed seed
    uint64_t lost
    Fragment item[1024]


cdef inline Fragment* _set_of(Fragments* t, const Packet* k, uint64_t* datagram) noexcept nogil:
    datagram[0] = k.src[0]
    datagram[1] = k.src[1]
    datagram[2] = k.dst[0]
    datagram[3] = k.dst[1]
    datagram[4] = (
        <uint64_t>k.fragment_id | <uint64_t>k.version << 40 | <uint64_t>k.tunnel << 48
    )
    datagram[5] = k.vlans
    return &t.item[(hash6(&t.seed, datagram) & (FRAGMENT_SETS - 1)) * FRAGMENT_WAYS]


cdef inline bint _stale(const Fragment* f, int64_t ts_ns) noexcept nogil:
    # RFC 8200 section 4.5: a datagram that is not whole after 60 s is given up. Late by the clock is old as well.
    cdef int64_t age = <int64_t>(<uint64_t>ts_ns - <uint64_t>f.ts_ns)
    return age > <int64_t>60_000_000_000 or age < -<int64_t>60_000_000_000


cdef inline void fragment_keep(Fragments* t, const Packet* k) noexcept nogil:
    # A first fragment: its datagram belongs to the flow `k.key`.
    cdef uint64_t datagram[6]
    cdef Fragment* f = _set_of(t, k, datagram)
    cdef Fragment* best = f
    cdef int i
    for i in range(FRAGMENT_WAYS):
        if f[i].used and same6(f[i].datagram, datagram):
            best = &f[i]
            break
        if best.used and not _stale(best, k.ts_ns) and (
            not f[i].used or _stale(&f[i], k.ts_ns) or f[i].ts_ns < best.ts_ns
        ):
            best = &f[i]
    best.used = 1
    copy_words(best.datagram, datagram, 6)
    copy_words(best.key, k.key, 6)
    best.hash = k.hash
    best.ts_ns = k.ts_ns
    best.side = k.side
    best.icmp_type = k.icmp_type
    best.icmp_code = k.icmp_code


cdef inline bint fragment_find(Fragments* t, Packet* k) noexcept nogil:
    # A later fragment: take over the flow of its datagram.
    cdef uint64_t datagram[6]
    cdef Fragment* f = _set_of(t, k, datagram)
    cdef int i
    for i in range(FRAGMENT_WAYS):
        if f[i].used and same6(f[i].datagram, datagram) and not _stale(&f[i], k.ts_ns):
            k.key = f[i].key
            k.hash = f[i].hash
            k.side = f[i].side
            k.icmp_type = f[i].icmp_type
            k.icmp_code = f[i].icmp_code
            return True
    t.lost += 1
    return False
