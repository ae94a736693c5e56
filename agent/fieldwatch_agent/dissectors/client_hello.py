"""The ClientHello of TLS (RFC 8446 section 4.1.2), as TCP and QUIC carry it: the name it asks for, and its JA4.

- The name is what a client calls the server, not what the server calls itself. Where hellos are encrypted it is the
  public name of the provider in front.
- JA4 (as FoxIO defines the fingerprint of TLS clients) tells TLS libraries and their settings apart. It depends neither
  on the server's name nor on the order in which browsers shuffle their extensions, so a device has few.
- A hello that is cut says its name if it got that far, and no fingerprint: that of half a hello would be a false one.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from fieldwatch_ext.engine import Slow

from fieldwatch_agent.dissectors.notes import MalformedError, fact, holder, sender
from fieldwatch_agent.facts import Fact

HANDSHAKE_HEADER_LEN = 4  # type, length
CLIENT_HELLO = b"\x01"
RANDOM_END = 34  # behind the legacy version and the random

SERVER_NAME = 0x0000
SIGNATURE_ALGORITHMS = 0x000D
ALPN = 0x0010
SUPPORTED_VERSIONS = 0x002B
HOST_NAME = b"\0"  # the only type of server name (RFC 6066 section 3)

DNS_NAME = re.compile(rb"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
MAX_DNS_NAME = 253

JA4_VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}
JA4_NOTHING = "0" * 12

GREASE = frozenset(0x0A0A + 0x1010 * n for n in range(16))  # RFC 8701


@dataclass(slots=True)
class ClientHello:
    """What could be read. Numbers are in the order of the hello and without GREASE (RFC 8701)."""

    version: int = 0  # the highest on offer
    ciphers: list[int] = field(default_factory=list)
    extensions: list[int] = field(default_factory=list)
    signature_algorithms: list[int] = field(default_factory=list)
    alpn: list[bytes] = field(default_factory=list)
    server_name: bytes = b""
    complete: bool = False


def hello_facts(slow: Slow, message: bytes, carrier: str) -> Iterator[Fact]:
    """Facts of the handshake message that opens a connection; `carrier` is TLS or QUIC. Raises MalformedError."""
    if message[:1] != CLIENT_HELLO:
        raise MalformedError
    length = int.from_bytes(message[1:HANDSHAKE_HEADER_LEN], "big")
    body = message[HANDSHAKE_HEADER_LEN : HANDSHAKE_HEADER_LEN + length]
    hello = read_client_hello(body)
    name = dns_name(hello.server_name)
    if name:
        yield fact(slow, holder(slow, slow.dst_ip), "tls_name", name, f"{carrier} ClientHello server name", 50)
    if not hello.complete or len(body) < length:
        raise MalformedError
    evidence = f"{carrier} ClientHello"
    if hello.alpn:
        evidence += f" offering {b', '.join(hello.alpn).decode('utf-8', 'replace')}"
    yield fact(slow, sender(slow), "ja4", ja4(hello, carrier), evidence, 70)


def read_client_hello(body: bytes) -> ClientHello:
    """The hello as far as it goes; `complete` where all of it is there and nothing contradicts itself."""
    hello = ClientHello()
    try:
        _read(body, hello)
    except MalformedError:
        return hello
    hello.complete = True
    return hello


def _read(body: bytes, hello: ClientHello) -> None:
    hello.version = int.from_bytes(body[:2], "big")
    _, at = _vector(body, RANDOM_END, 1)  # session id
    ciphers, at = _vector(body, at, 2)
    hello.ciphers = _numbers(ciphers)
    _, at = _vector(body, at, 1)  # compression methods
    if at == len(body):
        return  # before TLS 1.3 a hello may end here
    behind = at + 2 + int.from_bytes(body[at : at + 2], "big")
    for kind, value in _extensions(body[at + 2 : behind]):
        if kind not in GREASE:
            hello.extensions.append(kind)
        if kind == SERVER_NAME:
            hello.server_name = hello.server_name or _server_name(value)
        elif kind == ALPN:
            hello.alpn = hello.alpn or list(_names(_whole(value, 2)))
        elif kind == SUPPORTED_VERSIONS:
            hello.version = max(_numbers(_whole(value, 1)), default=hello.version)
        elif kind == SIGNATURE_ALGORITHMS:
            hello.signature_algorithms = _numbers(_whole(value, 2))
    if behind != len(body):
        raise MalformedError


def _vector(data: bytes, at: int, width: int) -> tuple[bytes, int]:
    """A vector whose length takes `width` octets (RFC 8446 section 3.4), and the offset behind it."""
    start = at + width
    behind = start + int.from_bytes(data[at:start], "big")
    if max(start, behind) > len(data):
        raise MalformedError
    return data[start:behind], behind


def _whole(data: bytes, width: int) -> bytes:
    """The vector that is all of `data`."""
    value, behind = _vector(data, 0, width)
    if behind != len(data):
        raise MalformedError
    return value


def _extensions(block: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(block):
        kind = int.from_bytes(block[at : at + 2], "big")
        value, at = _vector(block, at + 2, 2)
        yield kind, value


def _names(block: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(block):
        name, at = _vector(block, at, 1)
        yield name


def _server_name(value: bytes) -> bytes:
    names = _whole(value, 2)
    if names[:1] != HOST_NAME:
        raise MalformedError
    return _vector(names, 1, 2)[0]


def _numbers(data: bytes) -> list[int]:
    if len(data) % 2:
        raise MalformedError
    return [number for number in struct.unpack(f">{len(data) // 2}H", data) if number not in GREASE]


def dns_name(name: bytes) -> bytes:
    """In lower case and without the dot at the end; empty where it is an address or no name at all."""
    name = name.lower().removesuffix(b".")
    if len(name) > MAX_DNS_NAME or not DNS_NAME.fullmatch(name) or name.rpartition(b".")[2].isdigit():
        return b""
    return name


def ja4(hello: ClientHello, carrier: str) -> str:
    """The fingerprint of a complete hello."""
    extensions = sorted(hello.extensions)
    kept = tuple([number for number in extensions if number not in (SERVER_NAME, ALPN)])
    return (
        f"{carrier[0].lower()}{JA4_VERSIONS.get(hello.version, '00')}{'d' if SERVER_NAME in extensions else 'i'}"
        f"{min(len(hello.ciphers), 99):02}{min(len(extensions), 99):02}{_ends(hello.alpn[0] if hello.alpn else b'')}"
        f"_{_hash(tuple(sorted(hello.ciphers)))}_{_hash(kept, tuple(hello.signature_algorithms) if kept else ())}"
    )


@lru_cache(maxsize=128)
def _hash(numbers: tuple[int, ...], behind: tuple[int, ...] = ()) -> str:
    """Of numbers as text; the libraries on a network are few, and each has the same lists in every hello."""
    text = "_".join(",".join([f"{number:04x}" for number in part]) for part in (numbers, behind) if part)
    return hashlib.sha256(text.encode()).hexdigest()[: len(JA4_NOTHING)] if text else JA4_NOTHING


def _ends(name: bytes) -> str:
    """First and last character of the first ALPN value, or of its hexadecimal text where one is not alphanumeric."""
    if not name:
        return "00"
    text = name.decode("latin-1") if name[:1].isalnum() and name[-1:].isalnum() else name.hex()
    return text[0] + text[-1]
