"""`spool status`, `export`, `fsck` and the question of `clear`, with no agent: who looks changes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_agent.cli.main import main
from fieldwatch_agent.spool.clear import waiting
from fieldwatch_agent.spool.control import ControlServer, export_lines
from fieldwatch_agent.spool.file import FILE_NAME, RENEWED_NAME, SOCKET_NAME, Lock
from fieldwatch_agent.spool.items import Loss, SpoolError
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_proto.v1.agent_pb2 import GapReason
from support.spooling import WIDE, body, put

BATCHES = 6


def left_by_a_kill(folder: Path) -> None:
    """Six batches and a gap; the newest are in the -wal alone."""
    live = folder.with_name("live")
    live.mkdir()
    store = Store(live, WIDE)
    store.commit([put(number, octets=3_000) for number in range(BATCHES - 1)], [Loss(GapReason.KERNEL_DROP, 7)])
    store.checkpoint()
    store.commit([put(BATCHES - 1)])
    for name in (FILE_NAME, f"{FILE_NAME}-wal"):
        (folder / name).write_bytes((live / name).read_bytes())
    store.close(clean=True)


def left_by_a_stop(folder: Path) -> None:
    """The same, all in the file."""
    left_by_a_kill(folder)
    Store(folder, WIDE).close(clean=True)


def flip(folder: Path, octets: bytes) -> None:
    file = folder / FILE_NAME
    whole = bytearray(file.read_bytes())
    whole[whole.index(octets)] ^= 1
    file.write_bytes(whole)


def a_body_flipped(folder: Path) -> None:
    left_by_a_stop(folder)
    flip(folder, body(2, 3_000)[100:140])


def a_header_overwritten(folder: Path) -> None:
    left_by_a_stop(folder)
    with (folder / FILE_NAME).open("r+b") as file:
        file.seek(100)
        file.write(b"XXXXXXXX")


def of_format(number: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        left_by_a_stop(folder)
        connection = sqlite3.connect(folder / FILE_NAME)
        connection.execute(f"PRAGMA user_version={number}")
        connection.close()

    return make


def no_octet(folder: Path) -> None:
    (folder / FILE_NAME).touch()


def no_file(folder: Path) -> None:
    del folder


DAMAGED = "nothing was changed. When the agent runs it keeps what is whole"
CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "killed": (left_by_a_kill, ""),
    "stopped": (left_by_a_stop, ""),
    "flipped": (a_body_flipped, ""),
    "damaged": (a_header_overwritten, DAMAGED),
    "empty": (no_octet, DAMAGED),
    "newer": (of_format(9), "format 9 is newer than 3, the one this program knows; use the newer program"),
    "older": (of_format(1), "format 1 is older than 3; the agent brings it up to date when it runs"),
    "none": (no_file, "no spool there; it is made by: fieldwatch-agent run --data"),
}


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """As if an agent had the folder."""
    lock = Lock(folder)
    try:
        yield
    finally:
        lock.release()


def marks(folder: Path) -> dict[str, bytes]:
    """What is in the folder, but for the lock and SQLite's index of the WAL, which hold nothing."""
    nothing = ("spool.lock", f"{FILE_NAME}-shm")
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).digest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in nothing
    }


