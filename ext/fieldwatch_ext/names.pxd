# Messages of name services (RFC 1035, RFC 1002, RFC 4795, RFC 6762): which tell nothing, which answers are the same.
from libc.stdint cimport uint8_t, uint16_t, uint64_t

from fieldwatch_ext.hashing cimport Seed, hash_octets
from fieldwatch_ext.packet cimport SLOW_DNS, SLOW_MDNS, SLOW_NBNS, Packet
from fieldwatch_ext.wire cimport be16

# RFC 1035 section 4.1; the name services of NetBIOS and of the link have the same header.
cdef enum:
    DNS_FLAGS = 2
    DNS_QUESTIONS = 4
    DNS_ANSWERS = 6
    DNS_AUTHORITY = 8
    DNS_ADDITIONAL = 10
    DNS_HEADER_LEN = 12
    DNS_QUESTION_LEN = 4        # behind the name
    DNS_RECORD_LEN = 10         # behind the name, up to the data
    DNS_RECORD_TTL = 4
    DNS_RECORD_DATA_LEN = 8
    DNS_RECORDS_MOST = 128      # those that are looked at
    DNS_ANSWERS_MOST = 16       # more than a server farm's: messages with more are the same by all their octets
    DNS_RESPONSE = 0x8000
    DNS_REFUSED = 0x780F        # operation and result; nothing is set in an answer to a query that was answered
    TYPE_A = 1
    TYPE_PTR = 12
    TYPE_AAAA = 28
    NBNS_CLAIMS = 1 << 5 | 1 << 8 | 1 << 9 | 1 << 15    # RFC 1002 section 4.2.1.1: registrations, refreshes


cdef inline size_t _behind_name(const uint8_t* p, size_t have, size_t at) noexcept nogil:
    # The offset behind a name of DNS, which a pointer may end; 0 where there is none.
    while at < have:
        if p[at] == 0:
            return at + 1
        if p[at] >= 0xC0:
            return at + 2
        if p[at] >= 0x40:
            return 0
        at += 1 + p[at]
    return 0


cdef inline bint _names_addresses(const uint8_t* p, size_t have) noexcept nogil:
    # Whether one of the answers is of a type that names an address, or cannot be found for what stands before it.
    cdef int questions = be16(p + DNS_QUESTIONS)
    cdef int answers = be16(p + DNS_ANSWERS)
    cdef size_t at = DNS_HEADER_LEN
    cdef uint16_t kind
    cdef int _i
    if questions > DNS_RECORDS_MOST or answers > DNS_RECORDS_MOST:
        return True
    for _i in range(questions):
        at = _behind_name(p, have, at)
        if at == 0:
            return True
        at += DNS_QUESTION_LEN
    for _i in range(answers):
        at = _behind_name(p, have, at)
        if at == 0 or at + DNS_RECORD_LEN > have:
            return True
        kind = be16(p + at)
        if kind == TYPE_A or kind == TYPE_AAAA or kind == TYPE_PTR:
            return True
        at += DNS_RECORD_LEN + be16(p + at + DNS_RECORD_DATA_LEN)
    return False


cdef inline int _records(const uint8_t* p) noexcept nogil:
    return be16(p + DNS_ANSWERS) | be16(p + DNS_AUTHORITY) | be16(p + DNS_ADDITIONAL)


cdef inline bint names_are_silent(const uint8_t* p, size_t have, int kind) noexcept nogil:
    # Whether a message tells nothing that its dissector looks for.
    cdef uint16_t flags
    if have < DNS_HEADER_LEN:
        return False
    flags = be16(p + DNS_FLAGS)
    if kind == SLOW_NBNS:
        if flags & DNS_RESPONSE:
            return flags & 0x0F != 0 or (_records(p) == 0)
        return not NBNS_CLAIMS >> (flags >> 11 & 0x0F) & 1 or be16(p + DNS_ADDITIONAL) == 0
    if flags & DNS_REFUSED:
        return True
    if kind == SLOW_MDNS:
        if flags & DNS_RESPONSE:
            return be16(p + DNS_ANSWERS) == 0 and be16(p + DNS_ADDITIONAL) == 0
        return be16(p + DNS_AUTHORITY) == 0     # of queries only probes tell something
    if not flags & DNS_RESPONSE or be16(p + DNS_ANSWERS) == 0:
        return True
    return kind == SLOW_DNS and not _names_addresses(p, have)


cdef inline uint64_t answers_hash(const Seed* seed, uint64_t host, const Packet* k) noexcept nogil:
    # Of what a response of DNS says, whoever asked for it: without its number, and without the time that each answer is
    # good for. Goes on from the hash of whoever answers.
    cdef const uint8_t* p = k.payload
    cdef size_t have = k.payload_octets
    cdef size_t at = DNS_HEADER_LEN
    cdef size_t from_here = DNS_FLAGS
    cdef uint64_t hash = host
    cdef int questions, answers, _i
    if have < DNS_HEADER_LEN:
        return hash_octets(seed, host, p, have)
    questions = be16(p + DNS_QUESTIONS)
    answers = be16(p + DNS_ANSWERS)
    if questions > DNS_ANSWERS_MOST or answers > DNS_ANSWERS_MOST:
        return hash_octets(seed, host, p, have)
    for _i in range(questions):
        at = _behind_name(p, have, at)
        if at == 0:
            return hash_octets(seed, host, p, have)
        at += DNS_QUESTION_LEN
    for _i in range(answers):
        at = _behind_name(p, have, at)
        if at == 0 or at + DNS_RECORD_LEN > have:
            return hash_octets(seed, host, p, have)
        hash = hash_octets(seed, hash, p + from_here, at + DNS_RECORD_TTL - from_here)
        from_here = at + DNS_RECORD_DATA_LEN
        at += DNS_RECORD_LEN + be16(p + from_here)
    if at > have:
        return hash_octets(seed, host, p, have)
    return hash_octets(seed, hash, p + from_here, at - from_here)
