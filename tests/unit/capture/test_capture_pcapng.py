"""pcapng files: byte orders, sections, interfaces, clocks, the three packet blocks, and blocks of no interest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fieldwatch_ext.capture import Frame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.capture_files import (
    ETHERNET,
    LINUX_SLL2,
    NAME_RESOLUTION,
    RAW_IP,
    ByteOrder,
    PcapngSection,
    Record,
    pcapng,
    time_of,
)
from support.capture_reading import Reading, expected

T = 1_700_000_000_123_456_789
RECORDS: list[Record] = [(0, b""), (T, bytes(range(60))), (T + 1, b"\xff" * 1513, 9000)]


@pytest.mark.parametrize("tsresol", [9, 12, 0x80 | 30, 0x80 | 33])
@pytest.mark.parametrize("tsoffset_s", [None, 0, 1_600_000_000])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_reads_enhanced_packets(
    read_capture: Callable[..., Reading], byte_order: ByteOrder, tsoffset_s: int | None, tsresol: int
) -> None:
    """In clocks at least as fine as a nanosecond, times come back exactly."""
    start = (tsoffset_s or 0) * 10**9
    records: list[Record] = [(start + ts_ns % 10**15, *rest) for ts_ns, *rest in RECORDS]  # 2**64 ps are 213 days

    frames, source = read_capture(pcapng(records, byte_order=byte_order, tsresol=tsresol, tsoffset_s=tsoffset_s))

    assert frames == expected(records)
    assert (source.format, source.linktypes, source.complete) == ("pcapng", ["EN10MB"], True)


def test_microseconds_unless_said_otherwise(read_capture: Callable[..., Reading]) -> None:
    """Without if_tsresol a unit is a microsecond."""
    records: list[Record] = [(T - T % 1000, b"x")]

    assert read_capture(pcapng(records, tsresol=None)).frames == expected(records)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    units=st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 2**33)),
    tsresol=st.integers(0, 255),
    tsoffset_s=st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**33), 2**33)),
    byte_order=st.sampled_from(["<", ">"]),
)
def test_clocks(
    read_capture: Callable[..., Reading], units: int, tsresol: int, tsoffset_s: int, byte_order: ByteOrder
) -> None:
    """Any units of any clock: rounded down to nanoseconds, and clamped to what 64 bits hold."""
    section = PcapngSection(byte_order).interface(tsresol=tsresol, tsoffset_s=tsoffset_s)
    section.block(6, section.pack("IIIII", 0, units >> 32, units & 0xFFFFFFFF, 0, 0))
    least, most = -(2**63), 2**63 - 1
    without_offset = min(time_of(units, tsresol=tsresol), most)
    offset_ns = max(least, min(tsoffset_s * 10**9, most))

    (frame,) = read_capture(bytes(section)).frames

    assert frame.ts_ns == max(least, min(without_offset + offset_ns, most))


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_interfaces_packet_blocks_and_blocks_of_no_interest(
    read_capture: Callable[..., Reading], byte_order: ByteOrder
) -> None:
    """Each interface keeps its linktype and clock; unknown blocks, short or long, lose nothing around them."""
    section = PcapngSection(byte_order, options=b"")
    section.interface(ETHERNET, snaplen=60, tsresol=9).interface(RAW_IP, tsresol=0x80 | 20, tsoffset_s=-5)
    section.block(NAME_RESOLUTION, section.pack("I", 0))
    section.enhanced((T, b"a" * 61), interface=0, options=section.option(1, b"a comment") + section.option(0, b""))
    section.obsolete((10**18, b"b" * 5, 7), interface=1)
    section.block(0x40000BAD, bytes(1 << 20))
    section.simple((0, b"c" * 60, 1514))
    section.simple((0, b"d" * 3))
    section.interface(LINUX_SLL2)
    section.block(0xBAD, b"")
    section.enhanced((1_000_000, b""), interface=2)

    frames, source = read_capture(bytes(section))

    assert frames == [
        Frame(T, b"a" * 61, 61, ETHERNET, 0),
        Frame(10**18, b"b" * 5, 7, RAW_IP, 1),
        Frame(10**18, b"c" * 60, 1514, ETHERNET, 0),  # a simple packet has no time: that of the frame before
        Frame(10**18, b"d" * 3, 3, ETHERNET, 0),
        Frame(1_000_000, b"", 0, LINUX_SLL2, 2),
    ]
    assert source.linktypes == ["EN10MB", "RAW", "LINUX_SLL2"]
    assert (source.complete, source.position) == (True, len(bytes(section)))


@pytest.mark.parametrize("trailer", [37, 40])
def test_length_without_padding(read_capture: Callable[..., Reading], trailer: int) -> None:
    """Writers that count 37 octets where 40 stand are understood, at either end of the block."""
    section = PcapngSection().interface(tsresol=9)
    start = len(bytes(section))
    section.enhanced((T, b"12345"))
    written = bytearray(bytes(section))
    written[start + 4 : start + 8] = (37).to_bytes(4, "little")
    written[-4:] = trailer.to_bytes(4, "little")
    follower = bytes(PcapngSection().interface(tsresol=9).enhanced((T, b"x")))

    frames, source = read_capture(bytes(written) + follower)

    assert frames == expected([(T, b"12345"), (T, b"x")])
    assert source.complete


def test_sections(read_capture: Callable[..., Reading]) -> None:
    """A section has its own byte order and starts without interfaces."""
    first = PcapngSection("<").interface(RAW_IP).interface(RAW_IP).enhanced((1000, b"1"), interface=1)
    second = PcapngSection(">", version=(1, 2)).interface(ETHERNET, tsresol=9).enhanced((2, b"2"))
    third = PcapngSection("<")

    frames, source = read_capture(bytes(first) + bytes(second) + bytes(third))

    assert frames == [Frame(1000, b"1", 1, RAW_IP, 1), Frame(2, b"2", 1, ETHERNET, 0)]
    assert (source.linktypes, source.complete) == (["RAW", "EN10MB"], True)


def test_section_header_alone_is_a_capture(read_capture: Callable[..., Reading]) -> None:
    """No interface, no frame, nothing wrong."""
    frames, source = read_capture(bytes(PcapngSection()))

    assert (frames, source.linktypes, source.complete) == ([], [], True)


def test_options_that_do_not_fit_end_the_list(read_capture: Callable[..., Reading]) -> None:
    """An interface whose options run out of its block keeps what stood before them."""
    section = PcapngSection()
    broken = section.option(9, b"\x09") + section.pack("HH", 14, 0xFFFF) + bytes(4)
    section.interfaces.append((9, 0))
    section.block(1, section.pack("HHI", ETHERNET, 0, 0) + broken)
    section.enhanced((T, b"x"))

    assert read_capture(bytes(section)).frames == expected([(T, b"x")])


def test_blocks_across_pieces(read_capture: Callable[..., Reading]) -> None:
    """Blocks of many lengths are whole wherever the pieces of 256 KiB end; long unknown ones are passed over."""
    section = PcapngSection().interface(tsresol=9)
    records: list[Record] = [(n, bytes([n % 251]) * (n * 977 % 40_000)) for n in range(200)]
    for number, record in enumerate(records):
        section.enhanced(record)
        if number % 20 == 0:
            section.block(0x40000BAD, bytes(number * 20_000))

    frames, source = read_capture(bytes(section))

    assert frames == expected(records)
    assert source.complete
