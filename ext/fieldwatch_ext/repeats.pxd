# What hosts said to dissectors a short time ago: the same again could be no news. Most announcements are repeats.
#
# The same is what one host sends octet by octet, except that SYNs are the same where their fingerprints are, heads of
# HTTP where the lines that count are, hellos of TLS without what is another each time, DHCP and answers of DNS whatever
# their transaction.
from libc.stdint cimport int64_t, uint8_t, uint64_t

from fieldwatch_ext.client_hello cimport hello_hash
from fieldwatch_ext.hashing cimport Seed, hash4, hash_octets
from fieldwatch_ext.head cimport (
    FIELD_HOST, FIELD_SERVER, FIELD_USER_AGENT, FIELD_VIA, HEAD_ORIGIN, HEAD_RESPONSE, HEAD_UNKNOWN, head_fields,
    head_form, line_end
)
from fieldwatch_ext.names cimport answers_hash
from fieldwatch_ext.packet cimport (
    SLOW_DHCP, SLOW_DHCPV6, SLOW_DNS, SLOW_HTTP, SLOW_QUIC, SLOW_TCP_SYN, SLOW_TLS, Packet
)
from fieldwatch_ext.silent cimport DHCP_CLIENT_MAC, DHCP_OPTIONS, DHCP_TRANSACTION, dhcp_binds
from fieldwatch_ext.syn cimport syn_hash
from fieldwatch_ext.wire cimport mac48

cdef enum:
    SAID = 4096                 # messages remembered; those that meet in one place take it from each other
    REPEAT_NS = 600_000_000_000     # far less than the hour after which a fact is told again

cdef enum:
    WORTH_NOTHING = 0           # it tells nothing that its dissector looks for
    WORTH_REPEAT
    WORTH_NEWS

cdef struct Said:
    uint64_t hash               # of host and message
    int64_t ts_ns

cdef struct Repeats:
    Seed seed
    Said said[4096]


cdef inline uint64_t host_hash(const Repeats* r, const Packet* k) noexcept nogil:
    # Whoever sent it, by address, or by MAC where there is none.
    cdef uint64_t host[4]
    host[0] = k.src[0] if k.version else 0
    host[1] = k.src[1] if k.version else 0
    host[2] = 0 if k.version or k.src_mac == NULL else mac48(k.src_mac)
    host[3] = k.version
    return hash4(&r.seed, host)


cdef inline bint _was_said(Repeats* r, uint64_t hash, int64_t ts_ns) noexcept nogil:
    # A short time ago; and now it was.
    cdef Said* said = &r.said[hash & (SAID - 1)]
    if said.hash == hash and <uint64_t>ts_ns - <uint64_t>said.ts_ns < <uint64_t>REPEAT_NS:
        return True
    said.hash = hash
    said.ts_ns = ts_ns
    return False


cdef inline bint is_repeat(Repeats* r, const Packet* k) noexcept nogil:
    # Whether its sender said the same a short time ago. A binding of DHCP tells when an address was last asked for, and
    # a hello of QUIC is put together from messages: each of theirs counts.
    cdef uint64_t hash = host_hash(r, k) + k.slow ^ k.vlans
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


cdef inline int head_worth(Repeats* r, const Packet* k) noexcept nogil:
    # What the head of HTTP in a segment is worth. A request tells something of the server, too.
    cdef int form = head_form(k.data, k.data_octets)
    cdef int fields, telling
    cdef uint64_t hash
    if form == HEAD_UNKNOWN:
        return WORTH_NOTHING
    hash = host_hash(r, k) + SLOW_HTTP ^ k.vlans
    if form == HEAD_RESPONSE:
        telling = FIELD_SERVER
    else:
        telling = FIELD_USER_AGENT | FIELD_HOST if form == HEAD_ORIGIN else FIELD_USER_AGENT
        hash = hash_octets(&r.seed, hash + form, <const uint8_t*>k.dst, 16)
    fields = head_fields(k.data, k.data_octets, line_end(k.data, k.data_octets, 0), &r.seed, &hash)
    if fields & FIELD_VIA:
        telling &= FIELD_HOST               # a cache's own programs do not stand in what it passes on
    if not fields & telling:
        return WORTH_NOTHING
    return WORTH_REPEAT if _was_said(r, hash, k.ts_ns) else WORTH_NEWS


cdef inline bint is_known_hello(Repeats* r, const Packet* k) noexcept nogil:
    # Whether its client greeted the server in the same way a short time ago.
    cdef uint64_t hash = hash_octets(&r.seed, host_hash(r, k) + SLOW_TLS ^ k.vlans, <const uint8_t*>k.dst, 16)
    return hello_hash(&r.seed, k.data, k.data_octets, &hash) and _was_said(r, hash, k.ts_ns)
