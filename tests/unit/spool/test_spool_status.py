"""What `spool status` says for people: what is at risk, what the disk suffers, how the check went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fieldwatch_agent.cli.spool import _status_lines
from fieldwatch_agent.spool.control import ControlServer, read_status
from fieldwatch_agent.spool.file import Lock
from fieldwatch_agent.spool.memory import SAVER
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_agent.spool.wear import Pace, Wear
from support.spooling import WIDE, put
from support.stack import wait_for

WORN = {
    "write_measured": True,
    "written_bytes": 12_300_000,
    "written_bytes_day": 45_000_000,
    "write_budget_bytes_day": 50_000_000,
    "card_life_years": 5.8,
    "card_capacity_bytes": 32_000_000_000,
    "card_cycles": 3_000,
    "seal_age_s": 40.0,
}


def told(folder: Path, spare: bool, described: dict[str, Any]) -> dict[str, str]:
    """The lines for a folder whose agent runs, with a batch that waits."""
    lock = Lock(folder)
    thread = SpoolThread(folder, WIDE)
    thread.start()
    if spare:
        thread.spare_disk()
        wait_for(lambda: thread.call(Store.status).memory_only == SAVER, "it is in memory")
    thread.put(put(1))
    assert thread.flush()
    fresh = {"fresh_acked_ns": 0, "fresh_acked_age_s": None}
    base = {"running": True, "pid": 1, "state": "capturing", "collector": "connected", **fresh}
    control = ControlServer(folder, thread, lambda: {**base, **described})
    control.start()
    try:
        return dict(_status_lines(read_status(folder)))
    finally:
        control.close()
        thread.close(clean=False)
        lock.release()


def test_a_card_and_its_budget(tmp_path: Path) -> None:
    """Written, projected, allowed; the life of the card with what it assumes; how much is not sealed yet."""
    lines = told(tmp_path, False, WORN)

    assert lines["written"] == (
        "12.3 MB since the start, 45 MB a day at the rate of the last hours, of at most 50 MB a day"
    )
    assert lines["card life"] == "5.8 years, for a disk of 32 GB x 3000 cycles"
    assert lines["unsealed"] == "records of the last 40 s at most"
    assert "at risk" not in lines


@pytest.mark.parametrize("spare", [True, False])
def test_what_a_power_cut_would_take(tmp_path: Path, spare: bool) -> None:
    """In saver mode the records in memory are counted."""
    wear = Wear(tmp_path, Pace(48 << 10, 5.0))

    lines = told(tmp_path, spare, wear.describe())

    assert lines.get("at risk") == (f"3 records in memory only: {SAVER}" if spare else None)


def test_the_check_after_an_unclean_stop(tmp_path: Path) -> None:
    """How far it is, and what it found."""
    store = Store(tmp_path, WIDE)
    store.begin_run(7, [], {})
    store.commit([put(n) for n in range(5)])
    store.db.close()

    lines = told(tmp_path, False, WORN)

    assert lines["check"].startswith("after an unclean stop, ")
    assert lines["check"].endswith(" read, all sound")
