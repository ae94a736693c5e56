"""The flow table and the sighting table of the twin: dicts without bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

Note = tuple[tuple[int, ...], bytes, bytes, int]
"""(VLANs, MAC, address, source) of a sighting."""

ACTIVE, SYN, SYN_ACK, ESTABLISHED, CLOSING, CLOSED, RESET = range(7)


@dataclass(frozen=True)
class FlowRef:
    """The flow of a frame: `key` is the same in both directions, `side` says who sent it (0 = the lower endpoint)."""

    key: tuple[object, ...]
    side: int
    shown: tuple[tuple[bytes, int], tuple[bytes, int]]  # (address, port) of source and destination as seen here
    flags: int = 0


class Segment(NamedTuple):
    """Of TCP: flags, sequence number, octets of payload on the wire."""

    flags: int
    seq: int
    octets: int


@dataclass
class Seen:
    rows: dict[Note, list[int]] = field(default_factory=dict)  # first, last, frames

    def add(self, note: Note, ts_ns: int) -> None:
        row = self.rows.setdefault(note, [ts_ns, ts_ns, 0])
        row[0] = min(row[0], ts_ns)
        row[1] = max(row[1], ts_ns)
        row[2] += 1


@dataclass
class Flow:
    key: tuple[object, ...]
    opener: int
    ends: list[tuple[bytes, int]]  # shown endpoint by side
    macs: list[bytes]
    first_ns: int
    last_ns: int
    tcp: bool
    icmp: bool
    packets: list[int] = field(default_factory=lambda: [0, 0])
    octets: list[int] = field(default_factory=lambda: [0, 0])
    flags: list[int] = field(default_factory=lambda: [0, 0])
    fins: list[bool] = field(default_factory=lambda: [False, False])
    state: int = ACTIVE
    opener_known: bool = False
    credits: list[tuple[int, int, int]] = field(default_factory=list)  # side, time, octets (0: it waited) of a frame
    segments: list[tuple[int, int, Segment]] = field(default_factory=list)  # side, time

    def row(self) -> tuple[object, ...]:
        """(src, dst, two ports, packets, octets, the same for replies, flags by side, state, first, last, two MACs)."""
        a, b = self.opener, 1 - self.opener
        ports = (self.ends[0][1], self.ends[1][1]) if self.icmp else (self.ends[a][1], self.ends[b][1])
        return (
            self.ends[a][0],
            self.ends[b][0],
            *ports,
            self.packets[a],
            self.octets[a],
            self.packets[b],
            self.octets[b],
            self.flags[a],
            self.flags[b],
            self.state,
            self.first_ns,
            self.last_ns,
            self.macs[a],
            self.macs[b],
            *self._sizes(a),
            *self._sizes(b),
            *self._gaps(),
            self._retransmits(a),
            self._retransmits(b),
            *self._round_trips(),
        )

    def _sizes(self, side: int) -> tuple[int, int]:
        sizes = [min(octets, 65_535) for sender, _, octets in self.credits if sender == side and octets] or [0]
        return min(sizes), max(sizes)

    def _gaps(self) -> tuple[int, int]:
        latest = self.credits[0][1]
        gaps = []
        for _, ts_ns, octets in self.credits:
            if ts_ns > latest and octets:
                gaps.append(min((ts_ns - latest) // 1000, 0xFFFF_FFFF))
            latest = max(latest, ts_ns)
        return (min(gaps), max(gaps)) if gaps else (0, 0)

    def _retransmits(self, side: int) -> int:
        """Sequence numbers as RFC 9293 section 3.4 compares them."""
        found = 0
        highest: int | None = None
        for sender, _, segment in self.segments:
            octets = segment.octets + bool(segment.flags & 2) + (segment.flags & 1)
            if sender != side or not octets or segment.flags & 4:
                continue
            end = (segment.seq + octets) % 2**32
            if highest is None or 0 < (end - highest) % 2**32 < 2**31:
                highest = end
            elif octets > 1 or segment.flags & 3 or end != highest:
                found += 1
        return found

    def _round_trips(self) -> tuple[int, int]:
        """SYN to SYN-ACK, SYN-ACK to ACK, in microseconds; none where the first of the two came twice."""
        starts: list[int | None] = [None, None]
        trips: list[int | None] = [None, None]

        def start(which: int, us: int) -> None:
            if trips[which] is None:
                if starts[which] is not None:
                    trips[which] = 0
                starts[which] = us

        def end(which: int, us: int) -> None:
            began = starts[which]
            if began is not None and trips[which] is None:
                trips[which] = max((us - began) % 2**32, 1)

        for side, ts_ns, segment in self.segments:
            us = ts_ns // 1000
            syn, rst, ack = segment.flags & 2, segment.flags & 4, segment.flags & 16
            if syn and not ack:
                start(0, us)
            elif syn:
                end(0, us)
                start(1, us)
            elif ack and side == self.opener and starts[1] is not None and trips[1] is None:
                end(1, us)
                if rst:
                    trips[1] = 0
        return trips[0] or 0, trips[1] or 0


class FlowTwin:
    def __init__(self, idle_ns: int, linger_ns: int) -> None:
        self.idle_ns = idle_ns
        self.linger_ns = linger_ns
        self.table: dict[tuple[object, ...], Flow] = {}
        self.ended: list[Flow] = []

    def all(self) -> list[Flow]:
        return [*self.ended, *self.table.values()]

    def count(
        self,
        ref: FlowRef,
        quoted: FlowRef | None,
        ts_ns: int,
        octets: int,
        macs: tuple[bytes, bytes],
        segment: Segment | None,
        waited: list[tuple[int, int]],
    ) -> None:
        if quoted is not None:
            flow = self.table.get(quoted.key)
            if flow is not None and not self._over(flow, ts_ns):
                self._credit(flow, 1 - quoted.side, ts_ns, octets, waited)
                return
        flow = self.table.get(ref.key)
        if flow is not None and (
            self._over(flow, ts_ns) or (flow.state >= CLOSED and flow.tcp and ref.flags & 0x12 == 0x02)
        ):
            self.ended.append(self.table.pop(ref.key))
            flow = None
        if flow is None:
            flow = self.table[ref.key] = self._begin(ref, ts_ns, macs)
        self._credit(flow, ref.side, ts_ns, octets, waited)
        if flow.tcp:
            if segment is not None:
                flow.segments.append((ref.side, ts_ns, segment))
            self._segment(flow, ref.side, ref.flags)

    def _begin(self, ref: FlowRef, ts_ns: int, macs: tuple[bytes, bytes]) -> Flow:
        protocol = ref.key[1]
        icmp = protocol == (1 if ref.key[0] == 4 else 58)
        source, destination = ref.shown
        if icmp:  # ports are the opener's type and code, whichever side it is
            ends = [(b"", source[1]), (b"", destination[1])]
            addresses = [source[0], destination[0]]
            if ref.side:
                addresses.reverse()
            ends = [(address, port) for address, (_, port) in zip(addresses, ends, strict=True)]
        else:
            ends = [destination, source] if ref.side else [source, destination]
        return Flow(
            key=ref.key,
            opener=ref.side,
            ends=ends,
            macs=[macs[1], macs[0]] if ref.side else [macs[0], macs[1]],
            first_ns=ts_ns,
            last_ns=ts_ns,
            tcp=protocol == 6,
            icmp=icmp,
        )

    def _over(self, flow: Flow, ts_ns: int) -> bool:
        limit = min(self.linger_ns, self.idle_ns) if flow.state >= CLOSED else self.idle_ns
        return ts_ns - flow.last_ns >= limit or flow.last_ns - ts_ns >= self.idle_ns

    @staticmethod
    def _credit(flow: Flow, side: int, ts_ns: int, octets: int, waited: list[tuple[int, int]]) -> None:
        """One frame, and the fragments that waited for it: these are in the sums, and not in sizes and gaps."""
        flow.credits.append((side, ts_ns, octets))
        flow.credits += [(side, early_ns, 0) for early_ns, _ in waited]
        for frame_ns, frame_octets in ((ts_ns, octets), *waited):
            flow.packets[side] += 1
            flow.octets[side] += frame_octets
            flow.first_ns = min(flow.first_ns, frame_ns)
            flow.last_ns = max(flow.last_ns, frame_ns)

    @staticmethod
    def _segment(flow: Flow, side: int, flags: int) -> None:
        fin, syn, rst, ack = flags & 1, flags & 2, flags & 4, flags & 16
        flow.flags[side] |= flags
        if syn and not flow.opener_known:
            flow.opener = 1 - side if ack else side
            flow.opener_known = True
        if flow.state >= CLOSED:
            return
        if rst:
            flow.state = RESET
        elif syn and ack:
            flow.state = max(flow.state, SYN_ACK)
        elif syn:
            flow.state = max(flow.state, SYN)
        elif fin:
            flow.fins[side] = True
            flow.state = CLOSED if all(flow.fins) else CLOSING
        elif ack and (flow.state in (SYN, SYN_ACK) or (flow.state == ACTIVE and all(flow.packets))):
            flow.state = ESTABLISHED
