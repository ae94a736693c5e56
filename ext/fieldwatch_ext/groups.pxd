# Reports of IGMP and MLD that name no group of which a dissector would tell.
#
# Every host is in some groups, or each is in one of its own (solicited nodes): those tell nothing, nor does who leaves.
from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from fieldwatch_ext.wire cimport be16

# RFC 1112 appendix I, RFC 2236, RFC 3376; RFC 2710, RFC 3810
cdef enum:
    IGMP_QUERY = 0x11
    IGMP_REPORT_1 = 0x12
    IGMP_REPORT_2 = 0x16
    IGMP_REPORT_3 = 0x22
    IGMP_GROUP = 4
    IGMP_LEN = 8
    MLD_QUERY = 130
    MLD_REPORT_1 = 131
    MLD_REPORT_2 = 143
    MLD_GROUP = 8
    MLD_LEN = 24
    LIST_COUNT = 6              # of records, in the reports of the last versions
    LIST_LEN = 8
    RECORD_AUXILIARY = 1        # in words of 4 octets
    RECORD_SOURCES = 2
    RECORD_GROUP = 4
    RECORDS_MOST = 256          # those that are looked at
    INCLUDE = 1
    EXCLUDE = 2
    TO_INCLUDE = 3
    TO_EXCLUDE = 4
    ALLOW = 5


cdef inline bint _group_tells(const uint8_t* group, size_t octets) noexcept nogil:
    # Neither of the routing protocols of a link (224.0.0.0/24), nor all nodes, nor a solicited node (RFC 4291).
    if octets == 4:
        return group[0] >> 4 == 0xE and not (group[0] == 0xE0 and group[1] == 0 and group[2] == 0)
    return (
        group[0] == 0xFF
        and memcmp(group, b"\xff\2\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16) != 0
        and memcmp(group, b"\xff\2\0\0\0\0\0\0\0\0\0\1\xff", 13) != 0
    )


cdef inline bint _list_is_silent(const uint8_t* p, size_t have, size_t octets) noexcept nogil:
    # Up to where a record is cut: behind that nothing is read.
    cdef size_t at = LIST_LEN
    cdef int sources, _i
    cdef uint8_t kind
    if have < LIST_LEN:
        return True
    for _i in range(min(<int>be16(p + LIST_COUNT), <int>RECORDS_MOST)):
        if at + RECORD_GROUP + octets > have:
            return True
        kind = p[at]
        sources = be16(p + at + RECORD_SOURCES)
        if (
            kind == EXCLUDE or kind == TO_EXCLUDE
            or (sources and (kind == INCLUDE or kind == TO_INCLUDE or kind == ALLOW))
        ) and _group_tells(p + at + RECORD_GROUP, octets):
            return False
        at += RECORD_GROUP + octets + octets * sources + <size_t>4 * p[at + RECORD_AUXILIARY]
    return True


cdef inline bint groups_are_silent(const uint8_t* p, size_t have, bint six) noexcept nogil:
    # Of a message of MLD (six) or IGMP. A query tells of a querier.
    cdef uint8_t kind
    if have == 0:
        return True
    kind = p[0]
    if kind == (MLD_QUERY if six else IGMP_QUERY):
        return False
    if kind == (MLD_REPORT_2 if six else IGMP_REPORT_3):
        return _list_is_silent(p, have, 16 if six else 4)
    if six:
        return kind != MLD_REPORT_1 or have < MLD_LEN or not _group_tells(p + MLD_GROUP, 16)
    return (kind != IGMP_REPORT_1 and kind != IGMP_REPORT_2) or have < IGMP_LEN or not _group_tells(p + IGMP_GROUP, 4)
