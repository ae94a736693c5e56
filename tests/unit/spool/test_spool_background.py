"""After an unclean stop the whole file is checked behind the scenes; after a clean one it is not."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_agent.spool.file import FILE_NAME
from fieldwatch_agent.spool.items import Batch, Gap
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_proto.v1.agent_pb2 import GapReason
from support.spooling import WIDE, body, put
from support.stack import wait_for

COUNT = 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty batches, of a run that was killed; some are acked."""
    store = Store(tmp_path, WIDE)
    store.begin_run(7, [], {})
    store.commit([put(n) for n in range(1, COUNT + 4)])
    store.ack(store.current.epoch, 3)
    store.commit([])
    store.db.close()
    return tmp_path


def change(folder: Path, sql: str) -> None:
    with sqlite3.connect(folder / FILE_NAME) as connection:
        connection.execute(sql)
    connection.close()


def checked(folder: Path) -> tuple[dict[str, Any], list[Batch | Gap], list[str], int]:
    """How the check ended, what waits then, which alarms were raised, and how many files were salvaged."""
    alarms: list[str] = []
    thread = SpoolThread(folder, WIDE)
    thread.tell(lambda kind, data: alarms.append(kind))
    thread.start()
    assert thread.recovery.check.describe()["state"] != "not needed"
    thread.put(put(1_000))
    assert thread.flush(), "the check delays nothing"
    wait_for(lambda: not thread.recovery.check.running, "the check is over")
    items = thread.call(lambda store: [item for _, item in store.peek(max_items=100)])
    thread.close(clean=True)
    return thread.recovery.check.describe(), items, alarms, thread.quarantines


def test_a_sound_file(folder: Path) -> None:
    """Every row is read once, and nothing is changed."""
    result, items, alarms, salvaged = checked(folder)

    assert result == {"state": "done", "rows": COUNT + 1, "damaged": 0}
    assert [item.body for item in items if isinstance(item, Batch)] == [body(n) for n in (*range(4, COUNT + 4), 1_000)]
    assert (alarms, salvaged) == ([], 0)


@pytest.mark.parametrize(("column", "known"), [("body=zeroblob(7)", True), ("frames=frames+1", False)])
def test_damaged_rows_are_declared_before_they_are_sent(folder: Path, column: str, known: bool) -> None:
    """The result says how many, and an alarm is raised."""
    change(folder, f"UPDATE batch SET {column} WHERE seq IN (9, 20)")

    result, items, alarms, salvaged = checked(folder)

    gaps = [item for item in items if isinstance(item, Gap)]
    assert result == {"state": "done", "rows": COUNT + 1, "damaged": 2}
    assert [(gap.from_seq, gap.reason, gap.count_known) for gap in gaps] == [
        (9, GapReason.CORRUPT, known),
        (20, GapReason.CORRUPT, known),
    ]
    assert (alarms, salvaged) == (["agent.spool_damaged_rows"], 0)


@pytest.mark.parametrize("sql", ["DELETE FROM batch WHERE seq=9", "UPDATE batch SET seq=9000 WHERE seq=9"])
def test_a_number_that_is_gone_is_declared(folder: Path, sql: str) -> None:
    """No row, no gap, not done with: the file is salvaged, and the number has a gap."""
    change(folder, sql)
    change(folder, "VACUUM")  # else the salvage finds what was deleted
    store = Store(folder, WIDE)
    if store.salvaged is None:  # else it was seen at the start
        store.db.close()
        _, items, alarms, salvaged = checked(folder)
        assert (alarms, salvaged) == (["agent.spool_salvaged"], 1)
    else:
        items = [item for _, item in store.peek(max_items=100)]

    gaps = [(gap.from_seq, gap.to_seq, gap.reason) for gap in items if isinstance(gap, Gap)]
    assert gaps == [(9, 9, GapReason.CORRUPT)]


def test_no_check_after_a_clean_stop(folder: Path) -> None:
    """The start is quick, and each row is checked when it is sent."""
    Store(folder, WIDE).close(clean=True)

    thread = SpoolThread(folder, WIDE)
    thread.start()

    assert thread.recovery.check.describe() == {"state": "not needed", "rows": 0, "damaged": 0}
    thread.close(clean=True)
