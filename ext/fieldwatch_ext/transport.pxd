# What stands behind an IP header: TCP, UDP, SCTP, ICMP, IGMP, tunnels, and every other protocol without ports.
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from fieldwatch_ext.content cimport is_quic_initial
from fieldwatch_ext.decoder cimport MAX_TUNNELS, Decoder, enter_tunnel
from fieldwatch_ext.erspan cimport read_erspan
from fieldwatch_ext.flow_key cimport flow_hash, flow_key
from fieldwatch_ext.fragments cimport fragment_find, fragment_keep
from fieldwatch_ext.gtpu cimport GTPU_PORT, read_gtpu
from fieldwatch_ext.icmp cimport read_icmp
from fieldwatch_ext.link cimport (
    TYPE_ARP, TYPE_BRIDGED, TYPE_ERSPAN, TYPE_ERSPAN_III, TYPE_IPV4, TYPE_IPV6, TYPE_MPLS, TYPE_PPP, TYPE_VLAN
)
from fieldwatch_ext.packet cimport *
from fieldwatch_ext.tcp_state cimport TCP_ACK, TCP_SYN
from fieldwatch_ext.tunnels cimport (
    TUNNEL_4IN6, TUNNEL_6IN4, TUNNEL_6IN6, TUNNEL_GENEVE, TUNNEL_GRE, TUNNEL_IPIP, TUNNEL_VXLAN
)
from fieldwatch_ext.wire cimport be16, be32

cdef enum:
    PROTOCOL_ICMP = 1
    PROTOCOL_IGMP = 2
    PROTOCOL_IPV4 = 4
    PROTOCOL_TCP = 6
    PROTOCOL_UDP = 17
    PROTOCOL_DCCP = 33
    PROTOCOL_IPV6 = 41
    PROTOCOL_GRE = 47
    PROTOCOL_ICMPV6 = 58
    PROTOCOL_SCTP = 132
    PROTOCOL_UDPLITE = 136

cdef enum:
    PORTS_LEN = 4               # source and destination port stand first in all that have ports
    TCP_SEQUENCE = 4
    TCP_OFFSET = 12
    TCP_FLAGS = 13
    TCP_HEADER_LEN = 20
    UDP_LENGTH = 4
    UDP_HEADER_LEN = 8
    SCTP_HEADER_LEN = 12
    UDPLITE_COVERAGE = 4
    UDPLITE_HEADER_LEN = 8
    DCCP_OFFSET = 4
    DCCP_EXTENDED = 8           # the octet whose lowest bit says that the sequence number has 48 bits
    DCCP_HEADER_LEN = 12
    DCCP_EXTENDED_LEN = 16
    GRE_HEADER_LEN = 4
    GRE_CHECKSUM = 0x8000
    GRE_ROUTING = 0x4000
    GRE_KEY = 0x2000
    GRE_SEQUENCE = 0x1000
    GRE_ACKNOWLEDGE = 0x0080    # version 1 (RFC 2637)
    GRE_VERSION = 0x0007
    DNS_PORT = 53
    DNS_HEADER_LEN = 12
    DNS_RESPONSE = 0x80         # in the third octet (RFC 1035 section 4.1.1)
    VXLAN_PORT = 4789
    VXLAN_HEADER_LEN = 8
    VXLAN_VALID = 0x08          # there is an identifier; other bits have no meaning, or that of extensions
    GENEVE_PORT = 6081
    GENEVE_HEADER_LEN = 8
    UDP_TUNNEL_LEN = 8          # the least of them


cdef inline int _keyed(Packet* k, uint16_t src_port, uint16_t dst_port) noexcept nogil:
    k.side = flow_key(
        k.key, k.version, k.protocol, k.src, k.dst, src_port, dst_port, k.tunnel, k.vlans
    )
    k.fate = IN_FLOW
    return STEP_DONE


cdef inline void hand_over_syn(Packet* k, size_t octets) noexcept nogil:
    # Its headers, from that of IP on.
    k.slow = SLOW_TCP_SYN
    k.payload = k.ip
    k.payload_octets = octets


