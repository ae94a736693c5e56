"""AES-128 (FIPS 197) and the opening side of its GCM (NIST SP 800-38D). The contract stands in aes128.pyi.

The tables are made from their definitions when the module is imported. Nothing here runs in constant time, and nothing
need: the keys of what it opens stand in the packet itself, for everybody to derive (RFC 9001 section 5.2).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from fieldwatch_ext.wire cimport be32

cdef enum:
    BLOCK = 16
    KEY_LEN = 16
    NONCE_LEN = 12
    TAG_LEN = 16
    ROUNDS = 10
    KEY_WORDS = 4
    SCHEDULE_WORDS = 44         # 4 for each round, and 4 before the first

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    static inline uint64_t fw_be64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return __builtin_bswap64(v); }
    static inline void fw_put_be32(uint8_t *p, uint32_t v) { v = __builtin_bswap32(v); memcpy(p, &v, 4); }
    static inline void fw_put_be64(uint8_t *p, uint64_t v) { v = __builtin_bswap64(v); memcpy(p, &v, 8); }
    """
    uint64_t be64 "fw_be64"(const uint8_t* p) noexcept nogil
    void put_be32 "fw_put_be32"(uint8_t* p, uint32_t v) noexcept nogil
    void put_be64 "fw_put_be64"(uint8_t* p, uint64_t v) noexcept nogil

cdef struct Schedule:
    uint32_t word[SCHEDULE_WORDS]

cdef struct Element:            # of GF(2^128); the highest bit of `high` is the coefficient of x^0
    uint64_t high
    uint64_t low

cdef uint8_t substitute[256]
cdef uint32_t column[256]       # one octet through SubBytes and MixColumns: (2s, s, s, 3s)
cdef uint64_t remainder[16]      # what four bits that are shifted out of an element come to in its upper half


cdef inline uint8_t doubled(uint8_t value) noexcept nogil:
    return <uint8_t>(value << 1) ^ (0x1B if value & 0x80 else 0)


cdef inline uint8_t turned(uint8_t value, int bits) noexcept nogil:
    return <uint8_t>(value << bits | value >> (8 - bits))


cdef inline uint32_t turned32(uint32_t value, int bits) noexcept nogil:
    return value >> bits | value << (32 - bits)


cdef void make_tables() noexcept nogil:
    # FIPS 197 section 5.1.1: the inverse in GF(2^8), then an affine map. The powers of 3 are all elements but 0.
    cdef uint8_t power[255]
    cdef uint8_t value = 1
    cdef uint8_t inverse, s
    cdef int i
    for i in range(255):
        power[i] = value
        value ^= doubled(value)
    substitute[0] = 0x63
    for i in range(255):
        inverse = power[(255 - i) % 255]
        substitute[power[i]] = (
            inverse ^ turned(inverse, 1) ^ turned(inverse, 2) ^ turned(inverse, 3) ^ turned(inverse, 4) ^ 0x63
        )
    for i in range(256):
        s = substitute[i]
        column[i] = <uint32_t>doubled(s) << 24 | <uint32_t>s << 16 | <uint32_t>s << 8 | (doubled(s) ^ s)


make_tables()


cdef inline uint32_t substituted(uint32_t word) noexcept nogil:
    return (
        <uint32_t>substitute[word >> 24] << 24
        | <uint32_t>substitute[word >> 16 & 0xFF] << 16
        | <uint32_t>substitute[word >> 8 & 0xFF] << 8
        | substitute[word & 0xFF]
    )


cdef void expand(const uint8_t* key, Schedule* schedule) noexcept nogil:
    # FIPS 197 section 5.2.
    cdef uint32_t word
    cdef uint8_t constant = 1
    cdef int i
    for i in range(KEY_WORDS):
        schedule.word[i] = be32(key + 4 * i)
    for i in range(KEY_WORDS, SCHEDULE_WORDS):
        word = schedule.word[i - 1]
        if i % KEY_WORDS == 0:
            word = substituted(turned32(word, 24)) ^ <uint32_t>constant << 24
            constant = doubled(constant)
        schedule.word[i] = schedule.word[i - KEY_WORDS] ^ word


