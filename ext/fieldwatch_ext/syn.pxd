# What a TCP SYN shows of the stack that sent it, as a hash: two of a host with the same hash have the same fingerprint.
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset

from fieldwatch_ext.hashing cimport Seed, hash_octets
from fieldwatch_ext.network cimport IP4_FRAGMENT, IP4_TTL, IP6_HEADER_LEN, IP6_HOP_LIMIT, IP6_NEXT
from fieldwatch_ext.transport cimport PROTOCOL_TCP, TCP_HEADER_LEN, TCP_OFFSET
from fieldwatch_ext.wire cimport be32, fold

cdef enum:
    OPTION_END = 0              # RFC 9293 section 3.1
    OPTION_NOP = 1
    OPTION_TIMESTAMPS = 8       # RFC 7323 section 3.2
    MOST_OPTIONS_LEN = 40


cdef inline void blank_timestamps(uint8_t* p, size_t have) noexcept nogil:
    # Zeros in the place of values that are another each time, in TCP options as far as they can be walked.
    cdef size_t at = 0
    cdef size_t length
    while at < have and p[at] != OPTION_END:
        length = 1 if p[at] == OPTION_NOP else p[at + 1] if at + 1 < have else 0
        if length == 0 or at + length > have:
            return
        if p[at] == OPTION_TIMESTAMPS and length > 2:
            memset(p + at + 2, 0, length - 2)
        at += length


cdef inline uint64_t _options_hash(const Seed* seed, uint64_t start, const uint8_t* p, size_t have) noexcept nogil:
    cdef uint8_t kept[40]
    memcpy(kept, p, have)
    blank_timestamps(kept, have)
    return hash_octets(seed, start, kept, have)


cdef inline uint64_t _first_ttl(uint8_t ttl) noexcept nogil:
    # What the sender began with, by all that is known of stacks.
    return 32 if ttl <= 32 else 64 if ttl <= 64 else 128 if ttl <= 128 else 255


cdef inline uint64_t syn_hash(const Seed* seed, uint64_t start, const uint8_t* ip, size_t octets) noexcept nogil:
    # `ip`: a packet from its first octet to the end of its TCP header. With IPv6 extension headers each is another.
    cdef size_t tcp = IP6_HEADER_LEN if ip[0] >> 4 == 6 else <size_t>(ip[0] & 0x0F) * 4
    cdef uint64_t word
    if octets < tcp + TCP_HEADER_LEN or octets > tcp + TCP_HEADER_LEN + MOST_OPTIONS_LEN:
        return hash_octets(seed, start, ip, octets)
    if ip[0] >> 4 == 6:
        if ip[IP6_NEXT] != PROTOCOL_TCP:
            return hash_octets(seed, start, ip, octets)
        word = _first_ttl(ip[IP6_HOP_LIMIT])
    else:
        word = _first_ttl(ip[IP4_TTL]) | <uint64_t>(ip[IP4_FRAGMENT] & 0xE0) << 8 | <uint64_t>tcp << 16
    word |= <uint64_t>be32(ip + tcp + TCP_OFFSET) << 32     # length, flags, window
    return _options_hash(
        seed, fold(start ^ seed.word[4], word ^ seed.word[5]), ip + tcp + TCP_HEADER_LEN, octets - tcp - TCP_HEADER_LEN
    )
