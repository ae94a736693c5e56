# What the decoder says about one frame, and the cursor with which it walks through the headers.
#
# Two lengths go with every header: `have`, the octets that were captured, and `wire`, those that were on the wire. A
# header that the wire did not carry is MALFORMED (a runt, a length that contradicts itself); one that the wire carried
# but the capture cut off is TRUNCATED. Payload that is cut off is nobody's fault: the frame is OK.
#
# A tunnel that its port alone tells, a quoted packet and the options of neighbour discovery stand behind the header
# that says which flow the frame is of. If they are cut off, the verdict says so, and the flow is credited all the same.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum Verdict:
    OK = 0
    TRUNCATED = 1
    MALFORMED = 2
    UNSUPPORTED = 3
    VERDICTS = 4
    TOO_SHORT = 4               # for `reject`: MALFORMED, since the wire carried less than what is told to be there

# Positions in `Packet.layers`; LAYER_NAMES in engine.pyx has the same order.
cdef enum Layer:
    LAYER_LINK = 0              # the linktype itself: nothing could be read
    LAYER_ETHERNET
    LAYER_COOKED
    LAYER_LOOPBACK
    LAYER_HDLC
    LAYER_VLAN
    LAYER_LLC
    LAYER_SNAP
    LAYER_MPLS
    LAYER_PPPOE
    LAYER_PPP
    LAYER_ARP
    LAYER_LLDP
    LAYER_CDP
    LAYER_STP
    LAYER_EAPOL
    LAYER_IPV4
    LAYER_IPV6
    LAYER_IPV6_EXTENSION
    LAYER_FRAGMENT
    LAYER_AH
    LAYER_TCP
    LAYER_UDP
    LAYER_SCTP
    LAYER_ICMP
    LAYER_ICMPV6
    LAYER_NDP
    LAYER_IGMP
    LAYER_GRE
    LAYER_VXLAN
    LAYER_GENEVE
    LAYER_OTHER_IP
    LAYER_NBNS
    LAYER_NBDS
    LAYER_GTPU
    LAYER_ERSPAN
    LAYER_UDPLITE
    LAYER_DCCP
    LAYER_MLD
    LAYER_WIFI
    LAYER_WIFI_PROTECTED
    LAYER_RADIOTAP
    LAYER_PRISM
    LAYER_AVS
    LAYER_PPI
    LAYER_PBB
    LAYERS

# What the driver of the decoder does next.
cdef enum Step:
    STEP_DONE = 0
    STEP_REJECT
    STEP_TYPE                   # `Packet.type` holds an EtherType
    STEP_ETHERNET
    STEP_LLC
    STEP_IPV4
    STEP_IPV6
    STEP_IP                     # IPv4 or IPv6: the version field says
    STEP_PPP
    STEP_MPLS
    STEP_TRANSPORT
    STEP_UDP_TUNNEL             # `Packet.type` holds the port
    STEP_LLC_UNIT               # LLC without a length before it

cdef enum Fate:
    OUTSIDE = 0                 # no flow
    IN_FLOW
    QUOTING                     # ICMP error: the flow it quotes if that stands in the table, else its own

cdef enum SlowKind:
    SLOW_NONE = 0
    SLOW_DHCP
    SLOW_DHCPV6
    SLOW_MDNS
    SLOW_LLMNR
    SLOW_NBNS
    SLOW_NBDS
    SLOW_SSDP
    SLOW_LLDP
    SLOW_CDP
    SLOW_DNS
    SLOW_WSD
    SLOW_RADIUS
    SLOW_IGMP
    SLOW_QUIC
    SLOW_TCP_SYN
    SLOW_TLS
    SLOW_HTTP
    SLOW_SMB
    SLOW_KINDS

# SightingSource of the schema.
cdef enum:
    SEEN_NOT = 0
    SEEN_ETH = 1
    SEEN_IP = 2
    SEEN_ARP = 3
    SEEN_NDP = 4
    SEEN_FORWARD = 6

cdef enum:
    FRAGMENT_FIRST = 1
    FRAGMENT_LATER = 2

cdef struct Cursor:
    const uint8_t* at
    size_t have
    size_t wire

