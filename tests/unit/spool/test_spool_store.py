"""The spool's file: what is kept, in which order it goes, and what is declared when something is lost."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from fieldwatch_agent.spool.file import FILE_NAME, Lock
from fieldwatch_agent.spool.items import START, Batch, Gap, Loss, SpoolError, StreamState
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.rows import ROW_BYTES
from fieldwatch_agent.spool.store import Store
from fieldwatch_proto.schema import SCHEMA_VERSION, Kind
from fieldwatch_proto.v1.agent_pb2 import GapReason
from support.spooling import WIDE, body, put


def numbers(store: Store) -> list[tuple[str, int, int]]:
    """What waits, in the order of sending: (type, first, last)."""
    return [
        ("batch", item.seq, item.seq) if isinstance(item, Batch) else ("gap", item.from_seq, item.to_seq)
        for _, item in store.peek(max_items=1000, max_bytes=1 << 30)
    ]


def test_pragmas_are_those_of_the_design(tmp_path: Path) -> None:
    """delivery.md 1.3: durable at each commit, one process, no memory mapping."""
    store = Store(tmp_path, WIDE)

    names = ("journal_mode", "synchronous", "page_size", "wal_autocheckpoint", "mmap_size", "locking_mode")
    names = (*names, "trusted_schema", "secure_delete", "journal_size_limit")
    seen = {name: store.db.execute(f"PRAGMA {name}").fetchone()[0] for name in names}

    assert seen == {
        "journal_mode": "wal",
        "synchronous": 2,
        "page_size": 4096,
        "wal_autocheckpoint": 256,
        "mmap_size": 0,
        "locking_mode": "exclusive",
        "trusted_schema": 0,
        "secure_delete": 0,
        "journal_size_limit": 1 << 20,
    }


def test_what_was_put_comes_back_in_order(tmp_path: Path) -> None:
    """A leased batch has the octets, digest and numbers of the sealed one, also in another process's life."""
    store = Store(tmp_path, WIDE)
    store.commit([put(1), put(2, Kind.FACT)])
    epoch = store.current.epoch
    store.close(clean=True)

    again = Store(tmp_path, WIDE)
    leased = [item for _, item in again.lease()]

    sealed = put(2, Kind.FACT).sealed
    assert [item.seq for item in leased if isinstance(item, Batch)] == [1, 2]
    assert leased[1] == Batch(epoch, 2, 3, SCHEMA_VERSION, 3, 5, 1_002, 2_002, 800, sealed.digest, body(2))


def test_seq_goes_on_after_everything_was_acked(tmp_path: Path) -> None:
    """A number is never given twice, though no row remembers it."""
    store = Store(tmp_path, WIDE)
    store.commit([put(1), put(2)])
    store.ack(store.current.epoch, 2)
    store.close(clean=True)

    again = Store(tmp_path, WIDE)
    again.commit([put(3)])

    assert numbers(again) == [("batch", 3, 3)]


def test_an_ack_counts_at_once_and_is_deleted_by_the_next_commit(tmp_path: Path) -> None:
    """Acked rows are neither leased nor counted; the delete costs no sync of its own."""
    store = Store(tmp_path, WIDE)
    store.commit([put(n) for n in range(1, 6)])
    epoch = store.current.epoch

    store.ack(epoch, 2, [(4, 4)])

    assert numbers(store) == [("batch", 3, 3), ("batch", 5, 5)]
    assert (store.status().batches, store.status().records, store.status().frames) == (2, 6, 10)
    assert store.db.execute("SELECT count(*) FROM batch").fetchone() == (5,)
    assert store.streams() == [StreamState(epoch, 3, 6)]
    store.commit([])
    assert store.db.execute("SELECT seq FROM batch ORDER BY seq").fetchall() == [(3,), (5,)]


