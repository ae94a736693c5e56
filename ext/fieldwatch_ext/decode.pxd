# The driver: one frame from its first header to the key of its flow.
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from fieldwatch_ext.addresses cimport judge_source
from fieldwatch_ext.decoder cimport Decoder, note_sender
from fieldwatch_ext.frames cimport FrameRef
from fieldwatch_ext.flow_key cimport flow_hash
from fieldwatch_ext.link cimport (
    LINKTYPE_ETHERNET, TYPE_IPV4, TYPE_IPV6, read_ethernet, read_link, read_llc, read_llc_unit, read_mpls, read_ppp,
    read_rare_type
)
from fieldwatch_ext.network cimport read_ipv4, read_ipv6
from fieldwatch_ext.packet cimport *
from fieldwatch_ext.plain cimport read_plain
from fieldwatch_ext.transport cimport read_transport, read_udp_tunnel

cdef enum:
    MAX_STEPS = 40              # headers of one frame; more of them is an attack


cdef inline int _rare_step(Cursor* c, Packet* k, Decoder* d, int step) noexcept nogil:
    cdef int verdict
    if step == STEP_ETHERNET:
        return read_ethernet(c, k, d)
    if step == STEP_LLC:
        return read_llc(c, k)
    if step == STEP_IPV4:
        return read_ipv4(c, k)
    if step == STEP_IPV6:
        return read_ipv6(c, k)
    if step == STEP_PPP:
        return read_ppp(c, k)
    if step == STEP_MPLS:
        return read_mpls(c, k)
    if step == STEP_UDP_TUNNEL:
        return read_udp_tunnel(c, k, d)
    if step == STEP_LLC_UNIT:
        return read_llc_unit(c, k)
    verdict = lacks(c, 1)       # STEP_IP
    if verdict:
        return reject(k, verdict, LAYER_LINK)
    if c.at[0] >> 4 == 6:
        return read_ipv6(c, k)
    return read_ipv4(c, k)


cdef inline void _finish_rare(Decoder* d, Packet* k, int step) noexcept nogil:
    # A frame that was rejected, has no flow, or has one by way of a tunnel's outer header.
    cdef uint64_t layers
    cdef int verdict, layer
    if step == STEP_REJECT:
        if d.entered and d.guessed:
            verdict = k.verdict if k.cut else OK
            layer = k.layer
            k[0] = d.outer                  # a port is no proof: what stood behind it was payload after all,
            d.note_count = d.outer_notes
            if verdict:                     # or its end is missing, and nobody can tell
                cut_inside(k, verdict, layer)
            return
        k.fate = OUTSIDE
        k.slow = SLOW_NONE
        note_sender(d, k)
        return
    note_sender(d, k)
    if d.entered:
        layers = k.layers                   # ARP inside VXLAN, for one: the flow is that of the outer header
        k[0] = d.outer
        k.layers = layers


cdef inline void _read_steps(Decoder* d, const FrameRef* frame, Packet* k) noexcept nogil:
    # Header by header, whatever the frame holds.
    cdef Cursor c
    cdef int steps = 0
    cdef int step
    c.at = frame.octets
    c.have = frame.captured
    c.wire = max(frame.original, frame.captured)
    d.entered = 0
    d.guessed = 0
    if frame.linktype == LINKTYPE_ETHERNET:
        step = read_ethernet(&c, k, d)
    else:
        step = read_link(&c, k, d, frame.linktype)
    while step > STEP_REJECT:
        steps += 1
        if step == STEP_TRANSPORT:
            step = read_transport(&c, k, d)
        elif steps > MAX_STEPS:
            step = reject(k, MALFORMED, LAYER_LINK)
        elif step == STEP_TYPE:
            if k.type == TYPE_IPV4:
                step = read_ipv4(&c, k)
            elif k.type == TYPE_IPV6:
                step = read_ipv6(&c, k)
            else:
                step = read_rare_type(&c, k, d)
        else:
            step = _rare_step(&c, k, d, step)
    if step == STEP_REJECT or k.fate == OUTSIDE:
        _finish_rare(d, k, step)


cdef inline void _clear(Packet* k) noexcept nogil:
    memset(&k.layers, 0, sizeof(Packet) - (<char*>&k.layers - <char*>k))


cdef inline void decode(Decoder* d, const FrameRef* frame, Packet* k) noexcept nogil:
    # `k` says what the frame is; the sightings that have no place in a flow stand in `d.notes`.
    d.note_count = 0
    k.ts_ns = frame.ts_ns
    k.octets = max(frame.original, frame.captured)
    _clear(k)
    if frame.linktype != LINKTYPE_ETHERNET or not read_plain(frame, k):
        _clear(k)
        _read_steps(d, frame, k)
        if k.fate == OUTSIDE:
            return
    k.hash = flow_hash(&d.seed, k.key)
    if not k.sighted:
        judge_source(k, &d.prefixes)
