"""The agent's half of a stream against a model collector over a line that does its worst: every batch once, in effect.

What is sealed is of any kind and size; acks are lost, repeated and come in another order; batches are committed and the
answer is lost; the collector says "later", refuses for good, grants nothing, sends the agent away; streams break.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from fieldwatch_agent.spool.items import Loss
from fieldwatch_agent.spool.store import Store
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1 import agent_pb2 as pb
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.model_collector import Line, ModelCollector
from support.spooling import WIDE, body, put

FRAMES = 5  # that a batch accounts for
KINDS = st.sampled_from([Kind.FLOW, Kind.FACT, Kind.EVENT, Kind.METRIC])


class StreamMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="stream-model-"))
        self.store = Store(self.folder, WIDE)
        self.bodies: list[bytes] = []
        self.declared = 0
        self.refused: set[bytes] = set()

    @initialize(ranges=st.sampled_from([0, 1, 3, 1_024]), lag_s=st.sampled_from([5.0, 60.0]))
    def start(self, ranges: int, lag_s: float) -> None:
        self.collector = ModelCollector(max_ranges=ranges)
        self.collector.refuse = lambda batch: batch.body in self.refused
        self.line = Line(self.store, self.collector, lag_s=lag_s)
        self.connect(8, 1 << 20)

    def teardown(self) -> None:
        try:
            if hasattr(self, "line"):
                self.everything_is_there_once()
        finally:
            self.store.close(clean=True)
            shutil.rmtree(self.folder)

    # --- the agent's side ---------------------------------------------------------------------------------------

    @rule(kinds=st.lists(KINDS, min_size=1, max_size=12), octets=st.sampled_from([40, 400, 4_000]))
    def seal(self, kinds: list[Kind], octets: int) -> None:
        for kind in kinds:
            number = len(self.bodies)
            self.store.commit([put(number, kind, frames=FRAMES, octets=octets)])
            self.bodies.append(body(number, octets))
        self.line.agenda.wake()

    @rule(frames=st.integers(1, 9))
    def declare(self, frames: int) -> None:
        self.store.commit([], [Loss(pb.KERNEL_DROP, frames)])
        self.declared += frames
        self.line.agenda.wake()

    @rule()
    def delete_what_is_acked(self) -> None:
        self.store.commit([])

    @rule(seconds=st.sampled_from([0.5, 3.0, 70.0, 1_000.0]))
    def wait(self, seconds: float) -> None:
        self.line.now += seconds

    @rule(times=st.integers(1, 3))
    def say(self, times: int) -> None:
        for _ in range(times):
            self.line.say()

    # --- the line, the collector --------------------------------------------------------------------------------

    @rule(messages=st.sampled_from([1, 2, 5, 8, 64]), octets=st.sampled_from([100, 5_000, 1 << 20]))
    def connect(self, messages: int, octets: int) -> None:
        """The stream before breaks, with all that was under way on it."""
        self.line.connect(messages, octets)

    @precondition(lambda self: self.line.up)
    @rule(count=st.integers(1, 5))
    def commit(self, count: int) -> None:
        for _ in range(min(count, len(self.line.up))):
            self.line.down.append(self.collector.take(self.line.up.pop(0)))

    @precondition(lambda self: self.line.up)
    @rule(data=st.data())
    def nack(self, data: st.DataObject) -> None:
        """The oldest is not taken: the store is in trouble, or it is over its quota."""
        message = self.line.up.pop(0)
        item = message.batch if message.WhichOneof("message") == "batch" else message.gap
        first = item.seq if isinstance(item, pb.Batch) else item.from_seq
        code = data.draw(st.sampled_from([pb.RETRY, pb.OVER_QUOTA]))
        self.line.down.append(pb.Down(nack=pb.Nack(epoch=item.epoch, seq=first, code=code, retry_ms=2_000)))

    @precondition(lambda self: self.line.up)
    @rule()
    def refuse(self) -> None:
        """The oldest will never be taken, now or when it comes again."""
        message = self.line.up[0]
        if message.WhichOneof("message") == "batch" and message.batch.body not in self.collector.bodies():
            self.refused.add(message.batch.body)

    @precondition(lambda self: self.line.down)
    @rule(data=st.data(), keep=st.booleans())
    def hear(self, data: st.DataObject, keep: bool) -> None:
        """An answer arrives, in any order, and may come again."""
        place = data.draw(st.integers(0, len(self.line.down) - 1))
        self.line.talk.hear(self.line.down[place] if keep else self.line.down.pop(place))

    @precondition(lambda self: self.line.down)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """An answer never arrives: what follows on the same stream, or the next stream, has to do."""
        self.line.down.pop(data.draw(st.integers(0, len(self.line.down) - 1)))

    @rule(messages=st.sampled_from([0, 1, 4, 8]), octets=st.sampled_from([100, 3_000, 1 << 20]))
    def credit(self, messages: int, octets: int) -> None:
        self.line.talk.hear(pb.Down(credit=pb.Credit(window_messages=messages, window_bytes=octets)))

    @rule()
    def send_away(self) -> None:
        self.line.talk.hear(pb.Down(goaway=pb.GoAway(reason="restart", retry_ms=1_500)))
        assert self.line.talk.leaving
        assert self.line.talk.retry_s == 1.5
        assert self.line.say() == []
        self.line.connect()

    # --- what holds ---------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_stored_twice(self) -> None:
        if not hasattr(self, "line"):
            return
        stored = self.collector.bodies()
        assert len(stored) == len(set(stored))
        assert self.collector.conflicts == 0
        assert set(stored) <= set(self.bodies)

    @invariant()
    def what_left_the_spool_is_held(self) -> None:
        """No ack, however it came, frees what the collector does not have."""
        if not hasattr(self, "line"):
            return
        frames = sum(FRAMES if isinstance(item, pb.Batch) else item.frames for item in self.collector.stored)
        total = FRAMES * len(self.bodies) + self.declared
        waiting = self.store.status().frames
        gaps = self.store.db.execute("SELECT coalesce(sum(frames), 0) FROM gap").fetchone()[0]
        assert frames + waiting + gaps >= total

    @invariant()
    def memory_is_bounded(self) -> None:
        if hasattr(self, "line"):
            assert len(self.line.talk.window) <= 64

    def everything_is_there_once(self) -> None:
        """A stream on which nothing goes wrong: what waits is delivered, what is refused is declared."""
        self.line.connect()
        self.line.run()
        status = self.store.status()
        assert (status.batches, status.gaps) == (0, 0)
        assert sorted(self.collector.bodies()) == sorted(set(self.bodies) - self.refused)
        gaps = [item for item in self.collector.stored if isinstance(item, pb.Gap)]
        refused = sum(gap.frames for gap in gaps if gap.reason == pb.REFUSED)
        assert refused == FRAMES * len(self.refused)
        assert sum(gap.frames for gap in gaps) == self.declared + refused
        assert self.collector.conflicts == 0


TestStreamMachine = StreamMachine.TestCase
TestStreamMachine.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