cdef inline uint32_t mixed(uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t key) noexcept nogil:
    # One column behind SubBytes, ShiftRows, MixColumns and AddRoundKey, from the columns that its octets stand in.
    return (
        column[a >> 24]
        ^ turned32(column[b >> 16 & 0xFF], 8)
        ^ turned32(column[c >> 8 & 0xFF], 16)
        ^ turned32(column[d & 0xFF], 24)
        ^ key
    )


cdef inline uint32_t last(uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t key) noexcept nogil:
    # The same of the last round, which has no MixColumns.
    return substituted(
        (a & <uint32_t>0xFF000000) | (b & 0x00FF0000) | (c & 0x0000FF00) | (d & 0x000000FF)
    ) ^ key


cdef inline void encrypt(const Schedule* schedule, const uint8_t* block, uint8_t* into) noexcept nogil:
    # FIPS 197 section 5.1, a column of the state to a word: in registers, hence no loop over them.
    cdef const uint32_t* key = &schedule.word[0]
    cdef uint32_t a = be32(block) ^ key[0]
    cdef uint32_t b = be32(block + 4) ^ key[1]
    cdef uint32_t c = be32(block + 8) ^ key[2]
    cdef uint32_t d = be32(block + 12) ^ key[3]
    cdef uint32_t e, f, g, h
    cdef int _round
    for _round in range(ROUNDS - 1):
        key += 4
        e = mixed(a, b, c, d, key[0])
        f = mixed(b, c, d, a, key[1])
        g = mixed(c, d, a, b, key[2])
        h = mixed(d, a, b, c, key[3])
        a, b, c, d = e, f, g, h
    put_be32(into, last(a, b, c, d, key[4]))
    put_be32(into + 4, last(b, c, d, a, key[5]))
    put_be32(into + 8, last(c, d, a, b, key[6]))
    put_be32(into + 12, last(d, a, b, c, key[7]))


cdef inline Element shifted(Element y) noexcept nogil:
    # SP 800-38D section 6.3: times x.
    cdef uint64_t carry = 0 - (y.low & 1)
    y.low = y.low >> 1 | y.high << 63
    y.high = y.high >> 1 ^ (<uint64_t>0xE1 << 56 & carry)
    return y


cdef void make_remainders() noexcept nogil:
    cdef Element e
    cdef int i, _j
    for i in range(16):
        e.high = 0
        e.low = i
        for _j in range(4):
            e = shifted(e)
        remainder[i] = e.high


make_remainders()


cdef void make_multiples(Element key, Element* multiple) noexcept nogil:
    # The products of the key and each four bits.
    cdef int bit, i
    multiple[0].high = multiple[0].low = 0
    multiple[8] = key
    multiple[4] = shifted(multiple[8])
    multiple[2] = shifted(multiple[4])
    multiple[1] = shifted(multiple[2])
    for i in range(3, 16):
        bit = i & -i
        if bit != i:
            multiple[i].high = multiple[bit].high ^ multiple[i - bit].high
            multiple[i].low = multiple[bit].low ^ multiple[i - bit].low


cdef inline Element product(Element x, const Element* multiple) noexcept nogil:
    # Four bits of `x` at a time, the highest powers first.
    cdef Element z
    cdef uint64_t word, carry
    cdef int four, i
    z.high = z.low = 0
    for i in range(32):
        word = x.low if i < 16 else x.high
        four = <int>(word >> (4 * (i & 15)) & 0xF)
        carry = remainder[z.low & 0xF]
        z.low = (z.low >> 4 | z.high << 60) ^ multiple[four].low
        z.high = z.high >> 4 ^ carry ^ multiple[four].high
    return z


cdef Element hashed(Element state, const Element* multiple, const uint8_t* octets, size_t count) noexcept nogil:
    # GHASH (section 6.4) over octets that are padded with zeros to whole blocks.
    cdef uint8_t block[BLOCK]
    cdef size_t at = 0
    cdef size_t part
    while at < count:
        part = min(<size_t>BLOCK, count - at)
        memset(block, 0, BLOCK)
        memcpy(block, octets + at, part)
        state.high ^= be64(block)
        state.low ^= be64(block + 8)
        state = product(state, multiple)
        at += part
    return state


