# Places in an array of entries by the hash of their keys: buckets of one cache line, at most half full together.
#
# - A bucket holds twelve places, and of each the upper octet of its hash: all twelve are compared at once, without
#   branches. Where the first free slot is, and how many of the others are taken, costs nothing.
# - An entry whose bucket is full stands in the next with room, and each bucket on its way counts it. So a look-up ends
#   at the first bucket that nobody went beyond, and a removal leaves no trace and moves nothing.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fieldwatch_ext.tables cimport Table, table_free, table_make
from fieldwatch_ext.wire cimport lowest_bit, raw32, raw64

cdef enum:
    NOWHERE = 0xFFFFFFFF        # no place in a table
    BUCKET_AIM = 6              # entries of a bucket, on average, in a table that is full

cdef struct Bucket:
    uint8_t tags[12]            # of the hashes, 0 = free
    uint32_t beyond             # entries that belong here or before and stand behind it
    uint32_t places[12]

cdef struct Index:
    Table table
    Bucket* buckets
    uint64_t count              # of buckets


cdef inline int index_make(Index* index, uint64_t entries) noexcept nogil:
    index.count = (entries + BUCKET_AIM - 1) // BUCKET_AIM
    if table_make(&index.table, index.count * sizeof(Bucket)) != 0:
        return -1
    index.buckets = <Bucket*>index.table.start
    return 0


cdef inline void index_free(Index* index) noexcept nogil:
    table_free(&index.table)


cdef inline Bucket* index_home(const Index* index, uint64_t hash) noexcept nogil:
    # The bucket in which the search for an entry begins: the lower half of the hash, scaled.
    return &index.buckets[<uint64_t><uint32_t>hash * index.count >> 32]


cdef inline Bucket* index_next(const Index* index, const Bucket* b) noexcept nogil:
    cdef Bucket* following = &index.buckets[b - index.buckets + 1]
    return following if following < index.buckets + index.count else index.buckets


cdef inline uint8_t _tag(uint64_t hash) noexcept nogil:
    cdef uint8_t tag = <uint8_t>(hash >> 56)
    return tag if tag else 1


cdef inline uint64_t _slots(const Bucket* b, uint8_t tag) noexcept nogil:
    # A bit for each slot with this tag: of the first eight at 8 * slot, of the others at 8 * (slot - 8) + 1.
    cdef uint64_t low7 = <uint64_t>0x7F7F7F7F7F7F7F7F
    cdef uint64_t all_of_it = tag * <uint64_t>0x0101010101010101
    cdef uint64_t first = raw64(b.tags) ^ all_of_it
    cdef uint64_t other = raw32(b.tags + 8) ^ <uint32_t>all_of_it
    # An octet is 0 where neither its upper bit nor a carry out of its lower seven is set.
    first = ~(((first & low7) + low7) | first | low7)
    other = ~(((other & low7) + low7) | other | low7)
    return first >> 7 | <uint32_t>other >> 6


cdef inline int _slot(uint64_t slots) noexcept nogil:
    # That of the lowest bit.
    cdef int bit = lowest_bit(slots)
    return bit >> 3 | (bit & 1) << 3


cdef inline uint64_t index_matches(const Bucket* b, uint64_t hash) noexcept nogil:
    # What may be the entry, as bits: its place is that of the lowest; go on with `found & found - 1`.
    return _slots(b, _tag(hash))


cdef inline uint32_t index_place(const Bucket* b, uint64_t found) noexcept nogil:
    return b.places[_slot(found)]


cdef inline void index_add(Index* index, uint64_t hash, uint32_t place) noexcept nogil:
    cdef Bucket* b = index_home(index, hash)
    cdef uint64_t free = _slots(b, 0)
    cdef int slot
    while free == 0:
        b.beyond += 1
        b = index_next(index, b)
        free = _slots(b, 0)
    slot = _slot(free)
    b.tags[slot] = _tag(hash)
    b.places[slot] = place


cdef inline void index_remove(Index* index, uint64_t hash, uint32_t place) noexcept nogil:
    # The place stands in it.
    cdef Bucket* b = index_home(index, hash)
    cdef uint64_t found
    while True:
        found = index_matches(b, hash)
        while found:
            if b.places[_slot(found)] == place:
                b.tags[_slot(found)] = 0
                return
            found &= found - 1
        b.beyond -= 1
        b = index_next(index, b)
