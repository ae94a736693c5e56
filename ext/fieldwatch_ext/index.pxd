# Open addressing with linear probing over places in an array of entries, at most half full.
#
# A slot is `tag << 32 | (place + 1)`, 0 = free; the tag is the upper half of the key's hash and decides the home slot,
# so that a removal can close the gap (no tombstones, probes stay short) without a look at the entries.
from libc.stdint cimport uint32_t, uint64_t

from fieldwatch_ext.tables cimport Table, table_free, table_make

cdef enum:
    NOWHERE = 0xFFFFFFFF        # no place in a table

cdef struct Index:
    Table table
    uint64_t* slots
    uint64_t mask


cdef inline int index_make(Index* index, uint64_t entries) noexcept nogil:
    cdef uint64_t slots = 16
    while slots < 2 * entries:
        slots *= 2
    index.mask = slots - 1
    if table_make(&index.table, slots * sizeof(uint64_t)) != 0:
        return -1
    index.slots = <uint64_t*>index.table.start
    return 0


cdef inline void index_free(Index* index) noexcept nogil:
    table_free(&index.table)


cdef inline uint64_t index_home(const Index* index, uint64_t hash) noexcept nogil:
    return (hash >> 32) & index.mask


cdef inline void index_add(Index* index, uint64_t hash, uint32_t place) noexcept nogil:
    cdef uint64_t at = index_home(index, hash)
    while index.slots[at] != 0:
        at = (at + 1) & index.mask
    index.slots[at] = (hash >> 32) << 32 | (<uint64_t>place + 1)


cdef inline void index_remove(Index* index, uint64_t hash, uint32_t place) noexcept nogil:
    cdef uint64_t wanted = (hash >> 32) << 32 | (<uint64_t>place + 1)
    cdef uint64_t gap = index_home(index, hash)
    cdef uint64_t at, slot, home
    while index.slots[gap] != wanted:
        gap = (gap + 1) & index.mask
    at = gap
    while True:
        at = (at + 1) & index.mask
        slot = index.slots[at]
        if slot == 0:
            break
        home = (slot >> 32) & index.mask
        # An entry moves back into the gap unless its home lies behind the gap (cyclically).
        if ((at - home) & index.mask) >= ((at - gap) & index.mask):
            index.slots[gap] = slot
            gap = at
    index.slots[gap] = 0
