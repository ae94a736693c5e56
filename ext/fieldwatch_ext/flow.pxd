# An entry of the flow table, in three parts that stand at the same place of three arrays.
#
# `Flow` is two neighbouring cache lines, and all that a frame of a flow that goes on touches; `FlowRest` holds what few
# frames touch: the first and the last of a flow, and those of its handshake; `FlowLink` is touched when a neighbour in
# a list comes or goes, and eight of them share a line.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:                      # `Flow.known`
    SEQ_KNOWN = 1               # of the lower side; the upper side's is the next bit
    SYN_TIMED = 4               # `rtt_us[0]` holds the time of the SYN
    SYN_ACK_TIMED = 8           # `rtt_us[1]` holds the time of the SYN-ACK
    SERVER_TIMED = 16           # `rtt_us[0]` is the round trip
    CLIENT_TIMED = 32
    STREAM_READ = 64            # the first octets of the lower side were looked at; the upper side's is the next bit

cdef struct Flow:
    uint64_t key[6]
    int64_t last_ns
    uint8_t state               # `FlowState`
    uint8_t bits                # BIT_*; which side opened it, SYN and FINs seen
    uint8_t flags[2]            # TCP: OR of the flags, by side. ICMP: type and code of the opener
    uint8_t known
    uint8_t content             # `Content`
    uint8_t octets_high[2]      # of `octets`, by side of the key: 0 lower, 1 upper
    # second line
    int64_t first_ns
    uint32_t octets[2]
    uint32_t packets[2]
    uint32_t eth_place[2]       # of the sightings of its frames, by side
    uint32_t ip_place[2]
    uint32_t next_seq[2]        # TCP: behind the highest sequence number seen
    uint16_t least_octets[2]    # of a frame
    uint16_t most_octets[2]
    uint32_t least_gap_us       # between two frames, whoever sent them
    uint32_t most_gap_us

cdef struct FlowRest:
    uint32_t retransmits[2]     # segments whose octets end at or before `next_seq`
    uint32_t rtt_us[2]          # vantage point to server and back, to client and back; at least 1
    uint8_t mac[2][6]
    uint8_t stream              # number of the buffer that collects one side's first octets, 0 = none
    uint8_t messages[2]         # that a dissector still wants to see of a side

cdef struct FlowLink:
    uint32_t next               # in its list, or among the free
    uint32_t prev


cdef inline uint64_t octets_of(const Flow* f, int side) noexcept nogil:
    return f.octets[side] | <uint64_t>f.octets_high[side] << 32


cdef inline void add_octets(Flow* f, int side, uint64_t octets) noexcept nogil:
    # A record is written long before the 40 bits overflow; only lengths of a capture file that lie come so far at once.
    cdef uint64_t sum = octets_of(f, side) + octets
    if sum >> 40:
        sum = (<uint64_t>1 << 40) - 1
    f.octets[side] = <uint32_t>sum
    f.octets_high[side] = <uint8_t>(sum >> 32)
