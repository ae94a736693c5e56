# Which flow the later fragments of a datagram belong to: a small cache, filled by first fragments.
#
# A later fragment that comes before its first waits: as a count of frames and octets, not as octets. They are credited
# to the flow when the first comes. One whose first does not come within a minute, or is forgotten because others need
# the room, belongs to no flow: it is counted in `lost` and is outside.
#
# Set-associative, so that look-up and replacement are bounded. In a set the oldest makes room, and what waits before
# what is known: headless fragments that a stranger makes up never push out a datagram whose first was seen.
# A datagram that is fragmented outside a tunnel keeps its outer flow: the tunnel is not entered. One that is fragmented
# inside does not wait: its pieces are credited to the flow of the outer header.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fieldwatch_ext.hashing cimport Seed, copy_words, hash6, same6
from fieldwatch_ext.packet cimport Packet

cdef enum:
    FRAGMENT_SETS = 256
    FRAGMENT_WAYS = 4
    FRAGMENTS_MOST = 8192       # pieces of 8 octets in a datagram of 64 KiB

cdef enum FragmentUse:          # in the order in which they make room
    FRAGMENT_UNUSED = 0
    FRAGMENT_STALE
    FRAGMENT_WAITS
    FRAGMENT_KNOWN

cdef struct Fragment:
    uint64_t datagram[6]        # source (2), destination (2), identification | version | tunnel, VLANs
    uint64_t key[6]
    uint64_t hash
    int64_t ts_ns               # of the first fragment; of the earliest that came, while it waits
    uint64_t octets             # of the frames that wait, and their times
    int64_t first_ns
    int64_t last_ns
    uint32_t waiting            # frames
    uint8_t side
    uint8_t icmp_type
    uint8_t icmp_code
    uint8_t use

cdef struct Fragments:
    Seed seed
    uint64_t lost
    uint64_t waiting            # frames, of all datagrams
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


cdef inline int _use(const Fragment* f, int64_t ts_ns) noexcept nogil:
    return FRAGMENT_STALE if f.use != FRAGMENT_UNUSED and _stale(f, ts_ns) else f.use


cdef inline Fragment* _place_of(Fragments* t, const Packet* k, uint64_t* datagram) noexcept nogil:
    # The entry of this datagram, else the one that makes room first.
    cdef Fragment* f = _set_of(t, k, datagram)
    cdef Fragment* best = f
    cdef int use, least
    cdef int i
    least = _use(best, k.ts_ns)
    for i in range(FRAGMENT_WAYS):
        if f[i].use != FRAGMENT_UNUSED and same6(f[i].datagram, datagram):
            return &f[i]
        use = _use(&f[i], k.ts_ns)
        if use < least or (use == least and f[i].ts_ns < best.ts_ns):
            best = &f[i]
            least = use
    return best


cdef inline void _give_up(Fragments* t, Fragment* f) noexcept nogil:
    t.lost += f.waiting
    t.waiting -= f.waiting
    f.waiting = 0


cdef inline void fragment_keep(Fragments* t, Packet* k) noexcept nogil:
    # A first fragment: its datagram belongs to the flow `k.key`, and so do the frames that waited for it.
    cdef uint64_t datagram[6]
    cdef Fragment* f = _place_of(t, k, datagram)
    if f.waiting and same6(f.datagram, datagram) and not _stale(f, k.ts_ns):
        k.waited = f.waiting
        k.waited_octets = f.octets
        k.waited_first_ns = f.first_ns
        k.waited_last_ns = f.last_ns
        t.waiting -= f.waiting
        f.waiting = 0
    _give_up(t, f)
    f.use = FRAGMENT_KNOWN
    copy_words(f.datagram, datagram, 6)
    copy_words(f.key, k.key, 6)
    f.hash = k.hash
    f.ts_ns = k.ts_ns
    f.side = k.side
    f.icmp_type = k.icmp_type
    f.icmp_code = k.icmp_code


cdef inline void _wait(Fragments* t, Fragment* f, const uint64_t* datagram, const Packet* k) noexcept nogil:
    # In the place that was found: its own, or one that makes room for it.
    cdef bint own = f.use != FRAGMENT_UNUSED and same6(f.datagram, datagram)
    cdef int use = _use(f, k.ts_ns)
    if (
        k.depth or (not own and use == FRAGMENT_KNOWN)
        or (own and use == FRAGMENT_WAITS and f.waiting >= FRAGMENTS_MOST)
    ):
        t.lost += 1
        return
    if not own or use != FRAGMENT_WAITS:
        _give_up(t, f)
        f.use = FRAGMENT_WAITS
        copy_words(f.datagram, datagram, 6)
        f.ts_ns = f.first_ns = f.last_ns = k.ts_ns
        f.octets = 0
    f.waiting += 1
    t.waiting += 1
    f.octets += k.octets
    if k.ts_ns < f.first_ns:
        f.first_ns = k.ts_ns
    elif k.ts_ns > f.last_ns:
        f.last_ns = k.ts_ns


cdef inline bint fragment_find(Fragments* t, Packet* k) noexcept nogil:
    # A later fragment: take over the flow of its datagram, or wait for it.
    cdef uint64_t datagram[6]
    cdef Fragment* f = _place_of(t, k, datagram)
    if f.use == FRAGMENT_KNOWN and same6(f.datagram, datagram) and not _stale(f, k.ts_ns):
        k.key = f.key
        k.hash = f.hash
        k.side = f.side
        k.icmp_type = f.icmp_type
        k.icmp_code = f.icmp_code
        return True
    _wait(t, f, datagram, k)
    return False


cdef inline void fragments_expire(Fragments* t, int64_t now_ns) noexcept nogil:
    # Those that have waited for too long at this time wait no more.
    cdef int i
    if t.waiting:
        for i in range(FRAGMENT_SETS * FRAGMENT_WAYS):
            if t.item[i].waiting and _stale(&t.item[i], now_ns):
                _give_up(t, &t.item[i])
                t.item[i].use = FRAGMENT_UNUSED


cdef inline void fragments_flush(Fragments* t) noexcept nogil:
    # No more frames come: nothing waits any more.
    cdef int i
    if t.waiting:
        for i in range(FRAGMENT_SETS * FRAGMENT_WAYS):
            if t.item[i].waiting:
                _give_up(t, &t.item[i])
                t.item[i].use = FRAGMENT_UNUSED
