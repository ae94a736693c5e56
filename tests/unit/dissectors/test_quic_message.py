"""Datagrams and frames of QUIC are those of the twin: whole, cut at every octet, changed, and made of pieces by lot."""

from __future__ import annotations

import random

import pytest
from fieldwatch_ext.quic import MAX_ACK_RANGES, MAX_FRAMES, MAX_PACKETS, Packet, read_crypto, read_packets
from hypothesis import given
from hypothesis import strategies as st
from support import twin_quic

V1, V2 = b"\0\0\0\1", b"\x6b\x33\x43\xcf"


def long_header(first: int, version: bytes, behind: bytes, connection_id: bytes = b"8 octets") -> bytes:
    """A header up to the source's connection id, and what stands behind it."""
    return bytes([first]) + version + bytes([len(connection_id)]) + connection_id + b"\2id" + behind


INITIAL = long_header(0xC0, V1, b"\5token\x40\x1e" + bytes(range(30)))
HANDSHAKE = long_header(0xE0, V1, b"\x0a" + bytes(10))
DATAGRAM = INITIAL + HANDSHAKE + long_header(0xD3, V2, b"\0\x14" + b"a" * 20, b"") + b"\x40 short"

FRAMES = b"".join(
    [
        b"\0\0\6\0\4abcd",  # CRYPTO
        b"\1",  # PING
        b"\2\5\0\1\0\1\2",  # ACK with two ranges
        b"\3\x40\5\0\0\0\1\2\3",  # ACK with counts of ECN
        b"\6\x44\0\x80\0\0\3xyz",  # CRYPTO, its numbers of 2 and 4 octets
        b"\0" * 20,
        b"\6\xc0\0\0\1\0\0\0\0\1z",  # CRYPTO, an offset of 8 octets
    ]
)


def changed(data: bytes, times: int = 400) -> list[bytes]:
    """Every prefix, and the data with single octets changed by lot."""
    chance = random.Random(1)
    places = chance.choices(range(len(data)), k=times)
    return [data[:end] for end in range(len(data) + 1)] + [
        data[:at] + chance.randbytes(1) + data[at + 1 :] for at in places
    ]


def test_initial_packets_of_a_datagram() -> None:
    """Those of both versions; a Handshake packet between them is skipped, a short header ends it."""
    second = long_header(0xD3, V2, b"\0\x14", b"")
    expected = [
        Packet(V1, b"8 octets", INITIAL[:-30], bytes(range(30))),
        Packet(V2, b"", second, b"a" * 20),
    ]

    assert (expected, True) == read_packets(DATAGRAM)


def test_crypto_frames_of_a_payload() -> None:
    assert ([(0, b"abcd"), (1024, b"xyz"), (1 << 32, b"z")], True) == read_crypto(FRAMES)


def test_damaged_datagrams_are_read_as_by_the_twin() -> None:
    damaged = changed(DATAGRAM)

    assert [twin_quic.read_packets(data) for data in damaged] == [read_packets(data) for data in damaged]


def test_damaged_frames_are_read_as_by_the_twin() -> None:
    damaged = changed(FRAMES)

    assert [twin_quic.read_crypto(data) for data in damaged] == [read_crypto(data) for data in damaged]


@pytest.mark.parametrize("length", [b"\xff" * 8, b"\xc0" + b"\xff" * 7, b"\xbf\xff\xff\xff", b"\x7f\xff"])
def test_lengths_beyond_everything_are_contradictions(length: bytes) -> None:
    """The largest numbers that there are overflow no sum."""
    assert ([], False) == read_packets(long_header(0xC0, V1, length + bytes(40)))
    assert ([], False) == read_packets(long_header(0xC0, V1, b"\0" + length + bytes(40)))
    assert ([], False) == read_crypto(b"\6\0" + length + bytes(40))


@pytest.mark.parametrize("count", [MAX_PACKETS, MAX_PACKETS + 1])
def test_only_so_many_packets_are_looked_at(count: int) -> None:
    packets, consistent = read_packets(INITIAL * count)

    assert (MAX_PACKETS, True) == (len(packets), consistent)


@pytest.mark.parametrize(("count", "whole"), [(MAX_FRAMES - 1, True), (MAX_FRAMES, False)])
def test_only_so_many_frames_are_looked_at(count: int, whole: bool) -> None:
    assert ([], whole) == read_crypto(b"\1\0" * count)


@pytest.mark.parametrize(("ranges", "whole"), [(MAX_ACK_RANGES, True), (MAX_ACK_RANGES + 1, False)])
def test_only_so_many_ranges_are_looked_at(ranges: int, whole: bool) -> None:
    assert ([], whole) == read_crypto(b"\2\0\0" + bytes([ranges]) + bytes(1 + 2 * ranges))


HEADERS = st.sampled_from([b"\xc0" + V1, b"\xd0" + V2, b"\xe0" + V1, b"\xf0" + V1, b"\xc0" + V2, b"\xc0\0\0\0\2"])
NUMBERS = st.sampled_from([b"\0", b"\1", b"\2", b"\6", b"\x14", b"\x15", b"\x40\x05", b"\x80\0\0\2", b"\xc0", b"a" * 5])


@given(st.lists(st.one_of(HEADERS, NUMBERS), max_size=40).map(b"".join))
def test_datagrams_by_lot_are_read_as_by_the_twin(data: bytes) -> None:
    assert twin_quic.read_packets(data) == read_packets(data)


@given(st.lists(NUMBERS, max_size=80).map(b"".join))
def test_frames_by_lot_are_read_as_by_the_twin(data: bytes) -> None:
    assert twin_quic.read_crypto(data) == read_crypto(data)