cdef struct Packet:
    uint64_t key[6]             # of the flow: lower address (2), upper address (2), `key_meta`, VLAN stack
    uint64_t hash
    uint64_t quoted[6]          # with QUOTING
    uint64_t src[2]             # with version: addresses of the innermost IP header read so far, as they lie
    uint64_t dst[2]
    const uint8_t* payload      # with slow != SLOW_NONE
    size_t payload_octets
    const uint8_t* ip           # first octet of the innermost IP header; with version
    const uint8_t* data         # TCP: behind the header
    uint32_t tcp_seq            # of the first of them
    int64_t ts_ns
    uint64_t waited_octets      # with waited > 0
    int64_t waited_first_ns
    int64_t waited_last_ns
    uint32_t octets             # of the whole frame on the wire
    uint32_t fragment_id
    uint32_t place              # where the flow probably stands, for prefetching
    uint64_t mac_hash           # of the sightings of MAC and source, where they are new to the flow, else 0
    uint64_t src_hash
    uint16_t type
    uint8_t protocol            # with version
    uint8_t hop_limit
    uint8_t side                # of the key that sent it: 0 lower, 1 upper
    uint8_t quoted_side
    uint8_t layer               # at which it was rejected
    uint8_t cut                 # with verdict != OK: by where it ends, not by what it says
    # From here on all is cleared for each frame.
    uint64_t layers
    uint64_t vlans
    uint64_t mac                # source, as `mac48` gives it; 0 = none, not a device's, or a tunnel lies between
    const uint8_t* src_mac      # NULL where the link has none
    const uint8_t* dst_mac
    uint32_t data_octets        # that were captured
    uint32_t tcp_octets         # that were on the wire
    uint32_t waited             # frames that came before this one, their first fragment, and are to be credited with it
    uint16_t src_port           # with slow != SLOW_NONE
    uint16_t dst_port
    uint16_t tunnel
    uint8_t verdict
    uint8_t fate
    uint8_t version             # of IP, 0 = none
    uint8_t fragment
    uint8_t tcp_flags           # with ICMP: 0
    uint8_t icmp_type
    uint8_t icmp_code
    uint8_t seen                # SEEN_IP, SEEN_FORWARD or SEEN_NOT of the source address
    uint8_t seen_local          # the sighting holds the address, not its version alone
    uint8_t sighted             # the sightings of MAC and source are with the decoder already
    uint8_t vlan_count
    uint8_t depth               # tunnels entered
    uint8_t backbones           # of providers, one in the other
    uint8_t slow


cdef inline int lacks(const Cursor* c, size_t octets) noexcept nogil:
    # OK, or why a header of so many octets cannot be read.
    if c.have >= octets:
        return OK
    return TOO_SHORT if c.wire < octets else TRUNCATED


cdef inline void advance(Cursor* c, size_t octets) noexcept nogil:
    c.at += octets
    c.have -= octets
    c.wire -= octets


cdef inline void narrow(Cursor* c, size_t wire) noexcept nogil:
    # The rest is `wire` octets long, by a length field that fits: what follows is padding.
    c.wire = wire
    if c.have > wire:
        c.have = wire


cdef inline void cut_off(Cursor* c) noexcept nogil:
    # Whoever sent this on has cut its end off, and said so: what is missing is truncated, not malformed.
    if c.wire < <size_t>1 << 17:
        c.wire = <size_t>1 << 17


cdef inline int reject(Packet* k, int verdict, int layer) noexcept nogil:
    k.cut = verdict == TRUNCATED or verdict == TOO_SHORT
    k.verdict = <uint8_t>(MALFORMED if verdict == TOO_SHORT else verdict)
    k.layer = <uint8_t>layer
    return STEP_REJECT


cdef inline int cut_inside(Packet* k, int verdict, int layer) noexcept nogil:
    # The flow is known already, and is credited.
    reject(k, verdict, layer)
    return STEP_DONE


cdef inline void mark(Packet* k, int layer) noexcept nogil:
    k.layers |= <uint64_t>1 << layer


cdef inline uint64_t key_meta(
    uint16_t lower_port, uint16_t upper_port, uint8_t protocol, uint8_t version, uint16_t tunnel
) noexcept nogil:
    return (
        <uint64_t>lower_port | <uint64_t>upper_port << 16 | <uint64_t>protocol << 32
        | <uint64_t>version << 40 | <uint64_t>tunnel << 48
    )
