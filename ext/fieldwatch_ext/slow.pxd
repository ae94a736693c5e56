# The ring for dissectors: copies of the rare frames that Python looks into, until they are taken.
#
# It is emptied whole, so it fills from its start and never wraps. Before a block is processed there is room made for
# all of the block's octets: as long as the frames are taken when the ring is more than half full, none is dropped.
#
# Python costs a thousand times what the kernel does, and strangers choose what they send:
# - What tells nothing that its dissector looks for is not handed over (silent.pxd, names.pxd, head.pxd). It is counted.
# - What a host says again within REPEAT_NS, octet by octet, is not handed over: it could be no news. Most announcements
#   are repeats. SYNs are the same where their fingerprints are, heads of HTTP where the lines that count are, hellos of
#   TLS without what is another each time, DHCP and answers of DNS whatever their transaction. It is counted.
# - Each host has an allowance of frames (a bucket that refills with packet time), and all of them together have one.
#   What exceeds it is counted.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport malloc, realloc
from libc.string cimport memcpy, memset

from fieldwatch_ext.client_hello cimport hello_hash
from fieldwatch_ext.hashing cimport Seed, copy_words, hash4, hash_octets
from fieldwatch_ext.head cimport (
    FIELD_HOST, FIELD_SERVER, FIELD_USER_AGENT, FIELD_VIA, HEAD_ORIGIN, HEAD_RESPONSE, HEAD_UNKNOWN, head_fields,
    head_form, line_end
)
from fieldwatch_ext.names cimport answers_hash
from fieldwatch_ext.packet cimport (
    SLOW_CDP, SLOW_DHCP, SLOW_DHCPV6, SLOW_DNS, SLOW_HTTP, SLOW_LLDP, SLOW_QUIC, SLOW_SMB, SLOW_TCP_SYN,
    SLOW_TLS, Packet
)
from fieldwatch_ext.silent cimport (
    DHCP_CLIENT_MAC, DHCP_OPTIONS, DHCP_TRANSACTION, dhcp_binds, is_silent, smb_is_silent
)
from fieldwatch_ext.syn cimport syn_hash
from fieldwatch_ext.wire cimport mac48

cdef enum:
    HOSTS = 4096                # buckets; hosts that meet in one take it from each other
    HOST_BURST = 1_000          # frames
    HOST_PERIOD_NS = 20_000_000     # one more each
    SUM_BURST = 50_000
    SUM_PERIOD_NS = 250_000
    SAID = 4096                 # messages remembered; those that meet in one place take it from each other
    REPEAT_NS = 600_000_000_000     # far less than the hour after which a fact is told again

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

cdef struct Said:
    uint64_t hash               # of host and message
    int64_t ts_ns

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
    Seed seed
    Bucket sum
    Bucket hosts[4096]
    Said said[4096]


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


cdef inline uint64_t _host(const SlowRing* r, const Packet* k) noexcept nogil:
    # Whoever sent it, by address, or by MAC where there is none.
    cdef uint64_t host[4]
    host[0] = k.src[0] if k.version else 0
    host[1] = k.src[1] if k.version else 0
    host[2] = 0 if k.version or k.src_mac == NULL else mac48(k.src_mac)
    host[3] = k.version
    return hash4(&r.seed, host)


cdef inline bint _allowed(SlowRing* r, const Packet* k) noexcept nogil:
    # Whether a dissector may look at this frame: its sender has not asked for too much.
    cdef uint64_t hash = _host(r, k)
    cdef Bucket* b = &r.hosts[hash & (HOSTS - 1)]
    if b.tag != <uint32_t>(hash >> 32):
        b.tag = <uint32_t>(hash >> 32)
        b.used = 0
        b.last_ns = k.ts_ns
    if _take(b, k.ts_ns, HOST_BURST, HOST_PERIOD_NS) and _take(&r.sum, k.ts_ns, SUM_BURST, SUM_PERIOD_NS):
        return True
    r.limited += 1
    return False


