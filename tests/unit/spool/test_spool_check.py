"""`spool fsck`: what is wrong is named, and the file is left as it was."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from fieldwatch_agent.spool.check import MAX_PROBLEMS, check
from fieldwatch_agent.spool.file import FILE_NAME, Lock
from fieldwatch_agent.spool.items import Loss, SpoolError
from fieldwatch_agent.spool.store import Store
from fieldwatch_proto.v1.agent_pb2 import GapReason
from support.spooling import WIDE, body, put


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three batches and a gap, closed as after a kill: what was committed last is still in the -wal file."""
    live = tmp_path / "live"
    live.mkdir()
    store = Store(live, WIDE)
    store.commit([put(1), put(2), put(3)], [Loss(GapReason.KERNEL_DROP, 7)])
    left = tmp_path / "left"
    left.mkdir()
    for name in (FILE_NAME, f"{FILE_NAME}-wal"):
        (left / name).write_bytes((live / name).read_bytes())
    store.close(clean=True)
    return left


def change(folder: Path, *statements: str) -> None:
    connection = sqlite3.connect(folder / FILE_NAME)
    for sql in statements:
        connection.execute(sql)
    connection.commit()
    connection.close()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_sound(folder: Path) -> None:
    """Every row is seen, those that a killed agent left in the log too; the file is not changed."""
    before = hashlib.sha256((folder / FILE_NAME).read_bytes()).digest()

    assert check(folder) == ([], 4, "")
    assert hashlib.sha256((folder / FILE_NAME).read_bytes()).digest() == before
    assert "quarantine" not in names(folder)


@pytest.mark.parametrize(
    ("sql", "line"),
    [
        ("UPDATE batch SET body = zeroblob(9) WHERE seq = 2", "/2: 3 records damaged"),
        ("UPDATE batch SET records = records + 1 WHERE seq = 2", "/2: its numbers do not match their checksum"),
        ("UPDATE batch SET crc = 'text' WHERE seq = 2", "/2: its numbers do not match their checksum"),
        ("UPDATE gap SET frames = frames + 1", ": does not match its checksum"),
        ("DROP INDEX batch_class", "file: index batch_class is missing"),
        ("DROP TABLE relabelled", "file: table relabelled is missing"),
        ("ALTER TABLE relabelled DROP COLUMN ts_ns", "file: table relabelled has no column ts_ns"),
        ("PRAGMA user_version = 99", "file: format 99 is newer than "),
    ],
)
def test_what_is_wrong_is_named(folder: Path, sql: str, line: str) -> None:
    """One line; rows are counted all the same."""
    change(folder, sql)

    (problem,), rows, remedy = check(folder)

    assert line in problem
    assert rows == 4
    assert "can be kept as they are" in remedy


def test_an_older_format_is_no_problem(folder: Path) -> None:
    """It is brought up to date when the agent starts, and not by who only looks."""
    change(folder, "DROP INDEX batch_class", "PRAGMA user_version = 1")

    assert check(folder) == ([], 4, "")
    with sqlite3.connect(folder / FILE_NAME) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize("damage", [lambda _: b"this is no database" * 300, lambda octets: octets[:5_000]])
def test_a_file_that_cannot_be_read_stays_where_it_is(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    """The agent will put it into the quarantine; the check does not."""
    change(folder, "PRAGMA wal_checkpoint")
    damaged = damage((folder / FILE_NAME).read_bytes())
    (folder / FILE_NAME).write_bytes(damaged)
    (folder / f"{FILE_NAME}-wal").unlink(missing_ok=True)

    problems, _, _ = check(folder)

    assert 0 < len(problems) <= MAX_PROBLEMS
    assert all(line.startswith("file: ") for line in problems)
    assert (folder / FILE_NAME).read_bytes() == damaged
    assert "quarantine" not in names(folder)


def test_not_beside_a_running_agent(folder: Path) -> None:
    """One line that says who has it; and one where there is no spool."""
    lock = Lock(folder)
    with pytest.raises(SpoolError, match="in use by another fieldwatch-agent"):
        check(folder)
    lock.release()
    with pytest.raises(SpoolError, match="no spool there"):
        check(folder / "nowhere")


def test_what_a_salvage_would_keep_is_what_it_keeps(folder: Path) -> None:
    """Batches, gaps and lost numbers, told beforehand; the file is not changed by it."""
    change(folder, "PRAGMA user_version")  # which brings the log into the file
    whole = (folder / FILE_NAME).read_bytes()
    (folder / FILE_NAME).write_bytes(whole.replace(body(2)[:20], bytes(20)))

    remedy = check(folder).remedy

    done = Store(folder, WIDE).salvage("a test").salvaged
    assert remedy == "2 batches and 1 gap can be kept as they are, 1 number declared lost"
    assert done is not None
    assert (done.batches, done.gaps, done.lost) == (2, 1, 1)
