# Link layers: linktypes, Ethernet II, VLAN tags, 802.1ah, 802.3 with LLC and SNAP, MPLS, PPP and PPPoE, LLDP, CDP,
# STP, EAPOL.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fieldwatch_ext.arp cimport read_arp
from fieldwatch_ext.decoder cimport MAX_TAGS, MAX_TUNNELS, Decoder, note_sender
from fieldwatch_ext.packet cimport *
from fieldwatch_ext.radio cimport (
    LINKTYPE_AVS, LINKTYPE_IEEE802_11, LINKTYPE_PPI, LINKTYPE_PRISM, LINKTYPE_RADIOTAP, read_ppi, read_radio
)
from fieldwatch_ext.wire cimport be16, be32, mac48

cdef enum:
    ETH_SRC = 6
    ETH_TYPE = 12
    ETH_HEADER_LEN = 14
    VLAN_TAG_LEN = 4
    LLC_LEN = 3
    SNAP_LEN = 8
    MPLS_LABEL_LEN = 4
    PPPOE_LEN = 6
    PBB_TAG_LEN = 4
    SLL_HEADER_LEN = 16
    SLL2_HEADER_LEN = 20
    LOWEST_ETHERTYPE = 0x0600   # IEEE 802.3: below it the field is a length (to 1500) or nothing

cdef enum:
    TYPE_IPV4 = 0x0800
    TYPE_ARP = 0x0806
    TYPE_BRIDGED = 0x6558       # transparent Ethernet bridging
    TYPE_VLAN = 0x8100
    TYPE_IPV6 = 0x86DD
    TYPE_ERSPAN_III = 0x22EB
    TYPE_PPP = 0x880B
    TYPE_MPLS = 0x8847
    TYPE_MPLS_UPSTREAM = 0x8848
    TYPE_PPPOE_DISCOVERY = 0x8863
    TYPE_PPPOE = 0x8864
    TYPE_EAPOL = 0x888E
    TYPE_VLAN_SERVICE = 0x88A8
    TYPE_ERSPAN = 0x88BE        # types I and II
    TYPE_LLDP = 0x88CC
    TYPE_PBB = 0x88E7
    TYPE_VLAN_OLD = 0x9100

cdef enum:
    LINKTYPE_NULL = 0
    LINKTYPE_ETHERNET = 1
    LINKTYPE_PPP = 9
    LINKTYPE_PPP_ETHER = 51
    LINKTYPE_RAW = 101
    LINKTYPE_C_HDLC = 104
    LINKTYPE_LOOP = 108
    LINKTYPE_LINUX_SLL = 113
    LINKTYPE_IPV4 = 228
    LINKTYPE_IPV6 = 229
    LINKTYPE_LINUX_SLL2 = 276

cdef enum:
    ARPHRD_NETLINK = 824        # SLL: the protocol field is no EtherType
    SLL_802_2 = 4


cdef inline int read_ethernet(Cursor* c, Packet* k, Decoder* d) noexcept nogil:
    cdef int verdict = lacks(c, ETH_HEADER_LEN)
    cdef uint64_t mac
    if verdict:
        return reject(k, verdict, LAYER_ETHERNET)
    if k.src_mac != NULL:
        note_sender(d, k)                   # the outer MAC; the inner one takes its place
    mac = mac48(c.at + ETH_SRC)
    k.mac = 0 if mac & 1 else mac           # a group address is no sender
    k.sighted = 0
    k.dst_mac = c.at
    k.src_mac = c.at + ETH_SRC
    k.type = be16(c.at + ETH_TYPE)
    mark(k, LAYER_ETHERNET)
    advance(c, ETH_HEADER_LEN)
    if k.type < LOWEST_ETHERTYPE:
        return STEP_LLC
    return STEP_TYPE