def test_what_is_acked_costs_hardly_a_write(tmp_path: Path) -> None:
    """Deleting a backlog does not write it once more: acks free rows on a full disk, and an SD card lives longer."""
    store = Store(tmp_path, WIDE)
    for first in range(0, 200, 20):
        store.commit([put(n, octets=40_000) for n in range(first, first + 20)])
    store.checkpoint()
    store.ack(store.current.epoch, 200)

    store.commit([])

    assert (store.status().batches, store.free_inside() > 7_000_000) == (0, True)
    assert (tmp_path / f"{FILE_NAME}-wal").stat().st_size < 400_000


def test_a_lease_keeps_to_items_and_octets(tmp_path: Path) -> None:
    """At most so many, at most so large together, one in any case."""
    store = Store(tmp_path, WIDE)
    store.commit([put(n, octets=1000) for n in range(1, 9)])

    first = store.lease(START, 100, 2500)
    second = store.lease(first[-1][0], 1, 1 << 20)
    third = store.lease(second[-1][0], 5, 10)

    assert [[place.seq for place, _ in part] for part in (first, second, third)] == [[1, 2], [3], [4]]


def test_eviction_is_by_class_and_declared(tmp_path: Path) -> None:
    """Flow records go first, the oldest first; the gap says how many records and frames, under their numbers."""
    room = 4 * (200 + ROW_BYTES)
    store = Store(tmp_path, Limits(room, 0, 1e9))
    store.commit([put(1, Kind.FACT), put(2), put(3), put(4, Kind.METRIC)])

    store.commit([put(5, Kind.FACT)])

    assert numbers(store) == [("batch", 1, 1), ("gap", 2, 3), ("batch", 4, 4), ("batch", 5, 5)]
    gap = store.peek(max_items=10)[1][1]
    assert isinstance(gap, Gap)
    assert (gap.records, gap.frames, gap.reason, gap.count_known) == ({1: 6}, 10, GapReason.QUOTA, True)
    assert store.status().used_bytes <= room


def test_a_gap_that_was_sent_never_changes(tmp_path: Path) -> None:
    """Fresh gaps grow together; one that the collector may have seen stays what it was."""
    store = Store(tmp_path, Limits(3 * (200 + ROW_BYTES), 0, 1e9))
    store.commit([put(n) for n in range(1, 6)])
    before = numbers(store)
    store.lease(max_items=1)

    store.commit([put(6), put(7)])

    assert before == [("gap", 1, 3), ("batch", 4, 4), ("batch", 5, 5)]
    assert numbers(store) == [("gap", 1, 3), ("gap", 4, 6), ("batch", 7, 7)]


def test_losses_of_one_reason_become_one_gap_until_it_is_sent(tmp_path: Path) -> None:
    """An hour of kernel drops with no collector in reach makes few rows, and the counts add up."""
    store = Store(tmp_path, WIDE)
    for _ in range(3):
        store.commit([], [Loss(GapReason.KERNEL_DROP, 7, detail="eth0"), Loss(GapReason.NOT_RUNNING, 1, detail="eth0")])
    store.lease()
    store.commit([], [Loss(GapReason.KERNEL_DROP, 5, detail="eth0")])

    gaps = [item for _, item in store.peek(max_items=10) if isinstance(item, Gap)]

    assert [(gap.reason, gap.frames) for gap in gaps] == [
        (GapReason.KERNEL_DROP, 21),
        (GapReason.NOT_RUNNING, 3),
        (GapReason.KERNEL_DROP, 5),
    ]


@pytest.mark.parametrize(
    ("column", "value", "known"),
    [("body", b"other octets", True), ("records", 4_000, False), ("digest", b"\0" * 16, False)],
)
def test_a_damaged_row_is_never_sent(tmp_path: Path, column: str, value: object, known: bool) -> None:
    """A flip in the body is declared with its count; where the numbers are damaged the count is not known."""
    store = Store(tmp_path, WIDE)
    store.commit([put(1), put(2), put(3)])
    store.db.execute(f"UPDATE batch SET {column}=? WHERE seq=2", (value,))

    items = [item for _, item in store.lease()]

    gap = items[1]
    assert isinstance(gap, Gap)
    assert (gap.from_seq, gap.to_seq, gap.reason, gap.count_known) == (2, 2, GapReason.CORRUPT, known)
    assert (gap.records, gap.frames) == (({1: 3}, 5) if known else ({}, 0))
    assert numbers(store) == [("batch", 1, 1), ("gap", 2, 2), ("batch", 3, 3)]


