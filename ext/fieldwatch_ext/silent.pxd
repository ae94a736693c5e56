# Messages that tell nothing a dissector looks for: queries, answers without an address, searches and probes, ordinary
# file work, groups that every host is in, servers' packets of QUIC, what DHCP says without a name or an address.
#
# They are most of what these protocols send. A message is silent only where its dissector would give no fact; what is
# cut or contradicts itself counts as telling, as far as it must be looked at to know.
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp

from fieldwatch_ext.groups cimport groups_are_silent
from fieldwatch_ext.head cimport FIELD_LOCATION, FIELD_SERVER, FIELD_USER_AGENT, head_fields, line_end
from fieldwatch_ext.names cimport names_are_silent
from fieldwatch_ext.packet cimport (
    SLOW_DHCP, SLOW_DNS, SLOW_IGMP, SLOW_LLMNR, SLOW_MDNS, SLOW_NBNS, SLOW_QUIC, SLOW_SSDP, SLOW_WSD, Packet
)
from fieldwatch_ext.wire cimport be32

cdef extern from "string.h" nogil:
    void* memmem(const void* within, size_t octets, const void* part, size_t part_octets)

# RFC 2131 section 2, RFC 2132
cdef enum:
    DHCP_TRANSACTION = 4        # and the seconds since it began, and flags
    DHCP_CLIENT_ADDRESS = 12
    DHCP_YOUR_ADDRESS = 16
    DHCP_CLIENT_MAC = 28
    DHCP_MAGIC = 236
    DHCP_OPTIONS = 240
    DHCP_MAGIC_VALUE = 0x63825363
    OPTION_PAD = 0
    OPTION_HOST_NAME = 12
    OPTION_OVERLOAD = 52
    OPTION_PARAMETERS = 55
    OPTION_VENDOR_CLASS = 60
    OPTION_CLIENT_ID = 61
    OPTION_FQDN = 81            # RFC 4702
    OPTION_LAST = 255

cdef enum:
    HTTPS_PORT = 443

# [MS-CIFS] section 2.2.3, [MS-SMB2] section 2.2.1
cdef enum:
    SESSION_HEADER_LEN = 4
    SESSION_MESSAGES_MOST = 4
    SMB1_COMMAND = 4
    SMB1_FLAGS = 9
    SMB1_REPLY = 0x80
    SMB1_HEADER_LEN = 32
    SMB1_NEGOTIATE = 0x72
    SMB1_SESSION_SETUP = 0x73
    SMB2_COMMAND = 12
    SMB2_FLAGS = 16
    SMB2_RESPONSE = 0x01
    SMB2_HEADER_LEN = 64
    SMB2_NEGOTIATE = 0
    SMB2_SESSION_SETUP = 1
    SMB2_DIALECT = 68           # in the response to a negotiation (section 2.2.4)
    NTLM_TYPE = 8               # behind the signature ([MS-NLMP] section 2.2.1)


cdef inline bint dhcp_binds(const uint8_t* p, size_t have) noexcept nogil:
    # Whether it has an address that a client holds or is given.
    return have >= DHCP_OPTIONS and be32(p + DHCP_CLIENT_ADDRESS) | be32(p + DHCP_YOUR_ADDRESS) != 0


cdef inline bint _dhcp_is_silent(const uint8_t* p, size_t have) noexcept nogil:
    # It neither names anything nor binds an address. Options elsewhere in the header are for the dissector to find.
    cdef size_t at = DHCP_OPTIONS
    cdef uint8_t code
    if have < DHCP_OPTIONS or be32(p + DHCP_MAGIC) != <uint32_t>DHCP_MAGIC_VALUE:
        return False
    if dhcp_binds(p, have):
        return False
    while at < have:
        code = p[at]
        if code == OPTION_LAST:
            return True
        at += 1
        if code == OPTION_PAD:
            continue
        if code == OPTION_HOST_NAME or code == OPTION_OVERLOAD or code == OPTION_PARAMETERS or (
            code == OPTION_VENDOR_CLASS or code == OPTION_CLIENT_ID or code == OPTION_FQDN
        ):
            return False
        if at == have or at + 1 + p[at] > have:
            return False
        at += 1 + p[at]
    return True


