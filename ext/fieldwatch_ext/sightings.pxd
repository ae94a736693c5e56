# The sighting table: (VLANs, MAC, IP, source) -> first, last and number of frames since the rows were last taken.
#
# Constraints:
# - Entries are one cache line and stay where they are until evicted, so that a flow may keep their places.
# - Full table: the hand of a clock finds an entry that was not touched since it last passed, in bounded steps.
# - An entry with frames that were not taken is written to `rows` before it is evicted: nothing is lost silently.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from fieldwatch_ext.hashing cimport Seed, hash4, same4
from fieldwatch_ext.index cimport (
    NOWHERE, Bucket, Index, index_add, index_free, index_home, index_make, index_matches, index_next, index_place,
    index_remove
)
from fieldwatch_ext.packet cimport SEEN_ETH
from fieldwatch_ext.tables cimport Table, table_free, table_make
from fieldwatch_ext.wire cimport prefetch

cdef enum:
    CLOCK_STEPS = 16

cdef struct Sighting:
    uint64_t key[4]             # VLANs; `sighting_meta`; address (2)
    int64_t first_ns
    int64_t last_ns
    uint64_t frames             # since the last take
    uint32_t touched            # since the hand passed
    uint32_t listed             # stands in `dirty`

cdef struct SightingRow:
    uint64_t key[4]
    int64_t first_ns
    int64_t last_ns
    uint64_t frames

cdef struct Sightings:
    Seed seed
    Index index
    Table table
    Sighting* entries
    uint32_t capacity
    uint32_t count
    uint32_t hand
    uint32_t leaving            # the entry that probably goes next; its bucket was asked for
    uint64_t leaving_hash
    uint32_t* dirty             # places with frames that were not taken; each at most once
    uint32_t dirty_count
    SightingRow* rows           # of evicted entries
    uint32_t rows_capacity
    uint32_t rows_count
    uint64_t evicted


cdef inline uint64_t sighting_meta(uint64_t mac, int source, uint8_t version) noexcept nogil:
    return mac | <uint64_t>source << 48 | <uint64_t>version << 56


cdef inline int sightings_make(Sightings* t, uint32_t capacity, uint32_t rows) noexcept nogil:
    t.capacity = capacity
    t.leaving = NOWHERE
    t.rows_capacity = rows
    t.dirty = <uint32_t*>malloc(capacity * sizeof(uint32_t))
    t.rows = <SightingRow*>malloc(rows * sizeof(SightingRow))
    if t.dirty == NULL or t.rows == NULL or table_make(&t.table, capacity * sizeof(Sighting)) != 0:
        return -1
    t.entries = <Sighting*>t.table.start
    return index_make(&t.index, capacity)


cdef inline void sightings_free(Sightings* t) noexcept nogil:
    table_free(&t.table)
    free(t.dirty)
    free(t.rows)
    index_free(&t.index)


cdef inline uint32_t sightings_room(const Sightings* t) noexcept nogil:
    # Sightings that can be added before a row that was not taken would have nowhere to go.
    return (t.capacity - t.count) + (t.rows_capacity - t.rows_count)


cdef inline void touch(Sightings* t, uint32_t place, int64_t ts_ns) noexcept nogil:
    cdef Sighting* s = &t.entries[place]
    s.touched = 1
    if s.frames == 0:
        s.first_ns = ts_ns
        s.last_ns = ts_ns
        if not s.listed:
            s.listed = 1
            t.dirty[t.dirty_count] = place
            t.dirty_count += 1
    elif ts_ns > s.last_ns:
        s.last_ns = ts_ns
    elif ts_ns < s.first_ns:
        s.first_ns = ts_ns
    s.frames += 1


cdef inline uint32_t _evict(Sightings* t) noexcept nogil:
    # The place of an entry that has gone.
    cdef uint32_t oldest = NOWHERE
    cdef Sighting* s
    cdef SightingRow* row
    cdef int _step
    for _step in range(CLOCK_STEPS):
        s = &t.entries[t.hand]
        if oldest == NOWHERE or s.last_ns < t.entries[oldest].last_ns:
            oldest = t.hand
        t.hand = t.hand + 1 if t.hand + 1 < t.capacity else 0
        if not s.touched:
            oldest = <uint32_t>(s - t.entries)
            break
        s.touched = 0
    s = &t.entries[oldest]
    if s.frames != 0:
        row = &t.rows[t.rows_count]
        t.rows_count += 1
        row.key = s.key
        row.first_ns = s.first_ns
        row.last_ns = s.last_ns
        row.frames = s.frames
        s.frames = 0
    index_remove(&t.index, t.leaving_hash if oldest == t.leaving else hash4(&t.seed, s.key), oldest)
    t.leaving = NOWHERE
    if t.hand != oldest:
        t.leaving = t.hand
        t.leaving_hash = hash4(&t.seed, t.entries[t.hand].key)
        prefetch(index_home(&t.index, t.leaving_hash))
    t.evicted += 1
    return oldest


cdef inline uint32_t sighting_place(Sightings* t, const uint64_t* key, uint64_t hash) noexcept nogil:
    # Where the entry of this key stands; it is made if it is new. `hash`: of the key, or 0 where nobody made it yet.
    if hash == 0:
        hash = hash4(&t.seed, key)
    cdef const Bucket* b = index_home(&t.index, hash)
    cdef uint64_t found
    cdef uint32_t place
    while True:
        found = index_matches(b, hash)
        while found:
            place = index_place(b, found)
            if same4(t.entries[place].key, key):
                return place
            found &= found - 1
        if b.beyond == 0:
            break
        b = index_next(&t.index, b)
    if t.count < t.capacity:
        place = t.count
        t.count += 1
    else:
        place = _evict(t)
    t.entries[place].key[0] = key[0]
    t.entries[place].key[1] = key[1]
    t.entries[place].key[2] = key[2]
    t.entries[place].key[3] = key[3]
    t.entries[place].last_ns = 0
    index_add(&t.index, hash, place)
    return place


cdef inline void sighting_key(
    uint64_t* key, uint64_t vlans, uint64_t meta, bint with_address, const uint64_t* address
) noexcept nogil:
    cdef uint64_t kept = 0 - <uint64_t>with_address
    key[0] = vlans
    key[1] = meta
    key[2] = address[0] & kept
    key[3] = address[1] & kept


cdef inline void mac_key(uint64_t* key, uint64_t vlans, uint64_t mac) noexcept nogil:
    # Of the sighting of a MAC alone.
    key[0] = vlans
    key[1] = sighting_meta(mac, SEEN_ETH, 0)
    key[2] = key[3] = 0


cdef inline uint32_t see(
    Sightings* t, uint32_t known, const uint64_t* key, uint64_t hash, int64_t ts_ns
) noexcept nogil:
    # Count one frame. `known` is where the entry stood last time (or NOWHERE); the result is where it stands now.
    if known == NOWHERE or not same4(t.entries[known].key, key):
        known = sighting_place(t, key, hash)
    touch(t, known, ts_ns)
    return known


cdef inline uint32_t see_mac(
    Sightings* t, uint32_t known, uint64_t vlans, uint64_t mac, uint64_t hash, int64_t ts_ns
) noexcept nogil:
    # The same for the MAC alone, whose sightings have no address.
    cdef uint64_t meta = sighting_meta(mac, SEEN_ETH, 0)
    cdef uint64_t key[4]
    if known == NOWHERE or t.entries[known].key[1] != meta or t.entries[known].key[0] != vlans:
        mac_key(key, vlans, mac)
        known = sighting_place(t, key, hash)
    touch(t, known, ts_ns)
    return known
