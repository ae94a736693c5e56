"""Retention: bodies go, numbers and digests stay; what was not projected yet is kept."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from fieldwatch_collector.admin import AdminError, run
from fieldwatch_collector.store import BatchItem, Outcome, retention
from fieldwatch_proto.columns import digest
from fieldwatch_proto.schema import Kind
from support.collector import batch, enrol, offline, running, sealed, sighting, talk

SIGHTINGS = [sealed(Kind.SIGHTING, [sighting(number, bytes([10, 0, 0, number]))]) for number in range(1, 8)]


async def test_bodies_go_and_what_came_of_them_stays(tmp_path: Path) -> None:
    """fsck has nothing to say of it; a rebuild would lose devices, and says so first."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            await stream.hello((1, 1, 8))
            await stream.send(*(batch(1, seq, SIGHTINGS[seq - 1]) for seq in range(1, 8)))
            await stream.acked(1, 7)
        await collector.projected()
    with offline(tmp_path / "data") as services:
        kept = run(services, "store.expire", {"older_than_s": 3_600})
        dropped = run(services, "store.expire", {"older_than_s": 0})
        again = run(services, "store.expire", {"older_than_s": 0})
        checked = run(services, "store.fsck", {})
        with services.store.reader() as connection:
            left = [tuple(row) for row in connection.execute("SELECT seq, length(body), length(digest) FROM batch")]
            devices = connection.execute("SELECT count(*) FROM device").fetchone()[0]
        with pytest.raises(AdminError, match=r"7 batches have expired.*--without-expired"):
            run(services, "store.rebuild", {})
        rebuilt = run(services, "store.rebuild", {"without_expired": True})
        with services.store.reader() as connection:
            lost = connection.execute("SELECT count(*) FROM device").fetchone()[0]

    octets = sum(len(body.body) for body in SIGHTINGS)
    assert [{"batches": 0, "bytes": 0}, {"batches": 7, "bytes": octets}, {"batches": 0, "bytes": 0}] == [
        kept,
        dropped,
        again,
    ]
    assert [(seq, 0, 16) for seq in range(1, 8)] == left
    assert (7, 0, []) == (checked["batches"], checked["bytes"], checked["problems"])
    assert (7, 0) == (devices, lost)
    assert {"batches": 7, "undecodable": 0} == rebuilt


async def test_what_no_table_was_made_of_yet_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies up to where the slowest projection is; and in steps that each go on where the last one ended."""
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    steps = []
    with offline(tmp_path / "data") as services:
        items = [BatchItem(1, seq, 1, 1, 1, 1, 10, 5, 6, digest(b"body"), b"body") for seq in range(1, 7)]
        await services.store.put("a", items)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO projection(name, position) VALUES('fast', 6), ('slow', 5)")
            position: int | None = 0
            while position is not None:
                steps.append(retention.drop_bodies(connection, 1 << 62, position))
                position = steps[-1].position

        await services.store.transact(work)
        with services.store.reader() as connection:
            left = [row[0] for row in connection.execute("SELECT seq FROM batch WHERE length(body) > 0")]
        result = await services.store.put("a", [items[0], items[5]])

    assert [(2, 8, 2), (2, 8, 4), (1, 4, None)] == steps
    assert [6] == left
    assert [Outcome.DUPLICATE, Outcome.DUPLICATE] == result.outcomes
