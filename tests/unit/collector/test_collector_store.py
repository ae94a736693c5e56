"""The contract of a store: what it says is held is held, once, whatever is killed and however much comes at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fieldwatch_collector.store import (
    MAX_SPARSE_RANGES,
    BatchItem,
    GapItem,
    Held,
    Outcome,
    StoreError,
    space,
    sqlite,
)
from fieldwatch_collector.store.migrate import migrations
from fieldwatch_collector.store.ranges import add, holds, overlaps
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_collector.store.tables import schema_problems
from fieldwatch_proto.columns import digest
from hypothesis import given
from hypothesis import strategies as st
from support.collector import until

EPOCH = 0xFFFF_FFFF_FFFF_FFFE
AGENT = "00000000-0000-4000-8000-000000000001"


def item(seq: int, body: bytes = b"body", epoch: int = EPOCH) -> BatchItem:
    return BatchItem(epoch, seq, 1, 1, 1, 1, 10, 5, 6, digest(body), body)


def gap(low: int, high: int, records: int = 1) -> GapItem:
    return GapItem(EPOCH, low, high, {1: records}, records, 1, True, 7, "")


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    made = SqliteStore(tmp_path / "collector.db")
    made.migrate()
    return made


def ask(store: SqliteStore, sql: str) -> list[tuple[object, ...]]:
    with store.reader() as connection:
        return [tuple(row) for row in connection.execute(sql)]


async def test_outcomes(store: SqliteStore) -> None:
    """Stored, duplicate, conflict, in one call and over several; the marks move with them."""
    first = await store.put(AGENT, [item(1), item(1), item(2, b"x"), item(2, b"y"), item(5)])
    second = await store.put(AGENT, [gap(3, 4), gap(3, 4), item(4), item(6, epoch=1)])
    store.close()

    assert [Outcome.STORED, Outcome.DUPLICATE, Outcome.STORED, Outcome.CONFLICT, Outcome.STORED] == first.outcomes
    assert {EPOCH: Held(2, ((5, 5),))} == first.held
    assert [Outcome.STORED, Outcome.DUPLICATE, Outcome.DUPLICATE, Outcome.STORED] == second.outcomes
    assert {EPOCH: Held(5), 1: Held(0, ((6, 6),))} == second.held


async def test_marks_are_remembered(tmp_path: Path) -> None:
    """After a restart, and after the bodies are gone, a number that was held is a duplicate."""
    path = tmp_path / "collector.db"
    store = SqliteStore(path)
    store.migrate()
    await store.put(AGENT, [item(1), item(2)])
    await store.transact(lambda connection: connection.execute("DELETE FROM batch").rowcount)
    store.close()
    store = SqliteStore(path)
    result = await store.put(AGENT, [item(2), item(3)])
    store.close()

    assert [Outcome.DUPLICATE, Outcome.STORED] == result.outcomes


async def test_records_are_counted_once_and_outlive_their_bodies(store: SqliteStore) -> None:
    """A stream counts what was stored: no repeat, no conflict, no gap; a body that is gone stays counted."""
    await store.put(AGENT, [item(1), item(2), item(2), item(4), item(1, b"other"), gap(3, 3, 99)])
    await store.transact(lambda connection: connection.execute("DELETE FROM batch").rowcount)
    await store.put(AGENT, [item(4), item(5), item(1, epoch=1)])
    counted = ask(store, "SELECT records FROM stream ORDER BY records")
    store.close()

    assert [(1,), (4,)] == counted


def test_the_count_of_records_is_made_up_for_what_was_stored_before(tmp_path: Path) -> None:
    """The third migration fills the column from the log, for each stream by itself."""
    connection = sqlite3.connect(tmp_path / "collector.db", isolation_level=None)
    for number, sql in migrations("sqlite")[:2]:
        connection.executescript(f"{sql}\nPRAGMA user_version = {number};")
    for epoch, seq, records in ((1, 1, 30), (1, 2, 12), (2, 1, 5)):
        connection.execute(
            "INSERT INTO batch(agent, epoch, seq, kind, schema, codec, records, raw_bytes, t_min, t_max, received_ns,"
            " digest, body) VALUES(?, ?, ?, 1, 1, 1, ?, 1, 0, 0, 0, x'', x'')",
            (AGENT, epoch, seq, records),
        )
    connection.execute(
        "INSERT INTO stream(agent, epoch, high_water) VALUES(?1, 1, 2), (?1, 2, 1), (?1, 3, 7)", (AGENT,)
    )
    connection.close()
    store = SqliteStore(tmp_path / "collector.db")
    store.migrate()
    counted = ask(store, "SELECT epoch, records FROM stream ORDER BY epoch")
    store.close()

    assert [(1, 42), (2, 5), (3, 0)] == counted


def test_flows_of_before_get_zeros_for_what_was_not_kept(tmp_path: Path) -> None:
    """The fourth migration: the rows stay, and the file is as if it had been made anew."""
    connection = sqlite3.connect(tmp_path / "collector.db", isolation_level=None)
    for number, sql in migrations("sqlite")[:3]:
        connection.executescript(f"{sql}\nPRAGMA user_version = {number};")
    connection.execute(
        "INSERT INTO flow VALUES(7, 'hq', 'a', 1, 2, 6, x'', x'', 1, 2, 0, x'', x'', 3, 4, 5, 6, 0, 0, 1,"
        " '', '', '', '', '')"
    )
    before = schema_problems(connection)
    connection.close()
    store = SqliteStore(tmp_path / "collector.db")
    store.migrate()
    rows = ask(store, "SELECT id, packets, retransmits, reply_retransmits, server_rtt_us, client_rtt_us FROM flow")
    with store.reader() as reader:
        after = schema_problems(reader)
    store.close()

    assert "table flow: column server_rtt_us is missing" in before
    assert [(7, 3, 0, 0, 0, 0)] == rows
    assert [] == after


async def test_sparse_ranges_are_bounded(store: SqliteStore) -> None:
    """Beyond 1,024 holes nothing out of order is taken; what fills a hole is."""
    await store.put(AGENT, [item(seq) for seq in range(2, 2 * MAX_SPARSE_RANGES + 1, 2)])
    result = await store.put(AGENT, [item(2 * MAX_SPARSE_RANGES + 2), item(1)])
    store.close()

    assert [Outcome.LATER, Outcome.STORED] == result.outcomes
    assert result.held[EPOCH].high_water == 2


async def test_many_agents_at_once_share_commits(store: SqliteStore) -> None:
    """400 puts from 20 agents: each counted once, in far fewer commits."""
    before = store.health().counters["commits"]
    await asyncio.gather(*(store.put(f"agent-{n % 20}", [item(1 + n // 20)]) for n in range(400)))
    commits = store.health().counters["commits"] - before
    held = ask(store, "SELECT DISTINCT high_water, sparse FROM stream")
    store.close()

    assert [(20, "[]")] == held
    assert 0 < commits <= 100


async def test_a_failing_transaction_is_undone_alone(store: SqliteStore) -> None:
    """What a caller's work raises reaches the caller; its neighbours in the commit are not touched."""

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO projection(name, position) VALUES('lost', 1)")
        raise LookupError("mine")

    def good(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO projection(name, position) VALUES('kept', 1)")
        return 7

    outcomes = await asyncio.gather(
        store.transact(broken), store.transact(good), store.put(AGENT, [item(1)]), return_exceptions=True
    )
    rows = ask(store, "SELECT name FROM projection")
    store.close()

    assert isinstance(outcomes[0], LookupError)
    assert outcomes[1] == 7
    assert [("kept",)] == rows
    assert [Outcome.STORED] == outcomes[2].outcomes


async def test_readers_see_only_what_is_committed_and_cannot_write(store: SqliteStore) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO projection(name, position) VALUES('x', 1)")
        entered.set()
        leave.wait(10)

    writing = asyncio.create_task(store.transact(slow))
    await asyncio.to_thread(entered.wait, 10)
    during = ask(store, "SELECT count(*) FROM projection")
    leave.set()
    await writing
    after = ask(store, "SELECT count(*) FROM projection")
    with store.reader() as connection, pytest.raises(sqlite3.OperationalError, match=r"readonly|query_only"):
        connection.execute("DELETE FROM projection")
    store.close()

    assert [(0,)] == during
    assert [(1,)] == after


async def test_a_cancelled_put_does_not_harm_the_writer(store: SqliteStore) -> None:
    """The stream broke while its batch waited: nothing hangs, the next put works."""
    entered, leave = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        entered.set()
        leave.wait(10)

    blocking = asyncio.create_task(store.transact(slow))
    await asyncio.to_thread(entered.wait, 10)
    put = asyncio.create_task(store.put(AGENT, [item(1)]))
    await until(lambda: store.health().queued_items == 2, "the put waits behind the transaction")
    put.cancel()
    await asyncio.gather(put, return_exceptions=True)
    leave.set()
    await blocking
    result = await store.put(AGENT, [item(2)])
    health = store.health()
    store.close()

    assert [Outcome.STORED] == result.outcomes
    assert (health.queued_items, health.queued_bytes) == (0, 0)


async def test_a_full_disk_is_an_error_that_passes(store: SqliteStore) -> None:
    """Nothing is held of what failed, health says why, and the same put works once there is room."""
    await store.put(AGENT, [item(1)])
    await store.transact(_limit_pages(0))
    with pytest.raises(StoreError, match="disk is full"):
        await store.put(AGENT, [item(2, os.urandom(1 << 20))])
    problem = store.health().problem
    await store.transact(_limit_pages(1 << 30))
    result = await store.put(AGENT, [item(2), item(1)])
    healthy = store.health().problem
    store.close()

    assert "agents keep their data" in problem
    assert [Outcome.STORED, Outcome.DUPLICATE] == result.outcomes
    assert healthy == ""


def _limit_pages(spare: int) -> object:
    """SQLite's own limit of pages stands for the end of the disk: the same error at the same places."""

    def work(connection: sqlite3.Connection) -> None:
        used = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {used + spare}").fetchall()

    return work


@pytest.mark.parametrize("point", ["put-before-commit", "put-after-commit"])
async def test_killed_in_the_middle_of_a_put(tmp_path: Path, point: str) -> None:
    """SIGKILL at the fifth commit: what had returned is held, the resend of everything stores each batch once."""
    path = tmp_path / "collector.db"
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, str(path)],
        env={**os.environ, "FIELDWATCH_FAULT": f"{point}:5"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = [int(line) for line in child.stdout.split()]
    store = SqliteStore(path)
    store.migrate()
    held = (await store.held(AGENT, [7]))[7].high_water
    result = await store.put(AGENT, [item(seq, epoch=7) for seq in range(1, 11)])
    rows = ask(store, "SELECT seq FROM batch ORDER BY seq")
    checked = ask(store, "PRAGMA integrity_check")
    store.close()

    assert -signal.SIGKILL == child.returncode, child.stderr
    assert [1, 2, 3, 4] == said
    assert held == (4 if point == "put-before-commit" else 5)
    assert [Outcome.DUPLICATE] * held + [Outcome.STORED] * (10 - held) == result.outcomes
    assert [(seq,) for seq in range(1, 11)] == rows
    assert [("ok",)] == checked


_CHILD = """
import asyncio, sys
from pathlib import Path
from fieldwatch_collector.store import BatchItem
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_proto.columns import digest

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    store.migrate()
    for seq in range(1, 11):
        await store.put("00000000-0000-4000-8000-000000000001",
                        [BatchItem(7, seq, 1, 1, 1, 1, 10, 5, 6, digest(b"body"), b"body")])
        print(seq, flush=True)

asyncio.run(main())
"""


def test_migrations_are_applied_once_and_a_newer_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "collector.db"
    store = SqliteStore(path)
    applied = [store.migrate(), store.migrate()]
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    store = SqliteStore(path)
    with pytest.raises(StoreError, match="use the newer program"):
        store.migrate()
    store.close()

    assert [len(migrations("sqlite")), 0] == applied
    assert 0o600 == path.stat().st_mode & 0o777


def test_a_failed_migration_leaves_nothing_behind(tmp_path: Path) -> None:
    """A table that is in the way: one line, no half of a migration, and the next try works."""
    path = tmp_path / "collector.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE api_token(x)")
    connection.close()
    store = SqliteStore(path)
    with pytest.raises(StoreError, match="api_token"):
        store.migrate()
    tables = ask(store, "SELECT name FROM sqlite_master WHERE type = 'table'")
    store.transact_sync(lambda connection: connection.execute("DROP TABLE api_token").rowcount)
    applied = store.migrate()
    store.close()

    assert [("api_token",)] == tables
    assert len(migrations("sqlite")) == applied


