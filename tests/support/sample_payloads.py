"""What the sample's hosts say: name look-ups, hellos and requests of exactly so many octets as they are given."""

from __future__ import annotations

import struct

QUESTION_END = b"\0\x01\0\x01"  # type A, class IN


def host_name(number: int) -> str:
    """Of a remote host, by a number below 260."""
    return f"{chr(97 + number // 10)}{number % 10}.example.org"


def _labels(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def dns_query(ident: int, name: str) -> bytes:
    """RFC 1035 section 4: 32 octets."""
    return struct.pack(">HHHHHH", ident, 0x0100, 1, 0, 0, 0) + _labels(name) + QUESTION_END


def dns_answer(ident: int, name: str, address: bytes, octets: int) -> bytes:
    """The address, and a text that fills the message."""
    message = struct.pack(">HHHHHH", ident, 0x8180, 1, 2, 0, 0) + _labels(name) + QUESTION_END
    message += b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 300, 4) + address
    text = octets - len(message) - 13
    return message + b"\xc0\x0c" + struct.pack(">HHIHB", 16, 1, 300, text + 1, text) + b"t" * text


def client_hello(name: str, ciphers: tuple[int, ...], octets: int) -> bytes:
    """A TLS 1.3 ClientHello with a server name and ALPN (RFC 8446 section 4.1.2), padded (RFC 7685)."""

    def extension(kind: int, body: bytes) -> bytes:
        return struct.pack(">HH", kind, len(body)) + body

    host = name.encode()
    extensions = extension(0, struct.pack(">HBH", len(host) + 3, 0, len(host)) + host)
    extensions += extension(10, b"\0\x02\0\x1d") + extension(13, b"\0\x06\x04\x03\x08\x04\x04\x01")
    extensions += extension(16, b"\0\x0c\x02h2\x08http/1.1") + extension(43, b"\x04\x03\x04\x03\x03")
    suites = struct.pack(f">{len(ciphers)}H", *ciphers)
    body = b"\x03\x03" + bytes(32) + b"\0" + struct.pack(">H", len(suites)) + suites + b"\x01\0"
    padding = octets - 5 - 4 - len(body) - 2 - len(extensions) - 4
    extensions += extension(21, bytes(padding))
    body += struct.pack(">H", len(extensions)) + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack(">H", len(message)) + message


def http_request(name: str, program: str, octets: int) -> bytes:
    """A request head (RFC 9112 section 3)."""
    head = f"GET /status HTTP/1.1\r\nHost: {name}\r\nUser-Agent: {program}\r\nX-Fill: ".encode()
    return head + b"x" * (octets - len(head) - 4) + b"\r\n\r\n"


def http_response(server: str, octets: int) -> bytes:
    """A response that begins with its head; what does not fit is left out."""
    head = f"HTTP/1.1 200 OK\r\nServer: {server}\r\n\r\n".encode()
    return head[:octets].ljust(octets, b"\0")
