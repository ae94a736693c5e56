# ICMP (RFC 792), ICMPv6 (RFC 4443): echo, the packet that an error quotes, neighbour discovery.
from libc.stdint cimport uint8_t, uint16_t, uint64_t

from fieldwatch_ext.decoder cimport Decoder
from fieldwatch_ext.flow_key cimport flow_key, icmp_key
from fieldwatch_ext.ndp cimport read_ndp
from fieldwatch_ext.packet cimport *
from fieldwatch_ext.wire cimport be16, raw32, raw64

cdef enum:
    ICMP_IDENT = 4
    ICMP_HEADER_LEN = 8         # with the 4 octets that depend on the type
    ICMP6_HEADER_LEN = 4


cdef inline bint _is_error(uint8_t version, uint8_t kind) noexcept nogil:
    # Unreachable, source quench, redirect, time exceeded, parameter problem; RFC 4443: 1 to 4 are the errors in use.
    if version == 4:
        return kind == 3 or kind == 4 or kind == 5 or kind == 11 or kind == 12
    return 1 <= kind <= 4


cdef inline int _read_quote(Cursor c, Packet* k) noexcept nogil:
    # The key of the quoted packet's flow, with QUOTING. OK, or why so much of it is not there.
    cdef uint64_t src[2]
    cdef uint64_t dst[2]
    cdef size_t header = 20 if k.version == 4 else 40
    cdef uint8_t protocol
    cdef uint16_t src_port = 0
    cdef uint16_t dst_port = 0
    cdef int verdict = lacks(&c, ICMP_HEADER_LEN + header)
    if verdict:
        return verdict
    advance(&c, ICMP_HEADER_LEN)
    if c.at[0] >> 4 != k.version:
        return OK
    if k.version == 4:
        header = <size_t>(c.at[0] & 0x0F) * 4
        if header < 20 or be16(c.at + 6) & 0x1FFF:
            return OK
        protocol = c.at[9]
        src[0] = raw32(c.at + 12)
        dst[0] = raw32(c.at + 16)
        src[1] = dst[1] = 0
    else:
        protocol = c.at[6]
        src[0] = raw64(c.at + 8)
        src[1] = raw64(c.at + 16)
        dst[0] = raw64(c.at + 24)
        dst[1] = raw64(c.at + 32)
    if protocol == 1 or protocol == 58:
        verdict = lacks(&c, header + ICMP_HEADER_LEN)
        if verdict:
            return verdict
        k.quoted_side = 1 - icmp_key(
            k.quoted, k.version, protocol, src, dst, c.at[header], c.at[header + 1], be16(c.at + header + ICMP_IDENT),
            k.tunnel, k.vlans,
        )
        k.fate = QUOTING
        return OK
    if protocol == 6 or protocol == 17 or protocol == 33 or protocol == 132 or protocol == 136:
        verdict = lacks(&c, header + 4)
        if verdict:
            return verdict
        src_port = be16(c.at + header)
        dst_port = be16(c.at + header + 2)
    # The error travels towards the sender of what it quotes.
    k.quoted_side = 1 - flow_key(
        k.quoted, k.version, protocol, src, dst, src_port, dst_port, k.tunnel, k.vlans
    )
    k.fate = QUOTING
    return OK


cdef inline int read_icmp(Cursor* c, Packet* k, Decoder* d) noexcept nogil:
    # ICMPv6 in IPv4 and ICMP in IPv6 are protocols without ports like any other: the caller has seen to it.
    cdef bint six = k.version == 6
    cdef int layer = LAYER_ICMPV6 if six else LAYER_ICMP
    cdef int verdict = lacks(c, ICMP6_HEADER_LEN if six else ICMP_HEADER_LEN)
    cdef uint16_t ident = 0
    if verdict:
        return reject(k, verdict, layer)
    k.icmp_type = c.at[0]
    k.icmp_code = c.at[1]
    if (k.icmp_type == 128 or k.icmp_type == 129) if six else (k.icmp_type == 8 or k.icmp_type == 0):
        verdict = lacks(c, ICMP_HEADER_LEN)
        if verdict:
            return reject(k, verdict, layer)
        ident = be16(c.at + ICMP_IDENT)
    mark(k, layer)
    k.side = icmp_key(
        k.key, k.version, k.protocol, k.src, k.dst, k.icmp_type, k.icmp_code, ident, k.tunnel, k.vlans
    )
    k.fate = IN_FLOW
    if _is_error(k.version, k.icmp_type):
        verdict = _read_quote(c[0], k)
    elif six and 133 <= k.icmp_type <= 137:
        verdict = read_ndp(c, k, d)
        layer = LAYER_NDP
    elif six and k.hop_limit == 1 and (130 <= k.icmp_type <= 132 or k.icmp_type == 143):
        mark(k, LAYER_MLD)                  # RFC 2710, RFC 3810: from the link, never through a router
        k.slow = SLOW_IGMP
        k.payload = c.at
        k.payload_octets = c.have
    if verdict and not k.fragment:          # the rest of one in pieces is in the next piece
        return cut_inside(k, verdict, layer)
    return STEP_DONE
