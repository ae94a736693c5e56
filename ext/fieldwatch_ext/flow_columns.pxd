# Records of flows that have ended, as columns in the types of the schema: written by C, taken as octets.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

cdef struct FlowColumns:
    uint32_t capacity
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


cdef inline int flow_columns_make(FlowColumns* c, uint32_t capacity) noexcept nogil:
    c.capacity = capacity
    c.count = 0
    c.first_ns = <int64_t*>malloc(8 * capacity)
    c.last_ns = <int64_t*>malloc(8 * capacity)
    c.ip_version = <uint8_t*>malloc(capacity)
    c.protocol = <uint8_t*>malloc(capacity)
    c.src = <uint64_t*>malloc(16 * capacity)
    c.dst = <uint64_t*>malloc(16 * capacity)
    c.src_port = <uint16_t*>malloc(2 * capacity)
    c.dst_port = <uint16_t*>malloc(2 * capacity)
    c.vlans = <uint64_t*>malloc(8 * capacity)
    c.src_mac = <uint8_t*>malloc(6 * capacity)
    c.dst_mac = <uint8_t*>malloc(6 * capacity)
    c.packets = <uint64_t*>malloc(8 * capacity)
    c.octets = <uint64_t*>malloc(8 * capacity)
    c.reply_packets = <uint64_t*>malloc(8 * capacity)
    c.reply_octets = <uint64_t*>malloc(8 * capacity)
    c.tcp_flags = <uint8_t*>malloc(capacity)
    c.reply_tcp_flags = <uint8_t*>malloc(capacity)
    c.state = <uint8_t*>malloc(capacity)
    c.end_reason = <uint8_t*>malloc(capacity)
    c.tunnel = <uint16_t*>malloc(2 * capacity)
    c.application = <uint16_t*>malloc(2 * capacity)
    if (
        c.first_ns == NULL or c.last_ns == NULL or c.ip_version == NULL or c.protocol == NULL or c.src == NULL
        or c.dst == NULL or c.src_port == NULL or c.dst_port == NULL or c.vlans == NULL or c.src_mac == NULL
        or c.dst_mac == NULL or c.packets == NULL or c.octets == NULL or c.reply_packets == NULL
        or c.reply_octets == NULL or c.tcp_flags == NULL or c.reply_tcp_flags == NULL or c.state == NULL
        or c.end_reason == NULL or c.tunnel == NULL or c.application == NULL
    ):
        return -1
    return 0


cdef inline void flow_columns_free(FlowColumns* c) noexcept nogil:
    free(c.first_ns)
    free(c.last_ns)
    free(c.ip_version)
    free(c.protocol)
    free(c.src)
    free(c.dst)
    free(c.src_port)
    free(c.dst_port)
    free(c.vlans)
    free(c.src_mac)
    free(c.dst_mac)
    free(c.packets)
    free(c.octets)
    free(c.reply_packets)
    free(c.reply_octets)
    free(c.tcp_flags)
    free(c.reply_tcp_flags)
    free(c.state)
    free(c.end_reason)
    free(c.tunnel)
    free(c.application)


cdef inline uint32_t flow_columns_room(const FlowColumns* c) noexcept nogil:
    return c.capacity - c.count
