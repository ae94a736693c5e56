"""Captures that end too early, contradict themselves, or are none: one line says so, and the frames before it stand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fieldwatch_ext.capture import FileSource
from fieldwatch_ext.errors import CaptureError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.capture_files import (
    PCAP_MODIFIED,
    PCAP_NS,
    PCAP_US,
    PcapngSection,
    Record,
    pcap,
    pcap_record,
    pcapng,
)
from support.capture_reading import Reading, expected

RECORDS: list[Record] = [(10**18, b"first"), (10**18 + 10**6, b""), (10**18 + 2 * 10**6, bytes(60), 1514)]


def pcap_ends(*, magic: int = PCAP_US, byte_order: str = "<") -> tuple[bytes, list[int]]:
    """A small pcap file, and the lengths at which it is whole: behind the header and behind each record."""
    written = pcap([], magic=magic, byte_order=byte_order)  # type: ignore[arg-type]
    ends = [len(written)]
    for record in RECORDS:
        written += pcap_record(record, magic=magic, byte_order=byte_order)  # type: ignore[arg-type]
        ends.append(len(written))
    return written, ends


def pcapng_ends(*, byte_order: str = "<") -> tuple[bytes, list[int], list[int]]:
    """A small pcapng file; the lengths at which it is whole, and the number of frames up to each."""
    section = PcapngSection(byte_order, options=b"")  # type: ignore[arg-type]
    ends, frames = [len(bytes(section))], [0]

    def whole(count: int) -> None:
        ends.append(len(bytes(section)))
        frames.append(count)

    section.interface(tsresol=9)
    whole(0)
    section.enhanced(RECORDS[0])
    whole(1)
    section.block(0x0BAD, bytes(40))
    whole(1)
    section.obsolete(RECORDS[1])
    whole(2)
    section.enhanced(RECORDS[2], options=section.option(1, b"comment") + section.option(0, b""))
    whole(3)
    return bytes(section), ends, frames


@pytest.mark.parametrize("magic", [PCAP_US, PCAP_NS, PCAP_MODIFIED])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_every_prefix_of_a_pcap_file(read_capture: Callable[..., Reading], byte_order: str, magic: int) -> None:
    """An error inside the header, else the whole records; complete only at the end of one."""
    written, ends = pcap_ends(magic=magic, byte_order=byte_order)

    for length in range(ends[0]):
        with pytest.raises(CaptureError):
            read_capture(written[:length])
    for length in range(ends[0], len(written) + 1):
        count = sum(end <= length for end in ends) - 1
        frames, source = read_capture(written[:length])
        assert frames == expected(RECORDS[:count])
        assert source.complete == (length in ends)
        assert (source.problem is None) == (length in ends)


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_every_prefix_of_a_pcapng_file(read_capture: Callable[..., Reading], byte_order: str) -> None:
    """As with pcap: the section header is the header, blocks are the records."""
    written, ends, counts = pcapng_ends(byte_order=byte_order)

    for length in range(ends[0]):
        with pytest.raises(CaptureError):
            read_capture(written[:length])
    for length in range(ends[0], len(written) + 1):
        count = counts[sum(end <= length for end in ends) - 1]
        frames, source = read_capture(written[:length])
        assert frames == expected(RECORDS[:count])
        assert source.complete == (length in ends)


def test_truncated_inside_a_long_unknown_block(read_capture: Callable[..., Reading]) -> None:
    """A block that is passed over is still missed where its end is cut off, or says another length."""
    section = PcapngSection().interface(tsresol=9).enhanced(RECORDS[0]).block(0x0BAD, bytes(1 << 20))
    written = bytes(section)

    for cut in (1, 4, 5, 1 << 19):
        frames, source = read_capture(written[:-cut])
        assert (frames, source.complete) == (expected(RECORDS[:1]), False)
    frames, source = read_capture(written[:-4] + bytes(4))
    assert source.problem is not None
    assert "length is 1048588 at its start and 0 at its end; the frame before it stands" in source.problem


def test_problem_of_a_truncated_capture(read_capture: Callable[..., Reading]) -> None:
    """The line says where the capture ends and how much of it counts."""
    written, _ = pcap_ends()

    assert read_capture(written[:-1]).source.problem == (
        "the capture ends in the middle of a record, at octet 136; the 2 frames before it stand"
    )
    assert read_capture(written[:30]).source.problem == (
        "the capture ends in the middle of a record, at octet 30; no frame stands before it"
    )


def test_absurd_length_in_pcap(read_capture: Callable[..., Reading]) -> None:
    """No record is longer than the buffer; the longest that is taken is."""
    longest = 327_680 - 16
    good = pcap([(0, b"x"), (0, bytes(longest))])
    bad = pcap([(0, b"x")]) + pcap_record((0, b""))[:8] + (longest + 1).to_bytes(4, "little") + bytes(400_000)

    assert read_capture(good).frames == expected([(0, b"x"), (0, bytes(longest))])
    frames, source = read_capture(bad)
    assert frames == expected([(0, b"x")])
    assert (source.complete, source.problem) == (
        False,
        "the capture is damaged at octet 41: a record claims 327665 captured octets, where at most 327664 can be;"
        " the frame before it stands",
    )


def damaged_block(body: bytes, *, kind: int = 6, length: int | None = None, trailer: int | None = None) -> bytes:
    total = len(body) + 12
    length = total if length is None else length
    trailer = length if trailer is None else trailer
    return kind.to_bytes(4, "little") + length.to_bytes(4, "little") + body + trailer.to_bytes(4, "little")


def enhanced_body(*, interface: int = 0, captured: int = 0, octets: int = 0) -> bytes:
    return b"".join(n.to_bytes(4, "little") for n in (interface, 0, 0, captured, captured)) + bytes(octets)


@pytest.mark.parametrize(
    ("block", "says"),
    [
        (damaged_block(b"", length=8), "a block claims a length of 8 octets, where at least 12 must be"),
        (damaged_block(b"", length=0xFFFFFFFD), "a block claims a length of 0 octets, where at least 12 must be"),
        (damaged_block(bytes(4), trailer=20), "a block's length is 16 at its start and 20 at its end"),
        (damaged_block(bytes(16)), "a block claims a length of 28 octets, where at least 32 must be"),
        (damaged_block(b"", kind=3), "a block claims a length of 12 octets, where at least 16 must be"),
        (damaged_block(b"", kind=1), "a block claims a length of 12 octets, where at least 20 must be"),
        (
            damaged_block(bytes(16), length=1 << 20),
            "a block claims a length of 1048576 octets, where at most 327680 can be",
        ),
        (damaged_block(enhanced_body(interface=1)), "a frame of interface 1, where 1 are described"),
        (
            damaged_block(enhanced_body(captured=9, octets=8)),
            "a record claims 9 captured octets, where at most 8 can be",
        ),
        (
            damaged_block(enhanced_body(captured=0xFFFFFFFF, octets=8)),
            "a record claims 4294967295 captured octets, where at most 8 can be",
        ),
        (bytes(PcapngSection(version=(2, 0))), "pcapng version 2.0 is not known"),
        (
            damaged_block(b"\xde\xad\xbe\xef" + bytes(12), kind=0x0A0D0D0A),
            "a section's byte order mark is 0xdeadbeef",
        ),
    ],
)
def test_damaged_block(read_capture: Callable[..., Reading], block: bytes, says: str) -> None:
    """A block that contradicts itself ends the capture: nothing behind it can be trusted."""
    good = pcapng(RECORDS[:2])

    frames, source = read_capture(good + block + bytes(PcapngSection().interface().enhanced((0, b"lost"))))

    assert frames == expected(RECORDS[:2])
    assert source.complete is False
    assert source.problem == f"the capture is damaged at octet {len(good)}: {says}; the 2 frames before it stand"


@pytest.mark.parametrize(
    ("octets", "says"),
    [
        (b"", "x.pcap is empty: no pcap or pcapng capture"),
        (b"\x1f\x8b\x08\x00rest", "x.pcap is gzip-compressed: gunzip it first (zcat FILE | fieldwatch-agent read -)"),
        (b"\xfd7zXZ\x00rest", "x.pcap is xz-compressed: unxz it first (xzcat FILE | fieldwatch-agent read -)"),
        (
            b"\x28\xb5\x2f\xfdrest",
            "x.pcap is zstd-compressed: unzstd it first (zstdcat FILE | fieldwatch-agent read -)",
        ),
        (b"BZh9rest", "x.pcap is bzip2-compressed: bunzip2 it first (bzcat FILE | fieldwatch-agent read -)"),
        (b"snoop\x00\x00\x00" + bytes(40), "x.pcap is no pcap or pcapng capture: it starts with 73 6e 6f 6f"),
        (b"ab", "x.pcap is no pcap or pcapng capture: it starts with 61 62"),
        (b"\xd4\xc3\xb2\xa1" + bytes(10), "x.pcap ends inside its pcap header, after 14 of 24 octets"),
        (b"\x0a\x0d\x0d\x0a\x1c\x00", "x.pcap ends inside its pcapng section header, after 6 octets"),
        (
            b"\x0a\x0d\x0d\x0a" + bytes(40),
            "x.pcap is no pcap or pcapng capture: the capture is damaged at octet 0:"
            " a section's byte order mark is 0x00000000; no frame stands before it",
        ),
    ],
)
def test_not_a_capture(open_capture: Callable[..., FileSource], octets: bytes, says: str) -> None:
    """One line that names what was found, and what to do where that is known."""
    with pytest.raises(CaptureError) as caught:
        open_capture(octets, name="x.pcap")

    assert str(caught.value) == says


def test_unreadable_descriptors(tmp_path: Path) -> None:
    """A folder and a closed descriptor are told from damaged captures."""
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(CaptureError, match=r"^x cannot be read: Is a directory$"):
            FileSource(fd, name="x")
    finally:
        os.close(fd)
    with pytest.raises(CaptureError, match=r"^x cannot be read: Bad file descriptor$"):
        FileSource(fd, name="x")


SEEDS = [
    pcap_ends()[0],
    pcap_ends(magic=PCAP_MODIFIED, byte_order=">")[0],
    pcapng_ends()[0],
    pcapng_ends(byte_order=">")[0],
    bytes(PcapngSection().interface(tsresol=0x80 | 40, tsoffset_s=-1).simple((0, b"s")).enhanced((0, b"e")))
    + bytes(PcapngSection(">").interface(tsresol=19).obsolete((0, b"o"))),
]


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8)), max_size=6),
    cut=st.integers(0, 400),
    tail=st.binary(max_size=64),
)
def test_anything_goes(
    read_capture: Callable[..., Reading], seed: bytes, changes: list[tuple[int, bytes]], cut: int, tail: bytes
) -> None:
    """Whatever the octets: read to an end or refused in one line; a problem is told exactly when it is not complete."""
    octets = bytearray(seed)
    for at, change in changes:
        octets[at : at + len(change)] = change
    octets = octets[: len(octets) - min(cut, len(octets) // 2)] + tail

    try:
        frames, source = read_capture(bytes(octets), name="x")
    except CaptureError as error:
        lines = str(error).splitlines()
        frames, source = [], None

    if source is None:
        assert len(lines) == 1
    else:
        assert source.frames == len(frames)
        assert source.octets == sum(frame.original for frame in frames)
        assert all(len(frame.octets) <= frame.original for frame in frames)
        assert sum(len(frame.octets) for frame in frames) <= source.position <= len(octets)
        assert source.complete == (source.problem is None)
