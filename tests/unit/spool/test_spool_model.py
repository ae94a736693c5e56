"""The spool against a model: whatever is done in whatever order, every batch is accounted for.

The model knows each batch that was put. At any time it waits in the spool with its own octets, or was acked, or lies
under a gap; frames put = frames that wait + frames acked + frames in gaps. A kill leaves the files as they are at that
moment: what was committed is there, acks that were not written come again as a resend. A salvage, and a time in which
the spool was in memory, change nothing of that.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path

from fieldwatch_agent.spool.items import START, Batch, Gap, Loss
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.memory import MemoryStore
from fieldwatch_agent.spool.rows import ROW_BYTES
from fieldwatch_agent.spool.store import Store
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1.agent_pb2 import GapReason
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.spooling import body, put

KINDS = [Kind.FLOW, Kind.METRIC, Kind.FACT]
LIMITS = Limits(6 * (400 + ROW_BYTES), 0, 1e9)


class Collector:
    """What a collector keeps: numbers of each epoch, held by a batch or by a gap; nothing twice."""

    def __init__(self) -> None:
        self.batches: dict[tuple[int, int], bytes] = {}
        self.gaps: dict[tuple[int, int], Gap] = {}
        self.held: dict[int, set[int]] = {}

    def receive(self, item: Batch | Gap) -> None:
        held = self.held.setdefault(item.epoch, set())
        if isinstance(item, Batch):
            if item.seq not in held:
                self.batches[item.epoch, item.seq] = item.body
            else:
                assert self.batches.get((item.epoch, item.seq), item.body) == item.body, "a number with other octets"
            held.add(item.seq)
            return
        span = range(item.from_seq, item.to_seq + 1)
        if not held.issuperset(span):
            assert not held.intersection(span), "a gap that grew after it was seen"
            self.gaps[item.epoch, item.from_seq] = item
        held.update(span)

    def upto(self, epoch: int) -> int:
        held, mark = self.held.get(epoch, set()), 0
        while mark + 1 in held:
            mark += 1
        return mark


class SpoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="fieldwatch-spool-"))
        self.collector = Collector()
        self.put_frames = self.declared_frames = 0
        self.bodies: dict[bytes, int] = {}  # every body that was put -> its frames
        self.number = 0
        self.place = START

    @initialize()
    def start(self) -> None:
        self.store = Store(self.folder, LIMITS)

    def teardown(self) -> None:
        for store in self.stores:
            store.db.close()
        shutil.rmtree(self.folder)

    @rule(
        kinds=st.lists(st.sampled_from([Kind.FLOW, Kind.METRIC, Kind.FACT]), min_size=1, max_size=4), loss=st.booleans()
    )
    def seal(self, kinds: list[Kind], loss: bool) -> None:
        puts = []
        for kind in kinds:
            self.number += 1
            octets = 100 + 37 * (self.number % 9)
            frames = self.number % 5
            puts.append(put(self.number, kind, frames=frames, octets=octets))
            self.bodies[body(self.number, octets)] = frames
            self.put_frames += frames
        losses = [Loss(GapReason.KERNEL_DROP, 2, detail="eth0")] if loss else []
        self.declared_frames += 2 * len(losses)
        self.store.commit(puts, losses)

    @rule(items=st.integers(1, 5), arrive=st.integers(0, 5))
    def send(self, items: int, arrive: int) -> None:
        """The collector commits what arrives of what is leased; its ack may come or not."""
        for count, (place, item) in enumerate(self.store.lease(self.place, items)):
            if count < arrive:
                self.collector.receive(item)
            self.place = place

    @rule()
    def acknowledge(self) -> None:
        for stream in self.store.streams():
            self.store.ack(stream.epoch, self.collector.upto(stream.epoch))

    @rule()
    def reconnect(self) -> None:
        """Sending begins anew at the oldest that waits."""
        self.place = START

    @property
    def in_memory(self) -> bool:
        return isinstance(self.store, MemoryStore)

    @property
    def stores(self) -> list[Store]:
        """All that hold something."""
        return [self.store.disk, self.store] if isinstance(self.store, MemoryStore) else [self.store]

    @rule()
    def end_and_start(self) -> None:
        """A clean stop, from memory as well."""
        self.store.close(clean=True)
        self.store = Store(self.folder, LIMITS)
        self.place = START
        assert self.store.salvaged is None
        assert self.store.get_meta("clean_stop") == "1"

    @precondition(lambda self: not self.in_memory)
    @rule()
    def kill(self) -> None:
        """Nobody closes anything: the files of this moment are all that the next process has."""
        mark = self.store.mark
        copy = Path(tempfile.mkdtemp(prefix="fieldwatch-spool-"))
        for path in self.folder.glob("spool.db*"):
            shutil.copy(path, copy)
        self.store.db.close()
        shutil.rmtree(self.folder)
        self.folder = copy
        self.store = Store(self.folder, LIMITS, mark)
        self.place = START
        assert self.store.salvaged is None

    @precondition(lambda self: not self.in_memory)
    @rule()
    def salvage(self) -> None:
        """A new file with all that the old one held, under the same numbers; sending goes on where it was."""
        before = [item for _, item in self.store.peek(max_items=10_000, max_bytes=1 << 30)]
        self.store = self.store.salvage("a test")
        assert [item for _, item in self.store.peek(max_items=10_000, max_bytes=1 << 30)] == before

    @rule()
    def change_place(self) -> None:
        """The disk fails, or can be written again."""
        if isinstance(self.store, MemoryStore):
            self.store.move_to_disk()
            self.store = self.store.disk
        else:
            self.store = MemoryStore(self.store, "a test")

    @precondition(lambda self: not self.in_memory)
    @rule()
    def disk_is_full(self) -> None:
        """A commit that finds no room changes nothing."""
        pages = self.store.db.execute("PRAGMA page_count").fetchone()[0]
        self.store.db.execute(f"PRAGMA max_page_count={pages}")
        with contextlib.suppress(sqlite3.OperationalError):
            big = put(0, octets=pages * 4096)
            self.store.commit([big])
            raise AssertionError("room for more than there is")
        self.store.db.execute("PRAGMA max_page_count=1000000")

    @precondition(lambda self: self.store.status().batches > 0)
    @rule(choice=st.randoms(use_true_random=False))
    def conflict(self, choice) -> None:  # type: ignore[no-untyped-def]
        """Some batch that the collector does not hold gets another number."""
        waiting = [item for _, item in self.store.peek(max_items=100) if isinstance(item, Batch)]
        unseen = [item for item in waiting if (item.epoch, item.seq) not in self.collector.batches]
        if not unseen:
            return
        chosen = choice.choice(unseen)
        assert self.store.relabel(chosen.epoch, chosen.seq) is not None
        self.collector.held.setdefault(chosen.epoch, set()).add(chosen.seq)  # for other data
        self.collector.batches[chosen.epoch, chosen.seq] = chosen.body
        self.elsewhere = getattr(self, "elsewhere", set()) | {(chosen.epoch, chosen.seq)}

    @invariant()
    def frames_are_conserved(self) -> None:
        elsewhere: set[tuple[int, int]] = getattr(self, "elsewhere", set())
        stored = {key: octets for key, octets in self.collector.batches.items() if key not in elsewhere}
        frames = sum(self.bodies[octets] for octets in stored.values())
        frames += sum(gap.frames for gap in self.collector.gaps.values())
        if isinstance(self.store, MemoryStore):
            frames += sum(loss.frames for loss in self.store.held.losses)
        waiting = [item for store in self.stores for _, item in store.peek(max_items=10_000, max_bytes=1 << 30)]
        for item in waiting:
            first, last = (item.seq, item.seq) if isinstance(item, Batch) else (item.from_seq, item.to_seq)
            if self.collector.held.get(item.epoch, set()).issuperset(range(first, last + 1)):
                continue  # it is there; the ack is on its way
            frames += item.frames
            if isinstance(item, Batch):
                assert self.bodies[item.body] == item.frames
        assert frames == self.put_frames + self.declared_frames

    @invariant()
    def nothing_is_stored_twice(self) -> None:
        elsewhere: set[tuple[int, int]] = getattr(self, "elsewhere", set())
        stored = [octets for key, octets in self.collector.batches.items() if key not in elsewhere]
        assert len(stored) == len(set(stored))

    @invariant()
    def the_bound_holds(self) -> None:
        for store in self.stores:
            state = store.state
            assert state.used_bytes <= LIMITS.max_bytes + ROW_BYTES * state.gaps
            counted = store.db.execute(
                "SELECT count(*), coalesce(sum(records), 0), coalesce(sum(frames), 0), coalesce(sum(length(body)), 0)"
                " FROM batch"
            ).fetchone()
            assert counted == (state.batches, state.records, state.frames, state.body_bytes)
            assert store.db.execute("SELECT count(*) FROM gap").fetchone() == (state.gaps,)

    @invariant()
    def every_number_is_accounted_for(self) -> None:
        """A row's, a gap's, or done with: what is more, or less, was lost or invented."""
        for store in self.stores:
            for stream in store.state.streams:
                there = [seq for (seq,) in store.db.execute("SELECT seq FROM batch WHERE epoch=?", (stream.epoch,))]
                for low, high in store.db.execute("SELECT from_seq, to_seq FROM gap WHERE epoch=?", (stream.epoch,)):
                    there += range(low, high + 1)
                done = [number for low, high in stream.done.ranges() for number in range(low, high + 1)]
                assert sorted(there + done) == list(range(1, stream.next_seq))


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