cdef inline int read_vlans(Cursor* c, Packet* k) noexcept nogil:
    # IEEE 802.1Q and 802.1ad tags in a row. VLAN id 0 is a priority without a VLAN and leaves no trace in the stack.
    cdef int tags = 0
    cdef int verdict
    cdef uint16_t vlan
    mark(k, LAYER_VLAN)
    while k.type == TYPE_VLAN or k.type == TYPE_VLAN_SERVICE or k.type == TYPE_VLAN_OLD:
        verdict = lacks(c, VLAN_TAG_LEN)
        if verdict == OK and tags == MAX_TAGS:
            verdict = MALFORMED
        if verdict:
            return reject(k, verdict, LAYER_VLAN)
        vlan = be16(c.at) & 0x0FFF
        k.type = be16(c.at + 2)
        advance(c, VLAN_TAG_LEN)
        tags += 1
        if vlan != 0 and k.vlan_count < 4:
            k.vlans |= (<uint64_t>(0x1000 | vlan)) << (16 * k.vlan_count)
            k.vlan_count += 1
    if k.type < LOWEST_ETHERTYPE:
        return STEP_LLC
    return STEP_TYPE


cdef inline int read_llc(Cursor* c, Packet* k) noexcept nogil:
    # IEEE 802.3: `type` holds the length of what follows.
    if k.type > 1500:
        return reject(k, UNSUPPORTED, LAYER_LLC)
    if k.type > c.wire:
        return reject(k, MALFORMED, LAYER_LLC)
    narrow(c, k.type)
    return read_llc_unit(c, k)


cdef inline int read_llc_unit(Cursor* c, Packet* k) noexcept nogil:
    # IEEE 802.2, and SNAP.
    cdef int verdict = lacks(c, LLC_LEN)
    cdef uint32_t oui
    if verdict:
        return reject(k, verdict, LAYER_LLC)
    mark(k, LAYER_LLC)
    if c.at[0] == 0x42 and c.at[1] == 0x42:
        mark(k, LAYER_STP)
        return STEP_DONE
    if c.at[0] != 0xAA or c.at[1] != 0xAA or c.at[2] != 0x03:
        return reject(k, UNSUPPORTED, LAYER_LLC)
    verdict = lacks(c, SNAP_LEN)
    if verdict:
        return reject(k, verdict, LAYER_SNAP)
    mark(k, LAYER_SNAP)
    oui = be32(c.at + 2) & 0xFFFFFF         # behind the control octet
    k.type = be16(c.at + 6)
    advance(c, SNAP_LEN)
    if oui == 0x00000C:
        if k.type == 0x2000:
            mark(k, LAYER_CDP)
            k.slow = SLOW_CDP
            k.payload = c.at
            k.payload_octets = c.have
            return STEP_DONE
        if k.type == 0x010B:                # one spanning tree per VLAN
            mark(k, LAYER_STP)
            return STEP_DONE
    elif (oui == 0 or oui == 0x0000F8) and k.type >= LOWEST_ETHERTYPE:
        return STEP_TYPE                    # RFC 1042, IEEE 802.1H
    return reject(k, UNSUPPORTED, LAYER_SNAP)


cdef inline bint _bridges_at(const Cursor* c, size_t at) noexcept nogil:
    # Whether an Ethernet header with a type that we know begins here.
    cdef uint16_t known
    if c.have < at + ETH_HEADER_LEN:
        return False
    known = be16(c.at + at + ETH_TYPE)
    return known == TYPE_IPV4 or known == TYPE_IPV6 or known == TYPE_ARP or known == TYPE_VLAN


cdef inline int read_mpls(Cursor* c, Packet* k) noexcept nogil:
    # RFC 3032. What follows the label stack is told by its first nibble (RFC 4928): IP, or a pseudowire control word.
    cdef int labels = 0
    cdef int verdict
    cdef bint bottom = False
    mark(k, LAYER_MPLS)
    while not bottom:
        verdict = lacks(c, MPLS_LABEL_LEN)
        if verdict == OK and labels == MAX_TAGS:
            verdict = MALFORMED
        if verdict:
            return reject(k, verdict, LAYER_MPLS)
        bottom = c.at[2] & 1
        advance(c, MPLS_LABEL_LEN)
        labels += 1
    verdict = lacks(c, 1)
    if verdict:
        return reject(k, verdict, LAYER_MPLS)
    if c.at[0] >> 4 == 4:
        return STEP_IPV4
    if c.at[0] >> 4 == 6:
        return STEP_IPV6
    if c.at[0] >> 4 == 0:
        if _bridges_at(c, 4) or not _bridges_at(c, 0):
            verdict = lacks(c, 4)
            if verdict:
                return reject(k, verdict, LAYER_MPLS)
            advance(c, 4)                   # RFC 4385: a control word before Ethernet
        return STEP_ETHERNET
    return reject(k, UNSUPPORTED, LAYER_MPLS)


