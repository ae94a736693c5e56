# Heads of HTTP/1 and SSDP (RFC 9112): whether they tell what a dissector looks for, and what of them makes its facts.
#
# A field is known by the beginning of its name: `Server-Timing` passes for `Server`. That costs a look, and no fact.
# The one that takes facts away is known by all of it.
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memchr, memcmp

from fieldwatch_ext.hashing cimport Seed, hash_octets

cdef enum:
    HEAD_LINES = 32             # as many as dissectors look at

cdef enum Field:
    FIELD_SERVER = 1
    FIELD_USER_AGENT = 2
    FIELD_HOST = 4
    FIELD_LOCATION = 8
    FIELD_PASSED_ON = 16        # by somebody who is not the one that speaks
    FIELD_VIA = 32              # that, by its whole name: the programs in the head are surely another's

cdef enum Form:
    HEAD_UNKNOWN = 0            # cut in its first line, or none: nothing of it is read
    HEAD_RESPONSE
    HEAD_ORIGIN                 # a request for what the server itself has (RFC 9112 section 3.2.1)
    HEAD_PROXY                  # the other requests


cdef inline size_t line_end(const uint8_t* p, size_t have, size_t at) noexcept nogil:
    # Offset of the line feed, or `have`.
    cdef const uint8_t* end = <const uint8_t*>memchr(p + at, 0x0A, have - at) if at < have else NULL
    return have if end == NULL else <size_t>(end - p)


cdef inline bint _is_digit(uint8_t octet) noexcept nogil:
    return 0x30 <= octet <= 0x39


cdef inline bint _is_blank(uint8_t octet) noexcept nogil:
    return octet == 0x20 or 0x09 <= octet <= 0x0D


cdef inline bint _is_version(const uint8_t* p, size_t have) noexcept nogil:
    return have >= 8 and memcmp(p, b"HTTP/1.", 7) == 0 and _is_digit(p[7])


cdef inline int head_form(const uint8_t* p, size_t have) noexcept nogil:
    # By its first line. What begins with a method is known to have a blank behind it.
    cdef size_t end = line_end(p, have, 0)
    cdef size_t target, behind
    cdef const uint8_t* blank
    if end == have:
        return HEAD_UNKNOWN
    if end and p[end - 1] == 0x0D:
        end -= 1
    if _is_version(p, end):
        if end < 12 or p[8] != 0x20 or not (_is_digit(p[9]) and _is_digit(p[10]) and _is_digit(p[11])):
            return HEAD_UNKNOWN
        return HEAD_RESPONSE if end == 12 or p[12] == 0x20 else HEAD_UNKNOWN
    blank = <const uint8_t*>memchr(p, 0x20, end)
    if blank == NULL:
        return HEAD_UNKNOWN
    target = <size_t>(blank - p) + 1
    blank = <const uint8_t*>memchr(p + target, 0x20, end - target)
    if blank == NULL:
        return HEAD_UNKNOWN
    behind = <size_t>(blank - p) + 1
    if behind == target + 1 or end - behind != 8 or not _is_version(p + behind, 8):
        return HEAD_UNKNOWN
    return HEAD_ORIGIN if p[target] == 0x2F or p[target] == 0x2A else HEAD_PROXY    # "/" or "*"


cdef inline bint _begins(const uint8_t* p, size_t have, const char* name, size_t octets) noexcept nogil:
    cdef size_t i
    if have < octets:
        return False
    for i in range(octets):
        if (p[i] | 0x20) != <uint8_t>name[i]:
            return False
    return True


cdef inline bint _is_colon(const uint8_t* p, size_t have, size_t at) noexcept nogil:
    # Whether a name ends there.
    while at < have and _is_blank(p[at]):
        at += 1
    return at < have and p[at] == 0x3A


cdef inline int _field(const uint8_t* p, size_t have) noexcept nogil:
    # Of a line that has one octet at least.
    cdef uint8_t first = p[0] | 0x20
    if first == 0x73:
        return FIELD_SERVER if _begins(p, have, b"server", 6) else 0
    if first == 0x75:
        return FIELD_USER_AGENT if _begins(p, have, b"user-agent", 10) else 0
    if first == 0x68:
        return FIELD_HOST if _begins(p, have, b"host", 4) else 0
    if first == 0x6C:
        return FIELD_LOCATION if _begins(p, have, b"location", 8) else 0
    if first == 0x76:
        if not _begins(p, have, b"via", 3):
            return 0
        return FIELD_PASSED_ON | FIELD_VIA if _is_colon(p, have, 3) else FIELD_PASSED_ON
    return FIELD_PASSED_ON if _begins(p, have, b"forwarded", 9) or _begins(p, have, b"x-forwarded-for", 15) else 0


cdef inline int head_fields(
    const uint8_t* p, size_t have, size_t first_end, const Seed* seed, uint64_t* hash
) noexcept nogil:
    # The fields in whole lines behind the first; with a seed, `hash` goes on with those lines.
    cdef size_t at = first_end + 1
    cdef size_t start, end
    cdef int fields = 0
    cdef int field, _line
    for _line in range(HEAD_LINES):
        end = line_end(p, have, at)
        if end >= have:
            break
        start = at
        while start < end and _is_blank(p[start]):
            start += 1
        if start == end:
            break
        if p[at] != 0x20 and p[at] != 0x09:         # or it goes on with the line before (section 5.2)
            field = _field(p + start, end - start)
            fields |= field
            if field and seed != NULL:
                hash[0] = hash_octets(seed, hash[0], p + start, end - start)
        at = end + 1
    return fields
