"""What a collector keeps of commands: files for days and up to a bound, rows for months, nothing that is half done."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_collector.commands import Asker, Commands, NotAllowed, table
from fieldwatch_collector.config import Commands as CommandsConfig
from fieldwatch_collector.services import Services
from support.collector import offline
from support.filled_store import agent_id, fill

CHIEF = Asker("user:chief", "admin")
DAY_NS = 86_400 * 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now_ns = time.time_ns()

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with offline(tmp_path / "data") as opened:
        opened.store.transact_sync(lambda connection: fill(connection, time.time_ns(), devices=0, flows=0))
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def commands(services: Services, clock: Clock) -> Commands:
    """With files of a day, 10 kB together."""
    config = CommandsConfig(keep=86_400.0, file_bytes=8_000, total_bytes=10_000)
    return Commands(services.store, services.hub, services.data, config, services.commands.signer, clock)


def made(commands: Commands, octets: int = 4_000) -> str:
    """A diagnostics command that has ended with a file."""
    command_id = str(commands.run(CHIEF, "diagnostics", {}, agents=[agent_id(0)])[0]["id"])
    commands.upkeep.make_room(octets)
    draft = commands.files.begin(command_id)
    draft.write(bytes(octets))
    draft.keep()

    def work(connection: sqlite3.Connection) -> tuple[None, list[table.Event]]:
        events = table.end(
            connection,
            command_id,
            table.DONE,
            now_ns=commands.clock(),
            file_name="d.tar.gz",
            file_bytes=octets,
        )
        return None, events

    commands.transact(work)
    return command_id


def held(commands: Commands) -> list[str]:
    return [name for name, _ in commands.files.held()]


def test_a_file_is_kept_for_its_days(commands: Commands, clock: Clock) -> None:
    """Then it goes, its command says when, and the audit log says why."""
    old = made(commands)
    clock.now_ns += DAY_NS
    commands.upkeep.sweep()
    before = held(commands)
    clock.now_ns += 1_000_000_000
    commands.upkeep.sweep()
    gone = commands.get(old)["file_gone"]

    with commands.store.reader() as connection:
        row = connection.execute("SELECT actor, subject, data FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    assert ([old], []) == (before, held(commands))
    assert gone
    assert tuple(row) == ("collector", old, '{"why":"older than they are kept"}')


def test_the_oldest_goes_for_a_new_one(commands: Commands, clock: Clock) -> None:
    """Together they stay under the bound at any moment."""
    ids = []
    for _ in range(4):
        clock.now_ns += 1_000_000
        ids.append(made(commands))

    assert held(commands) == ids[2:]
    assert [bool(commands.get(one)["file_gone"]) for one in ids] == [True, True, False, False]


def test_rows_go_after_three_months(commands: Commands, clock: Clock) -> None:
    """Of commands that have ended; one that waits for its agent outlives nothing but its own deadline."""
    made(commands)
    waiting = str(commands.run(CHIEF, "reload", {}, agents=[agent_id(0)])[0]["id"])
    clock.now_ns += 91 * DAY_NS
    commands.upkeep.sweep()
    left = commands.list_commands()["results"]

    assert [(one["id"], one["state"]) for one in left] == [(waiting, "expired")]


async def test_a_start_clears_what_a_kill_left(commands: Commands) -> None:
    """A part that nobody sends any more, and a file whose command never heard of it; a whole one stays."""
    whole = await asyncio.to_thread(made, commands)
    commands.files.begin("01JPART").write(b"half")
    (commands.files.folder / "01JSTRAY").write_bytes(b"whole, but the row was not committed")
    keeping = asyncio.create_task(commands.upkeep.keep())
    deadline = time.monotonic() + 10
    while len(list(commands.files.folder.iterdir())) > 1:
        assert time.monotonic() < deadline, "what was left half done is still there"
        await asyncio.sleep(0.01)
    keeping.cancel()

    assert held(commands) == [whole]


def test_a_disk_that_takes_no_file_fails_the_command(services: Services, commands: Commands) -> None:
    """One line says what is wrong; nobody wants the rest of the file."""
    from fieldwatch_collector.commands.reports import Reports
    from fieldwatch_proto.v1 import agent_pb2 as pb

    command_id = str(commands.run(CHIEF, "diagnostics", {}, agents=[agent_id(0)])[0]["id"])
    commands.files.folder.write_text("where the folder should be")

    async def said(*reports: dict[str, Any]) -> Any:
        for report in reports:
            yield pb.CommandReport(id=command_id, **report)

    unwanted = asyncio.run(Reports(commands).take(agent_id(0), said({"chunk": b"x"}, {"state": pb.COMMAND_DONE})))
    found = commands.get(command_id)

    assert unwanted
    assert (found["state"], found["text"]) == ("failed", "the collector cannot keep the file: File exists")


def test_orders_that_are_refused_over_and_over_fill_no_log(services: Services, commands: Commands) -> None:
    """The first of each kind is written down; those that follow at once are counted for the next row."""
    watcher = Asker("api-token:watcher", "viewer")
    for name in ("reload", "diagnostics"):
        for _ in range(100):
            with pytest.raises(NotAllowed):
                commands.run(watcher, name, {}, agents=[agent_id(0)])

    with services.store.reader() as connection:
        rows = connection.execute("SELECT data FROM audit WHERE outcome = 'refused' ORDER BY seq").fetchall()
    assert [("reload", 1), ("diagnostics", 1)] == [
        (row["name"], row["times"]) for row in (json.loads(text) for (text,) in rows)
    ]
