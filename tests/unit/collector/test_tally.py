"""What batches account for: a gap is less by what came through, exactly, and at a bounded cost."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_collector.projections import Projector
from fieldwatch_collector.store import BatchItem, GapItem, Outcome, tally
from fieldwatch_collector.store.migrate import migrations
from fieldwatch_collector.store.retention import drop_bodies
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_collector.store.tables import schema_problems
from fieldwatch_proto.columns import digest, seal
from fieldwatch_proto.records import records_of
from fieldwatch_proto.schema import METRIC_FRAMES_OUTSIDE_FLOWS, Kind
from support.collector import flow, sighting
from support.stack import wait_for

AGENT = "00000000-0000-4000-8000-000000000001"
EPOCH = (1 << 64) - 5
ONE, TWO = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


def item(seq: int, kind: Kind, rows: Sequence[dict[str, Any]]) -> BatchItem:
    body = seal(records_of(kind, rows))
    return BatchItem(EPOCH, seq, int(kind), 1, 1, body.records, body.raw_bytes, 0, 9, body.digest, body.body)


def flows(seq: int, packets: int = 7, records: int = 3) -> BatchItem:
    """`records` flows of so many frames each."""
    return item(seq, Kind.FLOW, [flow(ONE, TWO, packets=packets - 2, reply_packets=2)] * records)


def outside(seq: int, frames: float) -> BatchItem:
    named = {"a_total": 99.0, METRIC_FRAMES_OUTSIDE_FLOWS: frames}
    return item(seq, Kind.METRIC, [{"ts_ns": 5, "name": n, "labels": "{}", "value": v} for n, v in named.items()])


def gap(low: int, high: int, records: dict[int, int], frames: int, known: bool = True) -> GapItem:
    return GapItem(EPOCH, low, high, records, frames, 1, known, 7, "")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bodies that gaps have opened, in their order."""
    seen: list[bytes] = []
    open_body = tally.open_body

    def look(kind: Kind, records: int, raw_bytes: int, body: bytes) -> Any:
        seen.append(body)
        return open_body(kind, records, raw_bytes, body)

    monkeypatch.setattr(tally, "open_body", look)
    return seen


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "collector.db", min_free_bytes=1)
    made.migrate()
    yield made
    made.close()


def project(store: SqliteStore) -> None:
    """Until the log has been projected."""
    projector = Projector(lambda events: None, lambda message: None)
    store.attach(projector)
    newest = ask(store, "SELECT max(position) FROM batch")[0][0]
    wait_for(lambda: projector.position >= newest, "the projections catch up")


def ask(store: SqliteStore, sql: str) -> list[tuple[Any, ...]]:
    with store.reader() as connection:
        return [tuple(row) for row in connection.execute(sql)]


def gaps(store: SqliteStore) -> list[tuple[dict[str, int], int, int]]:
    rows = ask(store, "SELECT records, frames, count_known FROM gap ORDER BY from_seq")
    return [(json.loads(records), frames, known) for records, frames, known in rows]


MIXED = [flows(1), outside(2, 5.0), item(3, Kind.SIGHTING, [sighting(1)] * 4), flows(4, packets=10, records=1)]
LESS = ({"1": 100 - 4, "2": 100 - 4, "5": 100 - 2}, 1_000 - 21 - 5 - 10, 1)


@pytest.mark.parametrize("what", ["projected", "waiting", "expired"])
async def test_a_gap_is_less_by_what_came_through(store: SqliteStore, opened: list[bytes], what: str) -> None:
    """The same whether the projector has counted it, or nobody, or the bodies have gone since: then none is opened."""
    await store.put(AGENT, MIXED)
    if what != "waiting":
        project(store)
    if what == "expired":
        dropped = await store.transact(lambda connection: drop_bodies(connection, 1 << 62))
        assert len(MIXED) == dropped.batches
    result = await store.put(AGENT, [gap(1, 9, {1: 100, 2: 100, 5: 100}, 1_000)])

    assert [Outcome.STORED] == result.outcomes
    assert [LESS] == gaps(store)
    assert ([1, 2, 4] if what == "waiting" else []) == [i.seq for i in MIXED if i.body in opened]


async def test_each_body_is_opened_once_however_many_gaps_come(store: SqliteStore, opened: list[bytes]) -> None:
    """A hostile agent that declares ever larger gaps over what it sent: the writer opens each body once, no more."""
    await store.put(AGENT, [flows(seq, packets=seq + 2) for seq in range(1, 41)])
    for high in range(41, 141):
        result = await store.put(AGENT, [gap(1, high, {1: 500}, 5_000)])
        assert [Outcome.STORED] == result.outcomes

    assert 40 == len(opened) == len(set(opened))
    assert [({"1": 500 - 120}, 5_000 - 3 * sum(seq + 2 for seq in range(1, 41)), 1)] == gaps(store)


