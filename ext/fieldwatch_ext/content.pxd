# What the first octets of one side of a flow say about its content. Ports promise; these tell.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from fieldwatch_ext.wire cimport be16, be32

# In the order of CONTENT_NAMES in engine.pyx.
cdef enum Content:
    CONTENT_UNKNOWN = 0
    CONTENT_TLS
    CONTENT_HTTP
    CONTENT_SMB
    CONTENT_SSH
    CONTENT_QUIC
    CONTENTS

cdef enum:
    TLS_HANDSHAKE = 22          # RFC 8446 section 5.1
    TLS_CLIENT_HELLO = 1        # section 4
    TLS_SERVER_HELLO = 2
    TLS_RECORD_LEN = 5
    TLS_MESSAGE_LEN = 4
    SMB_HEADER = 4              # behind the header of the NetBIOS session service (RFC 1002 section 4.3.1)
    QUIC_LONG_HEADER = 0xC0     # RFC 9000 section 17.2: header form and fixed bit
    QUIC_TYPE = 0x30
    QUIC_V1 = 0x00000001
    QUIC_V2 = 0x6B3343CF        # RFC 9369: there an Initial has type 1
    QUIC_LEAST = 1200           # RFC 9000 section 14.1: what a client's first datagrams have at least


cdef inline bint _begins(const uint8_t* p, size_t have, const char* text, size_t octets) noexcept nogil:
    return have >= octets and memcmp(p, text, octets) == 0


cdef inline bint _is_http(const uint8_t* p, size_t have) noexcept nogil:
    # RFC 9110 section 9 and RFC 4918 (PROPFIND): the methods that open connections.
    return (
        _begins(p, have, b"GET ", 4) or _begins(p, have, b"HTTP/1.", 7) or _begins(p, have, b"POST ", 5)
        or _begins(p, have, b"HEAD ", 5) or _begins(p, have, b"PUT ", 4) or _begins(p, have, b"OPTIONS ", 8)
        or _begins(p, have, b"CONNECT ", 8) or _begins(p, have, b"PROPFIND ", 9) or _begins(p, have, b"DELETE ", 7)
        or _begins(p, have, b"PATCH ", 6)
    )


cdef inline bint is_smb(const uint8_t* p, size_t have) noexcept nogil:
    # A session message with an SMB1 or SMB2 header ([MS-CIFS] 2.2.3.1, [MS-SMB2] 2.2.1).
    return (
        have >= SMB_HEADER + 4 and p[0] == 0 and (be32(p + SMB_HEADER) & 0x00FFFFFF) == 0x534D42
        and (p[SMB_HEADER] == 0xFF or p[SMB_HEADER] == 0xFE)
    )


cdef inline int content_of(const uint8_t* p, size_t have) noexcept nogil:
    # Of the first octets of a TCP stream.
    if have < 4:
        return CONTENT_UNKNOWN
    if p[0] == TLS_HANDSHAKE:
        if p[1] == 3 and p[2] <= 4 and have > TLS_RECORD_LEN and (
            p[TLS_RECORD_LEN] == TLS_CLIENT_HELLO or p[TLS_RECORD_LEN] == TLS_SERVER_HELLO
        ):
            return CONTENT_TLS
        return CONTENT_UNKNOWN
    if is_smb(p, have):
        return CONTENT_SMB
    if _begins(p, have, b"SSH-", 4):
        return CONTENT_SSH
    return CONTENT_HTTP if _is_http(p, have) else CONTENT_UNKNOWN


cdef inline size_t hello_octets(const uint8_t* p, size_t have) noexcept nogil:
    # How many octets of the stream a ClientHello takes, record headers included; 0 where it is none.
    cdef size_t record, message
    if have < TLS_RECORD_LEN + TLS_MESSAGE_LEN or p[TLS_RECORD_LEN] != TLS_CLIENT_HELLO:
        return 0
    record = be16(p + 3)
    message = (be32(p + TLS_RECORD_LEN) & 0x00FFFFFF) + TLS_MESSAGE_LEN
    if record == 0:
        return 0
    return message + TLS_RECORD_LEN * ((message + record - 1) // record)


cdef inline bint is_quic_initial(const uint8_t* p, size_t have, size_t wire) noexcept nogil:
    cdef uint32_t version
    if wire < QUIC_LEAST or have < 7 or p[0] & QUIC_LONG_HEADER != QUIC_LONG_HEADER:
        return False
    version = be32(p + 1)
    return p[0] & QUIC_TYPE == (0x10 if version == QUIC_V2 else 0) and (version == QUIC_V1 or version == QUIC_V2)