cdef inline int read_pppoe(Cursor* c, Packet* k) noexcept nogil:
    # RFC 2516.
    cdef int verdict = lacks(c, PPPOE_LEN)
    cdef uint16_t length
    if verdict:
        return reject(k, verdict, LAYER_PPPOE)
    length = be16(c.at + 4)
    if c.at[0] != 0x11 or length > c.wire - PPPOE_LEN:
        return reject(k, MALFORMED, LAYER_PPPOE)
    mark(k, LAYER_PPPOE)
    if k.type == TYPE_PPPOE_DISCOVERY:
        return STEP_DONE
    advance(c, PPPOE_LEN)
    narrow(c, length)
    return STEP_PPP


cdef inline int read_ppp(Cursor* c, Packet* k) noexcept nogil:
    # RFC 1661 section 2, with or without the address and control octets of RFC 1662, protocol field compressed or not.
    cdef int verdict = lacks(c, 2)
    cdef uint16_t protocol
    if verdict:
        return reject(k, verdict, LAYER_PPP)
    if c.at[0] == 0xFF and c.at[1] == 0x03:
        advance(c, 2)
        verdict = lacks(c, 2)
        if verdict:
            return reject(k, verdict, LAYER_PPP)
    mark(k, LAYER_PPP)
    if c.at[0] & 1:
        protocol = c.at[0]
        advance(c, 1)
    else:
        protocol = be16(c.at)
        advance(c, 2)
    if protocol == 0x0021:
        return STEP_IPV4
    if protocol == 0x0057:
        return STEP_IPV6
    if protocol == 0x0281 or protocol == 0x0283:
        return STEP_MPLS
    if protocol >= 0x8000:
        return STEP_DONE                    # network and link control protocols
    return reject(k, UNSUPPORTED, LAYER_PPP)


cdef inline int read_pbb(Cursor* c, Packet* k) noexcept nogil:
    # IEEE 802.1ah: a tag with the service instance, then the customer's frame with addresses of its own.
    cdef int verdict = lacks(c, PBB_TAG_LEN)
    if verdict == OK and k.backbones == MAX_TUNNELS:
        verdict = MALFORMED
    if verdict:
        return reject(k, verdict, LAYER_PBB)
    k.backbones += 1
    mark(k, LAYER_PBB)
    advance(c, PBB_TAG_LEN)
    return STEP_ETHERNET


cdef inline int read_rare_type(Cursor* c, Packet* k, Decoder* d) noexcept nogil:
    # EtherTypes other than IPv4 and IPv6.
    cdef int verdict
    if k.type == TYPE_VLAN or k.type == TYPE_VLAN_SERVICE or k.type == TYPE_VLAN_OLD:
        return read_vlans(c, k)
    if k.type == TYPE_ARP:
        return read_arp(c, k, d)
    if k.type == TYPE_MPLS or k.type == TYPE_MPLS_UPSTREAM:
        return STEP_MPLS
    if k.type == TYPE_PPPOE or k.type == TYPE_PPPOE_DISCOVERY:
        return read_pppoe(c, k)
    if k.type == TYPE_BRIDGED:
        return STEP_ETHERNET
    if k.type == TYPE_PPP:
        return STEP_PPP
    if k.type == TYPE_PBB:
        return read_pbb(c, k)
    if k.type == TYPE_LLDP:
        mark(k, LAYER_LLDP)
        k.slow = SLOW_LLDP
        k.payload = c.at
        k.payload_octets = c.have
        return STEP_DONE
    if k.type == TYPE_EAPOL:
        verdict = lacks(c, 4)
        if verdict:
            return reject(k, verdict, LAYER_EAPOL)
        mark(k, LAYER_EAPOL)
        return STEP_DONE
    return reject(k, UNSUPPORTED, LAYER_ETHERNET)