cdef inline bint _was_said(SlowRing* r, uint64_t hash, int64_t ts_ns) noexcept nogil:
    # A short time ago; and now it was.
    cdef Said* said = &r.said[hash & (SAID - 1)]
    if said.hash == hash and <uint64_t>ts_ns - <uint64_t>said.ts_ns < <uint64_t>REPEAT_NS:
        return True
    said.hash = hash
    said.ts_ns = ts_ns
    return False


cdef inline bint _is_repeat(SlowRing* r, const Packet* k) noexcept nogil:
    # Whether its sender said the same a short time ago. A binding of DHCP tells when an address was last asked for, and
    # a hello of QUIC is put together from messages: each of theirs counts.
    cdef uint64_t hash = _host(r, k) + k.slow ^ k.vlans
    if k.slow == SLOW_QUIC or k.slow == SLOW_DHCPV6:
        return False
    if k.slow == SLOW_TCP_SYN:
        hash = syn_hash(&r.seed, hash, k.payload, k.payload_octets)
    elif k.slow == SLOW_DNS:
        hash = answers_hash(&r.seed, hash, k)
    elif k.slow == SLOW_DHCP and k.payload_octets >= DHCP_OPTIONS:
        if dhcp_binds(k.payload, k.payload_octets):
            return False
        hash = hash_octets(&r.seed, hash, k.payload, DHCP_TRANSACTION)
        hash = hash_octets(&r.seed, hash, k.payload + DHCP_CLIENT_MAC, k.payload_octets - DHCP_CLIENT_MAC)
    else:
        hash = hash_octets(&r.seed, hash, k.payload, k.payload_octets)
    return _was_said(r, hash, k.ts_ns)


cdef inline bint _tells_head(SlowRing* r, const Packet* k) noexcept nogil:
    # Whether the head of HTTP in a segment could be news. A request tells something of the server, too.
    cdef int form = head_form(k.data, k.data_octets)
    cdef int fields, telling
    cdef uint64_t hash
    if form == HEAD_UNKNOWN:
        r.silent += 1
        return False
    hash = _host(r, k) + SLOW_HTTP ^ k.vlans
    if form == HEAD_RESPONSE:
        telling = FIELD_SERVER
    else:
        telling = FIELD_USER_AGENT | FIELD_HOST if form == HEAD_ORIGIN else FIELD_USER_AGENT
        hash = hash_octets(&r.seed, hash + form, <const uint8_t*>k.dst, 16)
    fields = head_fields(k.data, k.data_octets, line_end(k.data, k.data_octets, 0), &r.seed, &hash)
    if fields & FIELD_VIA:
        telling &= FIELD_HOST               # a cache's own programs do not stand in what it passes on
    if not fields & telling:
        r.silent += 1
        return False
    if _was_said(r, hash, k.ts_ns):
        r.repeated += 1
        return False
    return True


cdef inline bint _is_known_hello(SlowRing* r, const Packet* k) noexcept nogil:
    # Whether its client greeted the server in the same way a short time ago.
    cdef uint64_t hash = hash_octets(&r.seed, _host(r, k) + SLOW_TLS ^ k.vlans, <const uint8_t*>k.dst, 16)
    return hello_hash(&r.seed, k.data, k.data_octets, &hash) and _was_said(r, hash, k.ts_ns)


cdef inline bint slow_wants(SlowRing* r, const Packet* k, int kind) noexcept nogil:
    # Whether a dissector is to look at this segment, by which a stream or a message of one begins.
    if r.unwanted >> kind & 1:
        return False
    if kind == SLOW_HTTP and not _tells_head(r, k):
        return False
    if kind == SLOW_SMB and smb_is_silent(k.data, k.data_octets):
        r.silent += 1
        return False
    if kind == SLOW_TLS and _is_known_hello(r, k):
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
    elif _is_repeat(r, k):
        r.repeated += 1
    elif _allowed(r, k):
        slow_head(&head, k, k.slow, number, k.src_port, k.dst_port)
        slow_add(r, &head, k.payload, k.payload_octets)
