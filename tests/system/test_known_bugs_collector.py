"""What users of comparable collectors have reported, as tests of ours: see "Bugs of others" in docs/reliability.md."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from fieldwatch_agent.spool.control import read_status
from fieldwatch_agent.spool.store import Store
from fieldwatch_collector.store import BatchItem
from fieldwatch_collector.store.connection import CHECKPOINT_BYTES, WAL_LIMIT_BYTES
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_proto.api_token import ApiToken
from fieldwatch_proto.columns import digest
from fieldwatch_proto.schema import Kind
from support.capture_files import pcap
from support.collector import batch, flow, sealed
from support.disk import CREATE, SYNC, TRUNCATE, WRITE, WatchedDisk, read_log
from support.remote import joined, stream_of
from support.sender import frame
from support.shipping import enrolled, fill, flows
from support.spooling import WIDE
from support.stack import Agent, Collector, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
DATABASE, EPOCH = "collector.db", 0xB16
ROWS = 12_000  # of flows: their export is more than sockets hold
COMMANDS = ("agents list", "token create", "audit verify", "migrate", "fsck", "rebuild", "expire --older-than 90d")
READ_LOCKS = range(123, 128)  # octets of the -shm file: walformat.html, 2.2
BODY_BYTES, BATCH_ITEMS = 1 << 20, 8


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path / "data")
    made.start()
    yield made
    if made.running:
        made.kill()


def writers(collector: Collector) -> int:
    """How often the server has its database open to write (proc_pid_fdinfo(5))."""
    assert collector.process is not None
    process, found = Path(f"/proc/{collector.process.pid}"), 0
    for entry in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # it has just been closed
            if entry.readlink() != collector.data / DATABASE:
                continue
            lines = (process / "fdinfo" / entry.name).read_text().splitlines()
            flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
            found += flags & os.O_ACCMODE != os.O_RDONLY
    return found


def is_read(collector: Collector) -> bool:
    """Whether somebody holds a state of the database: a lock of a reader on the -shm file (proc_locks(5))."""
    number = (collector.data / f"{DATABASE}-shm").stat().st_ino
    locks = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return any(
        int(fields[5].rpartition(":")[2]) == number and int(fields[6]) in READ_LOCKS
        for fields in locks
        if fields[1] == "POSIX"
    )


@contextmanager
def reading(collector: Collector) -> Iterator[None]:
    """Somebody holds a state of the database."""
    connection = sqlite3.connect(f"file:{collector.data / DATABASE}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM batch").fetchone()
        yield
    finally:
        connection.close()


def test_b05_the_number_that_waits_is_that_of_the_spool(tmp_path: Path) -> None:
    """What /metrics says of an agent is what its file holds, though that was filled before, and the agent killed."""
    collector = Collector(tmp_path / "data", environ={"FIELDWATCH_COLLECTOR__LIMITS__MIN_FREE_BYTES": "1000 TiB"})
    collector.start()
    pipe = tmp_path / "frames"
    os.mkfifo(pipe)
    try:
        agent = enrolled(collector, tmp_path / "agent")
        agent.environ["FIELDWATCH_AGENT__SPOOL__SEAL_AGE"] = "1 h"  # nothing is sealed between the look and the kill
        before = fill(agent.data, [flows(number) for number in range(40)])
        headers = {"Authorization": f"Bearer {bearer(collector)}"}
        shown, counted = [], []
        for _ in range(2):
            agent.spawn(
                *("run", "--replay", str(pipe), "--data", str(agent.data)),
                *("--collector", f"127.0.0.1:{collector.ports['grpc']}"),
            )
            with pipe.open("wb") as feed:
                feed.write(pcap([(1_700_000_000_000_000_000, frame(1))]))
                feed.flush()
                wait_for(lambda: buffered(collector, headers) > 0, "the agent tells what waits")
                told = wait_for(lambda: agreed(collector, headers, agent), "both say the same")
                shown.append(told)
                agent.kill()
            counted.append(in_the_file(agent))
    finally:
        collector.kill()

    assert shown == counted
    assert min(counted) >= before


def bearer(collector: Collector) -> str:
    line = collector.call("api-token", "create", "tests", "--data", str(collector.data))
    return ApiToken.parse(line).bearer


def buffered(collector: Collector, headers: dict[str, str]) -> int:
    """Records that wait at the only agent, by /metrics."""
    text = httpx.get(f"http://127.0.0.1:{collector.ports['http']}/metrics", headers=headers, timeout=20).text
    lines = [line for line in text.splitlines() if line.startswith("fieldwatch_agent_buffer_records{")]
    return int(lines[0].rpartition(" ")[2])


def agreed(collector: Collector, headers: dict[str, str], agent: Agent) -> int:
    """The number, once the agent itself says the same."""
    told = buffered(collector, headers)
    return told if told == read_status(agent.data)["records"] else 0


def in_the_file(agent: Agent) -> int:
    """Records in the rows of a spool that nobody runs on."""
    store = Store(agent.data, WIDE)
    found: int = store.db.execute("SELECT sum(records) FROM batch").fetchone()[0]
    store.db.close()
    return found


def test_b16_one_connection_alone_writes_the_database(collector: Collector, tmp_path: Path) -> None:
    """Whatever is asked of the running server, it is the only process that writes, and has one connection for it."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    watched = WatchedDisk(collector.data, scratch)
    seen: set[int] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add(writers(collector))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for command in COMMANDS:
            command_line = collector.command(*command.split(), "--data", str(collector.data))
            environ = {**collector.environ, **watched.environ}
            ran = subprocess.run(command_line, env=environ, capture_output=True, text=True, timeout=60)
            assert ran.returncode == 0, (command, ran.stderr)
    finally:
        done.set()
        looking.join()

    changes = (WRITE, TRUNCATE, SYNC, CREATE)
    touched = {operation.name for operation in read_log(watched.log) if operation.code in changes}
    assert {name for name in touched if name.startswith(DATABASE)} == set()
    assert seen == {1}