cdef void make_tag(
    const Schedule* schedule,
    const uint8_t* counter,
    const uint8_t* associated,
    size_t associated_count,
    const uint8_t* sealed,
    size_t sealed_count,
    uint8_t* into,
) noexcept nogil:
    # Section 7.1: the hash of both parts and their lengths in bits, under the first block of the key stream.
    cdef uint8_t block[BLOCK]
    cdef Element multiple[16]
    cdef Element key, state
    memset(block, 0, BLOCK)
    encrypt(schedule, block, block)
    key.high = be64(block)
    key.low = be64(block + 8)
    make_multiples(key, multiple)
    state.high = state.low = 0
    state = hashed(state, multiple, associated, associated_count)
    state = hashed(state, multiple, sealed, sealed_count)
    state.high ^= <uint64_t>associated_count * 8
    state.low ^= <uint64_t>sealed_count * 8
    state = product(state, multiple)
    encrypt(schedule, counter, block)
    put_be64(into, state.high ^ be64(block))
    put_be64(into + 8, state.low ^ be64(block + 8))


cdef void decrypt(
    const Schedule* schedule, uint8_t* counter, const uint8_t* sealed, size_t count, uint8_t* into
) noexcept nogil:
    # Counter mode: the counter is the last word of the block, and the first block of the stream was the tag's.
    cdef uint8_t stream[BLOCK]
    cdef uint8_t block[BLOCK]
    cdef size_t at = 0
    cdef size_t part
    cdef int i
    memset(block, 0, BLOCK)
    while at < count:
        part = min(<size_t>BLOCK, count - at)
        put_be32(counter + NONCE_LEN, be32(counter + NONCE_LEN) + 1)
        encrypt(schedule, counter, stream)
        memcpy(block, sealed + at, part)
        for i in range(BLOCK):
            block[i] ^= stream[i]
        memcpy(into + at, block, part)
        at += part


def encrypt_block(bytes key not None, bytes block not None):
    cdef Schedule schedule
    cdef uint8_t into[BLOCK]
    if len(key) != KEY_LEN or len(block) != BLOCK:
        raise ValueError(f"a key of {KEY_LEN} octets and a block of {BLOCK}, not {len(key)} and {len(block)}")
    expand(<const uint8_t*>PyBytes_AS_STRING(key), &schedule)
    encrypt(&schedule, <const uint8_t*>PyBytes_AS_STRING(block), into)
    return PyBytes_FromStringAndSize(<char*>into, BLOCK)


def open_gcm(bytes key not None, bytes nonce not None, bytes associated not None, bytes sealed not None):
    cdef Schedule schedule
    cdef uint8_t counter[BLOCK]
    cdef uint8_t tag[TAG_LEN]
    cdef const uint8_t* octets = <const uint8_t*>PyBytes_AS_STRING(sealed)
    cdef size_t count
    if len(key) != KEY_LEN or len(nonce) != NONCE_LEN:
        raise ValueError(f"a key of {KEY_LEN} octets and a nonce of {NONCE_LEN}, not {len(key)} and {len(nonce)}")
    if len(sealed) < TAG_LEN:
        return None
    count = len(sealed) - TAG_LEN
    expand(<const uint8_t*>PyBytes_AS_STRING(key), &schedule)
    memcpy(counter, PyBytes_AS_STRING(nonce), NONCE_LEN)
    put_be32(counter + NONCE_LEN, 1)
    make_tag(
        &schedule, counter, <const uint8_t*>PyBytes_AS_STRING(associated), len(associated), octets, count, tag
    )
    if memcmp(tag, octets + count, TAG_LEN) != 0:
        return None
    opened = PyBytes_FromStringAndSize(NULL, count)
    decrypt(&schedule, counter, octets, count, <uint8_t*>PyBytes_AS_STRING(opened))
    return opened
