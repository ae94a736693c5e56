# IPv6 neighbour discovery (RFC 4861): which MAC holds which address, by the link-layer address options.
#
#   message                 option that counts      address that it belongs to
#   router solicitation     source (1)              the IPv6 source
#   router advertisement    source (1)              the IPv6 source
#   neighbour solicitation  source (1)              the IPv6 source; none with `::` (duplicate address detection)
#   neighbour advertisement target (2)              the target
#   redirect                target (2)              the target
from libc.stdint cimport uint8_t, uint64_t

from fieldwatch_ext.decoder cimport Decoder, note_binding
from fieldwatch_ext.packet cimport LAYER_NDP, MALFORMED, OK, SEEN_NDP, Cursor, Packet, lacks, mark
from fieldwatch_ext.wire cimport mac48, raw64

cdef enum:
    NDP_ROUTER_SOLICITATION = 133
    NDP_ROUTER_ADVERTISEMENT = 134
    NDP_NEIGHBOUR_SOLICITATION = 135
    NDP_NEIGHBOUR_ADVERTISEMENT = 136
    NDP_REDIRECT = 137
    NDP_TARGET = 8
    NDP_OPTION_SOURCE = 1
    NDP_OPTION_TARGET = 2
    NDP_OPTIONS_MOST = 32


cdef inline int _read_options(const Cursor* c, size_t at, uint8_t wanted, uint64_t* mac) noexcept nogil:
    # The link-layer address in the first option of the wanted kind, if there is one. OK, or why the options end too
    # early; MALFORMED: one of length 0, for which the whole message is void (RFC 4861 section 4.6).
    cdef size_t octets
    cdef int _option, verdict
    for _option in range(NDP_OPTIONS_MOST):
        if c.wire == at:
            return OK
        verdict = lacks(c, at + 8)
        if verdict:
            return verdict
        octets = <size_t>c.at[at + 1] * 8
        if octets == 0:
            return MALFORMED
        if c.at[at] == wanted and octets == 8:
            mac[0] = mac48(c.at + at + 2)
            wanted = 0
        verdict = lacks(c, at + octets)
        if verdict:
            return verdict
        at += octets
    return OK


cdef inline int read_ndp(const Cursor* c, Packet* k, Decoder* d) noexcept nogil:
    # A message that came through a router (hop limit below 255) or has a code is to be ignored, says the RFC. OK, or
    # why it could not be read to its end.
    cdef size_t at
    cdef int verdict
    cdef uint8_t wanted = NDP_OPTION_SOURCE
    cdef uint64_t mac = 0
    cdef uint64_t ip[2]
    if k.hop_limit != 255 or k.icmp_code != 0:
        return OK
    mark(k, LAYER_NDP)
    ip[0] = k.src[0]
    ip[1] = k.src[1]
    if k.icmp_type == NDP_ROUTER_SOLICITATION:
        at = 8
    elif k.icmp_type == NDP_ROUTER_ADVERTISEMENT:
        at = 16
    elif k.icmp_type == NDP_REDIRECT:
        at = 40
    else:
        at = 24
    verdict = lacks(c, at)
    if verdict:
        return verdict
    if k.icmp_type == NDP_NEIGHBOUR_ADVERTISEMENT or k.icmp_type == NDP_REDIRECT:
        wanted = NDP_OPTION_TARGET
        ip[0] = raw64(c.at + NDP_TARGET)
        ip[1] = raw64(c.at + NDP_TARGET + 8)
    verdict = _read_options(c, at, wanted, &mac)
    if verdict != MALFORMED:
        note_binding(d, k, mac, SEEN_NDP, 6, ip)
    return verdict
