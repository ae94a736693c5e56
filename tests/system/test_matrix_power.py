"""The power goes: every state of the disk that the log of writes allows is rebuilt and opened (rows 4 and 5)."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldwatch_agent.spool.items import START, Batch
from fieldwatch_agent.spool.store import Store
from fieldwatch_collector.store import BatchItem, Outcome
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_proto.columns import digest
from support.disk import CREATE, RENAME, SYNC, UNLINK, Disk, State, WatchedDisk, lay_out, read_log
from support.spooling import WIDE, body, put

from system.power_cut import AGENT, EPOCH, PROMISES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
SEED = int(os.environ.get("FIELDWATCH_POWER_SEED", "2026"))
TORN = int(os.environ.get("FIELDWATCH_POWER_TORN", "1"))  # random states at each point of the log
EVERY = int(
    os.environ.get("FIELDWATCH_POWER_EVERY", "7")
)  # of the states one in so many is opened; by hand all of them


def _cuts(tmp_path: Path, what: str) -> Iterator[tuple[list[dict[str, object]], State]]:
    """(what had been promised, what lies on the disk) of every cut."""
    data, scratch = tmp_path / "data", tmp_path / "scratch"
    data.mkdir()
    scratch.mkdir()
    watched = WatchedDisk(data, scratch)
    command = [sys.executable, "-m", "system.power_cut", what, str(data), str(SEED)]
    done = subprocess.run(
        command, env={**os.environ, **watched.environ}, capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 0, done.stderr
    operations = read_log(watched.log)
    assert sum(operation.code == SYNC for operation in operations) > 20, "the shim has seen no syncs"
    dice, disk, promises, number = random.Random(SEED), Disk(), [], 0
    for operation in operations:
        if operation.name == PROMISES:
            promises += [json.loads(operation.octets)] if operation.octets else []
            continue
        disk.run(operation)
        for state in [disk.now] if operation.code in (CREATE, RENAME, UNLINK) else disk.states(dice, TORN):
            number += 1
            if number % EVERY == 0:
                yield promises, state()


def _promised(promises: list[dict[str, object]]) -> dict[int, bytes]:
    """seq -> body of everything that has to be there still."""
    there: dict[int, bytes] = {}
    for promise in promises:
        for seq, (number, octets) in promise.get("stored", {}).items():  # type: ignore[attr-defined]
            there[int(seq)] = body(number, octets)
        for seq in promise.get("acked", ()):  # type: ignore[attr-defined]
            del there[seq]
    return there


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def test_row_04_power_cut_of_the_agent(tmp_path: Path) -> None:
    """Whatever part of the unsynced writes is there: the spool opens, holds what was committed and not acked, every
    body sound, and gives no number anew.
    """
    cuts, folder = 0, tmp_path / "after"
    for promises, state in _cuts(tmp_path, "spool"):
        cuts += 1
        lay_out(state, _fresh(folder))
        store = Store(folder, WIDE)
        place, found = START, {}
        while items := store.peek(place, max_items=1_000):
            found.update({item.seq: item for _, item in items if isinstance(item, Batch)})
            place = items[-1][0]
        promised = _promised(promises)
        if promised:
            assert store.salvaged is None, (cuts, store.salvaged)
            assert store.state.streams[0].epoch == promises[0]["epoch"]
        for seq, octets in promised.items():
            assert seq in found, f"cut {cuts}: batch {seq} was committed and is gone"
            assert found[seq].body == octets
        assert all(digest(batch.body) == batch.digest for batch in found.values())
        number = store.current.next_seq
        seen = [int(seq) for promise in promises for seq in promise.get("stored", {})]  # type: ignore[attr-defined]
        assert number > max([0, *found, *seen]), f"cut {cuts}: number {number} is given twice"
        store.commit([put(9_999)])
        assert store.db.execute("PRAGMA quick_check").fetchone() == ("ok",)
        store.close(clean=False)
    assert cuts > 500 // EVERY


def test_row_05_power_cut_of_the_collector(tmp_path: Path) -> None:
    """Whatever part of the unsynced writes is there: the store opens, holds every batch that was acked, once and with
    the octets it came with, and knows a repeat of it.
    """
    cuts, folder = 0, tmp_path / "after"
    for promises, state in _cuts(tmp_path, "store"):
        promised = _promised(promises)
        cuts += 1
        lay_out(state, _fresh(folder))
        store = SqliteStore(folder / "collector.db")
        store.migrate()
        with store.reader() as connection:
            rows = connection.execute("SELECT seq, digest, body FROM batch").fetchall()
            assert connection.execute("PRAGMA quick_check").fetchone()[0] == "ok"
        bodies = {row["seq"]: row["body"] for row in rows}
        assert len(bodies) == len(rows)
        assert {seq: bodies.get(seq) for seq in promised} == promised, f"cut {cuts}"
        again = [_item(seq, octets) for seq, octets in bodies.items()]
        if again:
            result = asyncio.run(store.put(AGENT, again))
            assert set(result.outcomes) == {Outcome.DUPLICATE}
        store.close()
    assert cuts > 500 // EVERY


def _item(seq: int, octets: bytes) -> BatchItem:
    return BatchItem(EPOCH, seq, 1, 1, 1, 1, len(octets), 5, 6, digest(octets), octets)
