"""Puts that share a commit: each has the outcome that it would have alone, in the order in which they came."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fieldwatch_collector.store import BatchItem, GapItem, Held, Outcome, StoreError
from fieldwatch_collector.store.sqlite import BACKGROUND_SHARE, CROWDED_PUTS, SqliteStore
from fieldwatch_proto.columns import digest
from support.collector import until

EPOCH = (1 << 64) - 3
SLICE_S = 0.01


def item(seq: int, body: bytes = b"body") -> BatchItem:
    return BatchItem(EPOCH, seq, 1, 1, 1, 1, 10, 5, 6, digest(body), body)


def gap(low: int, high: int) -> GapItem:
    return GapItem(EPOCH, low, high, {1: 5}, 0, 1, True, 7, "")


class Blocked:
    """A store whose writer waits, so that what is handed in meanwhile shares one commit."""

    def __init__(self, path: Path) -> None:
        self.store = SqliteStore(path)
        self.store.migrate()
        self._entered, self._leave = threading.Event(), threading.Event()

    async def __aenter__(self) -> SqliteStore:
        self._waiting = asyncio.create_task(self.store.transact(self._wait))
        assert await asyncio.to_thread(self._entered.wait, 10)
        return self.store

    def _wait(self, connection: sqlite3.Connection) -> None:
        self._entered.set()
        self._leave.wait(10)

    async def release(self) -> int:
        """Let the writer go on; the commits that it had made before."""
        before = self.store.health().counters["commits"]
        self._leave.set()
        await self._waiting
        return before

    async def __aexit__(self, *problem: object) -> None:
        self._leave.set()
        await self._waiting
        await asyncio.to_thread(self.store.close)


async def test_a_group_sees_what_it_stored_itself(tmp_path: Path) -> None:
    """Duplicates, conflicts and gaps among puts of one commit; two agents with the same numbers do not meet."""
    blocked = Blocked(tmp_path / "db")
    async with blocked as store:
        puts = [
            store.submit("a", [item(1), item(2)]),
            store.submit("b", [item(2)]),
            store.submit("a", [item(2), item(1, b"other")]),
            store.submit("a", [gap(2, 3), item(3)]),
            store.submit("b", [item(1), item(2, b"other")]),
        ]
        before = await blocked.release()
        results = await asyncio.gather(*puts)
        commits = store.health().counters["commits"] - before
        with store.reader() as connection:
            rows = [tuple(row) for row in connection.execute("SELECT agent, seq FROM batch ORDER BY position")]
            marks = [tuple(row) for row in connection.execute("SELECT agent, high_water, records FROM stream")]
            gaps = [tuple(row) for row in connection.execute("SELECT agent, from_seq, to_seq, records FROM gap")]

    stored, duplicate, conflict = Outcome.STORED, Outcome.DUPLICATE, Outcome.CONFLICT
    assert [
        [stored, stored],
        [stored],
        [duplicate, conflict],
        [stored, duplicate],
        [stored, conflict],
    ] == [list(result.outcomes) for result in results]
    assert [("a", 1), ("a", 2), ("b", 2), ("b", 1)] == rows
    assert [("a", 3, 2), ("b", 2, 2)] == marks
    assert [("a", 2, 3, '{"1": 4}')] == gaps  # batch 2 of the range had come through
    assert Held(3) == results[3].held[EPOCH]
    assert commits <= 2  # the transaction that blocked, and the group


async def test_a_put_that_cannot_be_stored_fails_alone(tmp_path: Path) -> None:
    """A number beyond SQLite's integers spoils its own put; its neighbours in the group are stored."""
    blocked = Blocked(tmp_path / "db")
    async with blocked as store:
        puts = [
            store.submit("a", [item(1)]),
            store.submit("b", [item(1), replace(item(2), t_max=1 << 70)]),
            store.submit("c", [item(1)]),
        ]
        await blocked.release()
        results = await asyncio.gather(*puts, return_exceptions=True)
        with store.reader() as connection:
            agents = [row[0] for row in connection.execute("SELECT agent FROM batch ORDER BY position")]

    assert isinstance(results[1], OverflowError)
    assert ["a", "c"] == agents


async def test_what_comes_after_the_end_is_refused_at_once(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "db")
    store.migrate()
    last = store.submit("a", [item(1)])
    await asyncio.to_thread(store.close)
    result = await last
    with pytest.raises(StoreError, match="closed"):
        store.submit("a", [item(2)])

    assert [Outcome.STORED] == result.outcomes


def test_a_group_whose_event_loop_has_ended_is_stored(tmp_path: Path) -> None:
    """Nobody is there to be told; the writer goes on."""

    async def leave() -> None:
        store.submit("a", [item(1)])

    store = SqliteStore(tmp_path / "db")
    store.migrate()
    entered, go_on = threading.Event(), threading.Event()

    def wait(connection: sqlite3.Connection) -> None:
        entered.set()
        go_on.wait(10)

    blocking = threading.Thread(target=store.transact_sync, args=(wait,))
    blocking.start()
    assert entered.wait(10)
    asyncio.run(leave())
    go_on.set()
    blocking.join()
    again = asyncio.run(store.put("a", [item(1), item(2)]))
    store.close()

    assert [Outcome.DUPLICATE, Outcome.STORED] == again.outcomes


class _LongSlices:
    """A background that always has more to do, and takes its time; it notes when it began and what waited then."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.begun: list[tuple[float, int]] = []

    def step(self, connection: sqlite3.Connection) -> bool:
        self.begun.append((time.monotonic(), self._store._queued_items))
        time.sleep(SLICE_S)
        return True

    def committed(self) -> None:
        """Nobody is told."""

    def rolled_back(self) -> None:
        raise AssertionError("nothing fails here")


async def test_projections_leave_ingest_most_of_the_time(tmp_path: Path) -> None:
    """While many puts wait, a slice is followed by several times its length without one; without puts by the next."""
    blocked = Blocked(tmp_path / "db")
    background = _LongSlices(blocked.store)
    async with blocked as store:
        puts = [store.submit("a", [item(seq, bytes(20_000))]) for seq in range(1, 3_001)]
        store.attach(background)
        store.submit("a", [item(1, bytes(20_000))])
        await blocked.release()
        await asyncio.wait(puts)
        crowded = [moment for moment, waiting in background.begun if waiting >= CROWDED_PUTS]
        done = len(background.begun)

        def in_a_row() -> bool:
            moments = [moment for moment, _ in background.begun[done:]]
            return any(after - before < SLICE_S / BACKGROUND_SHARE for before, after in itertools.pairwise(moments))

        await until(in_a_row, "without puts a slice follows the other at once")

    pauses = [after - before for before, after in itertools.pairwise(crowded)]

    assert pauses
    assert all(pause >= SLICE_S / BACKGROUND_SHARE for pause in pauses)
