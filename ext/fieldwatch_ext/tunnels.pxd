# Outer headers of tunnels, interned: a chain of them is one small number in the flow's key.
#
# Both directions of a tunnel have the same number; its text shows them as they were first seen. The table never forgets
# (records refer to it by number), so it is bounded: what does not fit has the number TUNNELS_MAX.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fieldwatch_ext.hashing cimport Seed, hash6, same6

cdef enum:
    TUNNELS_MAX = 4096          # number of what does not fit
    TUNNEL_SLOTS = 16384

cdef enum TunnelKind:           # TUNNEL_NAMES in engine.pyx has the same order
    TUNNEL_GRE = 0
    TUNNEL_VXLAN
    TUNNEL_GENEVE
    TUNNEL_IPIP
    TUNNEL_6IN4
    TUNNEL_4IN6
    TUNNEL_6IN6
    TUNNEL_GTPU
    TUNNEL_ERSPAN

cdef struct Tunnel:
    uint64_t key[6]             # lower address (2), upper address (2), id | kind << 32 | version << 40, parent
    uint8_t swapped             # the source first seen is the upper address

cdef struct Tunnels:
    Seed seed
    int count                   # number 0 is "no tunnel"
    int overflowed
    Tunnel item[4096]
    uint16_t slots[16384]


cdef inline uint16_t tunnel_number(
    Tunnels* t, int kind, uint8_t version, const uint64_t* src, const uint64_t* dst, uint32_t ident, uint16_t parent
) noexcept nogil:
    cdef uint64_t key[6]
    cdef bint swapped = src[0] > dst[0] or (src[0] == dst[0] and src[1] > dst[1])
    cdef const uint64_t* lower = dst if swapped else src
    cdef const uint64_t* upper = src if swapped else dst
    cdef uint64_t at
    cdef uint16_t number
    cdef int i
    key[0] = lower[0]
    key[1] = lower[1]
    key[2] = upper[0]
    key[3] = upper[1]
    key[4] = <uint64_t>ident | <uint64_t>kind << 32 | <uint64_t>version << 40
    key[5] = parent
    if parent == TUNNELS_MAX:
        return TUNNELS_MAX
    at = hash6(&t.seed, key) & (TUNNEL_SLOTS - 1)
    while True:
        number = t.slots[at]
        if number == 0:
            break
        if same6(t.item[number].key, key):
            return number
        at = (at + 1) & (TUNNEL_SLOTS - 1)
    if t.count + 1 >= TUNNELS_MAX:
        t.overflowed = 1
        return TUNNELS_MAX
    t.count += 1
    number = <uint16_t>t.count
    for i in range(6):
        t.item[number].key[i] = key[i]
    t.item[number].swapped = swapped
    t.slots[at] = number
    return number
