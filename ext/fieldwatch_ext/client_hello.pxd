# What a ClientHello of TLS (RFC 8446 section 4.1.2) says of its client and for whom it is, as a hash.
#
# Two of a host to the same server with the same hash give the same facts: of the random, the session, the key shares
# and GREASE (RFC 8701), which are another each time, it has nothing, and nothing of the order of extensions.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fieldwatch_ext.content cimport TLS_CLIENT_HELLO, TLS_MESSAGE_LEN, TLS_RECORD_LEN
from fieldwatch_ext.hashing cimport Seed, hash_octets
from fieldwatch_ext.wire cimport be16, be32, fold

cdef enum:
    HELLO_SESSION = 34          # behind the legacy version and the random
    EXTENSION_HEADER_LEN = 4
    SERVER_NAME = 0
    SIGNATURE_ALGORITHMS = 13
    ALPN = 16
    SUPPORTED_VERSIONS = 43


cdef inline bint is_grease(uint16_t number) noexcept nogil:
    # RFC 8701.
    return number & 0x0F0F == 0x0A0A and number >> 8 == number & 0xFF


cdef inline uint64_t _numbers_hash(const Seed* seed, uint64_t start, const uint8_t* p, size_t octets) noexcept nogil:
    # Of 16 bits each, in their order; an octet that is left over counts as well.
    cdef size_t at = 0
    while at + 2 <= octets:
        if not is_grease(be16(p + at)):
            start = fold(start ^ seed.word[0], be16(p + at) ^ seed.word[1])
        at += 2
    return hash_octets(seed, start, p + at, octets - at)


cdef inline uint32_t _read_kind(uint16_t kind) noexcept nogil:
    # A bit for each kind of extension whose content counts.
    if kind == SERVER_NAME:
        return 1
    if kind == SIGNATURE_ALGORITHMS:
        return 2
    if kind == ALPN:
        return 4
    return 8 if kind == SUPPORTED_VERSIONS else 0


cdef inline bint _extensions_hash(
    const Seed* seed, const uint8_t* p, size_t octets, uint64_t* hash
) noexcept nogil:
    cdef size_t at = 0
    cdef size_t length
    cdef uint64_t sum = 0
    cdef uint64_t one
    cdef uint32_t met = 0
    cdef uint32_t bit
    cdef uint16_t kind
    while at < octets:
        if octets - at < EXTENSION_HEADER_LEN:
            return False
        kind = be16(p + at)
        length = be16(p + at + 2)
        at += EXTENSION_HEADER_LEN
        if octets - at < length:
            return False
        bit = _read_kind(kind)
        if bit & met:
            return False        # which of two counts depends on their order
        met |= bit
        if kind == SUPPORTED_VERSIONS and (length == 0 or p[at] != length - 1):
            return False
        if not is_grease(kind):
            one = fold(hash[0] ^ seed.word[2], kind ^ seed.word[3])
            if kind == SUPPORTED_VERSIONS:
                one = _numbers_hash(seed, one, p + at + 1, length - 1)
            elif bit:
                one = hash_octets(seed, one, p + at, length)
            sum += one
        at += length
    hash[0] = fold(hash[0] ^ seed.word[4], sum ^ seed.word[5])
    return True


cdef inline bint hello_hash(const Seed* seed, const uint8_t* p, size_t have, uint64_t* hash) noexcept nogil:
    # Goes on from `hash`. False where the hello is not all in one record and in these octets, or contradicts itself.
    cdef size_t at = TLS_RECORD_LEN + TLS_MESSAGE_LEN
    cdef size_t end, length
    if have < at or p[TLS_RECORD_LEN] != TLS_CLIENT_HELLO:
        return False
    end = at + (be32(p + TLS_RECORD_LEN) & 0x00FFFFFF)
    if end > have or end > TLS_RECORD_LEN + <size_t>be16(p + 3) or end - at < HELLO_SESSION + 1:
        return False
    hash[0] = fold(hash[0] ^ seed.word[0], be16(p + at) ^ seed.word[1])
    at += HELLO_SESSION
    at += 1 + p[at]
    if at + 2 > end:
        return False
    length = be16(p + at)
    at += 2
    if at + length + 1 > end or length & 1:
        return False
    hash[0] = _numbers_hash(seed, hash[0], p + at, length)
    at += length
    at += 1 + p[at]             # compression methods
    if at == end:
        return True             # before TLS 1.3 a hello may end here
    if at + 2 > end or at + 2 + be16(p + at) != end:
        return False
    return _extensions_hash(seed, p + at + 2, end - at - 2, hash)