cdef inline int read_tcp(const Cursor* c, Packet* k) noexcept nogil:
    # RFC 9293. Options may be cut off: nothing here reads them.
    cdef size_t header
    cdef int verdict = lacks(c, TCP_HEADER_LEN)
    if verdict:
        if k.fragment == FRAGMENT_FIRST and c.have >= PORTS_LEN:
            mark(k, LAYER_TCP)              # the header itself is in pieces; the ports are enough for the flow
            return _keyed(k, be16(c.at), be16(c.at + 2))
        return reject(k, verdict, LAYER_TCP)
    header = <size_t>(c.at[TCP_OFFSET] >> 4) * 4
    if header < TCP_HEADER_LEN or (header > c.wire and not k.fragment):
        return reject(k, MALFORMED, LAYER_TCP)
    k.tcp_flags = c.at[TCP_FLAGS]
    k.tcp_seq = be32(c.at + TCP_SEQUENCE)
    if c.wire > header:
        k.tcp_octets = <uint32_t>(c.wire - header)
    if c.have > header:
        k.data = c.at + header
        k.data_octets = <uint32_t>(c.have - header)
    mark(k, LAYER_TCP)
    if k.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN and not k.fragment:
        hand_over_syn(k, <size_t>(c.at - k.ip) + (header if header < c.have else c.have))
    return _keyed(k, be16(c.at), be16(c.at + 2))


cdef inline uint8_t slow_kind(uint16_t port) noexcept nogil:
    if port == 80 or port == 443 or port > 5355:
        return SLOW_NONE
    if port == 67 or port == 68:
        return SLOW_DHCP
    if port == 137:
        return SLOW_NBNS
    if port == 138:
        return SLOW_NBDS
    if port == 546 or port == 547:
        return SLOW_DHCPV6
    if port == 1812 or port == 1813 or port == 1645 or port == 1646:
        return SLOW_RADIUS
    if port == 1900:
        return SLOW_SSDP
    if port == 3702:
        return SLOW_WSD
    if port == 5353:
        return SLOW_MDNS
    if port == 5355:
        return SLOW_LLMNR
    return SLOW_NONE


cdef inline uint8_t _slow_content(
    const uint8_t* payload, size_t have, size_t wire, uint16_t src_port
) noexcept nogil:
    # What the first octets must tell: answers of name servers, and how a QUIC connection begins, at whatever port.
    if src_port == DNS_PORT:
        return SLOW_DNS if have >= DNS_HEADER_LEN and payload[2] & DNS_RESPONSE else SLOW_NONE
    return SLOW_QUIC if is_quic_initial(payload, have, wire) else SLOW_NONE


cdef inline void _note_netbios(const uint8_t* payload, size_t have, Packet* k) noexcept nogil:
    # RFC 1002: whether the framing is there. What it holds is for the dissector; it never rejects a frame.
    if k.slow == SLOW_NBNS and have >= 12 and be16(payload + 4) + be16(payload + 6) + be16(payload + 10) > 0:
        mark(k, LAYER_NBNS)
    elif k.slow == SLOW_NBDS and have >= 10 and 0x10 <= payload[0] <= 0x16:
        mark(k, LAYER_NBDS)


cdef inline bint is_tunnel_port(uint16_t port) noexcept nogil:
    return port == VXLAN_PORT or port == GENEVE_PORT or port == GTPU_PORT


cdef inline void read_datagram(
    Packet* k, const uint8_t* payload, size_t have, size_t wire, uint16_t src_port, uint16_t dst_port
) noexcept nogil:
    # What a UDP datagram is to a dissector, by its ports or by what it holds.
    k.slow = slow_kind(dst_port)
    if k.slow == SLOW_NONE:
        k.slow = slow_kind(src_port)
    if k.slow == SLOW_NONE:
        k.slow = _slow_content(payload, have, wire, src_port)
    if k.slow != SLOW_NONE:
        k.payload = payload
        k.payload_octets = have
        k.src_port = src_port
        k.dst_port = dst_port
        _note_netbios(payload, have, k)


cdef inline int read_udp(Cursor* c, Packet* k, Decoder* d) noexcept nogil:
    # RFC 768. Length 0 is a jumbogram (RFC 2675) or segmentation offload.
    cdef int verdict = lacks(c, UDP_HEADER_LEN)
    cdef uint16_t src_port, dst_port
    cdef size_t length
    if verdict:
        return reject(k, verdict, LAYER_UDP)
    src_port = be16(c.at)
    dst_port = be16(c.at + 2)
    length = be16(c.at + UDP_LENGTH)
    if length != 0:
        if length < UDP_HEADER_LEN or (length > c.wire and not k.fragment):
            return reject(k, MALFORMED, LAYER_UDP)
        if length < c.wire:
            narrow(c, length)
    mark(k, LAYER_UDP)
    _keyed(k, src_port, dst_port)
    read_datagram(k, c.at + UDP_HEADER_LEN, c.have - UDP_HEADER_LEN, c.wire - UDP_HEADER_LEN, src_port, dst_port)
    if k.slow == SLOW_NONE and is_tunnel_port(dst_port) and not k.fragment:
        advance(c, UDP_HEADER_LEN)
        k.type = dst_port
        return STEP_UDP_TUNNEL
    return STEP_DONE


