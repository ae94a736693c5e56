"""Sources as streams: pipes, filters by linktype, frames in memory, pcapy-ng handles, and what close() does."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pcapy
import pytest
from fieldwatch_ext.bpf import Program
from fieldwatch_ext.capture import LINKTYPE_NAMES, FileSource, Frame, HandleSource, MemorySource
from fieldwatch_ext.errors import CaptureError
from support.capture_files import ETHERNET, LINUX_SLL, RAW_IP, PcapngSection, Record, pcap, pcapng
from support.capture_reading import Reading, drain, expected

RECORDS: list[Record] = [(1000 * n, bytes([n]) * (20 + n % 50)) for n in range(200)]
EVEN = Program([(0x30, 0, 0, 0), (0x45, 1, 0, 1), (0x06, 0, 0, 1), (0x06, 0, 0, 0)])  # first octet is even
NONE = Program([(0x06, 0, 0, 0)])


@contextmanager
def fed(octets: bytes, piece_octets: int) -> Iterator[int]:
    """The reading end of a pipe into which the octets are written in pieces."""
    reader, writer = os.pipe()

    def feed() -> None:
        with open(writer, "wb", buffering=0) as pipe:
            for at in range(0, len(octets), piece_octets):
                pipe.write(octets[at : at + piece_octets])

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield reader
    finally:
        thread.join()
        os.close(reader)


@pytest.mark.parametrize("piece_octets", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize("write", [pcap, pcapng])
def test_pipe_in_pieces(write: Callable[[list[Record]], bytes], piece_octets: int) -> None:
    """However the octets come, the frames are the same."""
    with fed(write(RECORDS), piece_octets) as fd:
        source = FileSource(fd)
        frames = drain(source)

    assert frames == expected(RECORDS)
    assert source.complete


def test_long_records_through_a_pipe() -> None:
    """Records longer than a pipe holds come together from many reads."""
    records: list[Record] = [(0, bytes([n]) * 250_000) for n in range(10)]
    with fed(pcap(records), 65536) as fd:
        frames = drain(FileSource(fd))

    assert frames == expected(records)


def test_silent_pipe_gives_an_empty_block() -> None:
    """A pipe that is open but silent does not hold the reader up; its end is an end."""
    reader, writer = os.pipe()
    try:
        os.write(writer, pcap(RECORDS[:1]))
        source = FileSource(reader)
        blocks = [source.read_block(), source.read_block()]
        os.write(writer, pcap(RECORDS[:2])[-37:])
        blocks.append(source.read_block())
        os.close(writer)
        blocks.append(source.read_block())
    finally:
        os.close(reader)

    assert blocks == [expected(RECORDS[:1]), [], expected(RECORDS[1:2]), None]
    assert source.complete


def test_filter_is_asked_once_for_each_linktype(read_capture: Callable[..., Reading]) -> None:
    """The answer holds for all frames of the linktype; rejected frames are counted and not handed out."""
    asked: list[int] = []

    def filter_for(linktype: int) -> Program | None:
        asked.append(linktype)
        return {ETHERNET: EVEN, RAW_IP: NONE}.get(linktype)

    section = PcapngSection().interface(ETHERNET).interface(RAW_IP).interface(ETHERNET).interface(LINUX_SLL)
    for number in range(8):
        section.enhanced((0, bytes([number])), interface=number % 4)
    again = PcapngSection(">").interface(RAW_IP).enhanced((0, b"\x00"))

    frames, source = read_capture(bytes(section) + bytes(again), filter_for=filter_for)

    assert asked == [ETHERNET, RAW_IP, LINUX_SLL]
    assert [(frame.interface, frame.octets) for frame in frames] == [
        (0, b"\x00"),
        (2, b"\x02"),
        (3, b"\x03"),
        (0, b"\x04"),
        (2, b"\x06"),
        (3, b"\x07"),
    ]
    assert (source.frames, source.octets, source.filtered) == (6, 6, 3)


def test_filter_of_a_pcap_file(read_capture: Callable[..., Reading]) -> None:
    """All frames of a pcap file have one linktype; a block that is rejected as a whole is not the end."""
    frames, source = read_capture(pcap(RECORDS), filter_for={ETHERNET: EVEN}.get)

    assert frames == expected(RECORDS[::2])
    assert (source.frames, source.filtered) == (100, 100)


@pytest.mark.parametrize("write", [pcap, pcapng])
def test_refused_filter_at_the_start(
    open_capture: Callable[..., FileSource], write: Callable[[list[Record]], bytes]
) -> None:
    """What filter_for raises comes through, as long as the source is being opened."""

    def refuse(linktype: int) -> Program:
        raise KeyError(linktype)

    with pytest.raises(KeyError):
        open_capture(write(RECORDS), filter_for=refuse)


def test_refused_filter_in_the_middle(read_capture: Callable[..., Reading]) -> None:
    """Later on it ends the stream, and the problem says why."""

    def refuse_raw(linktype: int) -> None:
        if linktype == RAW_IP:
            raise ValueError("no MAC addresses on it")

    section = PcapngSection().interface(ETHERNET, tsresol=9).enhanced(RECORDS[0]).interface(RAW_IP).enhanced((0, b"x"))

    frames, source = read_capture(bytes(section), filter_for=refuse_raw)

    assert frames == expected(RECORDS[:1])
    assert (source.complete, source.problem) == (False, "no filter for frames of linktype RAW: no MAC addresses on it")


def test_linktypes_are_bounded(read_capture: Callable[..., Reading]) -> None:
    """A stream that makes up linktypes does not make the reader ask for filters without end."""
    section = PcapngSection()
    for linktype in range(40):
        section.interface(linktype)

    _, source = read_capture(bytes(section))

    assert (len(source.linktypes), source.problem) == (32, "the capture has more than 32 linktypes")


def test_interfaces_are_bounded(read_capture: Callable[..., Reading]) -> None:
    """65,536 interfaces are a section's most, as many as a frame can name."""
    section = PcapngSection()
    for _ in range(65536):
        section.interface()
    section.enhanced((1000, b"x"), interface=65535)
    last_good = read_capture(bytes(section)).frames
    section.interface()

    assert last_good == [Frame(1000, b"x", 1, ETHERNET, 65535)]
    assert "more than 65536 interfaces in a section" in str(read_capture(bytes(section)).source.problem)


