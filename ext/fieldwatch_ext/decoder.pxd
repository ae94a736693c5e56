# What the decoder keeps from frame to frame, and the sightings that a frame gives beside those of its flow.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fieldwatch_ext.addresses cimport Prefixes, bindable, judge_source
from fieldwatch_ext.fragments cimport Fragments
from fieldwatch_ext.hashing cimport Seed
from fieldwatch_ext.packet cimport OUTSIDE, SEEN_ETH, SEEN_NOT, Packet
from fieldwatch_ext.sightings cimport sighting_meta
from fieldwatch_ext.tunnels cimport TUNNEL_GENEVE, TUNNEL_GTPU, TUNNEL_VXLAN, Tunnels, tunnel_number

cdef enum:
    MAX_TAGS = 16               # VLAN tags or MPLS labels in a row, IPv6 extension headers: more is malformed
    MAX_TUNNELS = 4             # entered one in the other; a deeper one is payload
    MAX_NOTES = 16              # sightings of one frame

cdef struct Note:
    uint64_t vlans
    uint64_t meta
    uint64_t ip[2]

cdef struct Decoder:
    Seed seed                   # of the flow table
    Prefixes prefixes
    int note_count
    Note notes[16]
    int outer_notes             # sightings noted when the last tunnel was entered
    uint8_t entered             # a tunnel, in this frame
    uint8_t guessed             # one that only its port tells
    Packet outer                # the frame as it was before the last tunnel
    Tunnels tunnels
    Fragments fragments


cdef inline void note(
    Decoder* d, const Packet* k, uint64_t mac, int source, uint8_t version, uint64_t ip0, uint64_t ip1
) noexcept nogil:
    # A sighting that has no place in a flow entry.
    cdef Note* n
    if d.note_count < MAX_NOTES:
        n = &d.notes[d.note_count]
        d.note_count += 1
        n.vlans = k.vlans
        n.meta = sighting_meta(mac, source, version)
        n.ip[0] = ip0
        n.ip[1] = ip1


cdef inline void note_binding(
    Decoder* d, const Packet* k, uint64_t mac, int source, uint8_t version, const uint64_t* ip
) noexcept nogil:
    # ARP or NDP: the MAC holds the address, if both are such that a device can have them.
    if mac != 0 and not mac & 1 and bindable(version, ip):
        note(d, k, mac, source, version, ip[0], ip[1])


cdef inline void note_sender(Decoder* d, Packet* k) noexcept nogil:
    # The sightings that otherwise go by way of the flow entry: of the MAC, and of the source address.
    if k.sighted:
        return
    k.sighted = 1
    if k.mac != 0:
        note(d, k, k.mac, SEEN_ETH, 0, 0, 0)
    if k.version != 0:
        judge_source(k, &d.prefixes)
        if k.seen != SEEN_NOT:
            note(d, k, k.mac, k.seen, k.version, k.src[0] if k.seen_local else 0, k.src[1] if k.seen_local else 0)


cdef inline bint enter_tunnel(Decoder* d, Packet* k, int kind, uint32_t ident) noexcept nogil:
    # The IP header read last becomes an outer one; `k` holds its flow. False: too deep, the rest is payload.
    if k.depth >= MAX_TUNNELS:
        return False
    note_sender(d, k)
    d.outer = k[0]
    d.outer_notes = d.note_count
    d.entered = 1
    if kind == TUNNEL_VXLAN or kind == TUNNEL_GENEVE or kind == TUNNEL_GTPU:
        d.guessed = 1
    k.tunnel = tunnel_number(&d.tunnels, kind, k.version, k.src, k.dst, ident, k.tunnel)
    k.depth += 1
    k.version = 0
    k.mac = 0                   # it does not send what is inside, unless an inner Ethernet header says so
    k.sighted = 0
    k.fate = OUTSIDE
    return True
