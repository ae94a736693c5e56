# Records of flows that have ended, as columns in the types of the schema: written by C, taken as octets.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

cdef enum:
    FLOW_ROW_OCTETS = 9 * 8 + 2 * 8 + 6 * 4 + 8 * 2 + 2 * 6 + 6

cdef struct FlowColumns:
    uint8_t* memory
    size_t carved
    uint32_t capacity           # a multiple of 8
    uint32_t count
    int64_t* first_ns
    int64_t* last_ns
    uint8_t* ip_version
    uint8_t* protocol
    uint64_t* src               # 2 words a record
    uint64_t* dst
    uint16_t* src_port
    uint16_t* dst_port
    uint64_t* vlans
    uint8_t* src_mac            # 6 octets a record
    uint8_t* dst_mac
    uint64_t* packets
    uint64_t* octets
    uint64_t* reply_packets
    uint64_t* reply_octets
    uint8_t* tcp_flags
    uint8_t* reply_tcp_flags
    uint8_t* state
    uint8_t* end_reason
    uint16_t* tunnel
    uint16_t* application
    uint16_t* least_octets
    uint16_t* most_octets
    uint16_t* reply_least_octets
    uint16_t* reply_most_octets
    uint32_t* least_gap_us
    uint32_t* most_gap_us
    uint32_t* retransmits
    uint32_t* reply_retransmits
    uint32_t* server_rtt_us
    uint32_t* client_rtt_us


cdef inline void* _column(FlowColumns* c, size_t width) noexcept nogil:
    cdef void* column = c.memory + c.carved
    c.carved += width * c.capacity
    return column


cdef inline int flow_columns_make(FlowColumns* c, uint32_t capacity) noexcept nogil:
    # One piece of memory, the widest columns first: each is aligned.
    c.capacity = capacity
    c.count = 0
    c.carved = 0
    c.memory = <uint8_t*>malloc(<size_t>capacity * FLOW_ROW_OCTETS)
    if c.memory == NULL:
        return -1
    c.first_ns = <int64_t*>_column(c, 8)
    c.last_ns = <int64_t*>_column(c, 8)
    c.src = <uint64_t*>_column(c, 16)
    c.dst = <uint64_t*>_column(c, 16)
    c.vlans = <uint64_t*>_column(c, 8)
    c.packets = <uint64_t*>_column(c, 8)
    c.octets = <uint64_t*>_column(c, 8)
    c.reply_packets = <uint64_t*>_column(c, 8)
    c.reply_octets = <uint64_t*>_column(c, 8)
    c.least_gap_us = <uint32_t*>_column(c, 4)
    c.most_gap_us = <uint32_t*>_column(c, 4)
    c.retransmits = <uint32_t*>_column(c, 4)
    c.reply_retransmits = <uint32_t*>_column(c, 4)
    c.server_rtt_us = <uint32_t*>_column(c, 4)
    c.client_rtt_us = <uint32_t*>_column(c, 4)
    c.src_port = <uint16_t*>_column(c, 2)
    c.dst_port = <uint16_t*>_column(c, 2)
    c.tunnel = <uint16_t*>_column(c, 2)
    c.application = <uint16_t*>_column(c, 2)
    c.least_octets = <uint16_t*>_column(c, 2)
    c.most_octets = <uint16_t*>_column(c, 2)
    c.reply_least_octets = <uint16_t*>_column(c, 2)
    c.reply_most_octets = <uint16_t*>_column(c, 2)
    c.src_mac = <uint8_t*>_column(c, 6)
    c.dst_mac = <uint8_t*>_column(c, 6)
    c.ip_version = <uint8_t*>_column(c, 1)
    c.protocol = <uint8_t*>_column(c, 1)
    c.tcp_flags = <uint8_t*>_column(c, 1)
    c.reply_tcp_flags = <uint8_t*>_column(c, 1)
    c.state = <uint8_t*>_column(c, 1)
    c.end_reason = <uint8_t*>_column(c, 1)
    return 0 if c.carved == <size_t>capacity * FLOW_ROW_OCTETS else -1


cdef inline void flow_columns_free(FlowColumns* c) noexcept nogil:
    free(c.memory)


cdef inline uint32_t flow_columns_room(const FlowColumns* c) noexcept nogil:
    return c.capacity - c.count
