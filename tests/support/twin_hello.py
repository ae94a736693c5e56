"""The plain-Python twin of `fieldwatch_ext.hello`; its numbers are lists in the order of the hello."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

RANDOM_END = 34  # behind the legacy version and the random

SERVER_NAME = 0x0000
SIGNATURE_ALGORITHMS = 0x000D
ALPN = 0x0010
SUPPORTED_VERSIONS = 0x002B
HOST_NAME = b"\0"  # the only type of server name (RFC 6066 section 3)

GREASE = frozenset(0x0A0A + 0x1010 * n for n in range(16))  # RFC 8701


class MalformedError(Exception):
    """It is cut, or contradicts itself."""


@dataclass(slots=True)
class ClientHello:
    version: int = 0  # the highest on offer
    ciphers: list[int] = field(default_factory=list)
    extensions: list[int] = field(default_factory=list)
    signature_algorithms: list[int] = field(default_factory=list)
    alpn: list[bytes] = field(default_factory=list)
    server_name: bytes = b""
    complete: bool = False


def read_client_hello(body: bytes) -> ClientHello:
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