cdef inline int udp_tunnel_layer(uint16_t port) noexcept nogil:
    return LAYER_VXLAN if port == VXLAN_PORT else LAYER_GENEVE if port == GENEVE_PORT else LAYER_GTPU


cdef inline int read_udp_tunnel(Cursor* c, Packet* k, Decoder* d) noexcept nogil:
    # VXLAN (RFC 7348), Geneve (RFC 8926) or GTP-U, told by the port alone: what does not look like it is payload.
    cdef size_t options
    if c.wire < UDP_TUNNEL_LEN or k.depth >= MAX_TUNNELS:
        return STEP_DONE
    if c.have < UDP_TUNNEL_LEN:
        return cut_inside(k, TRUNCATED, udp_tunnel_layer(k.type))
    if k.type == VXLAN_PORT:
        if not c.at[0] & VXLAN_VALID:
            return STEP_DONE
        mark(k, LAYER_VXLAN)
        enter_tunnel(d, k, TUNNEL_VXLAN, be32(c.at + 4) >> 8)
        advance(c, VXLAN_HEADER_LEN)
        return STEP_ETHERNET
    if k.type == GTPU_PORT:
        return read_gtpu(c, k, d)
    options = <size_t>(c.at[0] & 0x3F) * 4
    k.type = be16(c.at + 2)
    if c.at[0] >> 6 != 0 or c.wire < GENEVE_HEADER_LEN + options:
        return STEP_DONE
    if k.type != TYPE_BRIDGED and k.type != TYPE_IPV4 and k.type != TYPE_IPV6 and k.type != TYPE_ARP:
        return STEP_DONE
    if c.have < GENEVE_HEADER_LEN + options:
        return cut_inside(k, TRUNCATED, LAYER_GENEVE)
    mark(k, LAYER_GENEVE)
    enter_tunnel(d, k, TUNNEL_GENEVE, be32(c.at + 4) >> 8)
    advance(c, GENEVE_HEADER_LEN + options)
    return STEP_TYPE


cdef inline int read_gre(Cursor* c, Packet* k, Decoder* d) noexcept nogil:
    # RFC 2784, RFC 2890 (key), RFC 2637 (version 1, whose call id differs by direction and is no part of the tunnel).
    cdef int verdict = lacks(c, GRE_HEADER_LEN)
    cdef uint16_t flags, following
    cdef size_t octets = GRE_HEADER_LEN
    cdef uint32_t ident = 0
    if verdict:
        return reject(k, verdict, LAYER_GRE)
    flags = be16(c.at)
    following = be16(c.at + 2)
    if flags & GRE_VERSION > 1:
        return reject(k, MALFORMED, LAYER_GRE)
    if flags & (GRE_CHECKSUM | GRE_ROUTING):
        octets += 4
    if flags & GRE_KEY:
        verdict = lacks(c, octets + 4)
        if verdict:
            return reject(k, verdict, LAYER_GRE)
        if not flags & GRE_VERSION:
            ident = be32(c.at + octets)
        octets += 4
    if flags & GRE_SEQUENCE:
        octets += 4
    if flags & GRE_VERSION and flags & GRE_ACKNOWLEDGE:
        octets += 4
    verdict = lacks(c, octets)
    if verdict:
        return reject(k, verdict, LAYER_GRE)
    mark(k, LAYER_GRE)
    _keyed(k, 0, 0)
    if (
        (following == TYPE_ERSPAN or following == TYPE_ERSPAN_III)
        and not (flags & GRE_ROUTING or k.fragment or c.wire == octets)
    ):
        advance(c, octets)
        return read_erspan(c, k, d, following == TYPE_ERSPAN_III, flags & GRE_SEQUENCE != 0)
    if (
        flags & GRE_ROUTING or k.fragment or c.wire == octets
        or (
            following != TYPE_IPV4 and following != TYPE_IPV6 and following != TYPE_BRIDGED
            and following != TYPE_PPP and following != TYPE_MPLS and following != TYPE_VLAN and following != TYPE_ARP
        )
        or not enter_tunnel(d, k, TUNNEL_GRE, ident)
    ):
        return STEP_DONE
    advance(c, octets)
    k.type = following
    return STEP_TYPE


