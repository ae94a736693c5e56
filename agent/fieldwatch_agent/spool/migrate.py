"""Brings a spool file of an older format up to date: ``python -m fieldwatch_agent.spool.migrate FILE``.

Runs as a child of the daemon, which holds the folder's lock and has closed the file. Each step is one transaction and
ends with the version it leads to, so that a step that was cut off is done again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from sqlite_utils import Database

from fieldwatch_agent.spool.file import FORMAT
from fieldwatch_agent.spool.numbers import Numbers
from fieldwatch_agent.spool.state import State, Stream, count_rows, save_state


def _index_of_classes(db: Database) -> None:
    """2: eviction looks for the oldest batch of a class."""
    db.table("batch").create_index(["class"], index_name="batch_class", if_not_exists=True)


def _state_in_one_row(db: Database) -> None:
    """3: the counts, the epochs and the callers' values stand in the state's row, which has a checksum.

    Numbers that have neither a row nor a gap were acked, as far as such a file can tell.
    """
    state = State()
    count_rows(db.conn, state)
    values = {row["key"]: row["value"] for row in db.table("meta").rows}
    before = json.loads(values.pop("state", "null"))
    if before:
        state.run, state.account_frames = before["run"], before["frames"]
        state.account_records = {int(kind): count for kind, count in before["records"].items()}
        state.declared_records, state.declared_frames = before["declared"]
        state.marks, state.clock_s = before["marks"], before["clock_s"]
    state.meta = {key: str(value) for key, value in values.items()}
    for row in db.table("stream").rows_where(order_by="ordinal"):
        epoch = row["epoch"]
        there = Numbers(db.execute("SELECT seq, seq FROM batch WHERE epoch=? ORDER BY seq", (epoch,)))
        for low, high in db.execute("SELECT from_seq, to_seq FROM gap WHERE epoch=?", (epoch,)):
            there.add(low, high)
        last = max([row["next_seq"] - 1, *(high for _, high in there.ranges()[-1:])])
        state.streams.append(Stream(epoch, row["ordinal"], last + 1, Numbers(there.holes(1, last))))
    db.table("meta").delete_where()
    save_state(db.conn, state)


# The step that leads to each version.
STEPS: dict[int, Callable[[Database], None]] = {2: _index_of_classes, 3: _state_in_one_row}


def migrate(path: Path) -> int:
    """Apply the steps that are due; the version reached."""
    db = Database(path, recursive_triggers=False, execute_plugins=False)
    try:
        version: int = db.conn.execute("PRAGMA user_version").fetchone()[0]
        for target in range(version + 1, FORMAT + 1):
            with db.conn:
                db.conn.execute("BEGIN IMMEDIATE")
                STEPS[target](db)
                db.conn.execute(f"PRAGMA user_version={target}")
            version = target
    finally:
        db.close()
    return version


if __name__ == "__main__":
    migrate(Path(sys.argv[1]))
