"""What the store remembers of its file between transactions, and how it is read and written."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field

from fieldwatch_agent.spool.rows import ROW_BYTES


@dataclass
class Stream:
    """One epoch. `ordinal`: the order in which epochs were made, which is the order of sending."""

    epoch: int
    ordinal: int
    next_seq: int


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
    open_losses: dict[tuple[int, str, bool], tuple[int, int, int]] = field(default_factory=dict)

    @property
    def used_bytes(self) -> int:
        return self.body_bytes + ROW_BYTES * (self.batches + self.gaps)


def load_state(db: sqlite3.Connection) -> State:
    """The state of a file. A number is never given twice, whatever its stream's row says."""
    state = State()
    for epoch, ordinal, next_seq in db.execute("SELECT epoch, ordinal, next_seq FROM stream ORDER BY ordinal"):
        state.streams.append(Stream(epoch, ordinal, next_seq))
    for stream in state.streams:
        for query in ("SELECT max(seq) FROM batch WHERE epoch=?", "SELECT max(to_seq) FROM gap WHERE epoch=?"):
            newest = db.execute(query, (stream.epoch,)).fetchone()[0]
            stream.next_seq = max(stream.next_seq, (newest or 0) + 1)
    state.batches, state.records, state.frames, state.body_bytes = db.execute(
        "SELECT count(*), coalesce(sum(records), 0), coalesce(sum(frames), 0), coalesce(sum(length(body)), 0)"
        " FROM batch"
    ).fetchone()
    state.gaps = db.execute("SELECT count(*) FROM gap").fetchone()[0]
    kept = db.execute("SELECT value FROM meta WHERE key='state'").fetchone()
    if kept:
        values = json.loads(kept[0])
        state.run = values["run"]
        state.account_frames = values["frames"]
        state.account_records = {int(kind): count for kind, count in values["records"].items()}
        state.declared_records, state.declared_frames = values["declared"]
        state.marks = values["marks"]
        state.clock_s = values["clock_s"]
    return state


def save_state(db: sqlite3.Connection, state: State) -> None:
    """Within the caller's transaction."""
    db.executemany(
        "INSERT INTO stream VALUES(?, ?, ?) ON CONFLICT(epoch) DO UPDATE SET next_seq=excluded.next_seq",
        [(stream.epoch, stream.ordinal, stream.next_seq) for stream in state.streams],
    )
    values = {
        "run": state.run,
        "frames": state.account_frames,
        "records": state.account_records,
        "declared": [state.declared_records, state.declared_frames],
        "marks": state.marks,
        "clock_s": state.clock_s,
    }
    db.execute("INSERT OR REPLACE INTO meta VALUES('state', ?)", (json.dumps(values),))
