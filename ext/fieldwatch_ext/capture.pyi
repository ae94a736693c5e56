"""Sources of frames: capture files, live rings, frames in memory."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

from fieldwatch_ext.bpf import Program

LINKTYPE_NAMES: dict[int, str]
"""LINKTYPE_ value -> name of the registry without its prefix (1 -> "EN10MB"); others are shown as their number."""

class RingStats(NamedTuple):
    """Since the ring was opened."""

    packets: int  # frames that passed the socket, dropped ones included
    drops: int  # no room in the ring
    freezes: int  # times the ring was full

class Frame(NamedTuple):
    """A frame as Python sees it, where a test or a tool wants to."""

    ts_ns: int
    octets: bytes
    original: int  # octets on the wire, never less than were captured
    linktype: int  # LINKTYPE_ value
    interface: int  # pcapng interface number, else 0

class Source:
    """What the engine reads.

    `frames` and `octets` (on the wire) count what was handed out, `filtered` the frames that the filter rejected.
    A block that gives no frame is not the end: a filter may have rejected all of it, or a pipe is silent.
    """

    @property
    def frames(self) -> int: ...
    @property
    def octets(self) -> int: ...
    @property
    def filtered(self) -> int: ...
    def read_block(self, capacity: int = ...) -> list[Frame] | None:
        """The next block as Python objects, None at the end. For tests and tools: the engine takes blocks in C."""
    def close(self) -> None:
        """Give memory back; repeated calls do nothing. Not while another thread is inside a block."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...

class FileSource(Source):
    """A pcap (us, ns, both endians, modified) or pcapng stream, read in pieces of 256 KiB from a file descriptor.

    Works on pipes. The descriptor stays the caller's: close() does not close it.
    `filter_for(linktype)` is asked once for each linktype and gives the filter for its frames, or None. What it raises
    while the source is opened comes through; later on it ends the stream, with `problem`.
    Raises CaptureError where the stream is no capture. An empty file (0 octets) is an error; a header alone is not.
    """

    format: str  # "pcap" or "pcapng"
    linktypes: list[str]  # names, in order of appearance
    complete: bool  # False once the stream ended in the middle of a record, or turned out damaged
    problem: str | None  # what was wrong, one line
    position: int  # octets consumed, for progress
    def __init__(
        self, fd: int, *, name: str = ..., filter_for: Callable[[int], Program | None] | None = ...
    ) -> None: ...

class RingSource(Source):
    """A live AF_PACKET socket with a TPACKET_V3 ring. Needs CAP_NET_RAW; raises CaptureError with the remedy.

    `next_block` waits at most `poll_ms`. Both VLAN tags are in place (the kernel's stripped one is put back).
    Frames the host itself sends are seen as well (on loopback once, not twice).
    A source `beside` another of the same interface shares the frames with it: each comes to one of them, those of a
    flow and its replies to the same one (not within VXLAN, GENEVE and GTP-U: their outer ports tell no direction).
    """

    interface: str
    linktype: int
    problem: str | None  # set when the interface has gone
    giants: int  # frames longer than the MTU allows: offloads merged what the wire carried, or have not cut it yet
    def __init__(
        self,
        interface: str,
        *,
        ring_bytes: int = ...,  # 4 MiB; at least 256 KiB are taken
        block_timeout_ms: int = ...,  # 20
        poll_ms: int = ...,  # 100
        promiscuous: bool = ...,
        filter: Program | None = ...,  # noqa: A002
        beside: RingSource | None = ...,
    ) -> None: ...
    def stats(self) -> RingStats: ...

class MemorySource(Source):
    """Frames from memory: (ts_ns, octets) or (ts_ns, octets, original length). For tests and tools."""

    def __init__(
        self, frames: Sequence[tuple[int, bytes] | tuple[int, bytes, int]], *, linktype: int = ..., block: int = ...
    ) -> None:
        """`block` = most frames given at once."""

class HandleSource(Source):
    """Portable capture from an open pcapy-ng handle, which is the caller's. Slower: each frame passes Python.

    A live handle is switched to non-blocking; a call waits at most 100 ms.
    """

    linktype: int
    problem: str | None  # set when libpcap could not go on
    def __init__(
        self,
        handle: object,
        *,
        filter: Program | None = ...,  # noqa: A002
        linktype: int = ...,
    ) -> None: ...