def test_a_damaged_gap_still_covers_its_numbers(tmp_path: Path) -> None:
    """What it counted is unknown, that something is missing is not."""
    store = Store(tmp_path, WIDE)
    store.commit([], [Loss(GapReason.KERNEL_DROP, 7)])
    store.db.execute("UPDATE gap SET frames=8")

    (_, gap) = store.lease()[0]

    assert isinstance(gap, Gap)
    assert (gap.from_seq, gap.frames, gap.reason, gap.count_known) == (1, 0, GapReason.CORRUPT, False)


def test_a_failed_commit_changes_nothing(tmp_path: Path) -> None:
    """All or nothing: rows, account and meta stand as before, and the next commit goes on from there."""
    store = Store(tmp_path, WIDE)
    store.commit([put(1)])
    pages = store.db.execute("PRAGMA page_count").fetchone()[0]
    store.db.execute(f"PRAGMA max_page_count={pages}")
    before = (store.status(), store.state.account_frames)

    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.commit([put(2, octets=60_000)], meta={"key": "new"})

    assert (store.status(), store.state.account_frames, store.get_meta("key")) == (*before, "")
    store.db.execute("PRAGMA max_page_count=100000")
    store.commit([put(3)])
    assert numbers(store) == [("batch", 1, 1), ("batch", 2, 2)]


def test_a_refused_batch_leaves_its_gap(tmp_path: Path) -> None:
    """TOO_BIG and SCHEMA: the number is kept, the loss is told."""
    store = Store(tmp_path, WIDE)
    store.commit([put(1)])

    gap = store.refuse(store.current.epoch, 1, "refused by the collector: TOO_BIG")

    assert gap is not None
    assert (gap.from_seq, gap.records, gap.frames, gap.reason) == (1, {1: 3}, 5, GapReason.REFUSED)
    assert store.refuse(store.current.epoch, 1, "again") is None


def test_a_conflict_gets_a_number_of_a_new_epoch(tmp_path: Path) -> None:
    """Old and new are recorded; the octets stay; new seals follow under the new epoch."""
    store = Store(tmp_path, WIDE)
    store.commit([put(1), put(2)])
    old = store.current.epoch

    new = store.relabel(old, 1)
    store.commit([put(3)])

    assert new == (store.current.epoch, 1)
    assert new[0] != old
    items = [item for _, item in store.lease()]
    assert [(item.epoch, item.seq, item.body) for item in items if isinstance(item, Batch)] == [
        (old, 2, body(2)),
        (new[0], 1, body(1)),
        (new[0], 2, body(3)),
    ]
    kept = store.db.execute("SELECT old_epoch, old_seq, epoch, seq FROM relabelled").fetchall()
    assert kept == [(old, 1, *new)]


def test_what_is_known_of_conflicts_goes_with_its_batches(tmp_path: Path) -> None:
    """A collector that was restored calls many a number used: there are no more rows than batches that wait."""
    store = Store(tmp_path, WIDE)
    store.commit([put(1), put(2)])
    old = store.current.epoch
    first = store.relabel(old, 1)
    assert first is not None
    store.ack(*first)
    store.commit([])

    second = store.relabel(old, 2)

    kept = store.db.execute("SELECT old_epoch, old_seq, epoch, seq FROM relabelled").fetchall()
    assert kept == [(old, 2, *(second or ()))]