async def test_b17_a_reader_that_dawdles_holds_no_snapshot(collector: Collector) -> None:
    """An export that nobody takes off the line holds no state of the database, so that the log can be folded."""
    rows = [flow(bytes([10, 0, n >> 8, n & 255]), bytes([192, 0, 2, 1])) for n in range(ROWS)]
    url = f"http://127.0.0.1:{collector.ports['http']}"
    headers = {"Authorization": f"Bearer {bearer(collector)}", "Accept": "application/x-ndjson"}
    async with stream_of(collector, await joined(collector)) as stream:
        await stream.hello((EPOCH, 1, 2))
        await stream.send(batch(EPOCH, 1, sealed(Kind.FLOW, rows)))
        await stream.acked(EPOCH, 1)
    wait_for(lambda: collector.ask("SELECT count(*) FROM flow") == [(ROWS,)], "the flows are in their table")

    with reading(collector):
        assert is_read(collector)
    wait_for(lambda: not is_read(collector), "nobody else reads")
    with httpx.stream("GET", f"{url}/api/v1/flows", headers=headers, timeout=20) as export:
        lines = export.iter_lines()
        first = next(lines)
        wait_for(lambda: not is_read(collector), "nothing is held while nobody takes it")
        rest = sum(1 for _ in lines)

    assert first.startswith("{")
    assert rest == ROWS - 1


async def test_b17_the_log_is_cut_when_a_long_reader_ends(tmp_path: Path) -> None:
    """While one reads, what is written stays in the log; afterwards it is folded into the file, and kept short."""
    store, log = SqliteStore(tmp_path / DATABASE), tmp_path / f"{DATABASE}-wal"
    store.migrate()
    dice, number = random.Random(17), 0

    async def write(octets: int) -> None:
        nonlocal number
        for _ in range(octets // (BATCH_ITEMS * BODY_BYTES)):
            items = []
            for _ in range(BATCH_ITEMS):
                number += 1
                body = dice.randbytes(BODY_BYTES)
                items.append(BatchItem(EPOCH, number, 1, 1, 1, 1, len(body), 5, 6, digest(body), body))
            await store.put("agent", items)

    with store.reader() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM batch").fetchone()
        await write(WAL_LIMIT_BYTES + CHECKPOINT_BYTES)
        held = log.stat().st_size
    await write(2 * CHECKPOINT_BYTES)
    after = log.stat().st_size
    stored = [tuple(row) for row in store_rows(store, "SELECT count(*), max(seq) FROM batch")]
    store.close()

    assert held > WAL_LIMIT_BYTES
    assert after <= WAL_LIMIT_BYTES
    assert stored == [(number, number)]


def store_rows(store: SqliteStore, sql: str) -> list[tuple[object, ...]]:
    with store.reader() as connection:
        return connection.execute(sql).fetchall()
