# Octets of a frame as integers. The caller has checked the length; nothing here reads one octet more than it says.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    static inline uint16_t fw_be16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return __builtin_bswap16(v); }
    static inline uint32_t fw_be32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return __builtin_bswap32(v); }
    static inline uint32_t fw_raw32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
    static inline uint64_t fw_raw64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
    static inline uint64_t fw_mac(const uint8_t *p)
    {
        uint32_t low; uint16_t high;
        memcpy(&low, p, 4); memcpy(&high, p + 4, 2);
        return (uint64_t)low | (uint64_t)high << 32;
    }
    /* Multiply to 128 bits and fold: every bit of both operands reaches every bit of the result. */
    static inline uint64_t fw_fold(uint64_t a, uint64_t b)
    {
        __uint128_t product = (__uint128_t)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    static inline void fw_prefetch(const void *p) { __builtin_prefetch(p); }
    static inline int fw_lowest_bit(uint64_t v) { return __builtin_ctzll(v); }
    """
    uint16_t be16 "fw_be16"(const uint8_t* p) noexcept nogil
    uint32_t be32 "fw_be32"(const uint8_t* p) noexcept nogil
    uint32_t raw32 "fw_raw32"(const uint8_t* p) noexcept nogil   # octets as they lie, for comparing and keeping
    uint64_t raw64 "fw_raw64"(const uint8_t* p) noexcept nogil
    uint64_t mac48 "fw_mac"(const uint8_t* p) noexcept nogil     # 6 octets, the first one lowest
    uint64_t fold "fw_fold"(uint64_t a, uint64_t b) noexcept nogil
    void prefetch "fw_prefetch"(const void* p) noexcept nogil
    int lowest_bit "fw_lowest_bit"(uint64_t v) noexcept nogil    # of a value that is not 0
