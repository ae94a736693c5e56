"""Brings a spool file of an older format up to date: ``python -m fieldwatch_agent.spool.migrate FILE``.

Runs as a child of the daemon, which holds the folder's lock and has closed the file. Each step is one transaction and
ends with the version it leads to, so that a step that was cut off is done again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from sqlite_utils import Database

from fieldwatch_agent.spool.file import FORMAT


def _index_of_classes(db: Database) -> None:
    """2: eviction looks for the oldest batch of a class."""
    db.table("batch").create_index(["class"], index_name="batch_class", if_not_exists=True)


# The step that leads to each version.
STEPS: dict[int, Callable[[Database], None]] = {2: _index_of_classes}


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
