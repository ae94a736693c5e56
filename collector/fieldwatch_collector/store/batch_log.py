"""The batch log: what `put` does inside the writer's transaction.

An item is held when its numbers are in the stream's high-water mark or sparse ranges; that is remembered for ever, the
body need not be. A gap fills its numbers like a batch, so a resent gap, and a batch that comes after the gap which
declared it lost, are duplicates: nothing is stored twice, and nothing is both stored and counted as lost.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, TypeVar

from fieldwatch_proto.schema import time_text
from fieldwatch_proto.v1.agent_pb2 import GapReason

from fieldwatch_collector.journal import record
from fieldwatch_collector.store import BatchItem, GapItem, Held, Item, Outcome, PutResult, tally
from fieldwatch_collector.store.ranges import add, from_lists, holds, overlaps

INSERT_BATCH = (
    "INSERT INTO batch(agent, epoch, seq, kind, schema, codec, records, raw_bytes, t_min, t_max, received_ns, digest,"
    " body)"
)
BATCH_COLUMNS = 13
INSERT_STREAM = "INSERT INTO stream(agent, epoch, high_water, sparse, records)"
OR_MOVE_ITS_MARKS = (
    "ON CONFLICT(agent, epoch) DO UPDATE SET high_water = excluded.high_water, sparse = excluded.sparse,"
    " records = records + excluded.records"
)
MAX_ROWS_AT_ONCE = 32  # each statement lets other threads run and waits for its turn again: few of them is fast
T = TypeVar("T")
_REASONS = {value: name.lower() for name, value in GapReason.items()}


def signed(epoch: int) -> int:
    """An epoch (u64) as SQLite's 64-bit integer."""
    return epoch - (1 << 64) if epoch >= 1 << 63 else epoch


def read_held(connection: sqlite3.Connection, agent: str, epoch: int) -> Held:
    """What is held of one stream."""
    return _Group(connection).held(agent, epoch)


def put_items(connection: sqlite3.Connection, agent: str, items: Sequence[Item]) -> PutResult:
    """Insert what is new and move the marks; the caller commits."""
    return put_groups(connection, [(agent, items)])[0]


def put_groups(connection: sqlite3.Connection, puts: Sequence[tuple[str, Sequence[Item]]]) -> list[PutResult]:
    """The puts of several agents, in their order, with as few statements as can be; one result each."""
    group = _Group(connection)
    group.load({(agent, item.epoch) for agent, items in puts for item in items})
    results = [group.put(agent, items) for agent, items in puts]
    group.finish()
    return results


