"""The ClientHello of TLS (RFC 8446 section 4.1.2), read as far as it goes."""

class ClientHello:
    """What could be read. Lists of numbers are 16 bits each, big-endian, without GREASE (RFC 8701)."""

    version: int  # the highest on offer
    ciphers: bytes  # in ascending order
    extensions: bytes  # kinds, in ascending order
    signature_algorithms: bytes  # in the order of the hello
    alpn: list[bytes]
    server_name: bytes
    complete: bool  # all of it is there and nothing contradicts itself

def read_client_hello(body: bytes) -> ClientHello:
    """The hello, without the header of its handshake message. What stands behind a contradiction is not read."""
