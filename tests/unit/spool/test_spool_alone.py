"""Whoever else opens the file of a running agent is locked out, by SQLite itself: two writers damage it (B16)."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fieldwatch_agent.spool.file import FILE_NAME
from fieldwatch_agent.spool.store import Store
from support.spooling import WIDE, put

LOOK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0)
connection.execute("SELECT count(*) FROM batch").fetchone()
connection.close()
"""
BEFORE, AFTER = 3, 10


def look(folder: Path) -> str:
    """What another process is told that only wants to read."""
    done = subprocess.run([sys.executable, "-c", LOOK, str(folder / FILE_NAME)], capture_output=True, text=True)
    return done.stderr


@pytest.mark.parametrize("life", ["new", "opened", "salvaged"])
def test_b16_nobody_else_opens_the_file(tmp_path: Path, life: str) -> None:
    """Of a new spool, of one that was there before, of one that was salvaged in use."""
    store = Store(tmp_path, WIDE)
    store.commit([put(1)])
    if life != "new":
        store.close(clean=True)
        store = Store(tmp_path, WIDE)
    if life == "salvaged":
        store = store.salvage("a test")

    assert "database is locked" in look(tmp_path)
    store.commit([put(2)])
    store.close(clean=True)
    assert look(tmp_path) == ""


def test_b16_no_descriptor_stays_open(tmp_path: Path) -> None:
    """Of a file that was opened, salvaged, closed, however often."""
    descriptors = Path("/proc/self/fd")
    gc.collect()  # what tests before this one left in circles
    before = len(list(descriptors.iterdir()))
    for number in range(3):
        store = Store(tmp_path, WIDE)
        store.commit([put(number)])
        store.salvage("a test").close(clean=True)

    assert len(list(descriptors.iterdir())) == before


def test_b16_a_look_from_outside_costs_nothing(tmp_path: Path) -> None:
    """Somebody looks into the file with SQLite itself, then the agent is killed: all that it committed is there."""
    store = Store(tmp_path, WIDE)
    store.commit([put(n) for n in range(BEFORE)])
    store.close(clean=True)
    child = os.fork()
    if child == 0:
        try:
            running = Store(tmp_path, WIDE)
            running.commit([put(BEFORE)])
            look(tmp_path)
            for number in range(BEFORE + 1, AFTER):
                running.commit([put(number)])
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)

    again = Store(tmp_path, WIDE)

    assert (again.status().batches, again.current.next_seq, again.salvaged) == (AFTER, AFTER + 1, None)