class _Group:
    """What one transaction has seen and changed. New batches are inserted together at its end."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._held: dict[tuple[str, int], Held] = {}
        self._records: dict[tuple[str, int], int] = {}  # stream that changed -> records of its new batches
        self._rows: list[tuple[Any, ...]] = []
        self._digests: dict[tuple[str, int, int], bytes] = {}  # of the rows that are not inserted yet
        self._allowance = tally.Allowance()
        self._now_ns = time.time_ns()

    def load(self, streams: Collection[tuple[str, int]]) -> None:
        """Read the marks of these streams."""
        for part in _parts([(agent, signed(epoch)) for agent, epoch in streams]):
            for agent, epoch, high_water, sparse in self._connection.execute(
                f"WITH wanted(agent, epoch) AS (VALUES {_marks(len(part), 2)})"  # noqa: S608 - placeholders
                " SELECT agent, epoch, high_water, sparse FROM wanted CROSS JOIN stream USING (agent, epoch)",
                list(chain.from_iterable(part)),
            ):
                self._held[agent, epoch % (1 << 64)] = from_lists(high_water, json.loads(sparse))

    def held(self, agent: str, epoch: int) -> Held:
        if (agent, epoch) not in self._held:
            self.load([(agent, epoch)])
        return self._held.get((agent, epoch)) or Held()

    def put(self, agent: str, items: Sequence[Item]) -> PutResult:
        outcomes, events = [], []
        for item in items:
            before = self._held.get((agent, item.epoch)) or Held()
            if isinstance(item, BatchItem):
                outcome, after = self._put_batch(agent, item, before)
            else:
                self._insert()  # a gap looks at the batches of its range
                outcome, after = _put_gap(self._connection, agent, item, before, self._allowance)
                if outcome is Outcome.STORED:
                    events.append(_gap_event(self._connection, agent, item))
            outcomes.append(outcome)
            if outcome is Outcome.STORED:
                stream = agent, item.epoch
                self._held[stream] = after
                count = item.records if isinstance(item, BatchItem) else 0
                self._records[stream] = self._records.get(stream, 0) + count
        held = {item.epoch: self._held.get((agent, item.epoch)) or Held() for item in items}
        return PutResult(outcomes, held, events)

    def finish(self) -> None:
        """Write what was kept back."""
        self._insert()
        rows = []
        for (agent, epoch), records in self._records.items():
            held = self._held[agent, epoch]
            rows.append((agent, signed(epoch), held.high_water, json.dumps(held.also), records))
        for part in _parts(rows):
            self._connection.execute(
                f"{INSERT_STREAM} VALUES {_marks(len(part), 5)} {OR_MOVE_ITS_MARKS}", list(chain.from_iterable(part))
            )

    def _put_batch(self, agent: str, item: BatchItem, held: Held) -> tuple[Outcome, Held]:
        epoch = signed(item.epoch)
        if holds(held, item.seq, item.seq):
            known = self._digests.get((agent, epoch, item.seq)) or self._stored_digest(agent, epoch, item.seq)
            return (Outcome.DUPLICATE if known in (None, item.digest) else Outcome.CONFLICT), held
        after = add(held, item.seq, item.seq)
        if after is None:
            return Outcome.LATER, held
        self._digests[agent, epoch, item.seq] = item.digest
        self._rows.append(
            (
                agent,
                epoch,
                item.seq,
                item.kind,
                item.schema,
                item.codec,
                item.records,
                item.raw_bytes,
                item.t_min,
                item.t_max,
                self._now_ns,
                item.digest,
                item.body,
            )
        )
        return Outcome.STORED, after

    def _stored_digest(self, agent: str, epoch: int, seq: int) -> bytes | None:
        """None where a gap filled the number."""
        row = self._connection.execute(
            "SELECT digest FROM batch WHERE agent = ? AND epoch = ? AND seq = ?", (agent, epoch, seq)
        ).fetchone()
        return row[0] if row else None

    def _insert(self) -> None:
        for part in _parts(self._rows):
            self._connection.execute(
                f"{INSERT_BATCH} VALUES {_marks(len(part), BATCH_COLUMNS)}", list(chain.from_iterable(part))
            )
        self._rows.clear()
        self._digests.clear()


def _parts(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """The rows in runs of powers of two, so that few statements are compiled and all of them stay cached."""
    at = 0
    while at < len(rows):
        count = min(MAX_ROWS_AT_ONCE, 1 << (len(rows) - at).bit_length() - 1)
        yield rows[at : at + count]
        at += count


def _marks(rows: int, columns: int) -> str:
    """The placeholders of so many rows."""
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)


def _put_gap(
    connection: sqlite3.Connection, agent: str, item: GapItem, held: Held, allowance: tally.Allowance
) -> tuple[Outcome, Held]:
    if holds(held, item.from_seq, item.to_seq):
        return Outcome.DUPLICATE, held
    after = add(held, item.from_seq, item.to_seq)
    if after is None:
        return Outcome.LATER, held
    if overlaps(held, item.from_seq, item.to_seq):
        less = _without_what_is_held(connection, agent, item, allowance)
        if less is None:
            return Outcome.LATER, held
        item = less
    connection.execute(
        "INSERT OR REPLACE INTO gap(agent, epoch, from_seq, to_seq, records, frames, reason, count_known, ts_ns,"
        " detail, received_ns) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            agent,
            signed(item.epoch),
            item.from_seq,
            item.to_seq,
            json.dumps({str(kind): count for kind, count in sorted(item.records.items())}),
            item.frames,
            item.reason,
            int(item.count_known),
            item.ts_ns,
            item.detail,
            time.time_ns(),
        ),
    )
    return Outcome.STORED, after


def _gap_event(connection: sqlite3.Connection, agent: str, item: GapItem) -> dict[str, Any]:
    row = connection.execute("SELECT name, site FROM agent WHERE id = ?", (agent,)).fetchone()
    name, site = row or ("", "")
    data = {
        "reason": _REASONS.get(item.reason, str(item.reason)),
        "records": sum(item.records.values()),
        "frames": item.frames,
        "count_known": item.count_known,
        "detail": item.detail,
        "declared": time_text(item.ts_ns),
        **({"clock": item.clock.text} if item.clock.text else {}),
    }
    return record(connection, "agent.gap", site=site, agent=agent, subject=("agent", agent, name), data=data)


def _without_what_is_held(
    connection: sqlite3.Connection, agent: str, item: GapItem, allowance: tally.Allowance
) -> GapItem | None:
    """The gap less the batches of its range that had come through (their acks were lost, the agent evicted them).

    Smaller gaps inside the range are replaced: the new one states all that its numbers held. None where it takes more
    than one transaction to know what came through; where nobody can know, the count is an upper bound and says so.
    """
    place = (agent, signed(item.epoch), item.from_seq, item.to_seq)
    held = tally.held_within(connection, place, allowance)
    if held is None:
        return None
    connection.execute(
        "DELETE FROM gap WHERE agent = ? AND epoch = ? AND from_seq BETWEEN ? AND ? AND to_seq <= ?",
        (*place, item.to_seq),
    )
    return replace(
        item,
        records={kind: max(0, count - held.records.get(kind, 0)) for kind, count in item.records.items()},
        frames=max(0, item.frames - held.frames),
        count_known=item.count_known and held.complete,
    )
