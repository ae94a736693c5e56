"""A batch of many flows is projected in parts: others are committed between them, and each flow counts once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fieldwatch_collector.projections import Projector, projector
from fieldwatch_collector.projections.batch import OpenBatch
from fieldwatch_collector.projections.flows import PART
from fieldwatch_collector.store import BatchItem
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_proto.columns import seal
from fieldwatch_proto.records import Records, records_of
from fieldwatch_proto.schema import Kind
from support.collector import flow, sighting

AGENT = "00000000-0000-4000-8000-000000000001"
HERE, THERE = bytes([10, 0, 0, 1]), bytes([8, 8, 8, 8])
COUNT = 3 * PART + 5
PLACES = "SELECT position, records FROM projection WHERE name = 'flows'"


def item(seq: int, records: Records) -> BatchItem:
    body, kind = seal(records), int(records.kind)
    return BatchItem(1, seq, kind, 1, 1, body.records, body.raw_bytes, 0, 9, body.digest, body.body)


ITEMS = [
    item(1, records_of(Kind.SIGHTING, [sighting(1, HERE)])),
    item(2, records_of(Kind.FLOW, [flow(HERE, THERE, src_port=n, bytes=n, reply_bytes=0) for n in range(COUNT)])),
    item(3, records_of(Kind.FLOW, [flow(HERE, THERE, src_port=COUNT, bytes=7, reply_bytes=0)])),
]
ONCE = [(n,) for n in range(COUNT + 1)]


class Site:
    """A store whose slices the test runs one by one, each in a transaction of the writer."""

    def __init__(self, path: Path) -> None:
        self.store = SqliteStore(path, min_free_bytes=1)
        self.store.migrate()
        self.projector = Projector(lambda events: None, lambda message: None)

    def step(self) -> bool:
        more: bool = self.store.transact_sync(self.projector.step)
        self.projector.committed()
        return more

    def step_to(self, records: int) -> None:
        """Until so many records of the large batch are projected."""
        while self.ask(PLACES) != [(1, records)]:
            assert self.step()

    def finish(self) -> None:
        while self.step():
            pass

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        with self.store.reader() as connection:
            return [tuple(row) for row in connection.execute(sql)]

    def result(self) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        """Every flow; what the device at one end has of them."""
        return self.ask("SELECT src_port FROM flow ORDER BY id"), self.ask("SELECT flows, bytes FROM device")


WHOLE = (ONCE, [(COUNT + 1, sum(range(COUNT)) + 7)])


@pytest.fixture(autouse=True)
def _short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "SLICE_SECONDS", 0.0)


async def test_puts_of_others_are_committed_between_the_parts(tmp_path: Path) -> None:
    """Each slice writes one part and says where it stands; the batch's position moves with the last one."""
    site = Site(tmp_path / "db")
    await site.store.put(AGENT, ITEMS)
    seen = []
    others = 0
    while site.step():
        others += 1
        await site.store.put("another", [item(others, records_of(Kind.SIGHTING, [sighting(others + 1)]))])
        seen.append((site.ask("SELECT count(*) FROM flow")[0][0], *site.ask(PLACES)[0], site.projector.position))
        if site.projector.position >= 3:
            break
    site.store.close()

    assert [
        (0, 1, 0, 1),
        (PART, 1, PART, 1),
        (2 * PART, 1, 2 * PART, 1),
        (3 * PART, 1, 3 * PART, 1),
        (COUNT, 2, 0, 2),
        (COUNT + 1, 3, 0, 3),
    ] == seen
    assert len(seen) == others


@pytest.mark.parametrize("parts", [1, 2, 3])
async def test_a_restart_between_two_parts_goes_on_behind_the_first(tmp_path: Path, parts: int) -> None:
    """Another process, with nothing but the tables: no flow twice, none left out, sums of devices included."""
    first = Site(tmp_path / "db")
    await first.store.put(AGENT, ITEMS)
    first.step_to(parts * PART)
    first.store.close()
    second = Site(tmp_path / "db")
    second.finish()
    result = second.result()
    second.store.close()

    assert result == WHOLE


async def test_a_part_that_is_undone_is_written_again(tmp_path: Path) -> None:
    """The machine fails before the commit: the parts before it stay as they are committed."""
    site = Site(tmp_path / "db")
    await site.store.put(AGENT, ITEMS)
    site.step_to(PART)

    def fail(connection: Any) -> None:
        site.projector.step(connection)
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        site.store.transact_sync(fail)
    site.projector.rolled_back()
    undone = site.ask(PLACES)
    site.finish()
    result = site.result()
    site.store.close()

    assert [(1, PART)] == undone
    assert result == WHOLE


async def test_a_rebuild_between_two_parts_begins_with_the_first(tmp_path: Path) -> None:
    site = Site(tmp_path / "db")
    await site.store.put(AGENT, ITEMS)
    site.step_to(2 * PART)
    site.store.transact_sync(site.projector.reset)
    site.finish()
    result = site.result()
    site.store.close()

    assert result == WHOLE


async def test_a_part_that_fails_buries_the_batch_and_the_next_one_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came of the parts before it stays, however the slices fell."""
    site = Site(tmp_path / "db")
    await site.store.put(AGENT, ITEMS)
    site.step_to(2 * PART)
    monkeypatch.setattr(OpenBatch, "counts", _no_counts)
    site.step()
    monkeypatch.undo()
    site.finish()
    flows, buried = site.ask("SELECT src_port FROM flow ORDER BY id"), site.ask("SELECT position FROM dead_letter")
    site.store.close()

    assert [(2,)] == buried
    assert [*ONCE[: 2 * PART], (COUNT,)] == flows


def _no_counts(batch: OpenBatch, name: str) -> list[int]:
    raise ValueError(f"{name} holds no counts")


def test_parts_of_a_batch_are_the_batch() -> None:
    """Every column, of every width and of texts, cut at any place."""
    rows = [flow(HERE, THERE, src_port=n, interface=f"eth{n % 3}", first_ns=n) for n in range(10)]
    batch = OpenBatch(1, "a", "main", records_of(Kind.FLOW, rows))
    parts = [batch.part(start, start + 4) for start in (0, 4, 8)]

    assert [4, 4, 2] == [part.records.count for part in parts]
    assert batch.records.rows() == [row for part in parts for row in part.records.rows()]
