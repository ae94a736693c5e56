"""What the store remembers of its file between transactions, and how it is read and written.

It is one row of `meta`, written by each transaction that changes anything, with its own checksum: JSON, then eight hex
digits. The counts are those of the rows that the same transaction left, so that a start need not count them. Every
number below a stream's `next_seq` is a row's, a gap's, or `done` with; one that is none of these was lost by the file.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from fieldwatch_agent.spool.numbers import Numbers
from fieldwatch_agent.spool.rows import ROW_BYTES

KEY = "state"


class Damage(sqlite3.DatabaseError):
    """The file contradicts itself: it has to be salvaged."""

    sqlite_errorname = "SQLITE_CORRUPT"


@dataclass
class Stream:
    """One epoch. `ordinal`: the order in which epochs were made, which is the order of sending."""

    epoch: int
    ordinal: int
    next_seq: int
    done: Numbers = field(default_factory=Numbers)  # acked and deleted, or relabelled


@dataclass(frozen=True)
class Mark:
    """The newest commit, as another file than the spool's remembers it: shows a file that lost commits.

    `volatile`: the epoch was in memory; `waiting` numbers before `next_seq`, with `waiting_frames` and
    `waiting_records`, may be lost with it. Frames and records are the account without them; `file_frames` and
    `file_records` that of the file behind it: what the file counts beyond them at the next start was written since.
    """

    epoch: int
    next_seq: int
    run: int
    frames: int
    records: Mapping[int, int]
    waiting: int = 0
    volatile: bool = False
    waiting_frames: int = 0
    waiting_records: Mapping[int, int] = field(default_factory=dict)
    file_frames: int = 0
    file_records: Mapping[int, int] = field(default_factory=dict)


@dataclass
class State:
    """What the store remembers of its file; taken back when a transaction fails."""

    streams: list[Stream] = field(default_factory=list)  # by ordinal; the last one takes new seals
    batches: int = 0
    records: int = 0
    frames: int = 0
    body_bytes: int = 0
    gaps: int = 0
    declared_records: int = 0
    declared_frames: int = 0
    account_frames: int = 0
    account_records: dict[int, int] = field(default_factory=dict)
    run: int = 0
    marks: list[list[int]] = field(default_factory=list)  # [agent's clock in s, epoch, next_seq], see `eviction`
    clock_s: int = 0
    changes: int = 0  # transactions since the file was made: tells copies of this row apart
    meta: dict[str, str] = field(default_factory=dict)  # callers' values
    open_losses: dict[tuple[int, str, bool], tuple[int, int, int]] = field(default_factory=dict)

    @property
    def used_bytes(self) -> int:
        return self.body_bytes + ROW_BYTES * (self.batches + self.gaps)


def is_behind(state: State, mark: Mark) -> bool:
    """Whether the file lacks commits that were made, or is not there at all."""
    known = {stream.epoch: stream.next_seq for stream in state.streams}
    if mark.volatile:
        return False
    if mark.epoch in known:
        return known[mark.epoch] < mark.next_seq
    return mark.run == state.run or not known


def count_rows(db: sqlite3.Connection, state: State) -> None:
    """Take the counts from the rows themselves: the whole table is read, but for the bodies."""
    state.batches, state.records, state.frames, state.body_bytes = db.execute(
        "SELECT count(*), coalesce(sum(records), 0), coalesce(sum(frames), 0), coalesce(sum(length(body)), 0)"
        " FROM batch"
    ).fetchone()
    state.gaps = db.execute("SELECT count(*) FROM gap").fetchone()[0]


def load_state(db: sqlite3.Connection) -> State:
    """The state of a file. Raises Damage where it does not fit what else the file says."""
    kept = db.execute("SELECT value FROM meta WHERE key='state'").fetchone()
    streams = db.execute("SELECT epoch, ordinal, next_seq FROM stream ORDER BY ordinal").fetchall()
    if kept is None and not streams:
        return State()
    state = state_of(kept[0]) if kept else None
    if state is None:
        raise Damage("the spool's state does not match its checksum")
    if streams != [(stream.epoch, stream.ordinal, stream.next_seq) for stream in state.streams]:
        raise Damage("the list of epochs does not match the spool's state")
    for stream in state.streams:
        for query in ("SELECT max(seq) FROM batch WHERE epoch=?", "SELECT max(to_seq) FROM gap WHERE epoch=?"):
            newest = db.execute(query, (stream.epoch,)).fetchone()[0]
            if newest is not None and not 0 < newest < stream.next_seq:
                raise Damage(f"there is a number that was never given: {newest}")
    return state


def state_of(text: object) -> State | None:
    """The state that a row of `meta` holds; None where it does not match its checksum."""
    if not isinstance(text, str):
        return None
    body, given = text[:-8], text[-8:]
    try:
        return _state_of(json.loads(body)) if given == _checksum(body) else None
    except (ValueError, KeyError, TypeError):
        return None


def _state_of(values: dict[str, Any]) -> State:
    batches, records, frames, body_bytes, gaps = values["counts"]
    return State(
        streams=[
            Stream(epoch, ordinal, following, Numbers(done)) for epoch, ordinal, following, done in values["streams"]
        ],
        batches=batches,
        records=records,
        frames=frames,
        body_bytes=body_bytes,
        gaps=gaps,
        declared_records=values["declared"][0],
        declared_frames=values["declared"][1],
        account_frames=values["frames"],
        account_records={int(kind): count for kind, count in values["records"].items()},
        run=values["run"],
        marks=values["marks"],
        clock_s=values["clock_s"],
        changes=values["changes"],
        meta=values["meta"],
    )


def _checksum(body: str) -> str:
    return f"{crc32(body.encode()):08x}"


def save_state(db: sqlite3.Connection, state: State) -> None:
    """Within the caller's transaction."""
    state.changes += 1
    db.executemany(
        "INSERT INTO stream VALUES(?, ?, ?) ON CONFLICT(epoch) DO UPDATE SET"
        " ordinal=excluded.ordinal, next_seq=excluded.next_seq"
        " WHERE ordinal != excluded.ordinal OR next_seq != excluded.next_seq",
        [(stream.epoch, stream.ordinal, stream.next_seq) for stream in reversed(state.streams)],  # they move up
    )
    values = {
        "changes": state.changes,
        "streams": [[stream.epoch, stream.ordinal, stream.next_seq, stream.done.ranges()] for stream in state.streams],
        "counts": [state.batches, state.records, state.frames, state.body_bytes, state.gaps],
        "run": state.run,
        "frames": state.account_frames,
        "records": state.account_records,
        "declared": [state.declared_records, state.declared_frames],
        "marks": state.marks,
        "clock_s": state.clock_s,
        "meta": state.meta,
    }
    body = json.dumps(values, separators=(",", ":"))
    db.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (KEY, body + _checksum(body)))