@pytest.mark.parametrize("case", CASES)
def test_who_looks_changes_nothing(case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever is in the file: each command says what it sees, or what is wrong and what is next."""
    make, problem = CASES[case]
    folder = tmp_path / "agent"
    folder.mkdir()
    make(folder)
    before = marks(folder)
    at = ("--data", str(folder))

    for command in (["status", *at], ["export", "-", *at], ["fsck", *at], ["status", *at]):
        code = main(["spool", *command])
        said = capfd.readouterr()
        assert marks(folder) == before
        if command[0] != "fsck":
            assert (code, problem in said.err) == (1 if problem else 0, True)
        if command[0] == "export" and not problem:
            kinds = [json.loads(line)["type"] for line in said.out.splitlines()]
            gaps = 2 if case == "flipped" else 1
            assert sorted(kinds) == ["batch"] * (BATCHES + 1 - gaps) + ["gap"] * gaps


def test_a_row_that_is_damaged_is_still_there_after_an_export(tmp_path: Path) -> None:
    """It is shown as the gap that it becomes when the agent runs, and stays as it is until then."""
    folder = tmp_path / "agent"
    folder.mkdir()
    a_body_flipped(folder)

    twice = [[json.loads(line) for line in export_lines(folder)] for _ in range(2)]

    gaps = [(item["from_seq"], item["frames"], item["reason"]) for item in twice[0] if item["type"] == "gap"]
    assert gaps[0] == (3, 5, GapReason.CORRUPT)
    assert [item.get("seq") for item in twice[0]] == [item.get("seq") for item in twice[1]]
    store = Store(folder, WIDE)
    assert store.status().batches == BATCHES
    store.close(clean=False)


def test_a_renewed_file_that_is_alone_is_the_spool(tmp_path: Path) -> None:
    """A salvage that was killed between its two steps: what it kept can be seen."""
    folder = tmp_path / "agent"
    folder.mkdir()
    left_by_a_stop(folder)
    (folder / FILE_NAME).rename(folder / RENEWED_NAME)

    assert len(list(export_lines(folder))) == BATCHES + 1
    assert marks(folder).keys() == {RENEWED_NAME}


def test_an_export_that_cannot_be_made_leaves_the_one_before(tmp_path: Path) -> None:
    """A file of yesterday may be all that there is; a new one is for its owner alone."""
    folder, out = tmp_path / "agent", tmp_path / "waiting.ndjson"
    folder.mkdir()
    left_by_a_stop(folder)
    assert main(["spool", "export", str(out), "--data", str(folder)]) == 0
    kept = out.read_bytes()
    a_header = (folder / FILE_NAME).read_bytes()
    (folder / FILE_NAME).write_bytes(a_header[:100] + b"XXXXXXXX" + a_header[108:])

    assert main(["spool", "export", str(out), "--data", str(folder)]) == 1
    assert out.read_bytes() == kept
    assert out.stat().st_mode & 0o777 == 0o600


def test_an_answer_that_breaks_off_is_no_export(tmp_path: Path) -> None:
    """An agent that ends in the middle: what came is not taken for all that waits."""
    thread = SpoolThread(tmp_path, WIDE)
    thread.start()
    control = ControlServer(tmp_path, thread, dict)
    with in_use(tmp_path):
        for number in range(200):
            thread.put(put(number))
        assert thread.flush()
        answered = threading.Event()
        call = thread.call

        def end_soon(*arguments: Any) -> Any:
            if answered.is_set():
                raise SpoolError("the spool is closed")
            answered.set()
            return call(*arguments)

        thread.call = end_soon  # type: ignore[method-assign]
        control.start()
        lines: list[str] = []
        with pytest.raises(SpoolError, match="broke off; this is not all that waits; try again"):
            lines.extend(export_lines(tmp_path))
        thread.call = call  # type: ignore[method-assign]
        control.close()
        thread.close(clean=True)

    assert 0 < len(lines) < 200


@pytest.mark.parametrize("command", ["status", "export"])
def test_an_agent_that_does_not_answer_is_named(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has the folder and its socket is dead: to be asked again, not to be stopped."""
    folder = tmp_path / "agent"
    folder.mkdir()
    left_by_a_stop(folder)
    (folder / SOCKET_NAME).touch()
    with in_use(folder):
        code = main(["spool", command, *(["-"] if command == "export" else []), "--data", str(folder)])

    assert code == 1
    assert "the running agent does not answer" in capsys.readouterr().err


def test_clear_asks_also_where_nobody_can_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged file can be cleared, and a folder that was mistyped is not made."""
    folder, none = tmp_path / "agent", tmp_path / "none"
    folder.mkdir()
    a_header_overwritten(folder)

    assert waiting(folder).startswith("how much waits there cannot be told (")
    assert main(["spool", "clear", "--yes", "--data", str(folder)]) == 0
    assert marks(folder) == {}
    assert main(["spool", "clear", "--yes", "--data", str(none)]) == 1
    assert f"{none}: no spool there" in capsys.readouterr().err
    assert not none.exists()


def test_a_disk_without_room_for_a_note_is_no_reason_to_stay_away(tmp_path: Path) -> None:
    """Who has the lock is written into it for people: that this fails ends neither the agent nor a command."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "from pathlib import Path; from fieldwatch_agent.spool.file import Lock\n"
        f"Lock(Path({str(tmp_path)!r})).release(); print('held')"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environ)

    assert (done.stdout, done.stderr) == ("held\n", "")