cdef inline int read_cooked(Cursor* c, Packet* k, uint16_t linktype) noexcept nogil:
    # Linux "cooked" captures: LINKTYPE_LINUX_SLL and LINKTYPE_LINUX_SLL2. They have a source address only.
    cdef size_t header = SLL_HEADER_LEN if linktype == LINKTYPE_LINUX_SLL else SLL2_HEADER_LEN
    cdef int verdict = lacks(c, header)
    cdef uint16_t hardware, address_octets
    cdef const uint8_t* address
    cdef uint64_t mac
    if verdict:
        return reject(k, verdict, LAYER_COOKED)
    if linktype == LINKTYPE_LINUX_SLL:
        hardware = be16(c.at + 2)
        address_octets = be16(c.at + 4)
        address = c.at + 6
        k.type = be16(c.at + 14)
    else:
        k.type = be16(c.at)
        hardware = be16(c.at + 8)
        address_octets = c.at[11]
        address = c.at + 12
    if address_octets == 6:
        mac = mac48(address)
        k.mac = 0 if mac & 1 else mac
        k.src_mac = address
    mark(k, LAYER_COOKED)
    advance(c, header)
    if hardware == ARPHRD_NETLINK:
        return reject(k, UNSUPPORTED, LAYER_COOKED)
    if k.type == SLL_802_2:
        k.type = <uint16_t>c.wire if c.wire <= 1500 else 1500
        return STEP_LLC
    return STEP_TYPE


cdef inline int read_loopback(Cursor* c, Packet* k) noexcept nogil:
    # LINKTYPE_NULL (byte order of the machine that captured) and LINKTYPE_LOOP: an address family.
    cdef int verdict = lacks(c, 4)
    cdef uint32_t family
    if verdict:
        return reject(k, verdict, LAYER_LOOPBACK)
    family = be32(c.at)
    if family > 0xFFFF:
        family = c.at[0] | <uint32_t>c.at[1] << 8
    mark(k, LAYER_LOOPBACK)
    advance(c, 4)
    if family == 2:
        return STEP_IPV4
    if family == 10 or family == 24 or family == 28 or family == 30:
        return STEP_IPV6                    # Linux, NetBSD, FreeBSD, Darwin
    return reject(k, UNSUPPORTED, LAYER_LOOPBACK)


cdef inline int read_link(Cursor* c, Packet* k, Decoder* d, uint16_t linktype) noexcept nogil:
    # The first header of a frame that is no Ethernet frame.
    cdef int verdict
    if linktype == LINKTYPE_PPI:
        if read_ppi(c, k, &linktype) == STEP_REJECT:
            return STEP_REJECT
        if linktype == LINKTYPE_ETHERNET:
            return STEP_ETHERNET
    if (
        linktype == LINKTYPE_RADIOTAP or linktype == LINKTYPE_IEEE802_11 or linktype == LINKTYPE_PRISM
        or linktype == LINKTYPE_AVS
    ):
        return read_radio(c, k, linktype)
    if linktype == LINKTYPE_LINUX_SLL or linktype == LINKTYPE_LINUX_SLL2:
        return read_cooked(c, k, linktype)
    if linktype == LINKTYPE_RAW or linktype == 12 or linktype == 14:
        return STEP_IP
    if linktype == LINKTYPE_IPV4:
        return STEP_IPV4
    if linktype == LINKTYPE_IPV6:
        return STEP_IPV6
    if linktype == LINKTYPE_NULL or linktype == LINKTYPE_LOOP:
        return read_loopback(c, k)
    if linktype == LINKTYPE_PPP:
        return STEP_PPP
    if linktype == LINKTYPE_PPP_ETHER:
        k.type = TYPE_PPPOE
        return read_pppoe(c, k)
    if linktype == LINKTYPE_C_HDLC:
        verdict = lacks(c, 4)
        if verdict:
            return reject(k, verdict, LAYER_HDLC)
        k.type = be16(c.at + 2)
        mark(k, LAYER_HDLC)
        advance(c, 4)
        return STEP_TYPE
    return reject(k, UNSUPPORTED, LAYER_LINK)
