# The one hash of the kernel: seeded, so that nobody outside can make keys collide, and fully mixing.
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from fieldwatch_ext.wire cimport fold, raw64

cdef struct Seed:
    uint64_t word[6]


cdef inline uint64_t mix(uint64_t z) noexcept nogil:
    # The finalizer of splitmix64 (Steele, Lea and Flood 2014).
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline void seed_from(Seed* seed, uint64_t value) noexcept nogil:
    cdef int i
    for i in range(6):
        value += <uint64_t>0x9E3779B97F4A7C15
        seed.word[i] = mix(value)


cdef inline uint64_t hash6(const Seed* seed, const uint64_t* w) noexcept nogil:
    cdef uint64_t a = fold(w[0] ^ seed.word[0], w[1] ^ seed.word[1])
    cdef uint64_t b = fold(w[2] ^ seed.word[2], w[3] ^ seed.word[3])
    cdef uint64_t c = fold(w[4] ^ seed.word[4], w[5] ^ seed.word[5])
    # Added with distinct weights: equal parts must not cancel out (two equal addresses, for one).
    return fold(a + (b << 1 | b >> 63) ^ seed.word[1], c + (b >> 7 | b << 57) ^ seed.word[4])


cdef inline uint64_t hash4(const Seed* seed, const uint64_t* w) noexcept nogil:
    cdef uint64_t a = fold(w[0] ^ seed.word[2], w[1] ^ seed.word[3])
    cdef uint64_t b = fold(w[2] ^ seed.word[0], w[3] ^ seed.word[5])
    return fold(a ^ seed.word[4], b ^ seed.word[1])


cdef inline uint64_t hash_octets(const Seed* seed, uint64_t start, const uint8_t* p, size_t octets) noexcept nogil:
    # Of any number of octets, going on from another hash.
    cdef uint64_t last[2]
    cdef size_t rest = octets
    while rest >= 16:
        start = fold(raw64(p) ^ start ^ seed.word[0], raw64(p + 8) ^ seed.word[1])
        p += 16
        rest -= 16
    last[0] = last[1] = 0
    memcpy(last, p, rest)
    return fold(last[0] ^ start ^ seed.word[2], last[1] ^ octets << 32 ^ seed.word[3])


cdef inline void copy_words(uint64_t* to, const uint64_t* words, int count) noexcept nogil:
    cdef int i
    for i in range(count):
        to[i] = words[i]


cdef inline bint same6(const uint64_t* a, const uint64_t* b) noexcept nogil:
    return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) | (a[5] ^ b[5])) == 0


cdef inline bint same4(const uint64_t* a, const uint64_t* b) noexcept nogil:
    return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3])) == 0