cdef inline int read_ip_in_ip(Packet* k, Decoder* d) noexcept nogil:
    # RFC 2003, RFC 2473, RFC 4213.
    cdef bint inner_four = k.protocol == PROTOCOL_IPV4
    cdef int kind
    if k.version == 4:
        kind = TUNNEL_IPIP if inner_four else TUNNEL_6IN4
    else:
        kind = TUNNEL_4IN6 if inner_four else TUNNEL_6IN6
    _keyed(k, 0, 0)
    if k.fragment or not enter_tunnel(d, k, kind, 0):
        mark(k, LAYER_OTHER_IP)
        return STEP_DONE
    return STEP_IPV4 if inner_four else STEP_IPV6


cdef inline int read_udplite(const Cursor* c, Packet* k) noexcept nogil:
    # RFC 3828: UDP with the length of what the checksum covers in the place of its own; 0 is all of it.
    cdef int verdict = lacks(c, UDPLITE_HEADER_LEN)
    cdef size_t coverage
    if verdict:
        return reject(k, verdict, LAYER_UDPLITE)
    coverage = be16(c.at + UDPLITE_COVERAGE)
    if (coverage != 0 and coverage < UDPLITE_HEADER_LEN) or (coverage > c.wire and not k.fragment):
        return reject(k, MALFORMED, LAYER_UDPLITE)
    mark(k, LAYER_UDPLITE)
    return _keyed(k, be16(c.at), be16(c.at + 2))


cdef inline int read_dccp(const Cursor* c, Packet* k) noexcept nogil:
    # RFC 4340 section 5.1.
    cdef int verdict = lacks(c, DCCP_HEADER_LEN)
    cdef size_t header, least
    if verdict:
        return reject(k, verdict, LAYER_DCCP)
    header = <size_t>c.at[DCCP_OFFSET] * 4
    least = DCCP_EXTENDED_LEN if c.at[DCCP_EXTENDED] & 1 else DCCP_HEADER_LEN
    if header < least or (header > c.wire and not k.fragment):
        return reject(k, MALFORMED, LAYER_DCCP)
    mark(k, LAYER_DCCP)
    return _keyed(k, be16(c.at), be16(c.at + 2))


cdef inline int read_rare_transport(Cursor* c, Packet* k, Decoder* d) noexcept nogil:
    # Everything but whole TCP segments and UDP datagrams.
    cdef int verdict
    if k.protocol == (PROTOCOL_ICMP if k.version == 4 else PROTOCOL_ICMPV6):
        return read_icmp(c, k, d)
    if k.protocol == PROTOCOL_GRE:
        return read_gre(c, k, d)
    if k.protocol == PROTOCOL_IPV4 or k.protocol == PROTOCOL_IPV6:
        return read_ip_in_ip(k, d)
    if k.protocol == PROTOCOL_SCTP:
        verdict = lacks(c, SCTP_HEADER_LEN)
        if verdict:
            return reject(k, verdict, LAYER_SCTP)
        mark(k, LAYER_SCTP)
        return _keyed(k, be16(c.at), be16(c.at + 2))
    if k.protocol == PROTOCOL_UDPLITE:
        return read_udplite(c, k)
    if k.protocol == PROTOCOL_DCCP:
        return read_dccp(c, k)
    if k.protocol == PROTOCOL_IGMP and k.version == 4:
        mark(k, LAYER_IGMP)
        k.slow = SLOW_IGMP
        k.payload = c.at
        k.payload_octets = c.have
    else:
        mark(k, LAYER_OTHER_IP)
    return _keyed(k, 0, 0)


cdef inline int read_fragment(Cursor* c, Packet* k, Decoder* d) noexcept nogil:
    # A piece of a datagram: the first one keys the flow, the others are credited to it.
    cdef int step
    if k.fragment == FRAGMENT_LATER:
        if fragment_find(&d.fragments, k):
            k.fate = IN_FLOW
        return STEP_DONE
    if k.protocol == PROTOCOL_TCP:
        step = read_tcp(c, k)
    elif k.protocol == PROTOCOL_UDP:
        step = read_udp(c, k, d)
    else:
        step = read_rare_transport(c, k, d)
    if step == STEP_DONE and k.fate != OUTSIDE:
        k.hash = flow_hash(&d.seed, k.key)
        fragment_keep(&d.fragments, k)
    return step


cdef inline int read_transport(Cursor* c, Packet* k, Decoder* d) noexcept nogil:
    if k.fragment:
        return read_fragment(c, k, d)
    if k.protocol == PROTOCOL_TCP:
        return read_tcp(c, k)
    if k.protocol == PROTOCOL_UDP:
        return read_udp(c, k, d)
    return read_rare_transport(c, k, d)