async def test_what_is_too_much_for_one_transaction_takes_several(
    store: SqliteStore, opened: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No put opens more than it may, whatever gaps are in it; each try comes further, and the count is exact."""
    batches = [flows(seq, packets=seq + 2) for seq in range(1, 31)]
    cost = max(batches[0].raw_bytes, 3 * tally.RECORD_BYTES)
    monkeypatch.setattr(tally, "MAX_OPENED_BYTES", 7 * cost)
    await store.put(AGENT, batches)
    steps, outcomes = [], []
    while not outcomes or outcomes[-1] is Outcome.LATER:
        before = len(opened)
        result = await store.put(AGENT, [gap(1, 31, {1: 91}, 2_999), gap(1, 32, {1: 92}, 2_999)])
        outcomes.append(result.outcomes[0])
        steps.append(len(opened) - before)

    assert [Outcome.LATER] * 4 + [Outcome.STORED] == outcomes
    assert [7, 7, 7, 7, 2] == steps
    assert [({"1": 92 - 90}, 2_999 - 3 * sum(seq + 2 for seq in range(1, 31)), 1)] == gaps(store)


async def test_a_body_over_the_allowance_passes_when_it_is_the_first(store: SqliteStore, opened: list[bytes]) -> None:
    """Nothing that a batch may hold keeps a gap waiting for ever."""
    most = tally.MAX_OPENED_BYTES // tally.RECORD_BYTES
    await store.put(AGENT, [flows(1, records=most), flows(2, records=most)])
    first = await store.put(AGENT, [gap(1, 3, {1: 3 * most}, 0)])
    second = await store.put(AGENT, [gap(1, 3, {1: 3 * most}, 0)])

    assert ([Outcome.LATER], [Outcome.STORED]) == (first.outcomes, second.outcomes)
    assert 2 == len(opened)
    assert [({"1": most}, 0, 1)] == gaps(store)


async def test_beyond_what_a_spool_can_hold_the_count_is_an_upper_bound(
    store: SqliteStore, opened: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is looked at, nothing is subtracted, and the gap says that its count is not known."""
    monkeypatch.setattr(tally, "MAX_BATCHES", 3)
    await store.put(AGENT, MIXED)
    await store.put(AGENT, [gap(1, 5, {1: 9}, 90)])

    assert [] == opened
    assert [({"1": 9}, 90, 0)] == gaps(store)


async def test_numbers_that_no_world_has_do_not_overflow_the_sum(store: SqliteStore) -> None:
    """Counts of 64 bits, and metrics that are no numbers."""
    most = (1 << 64) - 1
    huge = item(1, Kind.FLOW, [flow(ONE, TWO, packets=most, reply_packets=most)] * 4)
    more = [item(seq, Kind.FLOW, [flow(ONE, TWO, packets=most)]) for seq in (2, 3)]
    await store.put(AGENT, [huge, *more, outside(4, float("inf")), outside(5, float("nan")), outside(6, -3.0)])
    await store.put(AGENT, [gap(1, 7, {1: 10, 5: 20}, 100)])

    assert [({"1": 4, "5": 14}, 0, 1)] == gaps(store)
    assert [(1, tally.MAX_FRAMES)] * 3 + [(5, 0)] * 3 == ask(store, "SELECT kind, frames FROM batch_tally ORDER BY seq")


async def test_the_projector_counts_each_batch_and_a_rebuild_keeps_it(store: SqliteStore) -> None:
    """Also what cannot be decoded and kinds that nobody knows; bodies may have gone when it is derived anew."""
    bad = BatchItem(EPOCH, 5, int(Kind.FLOW), 1, 1, 8, 10, 0, 9, digest(b"bad"), b"bad")
    strange = BatchItem(EPOCH, 6, 99, 1, 1, 2, 10, 0, 9, digest(b"?"), b"?")
    await store.put(AGENT, [*MIXED, bad, strange])
    project(store)
    before = ask(store, "SELECT seq, kind, records, frames FROM batch_tally")
    await store.transact(lambda connection: drop_bodies(connection, 1 << 62))
    projector = Projector(lambda events: None, lambda message: None)
    await store.transact(projector.reset)
    project(store)

    assert [(1, 1, 3, 21), (2, 5, 2, 5), (3, 2, 4, 0), (4, 1, 1, 10), (5, 1, 8, 0), (6, 99, 2, 0)] == before
    assert before == ask(store, "SELECT seq, kind, records, frames FROM batch_tally")


async def test_batches_of_an_older_version_are_counted_when_a_gap_asks(tmp_path: Path) -> None:
    """The ninth migration reads no body; what was projected is not projected again, and fsck finds no difference."""
    path = tmp_path / "collector.db"
    connection = sqlite3.connect(path, isolation_level=None)
    for number, sql in migrations("sqlite")[:8]:
        connection.executescript(f"{sql}\nPRAGMA user_version = {number};")
    for each in MIXED:
        connection.execute(
            "INSERT INTO batch(agent, epoch, seq, kind, schema, codec, records, raw_bytes, t_min, t_max, received_ns,"
            " digest, body) VALUES(?, -5, ?, ?, 1, 1, ?, ?, 0, 0, 0, x'', ?)",
            (AGENT, each.seq, each.kind, each.records, each.raw_bytes, each.body),
        )
    connection.execute("INSERT INTO stream(agent, epoch, high_water, records) VALUES(?, -5, 4, 10)", (AGENT,))
    connection.execute("INSERT INTO projection(name, position) VALUES('flows', 4), ('inventory', 3)")
    connection.close()
    store = SqliteStore(path, min_free_bytes=1)
    store.migrate()
    places = ask(store, "SELECT name, position FROM projection ORDER BY name")
    untouched = ask(store, "SELECT count(*) FROM batch_tally")
    with store.reader() as reader:
        problems = schema_problems(reader)
    await store.put(AGENT, [gap(1, 9, {1: 100, 2: 100, 5: 100}, 1_000)])
    declared = gaps(store)
    store.close()

    assert [("flows", 4), ("inventory", 3), ("tally", 3)] == places
    assert [(0,)] == untouched
    assert [] == problems
    assert [LESS] == declared
