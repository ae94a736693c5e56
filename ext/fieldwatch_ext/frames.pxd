# What a source hands to the engine: references to frames, valid until the source's next call.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

cdef enum:
    BLOCK_FRAMES = 4096         # most frames a source gives at once

cdef struct FrameRef:
    const uint8_t* octets       # VLAN tags in place, as it was on the wire
    int64_t ts_ns               # nanoseconds since the epoch, UTC
    uint32_t captured           # octets that may be read
    uint32_t original           # octets on the wire, never less than captured
    uint16_t linktype           # LINKTYPE_ value (pcap registry)
    uint16_t interface          # pcapng interface number, else 0
