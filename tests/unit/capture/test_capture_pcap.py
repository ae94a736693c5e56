"""pcap files of every dialect are read back as they were written."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from support.capture_files import (
    LINUX_SLL,
    PCAP_MODIFIED,
    PCAP_NS,
    PCAP_US,
    RAW_IP,
    ByteOrder,
    Record,
    pcap,
    pcap_record,
)
from support.capture_reading import Reading, expected

RECORDS: list[Record] = [
    (0, b""),
    (1_700_000_000_123_456_789, bytes(range(60))),
    (1_700_000_000_000_000_001, b"\xff" * 1514, 9000),
    (4_294_967_295_999_999_999, b"x"),
]


@pytest.mark.parametrize("linktype", [1, RAW_IP, LINUX_SLL, 65535])
@pytest.mark.parametrize("magic", [PCAP_US, PCAP_NS, PCAP_MODIFIED])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_reads_every_dialect(
    read_capture: Callable[..., Reading], byte_order: ByteOrder, magic: int, linktype: int
) -> None:
    """Both byte orders, both units and the longer record headers give the same frames; times keep the file's unit."""
    written = pcap(RECORDS, linktype=linktype, byte_order=byte_order, magic=magic)

    frames, source = read_capture(written)

    assert frames == expected(RECORDS, linktype=linktype, unit_ns=1 if magic == PCAP_NS else 1000)
    assert (source.format, source.complete, source.problem) == ("pcap", True, None)
    assert (source.frames, source.octets, source.filtered) == (4, 0 + 60 + 9000 + 1, 0)
    assert source.position == len(written)


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_lengths_of_old_versions(read_capture: Callable[..., Reading], byte_order: ByteOrder) -> None:
    """Before version 2.3 the original length stands first; in 2.3 the smaller one is what was captured."""
    old = pcap(RECORDS, version=(2, 2), byte_order=byte_order)
    between = pcap([], version=(2, 3), byte_order=byte_order)
    for number, record in enumerate(RECORDS):
        between += pcap_record(record, version=(2, number % 2 * 4), byte_order=byte_order)

    assert read_capture(old).frames == expected(RECORDS, unit_ns=1000)
    assert read_capture(between).frames == expected(RECORDS, unit_ns=1000)


def test_linktype_field(read_capture: Callable[..., Reading]) -> None:
    """FCS bits above the linktype are no part of it; the two system-dependent values of DLT_RAW mean raw IP."""
    seen = [
        (read_capture(pcap([(0, b"x")], linktype=written)).frames[0].linktype, name)
        for written, name in ((0x44000001, "EN10MB"), (12, "RAW"), (14, "RAW"), (300, "300"))
        if read_capture(pcap([], linktype=written)).source.linktypes == [name]
    ]

    assert seen == [(1, "EN10MB"), (101, "RAW"), (101, "RAW"), (300, "300")]


def test_original_is_never_less_than_captured(read_capture: Callable[..., Reading]) -> None:
    """A record that contradicts itself is read as if all that was on the wire had been captured."""
    frames, source = read_capture(pcap([(0, bytes(60), 10)]))

    assert frames == expected([(0, bytes(60), 60)])
    assert source.octets == 60


def test_header_alone_is_a_capture(read_capture: Callable[..., Reading]) -> None:
    """No frame, nothing wrong; the linktype is known."""
    frames, source = read_capture(pcap([], linktype=LINUX_SLL))

    assert (frames, source.complete, source.linktypes) == ([], True, ["LINUX_SLL"])


@pytest.mark.parametrize("capacity", [1, 7, 4096])
def test_records_across_pieces(read_capture: Callable[..., Reading], capacity: int) -> None:
    """Records of every length up to the longest are whole, wherever the pieces of 256 KiB end and the blocks too."""
    chance = random.Random(11)
    lengths = [chance.choice((0, 1, 60, 1514, 9000, 65535)) for _ in range(300)] + [262_144, 262_144, 60]
    records: list[Record] = [(1000 * n, chance.randbytes(length)) for n, length in enumerate(lengths)]

    frames, source = read_capture(pcap(records), capacity=capacity)

    assert frames == expected(records)
    assert source.complete


def test_more_frames_than_a_block_holds(read_capture: Callable[..., Reading]) -> None:
    """Records without octets: a piece holds four blocks of them, and none is lost in between."""
    records: list[Record] = [(1000 * n, b"", 60) for n in range(40_000)]

    assert read_capture(pcap(records)).frames == expected(records)