cdef inline bint _search_is_silent(const uint8_t* p, size_t have) noexcept nogil:
    # A search of SSDP whose sender does not say what it is.
    cdef int fields
    if have < 9 or memcmp(p, b"M-SEARCH ", 9) != 0:
        return False
    fields = head_fields(p, have, line_end(p, have, 0), NULL, NULL)
    return not fields & (FIELD_SERVER | FIELD_USER_AGENT | FIELD_LOCATION)


cdef inline bint _has(const uint8_t* p, size_t have, const char* text, size_t octets) noexcept nogil:
    return memmem(p, have, text, octets) != NULL


cdef inline bint _discovery_is_silent(const uint8_t* p, size_t have) noexcept nogil:
    # A message of WS-Discovery without the elements that tell of devices. It is read as UTF-8, and what elements are
    # called cannot be written in another way: XML has references in text and in attributes only.
    return not (
        _has(p, have, b"Hello", 5) or _has(p, have, b"Bye", 3)
        or _has(p, have, b"ProbeMatch", 10) or _has(p, have, b"ResolveMatch", 12)
    )


cdef inline bint _log_on_tells(const uint8_t* p, size_t have) noexcept nogil:
    # Whether one of the messages of NTLM in it may: the first one of a log-on only says what its sender can do.
    cdef const uint8_t* at = p
    cdef const uint8_t* end = p + have
    while True:
        at = <const uint8_t*>memmem(at, end - at, b"NTLMSSP\0", NTLM_TYPE)
        if at == NULL:
            return False
        at += NTLM_TYPE
        if end - at < 4 or memcmp(at, b"\1\0\0\0", 4) != 0:
            return True


cdef inline bint _smb_tells(const uint8_t* p, size_t have) noexcept nogil:
    # One message. What is cut in its header does not.
    if have < 4 or (be32(p) & 0x00FFFFFF) != 0x534D42:
        return False
    if p[0] == 0xFE:
        if have < SMB2_HEADER_LEN or p[SMB2_COMMAND + 1] != 0:
            return False
        if p[SMB2_COMMAND] == SMB2_NEGOTIATE:
            # A dialect is chosen. 2.??? is none: the client is to ask once more.
            return p[SMB2_FLAGS] & SMB2_RESPONSE != 0 and not (
                have >= SMB2_DIALECT + 2 and p[SMB2_DIALECT] == 0xFF and p[SMB2_DIALECT + 1] == 0x02
            )
        return p[SMB2_COMMAND] == SMB2_SESSION_SETUP and _log_on_tells(p, have)
    if have <= SMB1_HEADER_LEN:
        return False
    return p[SMB1_COMMAND] == SMB1_SESSION_SETUP or (
        p[SMB1_COMMAND] == SMB1_NEGOTIATE and p[SMB1_FLAGS] & SMB1_REPLY != 0
    )


cdef inline bint smb_is_silent(const uint8_t* p, size_t have) noexcept nogil:
    # Of a segment that begins with a session message.
    cdef size_t at = 0
    cdef size_t start, behind
    cdef int _i
    for _i in range(SESSION_MESSAGES_MOST):
        start = at + SESSION_HEADER_LEN
        if start >= have or p[at] != 0:
            break
        behind = start + (be32(p + at) & 0x00FFFFFF)
        if _smb_tells(p + start, min(behind, have) - start):
            return False
        at = behind
    return True


cdef inline bint is_silent(const Packet* k) noexcept nogil:
    # Of a datagram.
    if k.slow == SLOW_DNS or k.slow == SLOW_MDNS or k.slow == SLOW_LLMNR or k.slow == SLOW_NBNS:
        return names_are_silent(k.payload, k.payload_octets, k.slow)
    if k.slow == SLOW_SSDP:
        return _search_is_silent(k.payload, k.payload_octets)
    if k.slow == SLOW_DHCP:
        return _dhcp_is_silent(k.payload, k.payload_octets)
    if k.slow == SLOW_IGMP:
        return groups_are_silent(k.payload, k.payload_octets, k.version == 6)
    if k.slow == SLOW_WSD:
        return _discovery_is_silent(k.payload, k.payload_octets)
    # Hellos are sent to a server's port; from there come packets that open under keys of another label (RFC 9001).
    return k.slow == SLOW_QUIC and k.src_port == HTTPS_PORT and k.dst_port != HTTPS_PORT
