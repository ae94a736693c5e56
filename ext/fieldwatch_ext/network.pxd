# IPv4 (RFC 791) and IPv6 (RFC 8200) with its extension headers and AH (RFC 4302).
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from fieldwatch_ext.decoder cimport MAX_TAGS
from fieldwatch_ext.packet cimport *
from fieldwatch_ext.wire cimport be16, be32, raw32, raw64

cdef enum:
    IP4_TOTAL_LENGTH = 2
    IP4_IDENT = 4
    IP4_FRAGMENT = 6
    IP4_TTL = 8
    IP4_PROTOCOL = 9
    IP4_SRC = 12
    IP4_DST = 16
    IP4_HEADER_LEN = 20
    IP4_MORE = 0x2000
    IP4_OFFSET = 0x1FFF

cdef enum:
    IP6_PAYLOAD_LENGTH = 4
    IP6_NEXT = 6
    IP6_HOP_LIMIT = 7
    IP6_SRC = 8
    IP6_DST = 24
    IP6_HEADER_LEN = 40
    IP6_FRAGMENT_LEN = 8

cdef enum:
    NEXT_HOP_BY_HOP = 0
    NEXT_ROUTING = 43
    NEXT_FRAGMENT = 44
    NEXT_AH = 51
    NEXT_NONE = 59
    NEXT_DESTINATION = 60
    NEXT_MOBILITY = 135
    NEXT_HIP = 139
    NEXT_SHIM6 = 140


cdef inline int read_ipv4(Cursor* c, Packet* k) noexcept nogil:
    cdef int verdict = lacks(c, IP4_HEADER_LEN)
    cdef size_t header, total
    cdef uint16_t place
    if verdict:
        return reject(k, verdict, LAYER_IPV4)
    header = <size_t>(c.at[0] & 0x0F) * 4
    total = be16(c.at + IP4_TOTAL_LENGTH)
    if total == 0:
        total = c.wire                      # segmentation offload: the length was still to be filled in
    if c.at[0] >> 4 != 4 or header < IP4_HEADER_LEN or total < header:
        return reject(k, MALFORMED, LAYER_IPV4)
    if total > c.wire:
        return reject(k, TOO_SHORT, LAYER_IPV4)
    narrow(c, total)
    if c.have < header:
        return reject(k, TRUNCATED, LAYER_IPV4)
    k.version = 4
    k.ip = c.at
    k.protocol = c.at[IP4_PROTOCOL]
    k.hop_limit = c.at[IP4_TTL]
    k.src[0] = raw32(c.at + IP4_SRC)
    k.src[1] = 0
    k.dst[0] = raw32(c.at + IP4_DST)
    k.dst[1] = 0
    k.fragment = 0
    mark(k, LAYER_IPV4)
    place = be16(c.at + IP4_FRAGMENT)
    if place & (IP4_MORE | IP4_OFFSET):
        mark(k, LAYER_FRAGMENT)
        # RFC 791: datagrams are told apart by their protocol, too. In IPv6 they are not (RFC 8200 section 4.5).
        k.fragment_id = be16(c.at + IP4_IDENT) | <uint32_t>k.protocol << 16
        k.fragment = FRAGMENT_LATER if place & IP4_OFFSET else FRAGMENT_FIRST
    advance(c, header)
    if k.protocol == NEXT_AH and k.fragment != FRAGMENT_LATER:
        return read_extensions(c, k)
    return STEP_TRANSPORT


cdef inline int read_ipv6(Cursor* c, Packet* k) noexcept nogil:
    cdef int verdict = lacks(c, IP6_HEADER_LEN)
    cdef size_t length
    if verdict:
        return reject(k, verdict, LAYER_IPV6)
    length = be16(c.at + IP6_PAYLOAD_LENGTH)
    if c.at[0] >> 4 != 6:
        return reject(k, MALFORMED, LAYER_IPV6)
    if length > c.wire - IP6_HEADER_LEN:
        return reject(k, TOO_SHORT, LAYER_IPV6)
    k.version = 6
    k.ip = c.at
    k.protocol = c.at[IP6_NEXT]
    k.hop_limit = c.at[IP6_HOP_LIMIT]
    k.src[0] = raw64(c.at + IP6_SRC)
    k.src[1] = raw64(c.at + IP6_SRC + 8)
    k.dst[0] = raw64(c.at + IP6_DST)
    k.dst[1] = raw64(c.at + IP6_DST + 8)
    k.fragment = 0
    mark(k, LAYER_IPV6)
    advance(c, IP6_HEADER_LEN)
    # Length 0 is a jumbogram (RFC 2675) or segmentation offload, unless nothing follows.
    if length != 0 or k.protocol == NEXT_NONE:
        narrow(c, length)
    if k.protocol == 6 or k.protocol == 17:
        return STEP_TRANSPORT
    return read_extensions(c, k)


cdef inline int read_extensions(Cursor* c, Packet* k) noexcept nogil:
    # The chain of extension headers, up to the transport or to where nobody can read on.
    cdef int headers = 0
    cdef int verdict
    cdef int layer
    cdef size_t octets
    cdef uint8_t following
    cdef uint16_t place
    while True:
        layer = LAYER_IPV6_EXTENSION
        if k.protocol == NEXT_AH:
            layer = LAYER_AH
        elif k.version != 6 or not (
            k.protocol == NEXT_HOP_BY_HOP or k.protocol == NEXT_DESTINATION or k.protocol == NEXT_ROUTING
            or k.protocol == NEXT_FRAGMENT or k.protocol == NEXT_MOBILITY or k.protocol == NEXT_HIP
            or k.protocol == NEXT_SHIM6
        ):
            return STEP_TRANSPORT
        verdict = lacks(c, 8)
        if verdict == OK and headers == MAX_TAGS:
            verdict = MALFORMED
        if verdict:
            return reject(k, verdict, layer)
        following = c.at[0]
        if k.protocol == NEXT_FRAGMENT:
            octets = IP6_FRAGMENT_LEN
            place = be16(c.at + 2)
            if place & 0xFFF9:              # not an atomic fragment (RFC 6946)
                mark(k, LAYER_FRAGMENT)
                k.fragment_id = be32(c.at + 4)
                k.fragment = FRAGMENT_LATER if place & 0xFFF8 else FRAGMENT_FIRST
        elif k.protocol == NEXT_AH:
            octets = (<size_t>c.at[1] + 2) * 4
        else:
            octets = (<size_t>c.at[1] + 1) * 8
        verdict = lacks(c, octets)
        if verdict:
            return reject(k, verdict, layer)
        mark(k, layer)
        advance(c, octets)
        k.protocol = following
        headers += 1
        if k.fragment == FRAGMENT_LATER:
            return STEP_TRANSPORT
