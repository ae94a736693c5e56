"""`capture`: some packets of an interface, streamed to the collector as a pcap file.

Off until `[remote] allow` names it: frames go out with all that is in them. It listens beside the agent with a ring of
its own and writes nothing to disk; it ends at a number of packets, of octets, or of seconds, whichever comes first.
The file is a pcap with nanoseconds (magic 0xA1B23C4D, draft-ietf-opsawg-pcap), little-endian.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fieldwatch_ext.errors import CaptureError
from fieldwatch_proto.settings import UsageError

from fieldwatch_agent.control.agent import Agent
from fieldwatch_agent.control.registry import Argument, Outcome, command
from fieldwatch_agent.control.run import CommandError, Run
from fieldwatch_agent.filters import compile_filter
from fieldwatch_agent.sources import LiveSource, open_source

MAX_PACKETS = 10_000
MAX_FILE_BYTES = 16 << 20
MAX_SNAPLEN = 65_535
MAX_SECONDS = 300
RING_BYTES = 1 << 20
BLOCK_PACKETS = 64  # at once as Python objects
PIECE_BYTES = 128 << 10
PIECE_S = 0.5  # a slow link's packets wait no longer than this

_MAGIC_NS = 0xA1B23C4D
_FILE_HEADER = struct.Struct("<IHHiIII")
_PACKET_HEADER = struct.Struct("<IIII")


@dataclass(frozen=True)
class Limits:
    packets: int
    seconds: int
    snaplen: int


class Recording:
    """A pcap file in pieces, and how it ended."""

    def __init__(self, run: Run, source: LiveSource, limits: Limits) -> None:
        self.packets = 0
        self.ended_by = "seconds"
        self._run, self._source, self._limits = run, source, limits
        self._begun = time.monotonic()
        self._octets = 0

    def pieces(self) -> Iterator[bytes]:
        header = _FILE_HEADER.pack(_MAGIC_NS, 2, 4, 0, 0, self._limits.snaplen, self._source.linktype)
        self._octets = len(header)
        waiting = [header]
        while self._goes_on():
            due = time.monotonic() + PIECE_S
            waiting_bytes = sum(map(len, waiting))
            while waiting_bytes < PIECE_BYTES and time.monotonic() < due and self._goes_on():
                packets = self._take()
                waiting += packets
                waiting_bytes += sum(map(len, packets))
            yield b"".join(waiting)
            waiting = []
            self._run.progress(self._percent(), f"{self.packets} packets")
        yield b"".join(waiting)

    def _goes_on(self) -> bool:
        self._run.check()
        if self.ended_by != "seconds":
            return False
        return time.monotonic() - self._begun < self._limits.seconds

    def _percent(self) -> int:
        elapsed = (time.monotonic() - self._begun) / self._limits.seconds
        return min(99, int(100 * max(elapsed, self.packets / self._limits.packets, self._octets / MAX_FILE_BYTES)))

    def _take(self) -> list[bytes]:
        """The next packets as records of the file; waits a moment for them."""
        block = self._source.read_block(min(BLOCK_PACKETS, self._limits.packets - self.packets))
        if block is None:
            raise CommandError(f"{self._source.problem}; the packets until then were sent")
        records = []
        for frame in block:
            octets = frame.octets[: self._limits.snaplen]
            if self._octets + _PACKET_HEADER.size + len(octets) > MAX_FILE_BYTES:
                self.ended_by = "octets"
                break
            seconds, nanoseconds = divmod(frame.ts_ns, 1_000_000_000)
            records.append(_PACKET_HEADER.pack(seconds, nanoseconds, len(octets), frame.original) + octets)
            self._octets += len(records[-1])
            self.packets += 1
        if self.packets == self._limits.packets:
            self.ended_by = "packets"
        return records


@command(
    "capture",
    "packets of an interface as a pcap file",
    arguments=(
        Argument("interface", str, "one that the agent captures"),
        Argument("packets", int, "at most so many", 1_000, low=1, high=MAX_PACKETS),
        Argument("seconds", int, "at most for so long", 60, low=1, high=MAX_SECONDS),
        Argument("snaplen", int, "octets kept of each packet", MAX_SNAPLEN, low=14, high=MAX_SNAPLEN),
        Argument("filter", str, "BPF expression (pcap-filter(7))", ""),
    ),
    timeout_s=MAX_SECONDS + 60.0,
    exclusive=True,
)
def capture(
    run: Run,
    agent: Agent,
    *,
    interface: str,
    packets: int,
    seconds: int,
    snaplen: int,
    filter: str,  # noqa: A002
) -> Outcome:
    known = agent.describe()["interfaces"]
    if interface not in known:
        raise CommandError(f"{interface}: this agent does not capture it; it captures {', '.join(known) or 'nothing'}")
    settings = replace(agent.settings.value.capture, filter=filter, ring_bytes=RING_BYTES, workers=1)
    try:
        source = open_source(interface, settings, compile_filter(filter))
    except (CaptureError, UsageError) as problem:
        raise CommandError(str(problem)) from None
    with source:
        recording = Recording(run, source, Limits(packets, seconds, snaplen))
        name = f"{interface}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.pcap"
        octets = run.send_file(name, recording.pieces())
        dropped = source.stats().drops
    result = {"file": name, "packets": recording.packets, "octets": octets, "dropped": dropped}
    return Outcome(f"{recording.packets} packets of {interface}", {**result, "ended_by": recording.ended_by})
