"""Live sources of frames: the kernel's ring, or, where that does not work, a libpcap handle (`[capture] method`).

pcapy-ng is imported only by method "libpcap": the daemon as shipped never pays for it. What the worker relies on holds
for both: `stats` counts every frame that passed the socket since it was opened, dropped ones included; a filter is run
by the kernel module on whole frames, so that the two methods give the same records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fieldwatch_ext.bpf import Program
from fieldwatch_ext.capture import LINKTYPE_NAMES, HandleSource, RingSource, RingStats
from fieldwatch_ext.errors import CaptureError
from fieldwatch_proto.settings import UsageError

from fieldwatch_agent.filters import LINKTYPE_ETHERNET, SNAPLEN, compile_filter
from fieldwatch_agent.interfaces import is_network

if TYPE_CHECKING:
    from fieldwatch_agent.config import Capture

# What `read_link` of the kernel module decodes, as LINKTYPE_ values; a test holds the two together.
DECODED_LINKTYPES = frozenset({0, 1, 9, 12, 14, 51, 101, 104, 105, 108, 113, 119, 127, 163, 192, 228, 229, 276})

# Return codes of pcap_activate(3PCAP).
_NO_SUCH_DEVICE, _PERMISSION_DENIED, _IFACE_NOT_UP = -5, -8, -9
_COUNTER_BITS = 32
POLL_MS = 250  # a silent link wakes a worker so often, and a stop waits for it; frames wake it at once


class LibpcapSource(HandleSource):
    """A live interface through libpcap. Raises CaptureError with the remedy."""

    giants = 0  # not known

    def __init__(
        self, interface: str, *, buffer_bytes: int, timeout_ms: int, promiscuous: bool, program: Program | None
    ) -> None:
        self.interface = interface
        self._stats = RingStats(0, 0, 0)
        self._opened: Any = _open_handle(interface, buffer_bytes, timeout_ms, promiscuous)
        super().__init__(self._opened, filter=program)
        if self.linktype not in DECODED_LINKTYPES:
            self.close()
            name = LINKTYPE_NAMES.get(self.linktype, str(self.linktype))
            raise CaptureError(
                f"interface {interface} gives frames of linktype {name}, which are not decoded; name another:"
                " fieldwatch-agent doctor lists them"
            )

    def stats(self) -> RingStats:
        """As libpcap tells (pcap_stats(3PCAP)), its 32-bit counters unwound; the last reading once it is closed."""
        if self._opened is not None:
            packets, drops, _ = self._opened.stats()
            self._stats = RingStats(
                _unwound(self._stats.packets, packets), _unwound(self._stats.drops, drops), self._stats.freezes
            )
        return self._stats

    def close(self) -> None:
        if self._opened is not None:
            self.stats()
            handle, self._opened = self._opened, None
            super().close()
            handle.close()


LiveSource = RingSource | LibpcapSource


def open_sources(interface: str, capture: Capture, program: Program | None) -> list[LiveSource]:
    """As `open_source`, as many as there are lanes: each frame comes to one of them. All or none is open."""
    sources: list[LiveSource] = []
    try:
        for _ in range(capture.lanes):
            first = sources[0] if sources else None
            assert not isinstance(first, LibpcapSource)  # which has one lane
            sources.append(open_source(interface, capture, program, beside=first))
    except BaseException:
        for source in sources:
            source.close()
        raise
    return sources


def open_source(
    interface: str, capture: Capture, program: Program | None, *, beside: RingSource | None = None
) -> LiveSource:
    """Listen on an interface by the configured method. `program` is the filter for Ethernet frames.

    An interface of another linktype gets the filter compiled anew for it: the offsets are other ones.
    """
    source = _open(interface, capture, program, beside)
    if program is None or source.linktype == LINKTYPE_ETHERNET:
        return source
    source.close()
    try:
        return _open(interface, capture, compile_filter(capture.filter, source.linktype), beside)
    except UsageError as problem:
        raise CaptureError(f"interface {interface}: {problem}") from None


def _open(interface: str, capture: Capture, program: Program | None, beside: RingSource | None) -> LiveSource:
    if capture.method == "libpcap":
        return LibpcapSource(
            interface,
            buffer_bytes=capture.ring_bytes,
            timeout_ms=capture.block_timeout_ms,
            promiscuous=capture.promiscuous,
            program=program,
        )
    return RingSource(
        interface,
        ring_bytes=capture.ring_bytes,
        block_timeout_ms=capture.block_timeout_ms,
        poll_ms=POLL_MS,
        promiscuous=capture.promiscuous,
        filter=program,
        beside=beside,
    )


def _open_handle(interface: str, buffer_bytes: int, timeout_ms: int, promiscuous: bool) -> Any:
    """An activated pcapy handle."""
    try:
        import pcapy
    except ImportError:
        raise CaptureError('[capture] method "libpcap" needs pcapy-ng: pip install pcapy-ng, or use "ring"') from None
    try:
        handle = pcapy.create(interface)
        handle.set_snaplen(SNAPLEN)
        handle.set_promisc(int(promiscuous))
        handle.set_timeout(timeout_ms)
        handle.set_buffer_size(buffer_bytes)
        code = handle.activate()
    except (pcapy.PcapError, ValueError) as problem:  # ValueError: a NUL within the name
        raise CaptureError(f"cannot capture on {interface!r} with libpcap: {_one_line(problem)}") from None
    if code >= 0:  # above zero: a warning, such as promiscuous mode that the interface does not know
        return handle
    handle.close()
    raise CaptureError(_refusal(interface, code, timeout_ms))


def _refusal(interface: str, code: int, timeout_ms: int) -> str:
    """One line for what libpcap would not do, with what mends it."""
    import pcapy

    if code == _PERMISSION_DENIED:
        return (
            f"no permission to capture on {interface} with libpcap: run as root, or as a service whose unit has"
            " AmbientCapabilities=CAP_NET_RAW"
        )
    if code == _NO_SUCH_DEVICE:
        there = ", ".join(filter(is_network, pcapy.findalldevs()))
        return f"no interface {interface!r} for libpcap; there are: {there or 'none'}"
    if code == _IFACE_NOT_UP:
        return f"interface {interface} is down: ip link set dev {interface} up"
    try:  # this way of opening tells the reason in libpcap's words
        pcapy.open_live(interface, SNAPLEN, 0, timeout_ms).close()
    except pcapy.PcapError as problem:
        return f"cannot capture on {interface} with libpcap: {_one_line(problem)}"
    return f"cannot capture on {interface} with libpcap (code {code}): make [capture] ring_bytes smaller"


def _one_line(problem: BaseException) -> str:
    return " ".join(str(problem).split()) or "it gives no reason"


def _unwound(before: int, counter: int) -> int:
    """The next value of a count of which only the low bits are told."""
    return before + ((counter - before) & ((1 << _COUNTER_BITS) - 1))