def test_what_is_no_database_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "collector.db"
    path.write_bytes(b"this is no database, " * 100)
    with pytest.raises(StoreError, match="restore the data folder"):
        SqliteStore(path)


spans = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)), max_size=40)


@given(spans)
def test_ranges_against_a_set(pairs: list[tuple[int, int]]) -> None:
    """A mark with ranges holds exactly the numbers that were added, in its smallest form."""
    held, numbers = Held(), set[int]()
    for low, length in pairs:
        grown = add(held, low, low + length)
        assert grown is not None
        held = grown
        numbers |= set(range(low, low + length + 1))
        assert numbers == set(range(1, held.high_water + 1)) | {n for a, b in held.also for n in range(a, b + 1)}
        assert all(a > held.high_water + 1 for a, _ in held.also)
        assert all(after[0] > before[1] + 1 for before, after in zip(held.also, held.also[1:], strict=False))
    for low, length in pairs[:5]:
        span = set(range(low, low + length + 2))
        assert (span <= numbers) == holds(held, low, low + length + 1)
        assert bool(span & numbers) == overlaps(held, low, low + length + 1)


class _Slices:
    """A background whose every slice waits until it is let go, and that is told when one begins."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.began = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.problem = problem

    def step(self, connection: sqlite3.Connection) -> bool:
        self.began.release()
        assert self.go_on.acquire(timeout=10)
        return False

    def committed(self) -> None:
        if self.problem is not None:
            raise self.problem

    def rolled_back(self) -> None:
        raise AssertionError("nothing fails here")


def test_a_wake_during_the_last_slice_is_not_lost(store: SqliteStore) -> None:
    """The slice under way may have looked before there was anything: another one follows."""
    background = _Slices()
    store.attach(background)
    first = background.began.acquire(timeout=30)
    store.wake()
    background.go_on.release(2)
    second = background.began.acquire(timeout=30)
    store.close()

    assert (first, second) == (True, True)


def test_the_background_leaves_the_last_of_the_disk(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is derived waits at the floor, as batches do, and goes on when there is room."""
    monkeypatch.setattr(space, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(sqlite, "FLOOR_PAUSE_S", 0.05)
    background = _Slices()
    background.go_on.release(100)
    with monkeypatch.context() as full:
        full.setattr(store._floor, "_min_free_bytes", 1 << 60)
        store.attach(background)
        at_the_floor = background.began.acquire(timeout=0.5)
    with_room = background.began.acquire(timeout=5)
    store.close()

    assert (at_the_floor, with_room) == (False, True)


async def test_a_background_that_cannot_tell_does_not_stop_the_writer(store: SqliteStore) -> None:
    """Its work is committed; what is put afterwards is stored, and the failure is counted."""
    background = _Slices(RuntimeError("nobody listens"))
    background.go_on.release(100)
    store.attach(background)
    began = await asyncio.to_thread(background.began.acquire, timeout=30)
    stored = await asyncio.wait_for(store.put(AGENT, [item(1)]), 30)
    failures = store.health().counters["background_failures"]
    store.close()

    assert began
    assert [Outcome.STORED] == stored.outcomes
    assert failures >= 1