def test_close_keeps_the_descriptor(open_capture: Callable[..., FileSource]) -> None:
    """close() ends the source, may be repeated, and leaves the caller's descriptor alone."""
    fd = os.memfd_create("capture")
    os.write(fd, pcap(RECORDS))
    os.lseek(fd, 0, os.SEEK_SET)
    with FileSource(fd) as source:
        first = source.read_block(3)
    source.close()

    assert first == expected(RECORDS[:3])
    assert source.read_block() is None
    assert (source.frames, source.complete) == (3, True)
    os.close(fd)


def test_memory_source() -> None:
    """Frames come in blocks as they were given; three fields name the octets on the wire."""
    source = MemorySource([(1, b"a"), (2, b"", 60), (-3, b"ccc", 1)], linktype=RAW_IP, block=2)

    blocks = [source.read_block() for _ in range(3)]

    assert blocks == [
        [Frame(1, b"a", 1, RAW_IP, 0), Frame(2, b"", 60, RAW_IP, 0)],
        [Frame(-3, b"ccc", 3, RAW_IP, 0)],
        None,
    ]
    assert (source.frames, source.octets) == (3, 64)


@pytest.mark.parametrize("block", [0, -1, 4097])
def test_memory_source_refuses_a_block_out_of_range(block: int) -> None:
    """A block has between 1 and 4,096 frames."""
    with pytest.raises(ValueError, match=f"a block has 1 to 4096 frames, not {block}"):
        MemorySource([], block=block)


def test_handle_gives_the_same_frames(tmp_path: Path) -> None:
    """libpcap reads the file behind the handle; times have its microseconds; the filter counts as elsewhere."""
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(RECORDS, linktype=RAW_IP))

    source = HandleSource(pcapy.open_offline(str(path)))
    filtered = HandleSource(pcapy.open_offline(str(path)), filter=EVEN)

    assert source.linktype == RAW_IP
    assert drain(source, capacity=64) == expected(RECORDS, linktype=RAW_IP)
    assert drain(filtered) == expected(RECORDS[::2], linktype=RAW_IP)
    assert (filtered.frames, filtered.filtered, filtered.problem) == (100, 100, None)


def test_handle_of_a_truncated_file(tmp_path: Path) -> None:
    """What libpcap says is the problem; the frames before it stand."""
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(RECORDS[:3])[:-1])

    source = HandleSource(pcapy.open_offline(str(path)))

    assert drain(source) == expected(RECORDS[:2])
    assert str(source.problem).startswith("libpcap cannot go on: truncated dump file")


def test_linktype_names_are_those_of_the_registry() -> None:
    """The names that the agent's summaries and other parts rely on."""
    named = {1: "EN10MB", 0: "NULL", 101: "RAW", 105: "IEEE802_11", 113: "LINUX_SLL", 276: "LINUX_SLL2", 228: "IPV4"}

    assert {value: LINKTYPE_NAMES[value] for value in named} == named


def test_sources_are_made_once(open_capture: Callable[..., FileSource]) -> None:
    """A second __init__ would leak what the first one holds."""
    source = open_capture(pcap(RECORDS))
    with pytest.raises(ValueError, match="made once"):
        source.__init__(0)  # type: ignore[misc]

    assert drain(source) == expected(RECORDS)
    assert issubclass(CaptureError, Exception)
