"""The batch log: what `put` does inside the writer's transaction.

An item is held when its numbers are in the stream's high-water mark or sparse ranges; that is remembered for ever, the
body need not be. A gap fills its numbers like a batch, so a resent gap, and a batch that comes after the gap which
declared it lost, are duplicates: nothing is stored twice, and nothing is both stored and counted as lost.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fieldwatch_proto.columns import CODEC_MSGPACK_ZSTD, DecodeError, open_body
from fieldwatch_proto.schema import METRIC_FRAMES_OUTSIDE_FLOWS, Kind
from fieldwatch_proto.v1.agent_pb2 import GapReason

from fieldwatch_collector.journal import record
from fieldwatch_collector.store import BatchItem, GapItem, Held, Item, Outcome, PutResult
from fieldwatch_collector.store.ranges import add, from_lists, holds, overlaps

INSERT_BATCH = (
    "INSERT INTO batch(agent, epoch, seq, kind, schema, codec, records, raw_bytes, t_min, t_max, received_ns, digest,"
    " body) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_REASONS = {value: name.lower() for name, value in GapReason.items()}


def signed(epoch: int) -> int:
    """An epoch (u64) as SQLite's 64-bit integer."""
    return epoch - (1 << 64) if epoch >= 1 << 63 else epoch


def read_held(connection: sqlite3.Connection, agent: str, epoch: int) -> Held:
    """What is held of one stream."""
    row = connection.execute(
        "SELECT high_water, sparse FROM stream WHERE agent = ? AND epoch = ?", (agent, signed(epoch))
    ).fetchone()
    return from_lists(row[0], json.loads(row[1])) if row else Held()


def put_items(connection: sqlite3.Connection, agent: str, items: Sequence[Item]) -> PutResult:
    """Insert what is new and move the marks; the caller commits."""
    held: dict[int, Held] = {}
    stored: dict[int, int] = {}  # epoch that changed -> records of its new batches
    outcomes, events = [], []
    for item in items:
        state = held.get(item.epoch)
        if state is None:
            state = held[item.epoch] = read_held(connection, agent, item.epoch)
        if isinstance(item, BatchItem):
            outcome, after = _put_batch(connection, agent, item, state)
        else:
            outcome, after = _put_gap(connection, agent, item, state)
            if outcome is Outcome.STORED:
                events.append(_gap_event(connection, agent, item))
        outcomes.append(outcome)
        if after is not state:
            held[item.epoch] = after
            stored[item.epoch] = stored.get(item.epoch, 0) + (item.records if isinstance(item, BatchItem) else 0)
    for epoch, records in stored.items():
        connection.execute(
            "INSERT INTO stream(agent, epoch, high_water, sparse, records) VALUES(?, ?, ?, ?, ?)"
            " ON CONFLICT(agent, epoch) DO UPDATE SET high_water = excluded.high_water, sparse = excluded.sparse,"
            " records = records + excluded.records",
            (agent, signed(epoch), held[epoch].high_water, json.dumps(held[epoch].also), records),
        )
    return PutResult(outcomes, held, events)


def _put_batch(connection: sqlite3.Connection, agent: str, item: BatchItem, held: Held) -> tuple[Outcome, Held]:
    if holds(held, item.seq, item.seq):
        row = connection.execute(
            "SELECT digest FROM batch WHERE agent = ? AND epoch = ? AND seq = ?", (agent, signed(item.epoch), item.seq)
        ).fetchone()
        return (Outcome.CONFLICT if row and row[0] != item.digest else Outcome.DUPLICATE), held
    after = add(held, item.seq, item.seq)
    if after is None:
        return Outcome.LATER, held
    connection.execute(
        INSERT_BATCH,
        (
            agent,
            signed(item.epoch),
            item.seq,
            item.kind,
            item.schema,
            item.codec,
            item.records,
            item.raw_bytes,
            item.t_min,
            item.t_max,
            time.time_ns(),
            item.digest,
            item.body,
        ),
    )
    return Outcome.STORED, after


def _put_gap(connection: sqlite3.Connection, agent: str, item: GapItem, held: Held) -> tuple[Outcome, Held]:
    if holds(held, item.from_seq, item.to_seq):
        return Outcome.DUPLICATE, held
    after = add(held, item.from_seq, item.to_seq)
    if after is None:
        return Outcome.LATER, held
    if overlaps(held, item.from_seq, item.to_seq):
        item = _without_what_is_held(connection, agent, item)
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
    }
    return record(connection, "agent.gap", site=site, agent=agent, subject=("agent", agent, name), data=data)


def _without_what_is_held(connection: sqlite3.Connection, agent: str, item: GapItem) -> GapItem:
    """The gap less the batches of its range that had come through (their acks were lost, the agent evicted them).

    Smaller gaps inside the range are replaced: the new one states all that its numbers held.
    """
    place = (agent, signed(item.epoch), item.from_seq, item.to_seq)
    connection.execute(
        "DELETE FROM gap WHERE agent = ? AND epoch = ? AND from_seq >= ? AND to_seq <= ?",
        place,
    )
    records, frames = dict(item.records), item.frames
    for kind, count, codec, raw_bytes, body in connection.execute(
        "SELECT kind, records, codec, raw_bytes, body FROM batch WHERE agent = ? AND epoch = ? AND seq BETWEEN ? AND ?",
        place,
    ):
        records[kind] = max(0, records.get(kind, 0) - count)
        frames -= _frames_of(kind, count, codec, raw_bytes, body)
    return replace(item, records=records, frames=max(0, frames))


def _frames_of(kind: int, records: int, codec: int, raw_bytes: int, body: bytes) -> int:
    """The frames that a batch accounts for: those of its flows, or counted outside flows."""
    if kind not in (Kind.FLOW, Kind.METRIC) or codec != CODEC_MSGPACK_ZSTD:
        return 0
    try:
        opened = open_body(Kind(kind), records, raw_bytes, body)
        if kind == Kind.FLOW:
            return int(sum(opened.values("packets")) + sum(opened.values("reply_packets")))
        pairs = zip(opened.values("name"), opened.values("value"), strict=True)
        return int(sum(value for name, value in pairs if name == METRIC_FRAMES_OUTSIDE_FLOWS))
    except (DecodeError, KeyError, ValueError, OverflowError):
        return 0
