"""What the batches of the log account for, in records and frames: a gap is less by those of its range.

The projector writes a row for each batch, which it opens anyway. A gap opens what was not projected yet, and what is
older than the table, itself and once: the row that it writes is there for the next one. So that no gap holds up the
writer, one transaction opens and looks at so much (`Allowance`), and a gap that needs more is to come again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from fieldwatch_proto.columns import CODEC_MSGPACK_ZSTD, DecodeError, open_body
from fieldwatch_proto.records import Records
from fieldwatch_proto.schema import METRIC_FRAMES_OUTSIDE_FLOWS, Kind

MAX_BATCHES = 65_536  # of a gap's range that are looked at: as many as a spool of 1 GiB holds, of 16 kB each
MAX_ROWS = 256  # that one transaction makes up for
MAX_OPENED_BYTES = 8 << 20  # of bodies as they are unpacked; a single larger one passes when it is the first
RECORD_BYTES = 128  # of a flow record unpacked: a constant of a few octets stands for one in each row
MAX_FRAMES = 1 << 46  # of one batch: the sum of `MAX_BATCHES` is inside SQLite's integers

_RANGE = "agent = ? AND epoch = ? AND seq BETWEEN ? AND ?"
Place = tuple[str, int, int, int]  # agent, epoch as SQLite keeps it, first and last number


class Row(NamedTuple):
    """One of the table; `epoch` as SQLite keeps it."""

    agent: str
    epoch: int
    seq: int
    kind: int
    records: int
    frames: int


@dataclass(slots=True)
class Allowance:
    """What one transaction may still spend on batches that have no row."""

    rows: int = field(default_factory=lambda: MAX_ROWS)
    octets: int = field(default_factory=lambda: MAX_OPENED_BYTES)
    opened: int = 0  # bodies


@dataclass(slots=True)
class Sum:
    """Of the batches in a range. Not `complete`: there are too many to look at."""

    records: dict[int, int] = field(default_factory=dict)  # by kind
    frames: int = 0
    complete: bool = True


def write(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """A batch that has a row already keeps it."""
    connection.executemany(
        "INSERT INTO batch_tally(agent, epoch, seq, kind, records, frames) VALUES(?, ?, ?, ?, ?, ?)"
        " ON CONFLICT(agent, epoch, seq) DO NOTHING",
        rows,
    )


def frames_of(opened: Records) -> int:
    """The frames that a batch accounts for: those of its flows, or counted outside flows."""
    try:
        if opened.kind is Kind.FLOW:
            frames = int(sum(opened.values("packets")) + sum(opened.values("reply_packets")))
        elif opened.kind is Kind.METRIC:
            pairs = zip(opened.values("name"), opened.values("value"), strict=True)
            frames = int(sum(value for name, value in pairs if name == METRIC_FRAMES_OUTSIDE_FLOWS))
        else:
            return 0
    except (KeyError, ValueError, OverflowError):  # a column that is missing, a number that is none
        return 0
    return min(max(0, frames), MAX_FRAMES)


def frames_in(kind: int, records: int, codec: int, raw_bytes: int, body: bytes) -> int:
    """The same of a body; 0 where it cannot be opened."""
    if kind not in (Kind.FLOW, Kind.METRIC) or codec != CODEC_MSGPACK_ZSTD or not body:
        return 0
    try:
        return frames_of(open_body(Kind(kind), records, raw_bytes, body))
    except DecodeError:
        return 0


def held_within(connection: sqlite3.Connection, place: Place, allowance: Allowance) -> Sum | None:
    """What the batches of a range account for; None where the allowance does not reach, and the next one goes on."""
    batches = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM batch WHERE {_RANGE} LIMIT ?)",  # noqa: S608 - a text of ours
        (*place, MAX_BATCHES + 1),
    ).fetchone()[0]
    if batches > MAX_BATCHES:
        return Sum(complete=False)
    found = _sum(connection, place)
    if found.batches < batches:
        if not _make_up(connection, place, allowance):
            return None
        found = _sum(connection, place)
    return Sum(found.records, found.frames)


class _Found(NamedTuple):
    batches: int
    records: dict[int, int]
    frames: int


def _sum(connection: sqlite3.Connection, place: Place) -> _Found:
    rows = connection.execute(
        f"SELECT kind, count(*), sum(records), sum(frames) FROM batch_tally WHERE {_RANGE} GROUP BY kind",  # noqa: S608
        place,
    ).fetchall()
    return _Found(sum(row[1] for row in rows), {row[0]: row[2] for row in rows}, sum(row[3] for row in rows))


def _make_up(connection: sqlite3.Connection, place: Place, allowance: Allowance) -> bool:
    """Write the rows that are missing; whether all of them are there now."""
    missing = connection.execute(
        f"SELECT position, seq, kind, records, codec, raw_bytes FROM batch WHERE {_RANGE}"  # noqa: S608
        " AND NOT EXISTS (SELECT 1 FROM batch_tally AS there"
        " WHERE there.agent = batch.agent AND there.epoch = batch.epoch AND there.seq = batch.seq) LIMIT ?",
        (*place, allowance.rows + 1),
    ).fetchall()
    made = []
    for position, seq, kind, records, codec, raw_bytes in missing:
        frames = 0
        if kind in (Kind.FLOW, Kind.METRIC):
            cost = max(raw_bytes, records * RECORD_BYTES)
            if allowance.opened and cost > allowance.octets:
                break
            body = connection.execute("SELECT body FROM batch WHERE position = ?", (position,)).fetchone()[0]
            allowance.opened += bool(body)
            allowance.octets -= cost if body else 0
            frames = frames_in(kind, records, codec, raw_bytes, body)
        if not allowance.rows:
            break
        allowance.rows -= 1
        made.append(Row(*place[:2], seq, kind, records, frames))
    write(connection, made)
    return len(made) == len(missing)
