# What an IP address says about its sender: local, forwarded, or nothing. Addresses are words as they lie in the frame.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fieldwatch_ext.packet cimport SEEN_FORWARD, SEEN_IP, SEEN_NOT, Packet

cdef extern from *:
    """
    /* What the first octet of an IPv4 address says about its holder. */
    enum { FW_NOBODY, FW_PUBLIC, FW_LOCAL, FW_SECOND_SAYS };
    static const uint8_t fw_first_octet[256] = {
        [1 ... 9] = FW_PUBLIC, [10] = FW_LOCAL, [11 ... 99] = FW_PUBLIC, [100] = FW_SECOND_SAYS,
        [101 ... 126] = FW_PUBLIC, [128 ... 168] = FW_PUBLIC, [169] = FW_SECOND_SAYS, [170 ... 171] = FW_PUBLIC,
        [172] = FW_SECOND_SAYS, [173 ... 191] = FW_PUBLIC, [192] = FW_SECOND_SAYS, [193 ... 223] = FW_PUBLIC,
    };
    """
    int NOBODY "FW_NOBODY", LOCAL "FW_LOCAL", SECOND_SAYS "FW_SECOND_SAYS"
    const uint8_t* FIRST_OCTET "fw_first_octet"

cdef enum:
    MAX_PREFIXES = 256
    HOPS_ON_PURPOSE = 32        # up to here a hop limit may be a traceroute's, a multicast's, an application's

cdef struct Prefix:
    uint64_t net[2]
    uint64_t mask[2]
    uint8_t version

cdef struct Prefixes:
    int count
    Prefix item[256]


cdef inline bint bindable(uint8_t version, const uint64_t* ip) noexcept nogil:
    # An address that a host may hold: not unspecified, loopback, multicast or broadcast.
    cdef uint32_t first = ip[0] & 0xFF
    if version == 4:
        return FIRST_OCTET[first] != NOBODY
    if first == 0xFF:
        return False
    return ip[0] != 0 or (ip[1] << 8) != 0     # ::0 to ::ff hold the unspecified and the loopback address


cdef inline bint is_local(uint8_t version, const uint64_t* ip, const Prefixes* extra) noexcept nogil:
    # RFC 1918, RFC 6598, RFC 3927; RFC 4193, RFC 4291 section 2.5.6; or a prefix of the user's.
    cdef uint32_t a = ip[0] & 0xFF
    cdef uint32_t b = (ip[0] >> 8) & 0xFF
    cdef int i
    if version == 4:
        if FIRST_OCTET[a] == LOCAL:
            return True
        if FIRST_OCTET[a] == SECOND_SAYS and (
            (a == 192 and b == 168) or (a == 172 and (b & 0xF0) == 16) or (a == 100 and (b & 0xC0) == 64)
            or (a == 169 and b == 254)
        ):
            return True
    elif (a & 0xFE) == 0xFC or (a == 0xFE and (b & 0xC0) == 0x80):
        return True
    for i in range(extra.count):
        if (
            extra.item[i].version == version
            and (ip[0] & extra.item[i].mask[0]) == extra.item[i].net[0]
            and (ip[1] & extra.item[i].mask[1]) == extra.item[i].net[1]
        ):
            return True
    return False


cdef inline bint counted_down(uint8_t hop_limit) noexcept nogil:
    # A router had it: systems begin at 64, 128 or 255.
    return hop_limit > HOPS_ON_PURPOSE and hop_limit != 64 and hop_limit != 128 and hop_limit != 255


cdef inline void judge_source(Packet* k, const Prefixes* extra) noexcept nogil:
    # How the source address counts for the MAC that sent the frame. A public IPv4 source was forwarded, whatever its
    # TTL says: gateways of virtual machines send all with 64. A global IPv6 address is what every host has.
    cdef bint local
    k.seen = SEEN_NOT
    k.seen_local = False
    if not bindable(k.version, k.src):
        return
    local = is_local(k.version, k.src, extra)
    k.seen_local = local
    if k.mac != 0 and (counted_down(k.hop_limit) or (k.version == 4 and not local)):
        k.seen = SEEN_FORWARD
    elif local:
        k.seen = SEEN_IP
