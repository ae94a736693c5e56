"""The kernel's reader of hellos beside its plain-Python twin."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

from fieldwatch_ext.hello import read_client_hello
from hellos import RFC_8448, alpn, extension, hello, numbers, server_name, signature_algorithms, vector, versions
from hypothesis import given
from hypothesis import strategies as st
from support import twin_hello

RECORD_AND_HANDSHAKE_HEADERS = 9
WHOLE = (
    RFC_8448[RECORD_AND_HANDSHAKE_HEADERS:],
    hello(),
    hello(session=bytes(32), ciphers=(0x1302, 0x0A0A, 0x1301, 0x1302)),
    hello(
        *(extension(0x5A5A, b""), server_name(b"a.example"), extension(0x33, bytes(40)), alpn(b"h2", b"http/1.1")),
        *(versions(0xAAAA, 0x0304, 0x0303), signature_algorithms(0x0804, 0x0403), alpn(b"h3"), server_name(b"b")),
        extension(0x15, bytes(3)),
    ),
    hello(server_name(b""), alpn(), versions(), signature_algorithms()),
)


def _packed(values: Sequence[int]) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def told(body: bytes) -> tuple[object, ...]:
    read = read_client_hello(body)
    lists = (read.ciphers, read.extensions, read.signature_algorithms)
    return (*lists, read.alpn, read.server_name, read.complete, read.version if read.complete else 0)


def told_by_the_twin(body: bytes) -> tuple[object, ...]:
    read = twin_hello.read_client_hello(body)
    lists = (_packed(sorted(read.ciphers)), _packed(sorted(read.extensions)), _packed(read.signature_algorithms))
    return (*lists, read.alpn, read.server_name, read.complete, read.version if read.complete else 0)


def test_every_prefix_is_read_as_by_the_twin() -> None:
    for body in WHOLE:
        for end in range(len(body) + 1):
            assert told_by_the_twin(body[:end]) == told(body[:end])


def test_mutated_hellos_are_read_as_by_the_twin() -> None:
    dice = random.Random(9)
    for _ in range(4000):
        octets = bytearray(dice.choice(WHOLE))
        for _ in range(dice.randint(1, 4)):
            octets[dice.randrange(len(octets))] = dice.choice((0, 1, 0xFF, 0x0A, dice.randrange(256)))
        if dice.random() < 0.3:
            del octets[dice.randrange(len(octets)) :]
        assert told_by_the_twin(bytes(octets)) == told(bytes(octets))


KINDS = (0, 5, 0x0A0A, 0x0D, 0x10, 0x2B, 0x33)


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.binary(max_size=12)), max_size=6), st.binary(max_size=8))
def test_extensions_of_any_octets_are_read_as_by_the_twin(parts: list[tuple[int, bytes]], tail: bytes) -> None:
    block = b"".join(extension(kind, value) for kind, value in parts) + tail
    body = numbers(0x0303) + bytes(33) + vector(numbers(0x1301), 2) + b"\1\0" + vector(block, 2)

    assert told_by_the_twin(body) == told(body)
