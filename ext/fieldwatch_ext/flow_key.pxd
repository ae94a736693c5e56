# The key of a flow: the same for both directions, with the side that sent the frame beside it.
from libc.stdint cimport uint8_t, uint16_t, uint64_t

from fieldwatch_ext.hashing cimport Seed, hash6
from fieldwatch_ext.packet cimport key_meta
from fieldwatch_ext.wire cimport fold


cdef inline uint8_t flow_key(
    uint64_t* key, uint8_t version, uint8_t protocol, const uint64_t* src, const uint64_t* dst,
    uint16_t src_port, uint16_t dst_port, uint16_t tunnel, uint64_t vlans,
) noexcept nogil:
    # The result is the side of the source: 0 lower, 1 upper.
    # Directions alternate at random in traffic: without branches there is nothing to mispredict.
    cdef uint64_t upper = (
        (src[0] > dst[0]) | ((src[0] == dst[0]) & ((src[1] > dst[1]) | ((src[1] == dst[1]) & (src_port > dst_port))))
    )
    cdef uint64_t swap = 0 - upper
    cdef uint64_t first = (src[0] ^ dst[0]) & swap
    cdef uint64_t second = (src[1] ^ dst[1]) & swap
    cdef uint16_t ports = (src_port ^ dst_port) & <uint16_t>swap
    key[0] = src[0] ^ first
    key[1] = src[1] ^ second
    key[2] = dst[0] ^ first
    key[3] = dst[1] ^ second
    key[4] = key_meta(src_port ^ ports, dst_port ^ ports, protocol, version, tunnel)
    key[5] = vlans
    return <uint8_t>upper


cdef inline uint8_t flow_key4(
    uint64_t* key, uint8_t protocol, uint64_t src, uint64_t dst, uint16_t src_port, uint16_t dst_port
) noexcept nogil:
    # The same for IPv4 without tunnel and VLANs: address and port make one number of 48 bits.
    cdef uint64_t a = src << 16 | src_port
    cdef uint64_t b = dst << 16 | dst_port
    cdef uint64_t lower = min(a, b)
    cdef uint64_t upper = max(a, b)
    key[0] = lower >> 16
    key[1] = 0
    key[2] = upper >> 16
    key[3] = 0
    key[4] = key_meta(<uint16_t>lower, <uint16_t>upper, protocol, 4, 0)
    key[5] = 0
    return a > b


cdef inline uint64_t flow_hash(const Seed* seed, const uint64_t* key) noexcept nogil:
    # Of IPv4 less has to be mixed; which of the two it is stands in the key itself.
    if (key[4] >> 40 & 0xFF) == 4:
        return fold(
            fold((key[0] | key[2] << 32) ^ seed.word[0], key[4] ^ seed.word[1]) ^ seed.word[2], key[5] ^ seed.word[3]
        )
    return hash6(seed, key)


cdef inline uint8_t icmp_key(
    uint64_t* key, uint8_t version, uint8_t protocol, const uint64_t* src, const uint64_t* dst,
    uint8_t kind, uint8_t code, uint16_t ident, uint16_t tunnel, uint64_t vlans,
) noexcept nogil:
    # Echo request and reply: the identifier takes the place of a port. Other messages: type and code.
    cdef uint8_t request = 8 if version == 4 else 128
    cdef uint8_t reply = 0 if version == 4 else 129
    cdef bint echo = kind == request or kind == reply
    cdef uint16_t what = <uint16_t>((request << 8) if echo else (kind << 8 | code))
    cdef bint upper = src[0] > dst[0] or (src[0] == dst[0] and src[1] > dst[1])
    if echo and src[0] == dst[0] and src[1] == dst[1]:
        upper = kind == reply                   # a host that talks to itself
    key[0] = dst[0] if upper else src[0]
    key[1] = dst[1] if upper else src[1]
    key[2] = src[0] if upper else dst[0]
    key[3] = src[1] if upper else dst[1]
    key[4] = key_meta(ident if echo else 0, what, protocol, version, tunnel)
    key[5] = vlans
    return upper
