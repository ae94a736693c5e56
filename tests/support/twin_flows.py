"""The flow table and the sighting table of the twin: dicts without bounds."""

from __future__ import annotations

from dataclasses import dataclass, field

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
        )


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
        waited: list[tuple[int, int]],
    ) -> None:
        if quoted is not None:
            flow = self.table.get(quoted.key)
            if flow is not None and not self._over(flow, ts_ns):
                for frame in ((ts_ns, octets), *waited):
                    self._credit(flow, 1 - quoted.side, *frame)
                return
        flow = self.table.get(ref.key)
        if flow is not None and (
            self._over(flow, ts_ns) or (flow.state >= CLOSED and flow.tcp and ref.flags & 0x12 == 0x02)
        ):
            self.ended.append(self.table.pop(ref.key))
            flow = None
        if flow is None:
            flow = self.table[ref.key] = self._begin(ref, ts_ns, macs)
        for frame in ((ts_ns, octets), *waited):
            self._credit(flow, ref.side, *frame)
        if flow.tcp:
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
    def _credit(flow: Flow, side: int, ts_ns: int, octets: int) -> None:
        flow.packets[side] += 1
        flow.octets[side] += octets
        flow.first_ns = min(flow.first_ns, ts_ns)
        flow.last_ns = max(flow.last_ns, ts_ns)

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
