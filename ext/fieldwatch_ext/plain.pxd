# What most frames are, read in one go: Ethernet II without tags, IPv4 without options or IPv6 without extension
# headers, and a whole TCP or UDP header in one piece.
#
# The result is the same as step by step (decode.pxd). A frame that differs in anything, or with anything amiss, goes
# that way from its start: nothing here rejects a frame.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fieldwatch_ext.flow_key cimport flow_key, flow_key4
from fieldwatch_ext.frames cimport FrameRef
from fieldwatch_ext.link cimport ETH_HEADER_LEN, ETH_SRC, ETH_TYPE, TYPE_IPV4, TYPE_IPV6
from fieldwatch_ext.network cimport (
    IP4_DST, IP4_FRAGMENT, IP4_HEADER_LEN, IP4_MORE, IP4_OFFSET, IP4_PROTOCOL, IP4_SRC, IP4_TOTAL_LENGTH, IP4_TTL,
    IP6_DST, IP6_HEADER_LEN, IP6_HOP_LIMIT, IP6_NEXT, IP6_PAYLOAD_LENGTH, IP6_SRC
)
from fieldwatch_ext.packet cimport IN_FLOW, LAYER_ETHERNET, LAYER_IPV4, LAYER_IPV6, LAYER_TCP, LAYER_UDP, Packet
from fieldwatch_ext.tcp_state cimport TCP_ACK, TCP_SYN
from fieldwatch_ext.transport cimport (
    PROTOCOL_TCP, PROTOCOL_UDP, TCP_FLAGS, TCP_HEADER_LEN, TCP_OFFSET, TCP_SEQUENCE, UDP_HEADER_LEN, UDP_LENGTH,
    hand_over_syn, is_tunnel_port, read_datagram
)
from fieldwatch_ext.wire cimport be16, be32, mac48, raw32, raw64

cdef enum:
    PLAIN_IPV4 = TYPE_IPV4 << 8 | 0x45      # EtherType, version, header length in words
    PLAIN_IPV6 = TYPE_IPV6 << 4 | 6         # EtherType, version
    LEAST_IPV4 = ETH_HEADER_LEN + IP4_HEADER_LEN + TCP_HEADER_LEN
    LEAST_IPV6 = ETH_HEADER_LEN + IP6_HEADER_LEN + TCP_HEADER_LEN


cdef inline bint _plain_tcp(Packet* k, const uint8_t* tcp, size_t have, size_t wire) noexcept nogil:
    cdef size_t header = <size_t>(tcp[TCP_OFFSET] >> 4) * 4
    if have < TCP_HEADER_LEN or header < TCP_HEADER_LEN or header > wire:
        return False
    k.tcp_flags = tcp[TCP_FLAGS]
    k.tcp_seq = be32(tcp + TCP_SEQUENCE)
    k.tcp_octets = <uint32_t>(wire - header)
    if have > header:
        k.data = tcp + header
        k.data_octets = <uint32_t>(have - header)
    k.layers |= <uint64_t>1 << LAYER_TCP
    if k.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN:
        hand_over_syn(k, <size_t>(tcp - k.ip) + min(header, have))
    return True


cdef inline bint _plain_udp(Packet* k, const uint8_t* udp, size_t have, size_t wire) noexcept nogil:
    cdef size_t length = be16(udp + UDP_LENGTH)
    cdef uint16_t port = be16(udp + 2)
    if have < UDP_HEADER_LEN or length < UDP_HEADER_LEN or length > wire or is_tunnel_port(port):
        return False
    k.layers |= <uint64_t>1 << LAYER_UDP
    read_datagram(k, udp + UDP_HEADER_LEN, min(have, length) - UDP_HEADER_LEN, length - UDP_HEADER_LEN, be16(udp), port)
    return True


cdef inline bint _plain_transport(Packet* k, const uint8_t* at, size_t have, size_t wire) noexcept nogil:
    if k.protocol == PROTOCOL_TCP:
        return _plain_tcp(k, at, have, wire)
    return k.protocol == PROTOCOL_UDP and _plain_udp(k, at, have, wire)


cdef inline bint _plain_ipv4(Packet* k, const uint8_t* ip, size_t have, size_t wire) noexcept nogil:
    cdef const uint8_t* ports = ip + IP4_HEADER_LEN
    cdef size_t total = be16(ip + IP4_TOTAL_LENGTH)
    if total > wire or total < IP4_HEADER_LEN or be16(ip + IP4_FRAGMENT) & (IP4_MORE | IP4_OFFSET):
        return False
    k.layers = <uint64_t>1 << LAYER_ETHERNET | <uint64_t>1 << LAYER_IPV4
    k.version = 4
    k.ip = ip
    k.protocol = ip[IP4_PROTOCOL]
    k.hop_limit = ip[IP4_TTL]
    k.src[0] = raw32(ip + IP4_SRC)
    k.src[1] = 0
    k.dst[0] = raw32(ip + IP4_DST)
    k.dst[1] = 0
    if not _plain_transport(k, ports, min(have, total) - IP4_HEADER_LEN, total - IP4_HEADER_LEN):
        return False
    k.side = flow_key4(k.key, k.protocol, k.src[0], k.dst[0], be16(ports), be16(ports + 2))
    return True


cdef inline bint _plain_ipv6(Packet* k, const uint8_t* ip, size_t have, size_t wire) noexcept nogil:
    cdef const uint8_t* ports = ip + IP6_HEADER_LEN
    cdef size_t length = be16(ip + IP6_PAYLOAD_LENGTH)
    if length > wire - IP6_HEADER_LEN:
        return False
    k.layers = <uint64_t>1 << LAYER_ETHERNET | <uint64_t>1 << LAYER_IPV6
    k.version = 6
    k.ip = ip
    k.protocol = ip[IP6_NEXT]
    k.hop_limit = ip[IP6_HOP_LIMIT]
    k.src[0] = raw64(ip + IP6_SRC)
    k.src[1] = raw64(ip + IP6_SRC + 8)
    k.dst[0] = raw64(ip + IP6_DST)
    k.dst[1] = raw64(ip + IP6_DST + 8)
    if not _plain_transport(k, ports, min(have - IP6_HEADER_LEN, length), length):
        return False
    k.side = flow_key(k.key, 6, k.protocol, k.src, k.dst, be16(ports), be16(ports + 2), 0, 0)
    return True


cdef inline bint read_plain(const FrameRef* frame, Packet* k) noexcept nogil:
    # Whether it is such a frame. If not, `k` is to be cleared once more.
    cdef const uint8_t* p = frame.octets
    cdef size_t wire = max(frame.original, frame.captured) - ETH_HEADER_LEN
    cdef uint64_t mac
    if frame.captured < LEAST_IPV4:
        return False
    if be32(p + ETH_TYPE) >> 8 == PLAIN_IPV4:
        if not _plain_ipv4(k, p + ETH_HEADER_LEN, frame.captured - ETH_HEADER_LEN, wire):
            return False
    elif be32(p + ETH_TYPE) >> 12 == PLAIN_IPV6 and frame.captured >= LEAST_IPV6:
        if not _plain_ipv6(k, p + ETH_HEADER_LEN, frame.captured - ETH_HEADER_LEN, wire):
            return False
    else:
        return False
    mac = mac48(p + ETH_SRC)
    k.mac = 0 if mac & 1 else mac           # a group address is no sender
    k.dst_mac = p
    k.src_mac = p + ETH_SRC
    k.fate = IN_FLOW
    return True
