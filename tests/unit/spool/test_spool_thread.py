"""The spool's thread: it never makes anybody wait, it counts what it cannot keep, it gets over a full disk."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldwatch_agent.spool.control import ControlServer, ask_daemon, export_lines, read_status
from fieldwatch_agent.spool.file import FILE_NAME, SOCKET_NAME, Lock
from fieldwatch_agent.spool.items import Gap, Loss, SpoolError
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_proto.v1.agent_pb2 import GapReason
from support.spooling import WIDE, put
from support.stack import wait_for


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolThread]:
    thread = SpoolThread(tmp_path, WIDE, queue_bytes=2_000)
    thread.start()
    yield thread
    if thread.is_alive():
        thread.close(clean=False)


def test_put_is_on_disk_after_flush_and_told(tmp_path: Path) -> None:
    """The shipper is told after the commit, not before."""
    told = threading.Event()
    thread = SpoolThread(tmp_path, WIDE, on_change=told.set)
    thread.start()

    thread.put(put(1))

    assert told.wait(30)
    assert thread.call(Store.status).batches == 1
    thread.close(clean=True)
    again = Store(tmp_path, WIDE)
    assert (again.status().batches, again.get_meta("clean_stop")) == (1, "1")


def test_a_full_queue_is_counted_and_never_waits(spool: SpoolThread) -> None:
    """What does not fit is declared with its frames and records, and counts in the account as if it were sealed."""
    blocked, go = threading.Event(), threading.Event()
    spool.post(lambda store: (blocked.set(), go.wait(60)))
    assert blocked.wait(30)

    begun = time.monotonic()
    kept = [spool.put(put(n, frames=2, octets=600)) for n in range(5)]
    waited = time.monotonic() - begun
    go.set()
    assert spool.flush()

    assert kept == [True, True, True, False, False]
    assert waited < 10  # whoever waits for the thread does so for a minute
    gaps = [item for _, item in spool.call(Store.peek) if isinstance(item, Gap)]
    assert [(gap.reason, gap.frames, gap.records) for gap in gaps] == [(GapReason.BACKPRESSURE, 4, {1: 6})]
    assert spool.call(lambda store: (store.state.account_frames, store.state.account_records)) == (10, {1: 15})


def test_a_loss_and_what_explains_it_become_true_together(spool: SpoolThread) -> None:
    """`declare` writes the gap and the caller's meta in one transaction."""
    spool.declare(Loss(GapReason.KERNEL_DROP, 3, detail="eth0"), {"interface:eth0": "x"})
    assert spool.flush()

    assert spool.call(lambda store: (store.get_meta("interface:eth0"), store.status().gaps)) == ("x", 1)


def test_a_full_disk_loses_nothing_that_fits_into_memory(tmp_path: Path) -> None:
    """While there is no room batches wait in the queue; acks still free rows; when room comes everything is kept."""
    thread = SpoolThread(tmp_path, WIDE)
    thread.start()
    for number in range(1, 9):
        thread.put(put(number, octets=20_000))
    assert thread.flush()
    thread.call(lambda store: store.db.execute("PRAGMA max_page_count=1").fetchall())

    for number in range(9, 17):
        thread.put(put(number, octets=20_000))
    wait_for(lambda: thread.failed_commits > 0, "a commit fails")
    assert thread.call(Store.status).batches == 8
    thread.ack(thread.call(lambda store: store.current.epoch), [(1, 4)])
    wait_for(lambda: thread.call(Store.status).batches > 4, "room that acks gave is used")
    thread.call(lambda store: store.db.execute("PRAGMA max_page_count=100000").fetchall())
    assert thread.flush()

    status = thread.call(Store.status)
    assert (status.batches, status.gaps, status.declared_records) == (12, 0, 0)
    thread.close(clean=True)


def test_a_call_that_meets_damage_again_fails(tmp_path: Path) -> None:
    """The file is salvaged once, with what it held; the caller is told, and what is sealed next is kept."""
    thread = SpoolThread(tmp_path, WIDE)
    thread.start()
    thread.put(put(1, frames=7))
    assert thread.flush()

    failed = sqlite3.DatabaseError("database disk image is malformed")
    failed.sqlite_errorname = "SQLITE_CORRUPT"  # type: ignore[misc]

    def damaged(store: Store) -> None:
        raise failed

    with pytest.raises(SpoolError, match="malformed"):
        thread.call(damaged)
    thread.put(put(2, frames=2))
    assert thread.flush()

    assert thread.quarantines == 1
    assert len(list((tmp_path / "quarantine").glob(f"*/{FILE_NAME}"))) == 1
    status = thread.call(Store.status)
    assert (status.batches, status.gaps) == (2, 0)
    assert thread.call(lambda store: store.state.account_frames) == 9
    thread.close(clean=True)


def test_status_and_export_ask_the_running_daemon(tmp_path: Path) -> None:
    """One process has the file; others ask it over a socket that only the owner can open."""
    lock = Lock(tmp_path)
    thread = SpoolThread(tmp_path, WIDE)
    thread.start()
    control = ControlServer(tmp_path, thread, lambda: {"running": True})
    control.start()
    thread.put(put(1))
    thread.declare(Loss(GapReason.KERNEL_DROP, 3))
    assert thread.flush()

    status = read_status(tmp_path)
    lines = list(export_lines(tmp_path))

    assert (status["running"], status["records"], status["gaps"]) == (True, 3, 1)
    assert (tmp_path / SOCKET_NAME).stat().st_mode & 0o777 == 0o600
    assert [line.split(",")[0] for line in lines] == ['{"type": "batch"', '{"type": "gap"']
    assert "fieldwatch_agent" in next(ask_daemon(tmp_path, "modules"))
    control.close()
    thread.close(clean=True)
    lock.release()
    assert read_status(tmp_path)["running"] is False
    assert list(export_lines(tmp_path)) == lines
