# IEEE 802.11: data frames in the clear, with their source by the direction; what is encrypted or belongs to the air
# itself is counted.
#
#   to DS  from DS   address 1   2        3        4           DS: the wired side of an access point
#   -      -         DA          SA       BSSID
#   yes    -         BSSID       SA       DA
#   -      yes       DA          BSSID    SA
#   yes    yes       receiver    sender   DA       SA
#
# Data frames sight their source, encrypted ones too: addresses are never encrypted. Management frames do not: whoever
# passes by asks for networks, under addresses that it makes up (docs/decisions/0009-who-is-seen-in-the-air.md).
from libc.stdint cimport uint8_t, uint64_t

from fieldwatch_ext.packet cimport *
from fieldwatch_ext.wire cimport be16, mac48

cdef enum:
    WIFI_FLAGS = 1
    WIFI_ADDRESS_1 = 4
    WIFI_ADDRESS_2 = 10
    WIFI_ADDRESS_3 = 16
    WIFI_SEQUENCE = 22          # the number of the fragment in the lower 4 bits
    WIFI_ADDRESS_4 = 24
    WIFI_SHORTEST = 10          # of a control frame
    WIFI_HEADER_LEN = 24
    WIFI_QOS_LEN = 2
    WIFI_HT_LEN = 4
    AMSDU_HEADER_LEN = 14       # destination, source, length

cdef enum:
    WIFI_VERSION = 0x03         # of frame control, first octet
    WIFI_MANAGEMENT = 0
    WIFI_CONTROL = 1
    WIFI_DATA = 2
    WIFI_NO_DATA = 0x40
    WIFI_QOS = 0x80
    WIFI_TO_DS = 0x01           # second octet
    WIFI_FROM_DS = 0x02
    WIFI_MORE_FRAGMENTS = 0x04
    WIFI_PROTECTED = 0x40
    WIFI_HT = 0x80              # with QoS; without, an order that must be kept
    QOS_AMSDU = 0x80


cdef inline void _sent_by(Packet* k, const uint8_t* source, const uint8_t* destination) noexcept nogil:
    cdef uint64_t mac = mac48(source)
    k.mac = 0 if mac & 1 else mac
    k.src_mac = source
    k.dst_mac = destination


cdef inline int _read_amsdu(Cursor* c, Packet* k) noexcept nogil:
    # Several units in one frame: the first keys its flow, as the frame can be counted only once.
    cdef int verdict = lacks(c, AMSDU_HEADER_LEN)
    cdef size_t length
    if verdict:
        return reject(k, verdict, LAYER_WIFI)
    length = be16(c.at + 12)
    if length > c.wire - AMSDU_HEADER_LEN:
        return reject(k, MALFORMED, LAYER_WIFI)
    _sent_by(k, c.at + 6, c.at)
    advance(c, AMSDU_HEADER_LEN)
    narrow(c, length)
    return STEP_LLC_UNIT


cdef inline int _read_data(Cursor* c, Packet* k, uint8_t control, uint8_t flags, bint padded) noexcept nogil:
    cdef bint to_ds = flags & WIFI_TO_DS != 0
    cdef bint from_ds = flags & WIFI_FROM_DS != 0
    cdef size_t octets = WIFI_HEADER_LEN + (6 if to_ds and from_ds else 0)
    cdef size_t qos = octets
    cdef int verdict
    cdef bint amsdu
    if control & WIFI_QOS:
        octets += WIFI_QOS_LEN + (WIFI_HT_LEN if flags & WIFI_HT else 0)
    verdict = lacks(c, octets)
    if verdict:
        return reject(k, verdict, LAYER_WIFI)
    mark(k, LAYER_WIFI)
    amsdu = control & WIFI_QOS and c.at[qos] & QOS_AMSDU
    if not (amsdu and from_ds):             # there the addresses stand with each unit, and the BSSID here
        _sent_by(
            k, c.at + (WIFI_ADDRESS_2 if not from_ds else WIFI_ADDRESS_4 if to_ds else WIFI_ADDRESS_3),
            c.at + (WIFI_ADDRESS_3 if to_ds else WIFI_ADDRESS_1),
        )
    if flags & WIFI_PROTECTED:
        mark(k, LAYER_WIFI_PROTECTED)
        return STEP_DONE
    if control & WIFI_NO_DATA or c.at[WIFI_SEQUENCE] & 0x0F:
        return STEP_DONE                    # of a unit in pieces only the first tells what it is
    if padded:
        octets = (octets + 3) & ~<size_t>3
        verdict = lacks(c, octets)
        if verdict:
            return reject(k, verdict, LAYER_WIFI)
    advance(c, octets)
    if flags & WIFI_MORE_FRAGMENTS:
        cut_off(c)
    return _read_amsdu(c, k) if amsdu else STEP_LLC_UNIT


cdef inline int read_wifi(Cursor* c, Packet* k, bint padded) noexcept nogil:
    # `padded`: the card aligns what follows the header to 4 octets.
    cdef int verdict = lacks(c, WIFI_SHORTEST)
    cdef int kind
    if verdict:
        return reject(k, verdict, LAYER_WIFI)
    kind = c.at[0] >> 2 & 3
    if c.at[0] & WIFI_VERSION or kind > WIFI_DATA:
        return reject(k, UNSUPPORTED, LAYER_WIFI)
    if kind == WIFI_DATA:
        return _read_data(c, k, c.at[0], c.at[WIFI_FLAGS], padded)
    if kind == WIFI_MANAGEMENT:
        verdict = lacks(c, WIFI_HEADER_LEN)
        if verdict:
            return reject(k, verdict, LAYER_WIFI)
    mark(k, LAYER_WIFI)
    return STEP_DONE