def test_age_is_time_that_the_agent_ran(tmp_path: Path) -> None:
    """A batch whose records bear the year 1970 is not old; one sealed too long ago is given up and declared."""
    store = Store(tmp_path, Limits(1 << 30, 0, 100.0))
    store.commit([put(1, Kind.FACT)])
    store.commit([])
    assert numbers(store) == [("batch", 1, 1)]

    store._clock_before_s += 50
    store.commit([put(2)])
    store.commit([])
    store._clock_before_s += 60
    store.commit([])
    store.commit([])

    gap = store.peek()[0][1]
    assert isinstance(gap, Gap)
    assert (gap.reason, gap.from_seq, gap.to_seq) == (GapReason.EXPIRED, 1, 1)
    assert numbers(store)[1:] == [("batch", 2, 2)]


def test_below_the_free_floor_the_spool_does_not_grow(tmp_path: Path) -> None:
    """Space that must stay free for others bounds the spool as its own size does."""
    store = Store(tmp_path, Limits(1 << 30, 1 << 60, 1e9))

    for number in range(40):
        store.commit([put(number, octets=60_000)])

    status = store.status()
    assert status.used_bytes <= 1 << 20
    assert status.frames + status.declared_frames == 40 * 5


@pytest.mark.parametrize("content", [b"this is no database" * 300, b"SQLite format 3\0" + bytes(5000)])
def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path, content: bytes) -> None:
    """Starting never fails for what is in the file: it is kept, a new epoch begins, and the loss is declared."""
    (tmp_path / FILE_NAME).write_bytes(content)

    store = Store(tmp_path, WIDE)

    (_, gap) = store.lease()[0]
    assert isinstance(gap, Gap)
    assert (gap.reason, gap.count_known, gap.from_seq) == (GapReason.CORRUPT, False, 1)
    kept = list((tmp_path / "quarantine").glob(f"*/{FILE_NAME}"))
    assert [path.read_bytes() for path in kept] == [content]


def test_an_older_format_is_migrated_in_a_child(tmp_path: Path) -> None:
    """Format 1 had no index of classes, and of its state no counts; this process never imports sqlite_utils."""
    store = Store(tmp_path, WIDE)
    store.commit([put(1), put(2), put(3), put(4)], meta={"key": "value"})
    store.ack(store.current.epoch, 1, [(3, 3)])
    store.close(clean=True)
    older = {"run": 9, "frames": 20, "records": {"1": 12}, "declared": [1, 2], "marks": [], "clock_s": 5}
    with sqlite3.connect(tmp_path / FILE_NAME) as old:
        old.execute("DROP INDEX batch_class")
        old.execute("UPDATE meta SET value=? WHERE key='state'", (json.dumps(older),))
        old.execute("INSERT INTO meta VALUES('key', 'value')")
        old.execute("PRAGMA user_version=1")
    old.close()
    code = (
        "import sys; from pathlib import Path; from fieldwatch_agent.spool.store import Store;"
        " from fieldwatch_agent.spool.limits import Limits;"
        f" store = Store(Path({str(tmp_path)!r}), Limits(1 << 30, 0, 1e9));"
        " print(store.salvaged, store.status().batches, store.status().records, store.get_meta('key'),"
        " store.current.done.ranges(), store.state.run, store.state.account_frames,"
        " store.db.execute('PRAGMA user_version').fetchone()[0],"
        " store.db.execute(\"SELECT count(*) FROM sqlite_schema WHERE name='batch_class'\").fetchone()[0],"
        " 'sqlite_utils' in sys.modules, sep=';')"
    )

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert shown == "None;2;6;value;[(1, 1), (3, 3)];9;20;3;1;False\n"


def test_the_folder_is_for_one_process(tmp_path: Path) -> None:
    """The second one is told who has it, and what to do."""
    lock = Lock(tmp_path)

    with pytest.raises(SpoolError, match=r"in use by another fieldwatch-agent \(process \d+\); stop it"):
        Lock(tmp_path)

    lock.release()
    Lock(tmp_path).release()
