"""The ClientHello of TLS, on the rare frames that a dissector looks into. The contract stands in hello.pyi."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport qsort

from fieldwatch_ext.client_hello cimport (
    ALPN, HELLO_SESSION, SERVER_NAME, SIGNATURE_ALGORITHMS, SUPPORTED_VERSIONS, is_grease
)
from fieldwatch_ext.wire cimport be16

cdef enum:
    HOST_NAME = 0               # the only type of server name (RFC 6066 section 3)


cdef struct Span:
    const uint8_t* p
    Py_ssize_t octets


cdef class ClientHello:
    cdef readonly int version
    cdef readonly bytes ciphers
    cdef readonly bytes extensions
    cdef readonly bytes signature_algorithms
    cdef readonly list alpn
    cdef readonly bytes server_name
    cdef readonly bint complete


cdef inline bint _vector(Span* rest, int width, Span* value) noexcept nogil:
    # A vector whose length takes `width` octets (RFC 8446 section 3.4) off what is left; False = it is longer.
    cdef Py_ssize_t octets
    if rest.octets < width:
        return False
    octets = rest.p[0] if width == 1 else be16(rest.p)
    if octets > rest.octets - width:
        return False
    value.p = rest.p + width
    value.octets = octets
    rest.p += width + octets
    rest.octets -= width + octets
    return True


cdef inline bint _whole(Span data, int width, Span* value) noexcept nogil:
    # The vector that is all of `data`.
    return _vector(&data, width, value) and data.octets == 0


cdef int _order(const void* a, const void* b) noexcept nogil:
    return <int>be16(<const uint8_t*>a) - <int>be16(<const uint8_t*>b)


cdef bytes _numbers(Span data, bint in_order):
    # None where one is cut.
    cdef Py_ssize_t kept = 0
    cdef Py_ssize_t i
    cdef uint8_t* into
    cdef bytes found
    if data.octets % 2:
        return None
    for i in range(0, data.octets, 2):
        kept += not is_grease(be16(data.p + i))
    found = PyBytes_FromStringAndSize(NULL, 2 * kept)
    into = <uint8_t*>PyBytes_AS_STRING(found)
    for i in range(0, data.octets, 2):
        if not is_grease(be16(data.p + i)):
            into[0] = data.p[i]
            into[1] = data.p[i + 1]
            into += 2
    if in_order and kept:
        qsort(PyBytes_AS_STRING(found), kept, 2, _order)
    return found


cdef bytes _octets(Span s):
    return PyBytes_FromStringAndSize(<const char*>s.p, s.octets)


cdef list _names(Span data):
    # None where one is longer than what is left.
    cdef Span name
    found = []
    while data.octets:
        if not _vector(&data, 1, &name):
            return None
        found.append(_octets(name))
    return found


cdef int _read_extension(ClientHello hello, int kind, Span value) except -1:
    # 0 = it contradicts itself.
    cdef Span inner, name
    cdef Py_ssize_t i
    cdef int highest = -1
    if kind == SERVER_NAME and not hello.server_name:
        if not _whole(value, 2, &inner) or not inner.octets or inner.p[0] != HOST_NAME:
            return 0
        inner.p += 1
        inner.octets -= 1
        if not _vector(&inner, 2, &name):
            return 0
        hello.server_name = _octets(name)
    elif kind == ALPN and not hello.alpn:
        if not _whole(value, 2, &inner):
            return 0
        names = _names(inner)
        if names is None:
            return 0
        hello.alpn = names
    elif kind == SUPPORTED_VERSIONS:
        if not _whole(value, 1, &inner) or inner.octets % 2:
            return 0
        for i in range(0, inner.octets, 2):
            if not is_grease(be16(inner.p + i)) and be16(inner.p + i) > highest:
                highest = be16(inner.p + i)
        if highest >= 0:
            hello.version = highest
    elif kind == SIGNATURE_ALGORITHMS:
        if not _whole(value, 2, &inner):
            return 0
        numbers = _numbers(inner, False)
        if numbers is None:
            return 0
        hello.signature_algorithms = numbers
    return 1


cdef int _read_extensions(ClientHello hello, Span rest) except -1:
    # 0 = one contradicts itself, or is longer than what is left.
    cdef bytes kinds = PyBytes_FromStringAndSize(NULL, rest.octets // 4 * 2)
    cdef uint8_t* into = <uint8_t*>PyBytes_AS_STRING(kinds)
    cdef Span value, told
    cdef int kind
    cdef int sound = 1
    told.p = into
    while rest.octets and sound:
        sound = 0
        if rest.octets < 2:
            break
        kind = be16(rest.p)
        rest.p += 2
        rest.octets -= 2
        if not _vector(&rest, 2, &value):
            break
        into[0] = <uint8_t>(kind >> 8)
        into[1] = <uint8_t>kind
        into += 2
        sound = _read_extension(hello, kind, value)
    told.octets = into - told.p
    hello.extensions = _numbers(told, True)
    return sound


cdef int _read(ClientHello hello, Span body) except -1:
    # 0 = it is cut, or contradicts itself.
    cdef Span skipped, ciphers, extensions
    cdef bint whole
    if body.octets < HELLO_SESSION:
        return 0
    hello.version = be16(body.p)
    body.p += HELLO_SESSION
    body.octets -= HELLO_SESSION
    if not _vector(&body, 1, &skipped) or not _vector(&body, 2, &ciphers):      # the session id stands first
        return 0
    numbers = _numbers(ciphers, True)
    if numbers is None:
        return 0
    hello.ciphers = numbers
    if not _vector(&body, 1, &skipped):     # compression methods
        return 0
    if body.octets == 0:
        return 1                # before TLS 1.3 a hello may end here
    if body.octets < 2:
        return 0
    extensions.p = body.p + 2
    extensions.octets = be16(body.p)
    body.octets -= 2
    whole = extensions.octets == body.octets
    if extensions.octets > body.octets:
        extensions.octets = body.octets
    return _read_extensions(hello, extensions) and whole


def read_client_hello(bytes body not None):
    cdef ClientHello hello = ClientHello.__new__(ClientHello)
    cdef Span octets
    octets.p = <const uint8_t*>PyBytes_AS_STRING(body)
    octets.octets = PyBytes_GET_SIZE(body)
    hello.ciphers = hello.extensions = hello.signature_algorithms = hello.server_name = b""
    hello.alpn = []
    hello.complete = _read(hello, octets) == 1
    return hello
