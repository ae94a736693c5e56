"""The flow table and the sighting table against a model, in any order of frames, time, takes and pressure."""

from __future__ import annotations

from collections import Counter

from fieldwatch_ext.capture import MemorySource
from fieldwatch_ext.engine import Engine
from fieldwatch_proto.schema import EndReason, Kind
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.engine_compare import rows_of
from support.frames import ACK, FIN, RST, SYN, Datagram, ethernet, ipv4, tcp, udp

SECOND = 1_000_000_000
IDLE_NS = 30 * SECOND
ACTIVE_NS = 90 * SECOND
MAX_FLOWS = 5
MAX_SIGHTINGS = 6
HOSTS = [f"10.0.0.{n}" for n in range(1, 9)]
FLAGS = [SYN, SYN | ACK, ACK, FIN | ACK, RST]

frame_choice = st.tuples(
    st.sampled_from(HOSTS), st.sampled_from(HOSTS), st.sampled_from([0, *FLAGS]), st.integers(0, 40 * SECOND)
)
Ends = frozenset[bytes]


class TableModel(RuleBasedStateMachine):
    """Conservation by conversation: what was fed equals what was taken plus what still stands in the table."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = Engine(
            max_flows=MAX_FLOWS, max_sightings=MAX_SIGHTINGS, idle_ns=IDLE_NS, active_ns=ACTIVE_NS, seed=7
        )
        self.now = SECOND
        self.fed: Counter[Ends] = Counter()
        self.taken: Counter[Ends] = Counter()
        self.senders: Counter[bytes] = Counter()
        self.seen: Counter[bytes] = Counter()
        self.records = 0
        self.ends: Counter[int] = Counter()

    @rule(frames=st.lists(frame_choice, min_size=1, max_size=40), block=st.sampled_from([1, 7, 64]))
    def feed(self, frames: list[tuple[str, str, int, int]], block: int) -> None:
        source = []
        for src, dst, flags, gap in frames:
            self.now += gap
            segment: Datagram = tcp(1000, 1000, flags) if flags else udp(1000, 1000)
            packet = ipv4(src, dst, segment)
            source.append((self.now, ethernet(packet, src=f"02:00:00:00:00:{int(src[-1]):02x}")))
            self.fed[frozenset((packet[12:16], packet[16:20], packet[9:10]))] += 1
            self.senders[packet[12:16]] += 1
        memory = MemorySource(source, block=block)
        while self.engine.process(memory) >= 0:
            pass

    @rule(gap=st.integers(0, 200 * SECOND))
    def expire(self, gap: int) -> None:
        self.now += gap
        self.engine.expire(self.now)

        assert self.engine.expire(self.now) == 0

    @rule()
    def take(self) -> None:
        flows = self.engine.take_flows()
        for row in rows_of(Kind.FLOW, flows.columns, flows.count):
            ends = frozenset((row["src"][:4], row["dst"][:4], bytes([row["protocol"]])))
            self.taken[ends] += row["packets"] + row["reply_packets"]
            self.ends[row["end_reason"]] += 1
            assert row["packets"] + row["reply_packets"] > 0
            assert row["first_ns"] <= row["last_ns"] <= self.now
            assert row["last_ns"] - row["first_ns"] < ACTIVE_NS
        self.records += flows.count
        sightings = self.engine.take_sightings()
        for row in rows_of(Kind.SIGHTING, sightings.columns, sightings.count):
            if row["ip_version"]:
                self.seen[row["ip"][:4]] += row["frames"]

    @rule()
    def flush(self) -> None:
        while self.engine.flush():
            self.take()
        self.take()

        assert self.taken == self.fed
        assert self.seen == self.senders
        assert self.engine.counters().flows_active == 0

    @invariant()
    def tables_are_bounded(self) -> None:
        counters = self.engine.counters()
        assert counters.flows_active <= MAX_FLOWS
        assert counters.sightings <= MAX_SIGHTINGS
        assert counters.in_flows == counters.frames == sum(self.fed.values())
        assert all(self.taken[ends] <= self.fed[ends] for ends in self.taken)
        assert self.ends[EndReason.EVICTED] <= counters.flows_evicted
        assert self.records <= counters.flows_exported

    def teardown(self) -> None:
        self.flush()
        assert self.records == self.engine.counters().flows_exported
        assert self.ends[EndReason.EVICTED] == self.engine.counters().flows_evicted


TableModel.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTableModel = TableModel.TestCase
