"""A spool in memory: the disk cannot be written, or is spared. What it costs is bounded, declared, and made good."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fieldwatch_agent.accounts import reconcile
from fieldwatch_agent.ledger import Ledger, boot_id, read_ledger
from fieldwatch_agent.spool import recovery
from fieldwatch_agent.spool.items import START, Batch, Gap, Loss
from fieldwatch_agent.spool.memory import MemoryStore
from fieldwatch_agent.spool.recovery import SAVER
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1.agent_pb2 import GapReason
from support.spooling import WIDE, body, put
from support.stack import wait_for


def test_row_12_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    """Every write fails: shipped from memory, one alarm, bounded; on the disk again when it can be; all balances."""
    inside = [sys.executable, str(Path(__file__).with_name("broken_disk.py")), str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}

    done = subprocess.run(inside, capture_output=True, text=True, timeout=60, env=environ)

    assert done.stdout.splitlines()[-1:] == ["conserved"], done.stdout + done.stderr


def test_what_was_in_memory_keeps_its_numbers(tmp_path: Path) -> None:
    """It comes before what waited on the disk, because it may be on its way; the account goes on; seals follow."""
    disk = Store(tmp_path, WIDE)
    disk.begin_run(7, [], {})
    disk.commit([put(1, frames=1), put(2, frames=2)])
    memory = MemoryStore(disk, "a test")
    memory.commit([put(3, frames=3), put(4, frames=4)], [Loss(GapReason.KERNEL_DROP, 9, detail="eth0")], {"key": "new"})
    memory.ack(memory.current.epoch, 1)
    leased = [item for _, item in memory.lease()]
    status = memory.status()

    memory.move_to_disk()

    found = [item for _, item in disk.peek(max_items=100)]
    assert found[:1] == leased
    assert [item.body for item in found[:3] if isinstance(item, Batch)] == [body(n) for n in (4, 1, 2)]
    assert isinstance(found[3], Gap)  # what the kernel dropped waited for the disk, with what explains it
    assert found[3].frames == 9
    assert disk.status() == status._replace(
        memory_only="",
        memory_records=0,
        used_bytes=disk.state.used_bytes,
        declared_frames=9,
        epoch=disk.current.epoch,
        next_seq=2,
        oldest_ns=disk.status().oldest_ns,
    )
    assert (disk.state.account_frames, disk.state.account_records, disk.get_meta("key")) == (10, {1: 12}, "new")
    disk.commit([put(5)])
    disk.close(clean=True)
    again = Store(tmp_path, WIDE)
    assert [place.seq for place, _ in again.peek(max_items=100)] == [2, 1, 2, 1, 2]


@pytest.mark.parametrize(("acked", "sealed"), [(0, 0), (0, 3), (2, 3), (3, 3)])
def test_a_kill_takes_what_was_in_memory_and_it_is_declared(tmp_path: Path, acked: int, sealed: int) -> None:
    """Under the numbers that were in use, with what was not sealed: a collector takes off what it has of them."""
    disk = Store(tmp_path, WIDE)
    disk.begin_run(7, [], {})
    disk.commit([put(1, frames=100)])
    ledger = Ledger(tmp_path, 7)
    memory = MemoryStore(disk, "a test")
    for number in range(1, sealed + 1):
        memory.commit([put(number, frames=10 * number)])
    memory.ack(memory.current.epoch, acked)
    ledger.remember(memory.mark)
    ledger.slot("eth0").observed[:] = (100 + 60 + 7).to_bytes(8, "little")
    ledger.observe(Kind.FLOW, 3 + 3 * sealed + 2)
    disk.db.close()
    left = read_ledger(tmp_path)
    assert left is not None

    again = Store(tmp_path, WIDE, left.mark)
    losses = reconcile(again, 8, left, boot_id())

    gaps = [item for _, item in again.peek(max_items=100) if isinstance(item, Gap)]
    frames = sum(10 * n for n in range(acked + 1, sealed + 1))
    unsealed = (67 - sum(10 * n for n in range(1, sealed + 1)), {Kind.FLOW: 2})
    waiting = [(frames, {Kind.FLOW: 3 * (sealed - acked)})] if frames else []
    assert again.salvaged is None
    assert [(gap.frames, gap.records) for gap in gaps] == [*waiting, unsealed]
    assert {(gap.reason, gap.count_known) for gap in gaps} == {(GapReason.UNCLEAN_STOP, True)}
    assert sum(loss.frames for loss in losses) == sum(gap.frames for gap in gaps)
    if waiting:
        assert (gaps[0].epoch, gaps[0].from_seq, gaps[0].to_seq) == (memory.current.epoch, acked + 1, sealed)


def test_a_power_cut_that_left_an_older_mark_than_the_file(tmp_path: Path) -> None:
    """All that waited in memory has been moved since: no number of it is declared lost."""
    disk = Store(tmp_path, WIDE)
    disk.begin_run(7, [], {})
    ledger = Ledger(tmp_path, 7)
    memory = MemoryStore(disk, "a test")
    memory.commit([put(1, frames=10)])
    ledger.remember(memory.mark)
    memory.commit([put(2, frames=20)])
    memory.move_to_disk()
    disk.db.close()
    left = read_ledger(tmp_path)
    assert left is not None

    again = Store(tmp_path, WIDE, left.mark)
    losses = reconcile(again, 8, left, b"another boot: 16")

    assert [(loss.reason, loss.count_known, loss.frames) for loss in losses] == [(GapReason.UNCLEAN_STOP, False, 0)]
    assert [item.body for _, item in again.peek(max_items=100) if isinstance(item, Batch)] == [body(1), body(2)]


def test_a_run_that_begins_in_memory(tmp_path: Path) -> None:
    """The disk failed between its opening and the first commit: the account begins anew, and so does the mark."""
    disk = Store(tmp_path, WIDE)
    disk.begin_run(7, [], {})
    disk.commit([put(1, frames=100)])
    memory = MemoryStore(disk, "a test")

    memory.begin_run(8, [Loss(GapReason.UNCLEAN_STOP, 5)], {})
    memory.commit([put(2, frames=20)])

    mark = memory.mark
    assert (mark.run, mark.frames, mark.waiting, mark.waiting_frames, mark.waiting_records) == (8, 0, 2, 20, {1: 3})
    Ledger(tmp_path, 8).remember(mark)


def test_what_waits_for_the_disk_is_bounded(tmp_path: Path) -> None:
    """Drops that are declared each second while the disk is away become one loss of each interface."""
    memory = MemoryStore(Store(tmp_path, WIDE), "a test")
    for number in range(1, 50):
        memory.commit([], [Loss(GapReason.KERNEL_DROP, 2, detail=f"eth{number % 2}")], {"drops": str(number)})

    assert [(loss.detail, loss.frames) for loss in memory.held.losses] == [("eth1", 50), ("eth0", 48)]
    assert memory.get_meta("drops") == "49"


def test_what_saver_mode_declared_is_not_declared_again_after_a_kill(tmp_path: Path) -> None:
    """A batch that found the queue full is declared on the disk at once; only what was in memory went with the kill."""
    disk = Store(tmp_path, WIDE)
    disk.begin_run(7, [], {})
    ledger = Ledger(tmp_path, 7)
    memory = MemoryStore(disk, SAVER)
    memory.commit([put(1, frames=10)], [Loss(GapReason.BACKPRESSURE, 50, {1: 5}, accounted=True)])
    ledger.remember(memory.mark)
    ledger.slot("eth0").observed[:] = (60).to_bytes(8, "little")
    ledger.observe(Kind.FLOW, 8)
    disk.db.close()
    left = read_ledger(tmp_path)
    assert left is not None

    again = Store(tmp_path, WIDE, left.mark)
    reconcile(again, 8, left, boot_id())

    gaps = [item for _, item in again.peek(max_items=100) if isinstance(item, Gap)]
    assert [(GapReason.UNCLEAN_STOP, 10, {1: 3}), (GapReason.BACKPRESSURE, 50, {1: 5})] == [
        (gap.reason, gap.frames, gap.records) for gap in sorted(gaps, key=lambda gap: gap.frames)
    ]


def test_saver_mode_writes_what_is_not_acked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory while acks come; on the disk when they do not, and in memory again when all is acked."""
    monkeypatch.setattr(recovery, "SAVER_S", 3.0)  # each of the first acks comes within milliseconds
    thread = SpoolThread(tmp_path, WIDE)
    thread.start()
    thread.spare_disk()
    wait_for(lambda: thread.call(Store.status).memory_only == SAVER, "it begins in memory")
    written = thread.call(lambda store: store.disk.state.changes)  # type: ignore[attr-defined]
    for number in range(1, 30):
        thread.put(put(number))
        assert thread.flush()
        (place, item), *_ = thread.call(lambda store: store.lease(START, 100)[-1:])
        thread.ack(item.epoch, [(1, place.seq)])
    assert thread.call(lambda store: store.disk.state.changes) == written  # type: ignore[attr-defined]

    thread.put(put(30))
    wait_for(lambda: not thread.call(Store.status).memory_only, "what is not acked is written")
    (_, item), *_ = thread.call(lambda store: store.lease())
    thread.ack(item.epoch, [(1, 30)])
    wait_for(lambda: thread.call(Store.status).memory_only == SAVER, "in memory again")
    thread.put(put(31))
    assert thread.flush()
    thread.close(clean=True)

    again = Store(tmp_path, WIDE)
    assert [item.body for _, item in again.peek() if isinstance(item, Batch)] == [body(31)]
    assert again.get_meta("clean_stop") == "1"


def test_troubles_of_the_disk_leave_nothing_behind(tmp_path: Path) -> None:
    """Into memory and back, many times: the epochs that it took go with their last row, also where no ack comes."""
    store = Store(tmp_path, WIDE)
    store.commit([put(0)])
    for number in range(1, 41):
        memory = MemoryStore(store, "a test")
        if number % 2:
            memory.commit([put(number)])
            memory.lease()
            memory.ack(memory.current.epoch, 1)
        memory.move_to_disk()
    streams = store.streams()
    remembered = [*store._own, *store._leased]
    store.close(clean=True)
    again = Store(tmp_path, WIDE)
    found = [item.body for _, item in again.peek(max_items=100) if isinstance(item, Batch)]
    again.close(clean=True)

    assert len(streams) == 2  # the one with the batch that waits, and the one for what comes
    assert set(remembered) <= {stream.epoch for stream in streams}
    assert found == [body(0)]
