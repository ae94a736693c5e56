# What a capture puts before an IEEE 802.11 frame: radiotap (radiotap.org), Prism, AVS, and PPI, which may precede any
# linktype.
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from fieldwatch_ext.decoder cimport MAX_TAGS
from fieldwatch_ext.packet cimport *
from fieldwatch_ext.wifi cimport read_wifi
from fieldwatch_ext.wire cimport be32

cdef enum:
    LINKTYPE_IEEE802_11 = 105
    LINKTYPE_PRISM = 119
    LINKTYPE_RADIOTAP = 127
    LINKTYPE_AVS = 163
    LINKTYPE_PPI = 192

cdef enum:
    RADIOTAP_LENGTH = 2
    RADIOTAP_PRESENT = 4
    RADIOTAP_LEAST = 8
    RADIOTAP_TSFT = 0x01        # of the first word that says which fields are there
    RADIOTAP_FLAGS = 0x02
    FLAG_FCS = 0x10
    FLAG_PADDED = 0x20
    FLAG_BAD_FCS = 0x40
    FCS_LEN = 4
    PRISM_LEAST = 24
    AVS_MAGIC = 0x802110        # and an octet with the version
    AVS_LEAST = 64
    PPI_LEAST = 8


cdef inline uint16_t _le16(const uint8_t* p) noexcept nogil:
    return <uint16_t>(p[0] | <uint32_t>p[1] << 8)


cdef inline uint32_t _le32(const uint8_t* p) noexcept nogil:
    return p[0] | <uint32_t>p[1] << 8 | <uint32_t>p[2] << 16 | <uint32_t>p[3] << 24


cdef inline int _skip(Cursor* c, Packet* k, int layer, size_t octets, size_t least) noexcept nogil:
    # A header that says itself how long it is.
    cdef int verdict = lacks(c, octets) if octets >= least else MALFORMED
    if verdict:
        return reject(k, verdict, layer)
    mark(k, layer)
    advance(c, octets)
    return STEP_DONE


cdef inline int _read_radiotap(Cursor* c, Packet* k, uint8_t* flags) noexcept nogil:
    cdef int verdict = lacks(c, RADIOTAP_LEAST)
    cdef int words = 1
    cdef size_t octets
    cdef size_t at = RADIOTAP_LEAST
    cdef uint32_t first, word
    if verdict:
        return reject(k, verdict, LAYER_RADIOTAP)
    if c.at[0] != 0:
        return reject(k, UNSUPPORTED, LAYER_RADIOTAP)
    octets = _le16(c.at + RADIOTAP_LENGTH)
    verdict = lacks(c, octets)
    if verdict:
        return reject(k, verdict, LAYER_RADIOTAP)
    first = word = _le32(c.at + RADIOTAP_PRESENT)
    while word >> 31:                       # another word follows
        if octets < at + 4 or words == MAX_TAGS:
            return reject(k, MALFORMED, LAYER_RADIOTAP)
        word = _le32(c.at + at)
        at += 4
        words += 1
    if first & RADIOTAP_FLAGS:
        if first & RADIOTAP_TSFT:
            at = ((at + 7) & ~<size_t>7) + 8
        if octets <= at:
            return reject(k, MALFORMED, LAYER_RADIOTAP)
        flags[0] = c.at[at]
    return _skip(c, k, LAYER_RADIOTAP, octets, RADIOTAP_LEAST)


cdef inline int _read_prism(Cursor* c, Packet* k, uint16_t linktype) noexcept nogil:
    # Prism is in the byte order of the machine that captured. Cards that give AVS may say Prism in the linktype.
    cdef int layer = LAYER_AVS if linktype == LINKTYPE_AVS else LAYER_PRISM
    cdef int verdict = lacks(c, 8)
    if verdict:
        return reject(k, verdict, layer)
    if be32(c.at) >> 8 == AVS_MAGIC:
        return _skip(c, k, LAYER_AVS, be32(c.at + 4), AVS_LEAST)
    if layer == LAYER_PRISM and (_le32(c.at) == 0x41 or _le32(c.at) == 0x44):
        return _skip(c, k, LAYER_PRISM, _le32(c.at + 4), PRISM_LEAST)
    if layer == LAYER_PRISM and (be32(c.at) == 0x41 or be32(c.at) == 0x44):
        return _skip(c, k, LAYER_PRISM, be32(c.at + 4), PRISM_LEAST)
    return reject(k, UNSUPPORTED, layer)


cdef inline int read_ppi(Cursor* c, Packet* k, uint16_t* linktype) noexcept nogil:
    # The linktype of what follows takes the place of PPI; a PPI header in another stands for none that we read.
    cdef int verdict = lacks(c, PPI_LEAST)
    cdef uint32_t following
    if verdict:
        return reject(k, verdict, LAYER_PPI)
    if c.at[0] != 0:
        return reject(k, UNSUPPORTED, LAYER_PPI)
    following = _le32(c.at + 4)
    linktype[0] = <uint16_t>following if following < 0xFFFF else 0xFFFF
    return _skip(c, k, LAYER_PPI, _le16(c.at + 2), PPI_LEAST)


cdef inline int read_radio(Cursor* c, Packet* k, uint16_t linktype) noexcept nogil:
    cdef uint8_t flags = 0
    cdef int step = STEP_DONE
    if linktype == LINKTYPE_RADIOTAP:
        step = _read_radiotap(c, k, &flags)
    elif linktype != LINKTYPE_IEEE802_11:
        step = _read_prism(c, k, linktype)
    if step == STEP_REJECT:
        return STEP_REJECT
    if flags & FLAG_BAD_FCS:
        return reject(k, MALFORMED, LAYER_WIFI)     # damaged on the way: addresses, too, may be nobody's
    if flags & FLAG_FCS:
        if c.wire < FCS_LEN:
            return reject(k, MALFORMED, LAYER_WIFI)
        narrow(c, c.wire - FCS_LEN)
    return read_wifi(c, k, flags & FLAG_PADDED != 0)
