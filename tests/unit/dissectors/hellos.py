"""Hellos and what carries them, built octet by octet from the RFCs' drawings, and what a dissector says of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from fieldwatch_agent.dissectors.notes import MalformedError
from fieldwatch_agent.facts import Binding, Fact
from fieldwatch_ext.engine import Slow
from messages import IP, MAC, PEER_MAC, TS_NS

SERVER = bytes([203, 0, 113, 5])
SERVER_TEXT = "203.0.113.5"

# RFC 8448 section 3: the record with the ClientHello of a TLS 1.3 handshake that asks for "server".
RFC_8448 = bytes.fromhex(
    "16030100c4010000c00303cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece700000613011303130201000091"
    "0000000b0009000006736572766572ff01000100000a00140012001d0017001800190100010101020103010400230000003300260024001d"
    "002099381de560e4bd43d23d8e435a7dbafeb3c06e51c13cae4d5413691e529aaf2c002b0003020304000d0020001e040305030603020308"
    "040805080604010501060102010402050206020202002d00020101001c00024001"
)


def frame(protocol: str, payload: bytes) -> Slow:
    """From a local host through its router to a server on the Internet."""
    return Slow(7, TS_NS, protocol, MAC, PEER_MAC, 0x1064, IP, SERVER, 50_000, 443, payload)


def read(dissector: Callable[[Slow], Iterator[Fact | Binding]], slow: Slow) -> tuple[list[tuple[str, str, str]], bool]:
    """(subject, key, value) of the facts, in order, and whether the message was whole."""
    found = []
    try:
        for item in dissector(slow):
            assert isinstance(item, Fact)
            found.append((item.subject, item.key, item.value))
    except MalformedError:
        return found, False
    return found, True


def vector(data: bytes, width: int) -> bytes:
    return len(data).to_bytes(width, "big") + data


def numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def extension(kind: int, value: bytes) -> bytes:
    return numbers(kind) + vector(value, 2)


def server_name(name: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(bytes([kind]) + vector(name, 2), 2))


def alpn(*names: bytes) -> bytes:
    return extension(16, vector(b"".join(vector(name, 1) for name in names), 2))


def versions(*values: int) -> bytes:
    return extension(43, vector(numbers(*values), 1))


def signature_algorithms(*values: int) -> bytes:
    return extension(13, vector(numbers(*values), 2))


def hello(
    *extensions: bytes, ciphers: Sequence[int] = (0x1301, 0x1302), version: int = 0x0303, session: bytes = b""
) -> bytes:
    """A ClientHello without its handshake header (RFC 8446 section 4.1.2)."""
    start = numbers(version) + bytes(32) + vector(session, 1) + vector(numbers(*ciphers), 2) + b"\x01\x00"
    return start + (vector(b"".join(extensions), 2) if extensions else b"")


def handshake(body: bytes, kind: int = 1) -> bytes:
    return bytes([kind]) + vector(body, 3)


def records(message: bytes, *cuts: int) -> bytes:
    """The message in TLS records, a new one at each cut (RFC 8446 section 5.1)."""
    ends = [0, *cuts, len(message)]
    pieces = [message[start:end] for start, end in pairwise(ends)]
    return b"".join(b"\x16\x03\x01" + vector(piece, 2) for piece in pieces)


def ja4_by_hand(start: str, ciphers: str, rest: str) -> str:
    """The fingerprint from the texts that its definition hashes."""
    return "_".join([start, *(hashlib.sha256(text.encode()).hexdigest()[:12] for text in (ciphers, rest))])
