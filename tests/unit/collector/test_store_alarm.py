"""The floor of free space, and how people hear of a store that cannot take batches."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fieldwatch_collector.hub import Hub
from fieldwatch_collector.ingest.alarm import RECURS_S, StoreAlarm
from fieldwatch_collector.store import BatchItem, Outcome, StoreError, space
from fieldwatch_collector.store.connection import PAGE_BYTES
from fieldwatch_collector.store.retention import drop_bodies
from fieldwatch_collector.store.space import Floor
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_proto.columns import digest

BODY = os.urandom(100_000)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def item(seq: int) -> BatchItem:
    return BatchItem(1, seq, 1, 1, 1, 1, 10, 5, 6, digest(BODY), BODY)


def limit_pages(spare: int) -> Callable[[sqlite3.Connection], None]:
    """SQLite's own limit of pages stands for the end of the disk."""

    def work(connection: sqlite3.Connection) -> None:
        used = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {used + spare}").fetchall()

    return work


def told(store: SqliteStore) -> list[tuple[Any, ...]]:
    with store.reader() as connection:
        return [
            tuple(row)
            for row in connection.execute("SELECT type, ts_ns FROM event WHERE type != 'padding' ORDER BY seq")
        ]


def test_the_floor_is_a_share_of_the_disk_or_what_is_configured(tmp_path: Path) -> None:
    """It looks once a second; room inside the database counts; a folder that is not there is a problem of its own."""
    disk = os.statvfs(tmp_path)
    free = disk.f_bavail * disk.f_frsize
    clock = Clock()
    floor = Floor(tmp_path, 1 << 60, clock)
    first = floor.problem()
    floor.spare_bytes = 1 << 60
    cached = floor.problem()
    clock.now += space.LOOK_EVERY_S
    looked = floor.problem()

    assert f"{free / 1e6:,.0f} MB"[:2] in first
    assert "limits.min_free_bytes" in first
    assert (first, "") == (cached, looked)
    least = min(space.DEFAULT_BYTES, int(space.DEFAULT_SHARE * disk.f_blocks * disk.f_frsize))
    assert (Floor(tmp_path).problem() == "") == (free >= least)
    assert "check the disk" in Floor(tmp_path / "gone").problem()


async def test_expired_bodies_make_room_below_the_floor(tmp_path: Path) -> None:
    """What the file holds free is room, until batches have taken it."""
    disk = os.statvfs(tmp_path)
    floor = disk.f_bavail * disk.f_frsize + (1 << 30)  # a gibibyte more than there is
    store = SqliteStore(tmp_path / "db")
    store.migrate()
    await store.put("a", [item(seq) for seq in range(1, 4)])

    def expire(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO projection(name, position) VALUES('all', 100)")
        return drop_bodies(connection, 1 << 62).octets

    octets = await store.transact(expire)
    spare = store._floor.spare_bytes
    await store.put("a", [item(4)])
    less = store._floor.spare_bytes
    store._floor = Floor(tmp_path, floor)
    problem = ""
    try:
        await store.put("a", [item(5)])
    except StoreError as refused:
        problem = str(refused)
    store.close()

    assert octets == 3 * len(BODY)
    assert 0.9 * octets < spare <= octets + 3 * PAGE_BYTES  # the first octets of a body lie with its row
    assert 0 < less < spare
    assert "limits.min_free_bytes" in problem


async def test_trouble_is_told_as_soon_as_there_is_room_for_it(tmp_path: Path) -> None:
    """A full disk takes no event: it is written when there is room, with the moment at which it began, and the end."""
    clock = Clock()
    store = SqliteStore(tmp_path / "db", min_free_bytes=1)
    store.migrate()
    alarm = StoreAlarm(store, Hub(), clock)
    await alarm.look()
    await store.transact(limit_pages(0))
    with contextlib.suppress(StoreError):
        while True:  # until the last page of the table is full, too
            await store.transact(_another_event)
    for _ in range(3):
        await alarm.look()
        clock.now += 1.0
    during = told(store)
    problem = store.problem
    await store.transact(limit_pages(1_000))
    await alarm.look()
    after = told(store)
    stored = await store.put("a", [item(1)])
    store.close()

    assert [] == during
    assert "disk is full" in problem
    assert ["collector.store_problem", "collector.store_recovered"] == [type_ for type_, _ in after]
    assert after[0][1] < after[1][1]
    assert [Outcome.STORED] == stored.outcomes


def _another_event(connection: sqlite3.Connection) -> None:
    connection.execute(
        "INSERT INTO event(id, type, ts_ns, site, agent, subject_kind, subject_id, subject_name, data, evidence)"
        " VALUES('', 'padding', 0, '', '', '', '', '', ?, '[]')",
        ("x" * 100,),
    )


async def test_trouble_that_comes_and_goes_is_told_more_rarely(tmp_path: Path) -> None:
    """Each time soon after the last one doubles the pause before it is tried again."""
    clock = Clock()
    store = SqliteStore(tmp_path / "db", min_free_bytes=1)
    store.migrate()
    alarm = StoreAlarm(store, Hub(), clock)
    pauses = []
    for _ in range(8):
        store._problem = "the disk is full"  # as a commit that failed leaves it
        await alarm.look()
        pauses.append(alarm._pause_s)
        clock.now = max(clock.now, alarm._not_before)
    clock.now += RECURS_S + 1
    store._problem = "the disk is full"
    await alarm.look()
    store.close()

    assert [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] == pauses
    assert 1.0 == alarm._pause_s
