"""What users of comparable agents have reported, as tests of ours: see "Bugs of others" in docs/reliability.md.

Here stand those of the agent that no test of the failure matrix covers; the collector's are in
`test_known_bugs_collector.py`, the rest is named in that section.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_agent.spool.control import ask_daemon, read_status
from fieldwatch_agent.spool.file import FILE_NAME, SOCKET_NAME
from fieldwatch_agent.spool.items import START, Batch, Gap, SpoolError
from fieldwatch_agent.spool.store import Store
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.capture_files import pcap
from support.disk import CREATE, RENAME, UNLINK, Disk, State, WatchedDisk, lay_out, read_log
from support.scripted import Authority, Conversation, ScriptedCollector
from support.sender import frame
from support.shipping import flows, ship
from support.spooling import WIDE, body, put
from support.stack import Agent, wait_for

from system.power_cut import PROMISES
from system.salvage_cut import ACKED, BATCHES, FRESH, LOST_FRAMES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
PAGE_BYTES = 4_096
EVERY = int(os.environ.get("FIELDWATCH_POWER_EVERY", "3"))  # of the cuts of B7 one in so many; by hand all of them
STOP_S = 10.0


@contextmanager
def waiting_agent(folder: Path) -> Iterator[Agent]:
    """The daemon on this folder; it ships nothing, and waits for an interface."""
    agent = Agent(folder)
    agent.spawn("run", "--data", str(folder), "--local-only", "-i", "fw-absent0")
    try:
        wait_for(lambda: status_of(agent).get("state") == "capturing", "the agent has started", 20)
        yield agent
    finally:
        if agent.running:
            agent.kill()


def status_of(agent: Agent) -> dict[str, Any]:
    """Nothing while it has just begun."""
    assert agent.running, agent.tail()
    try:
        return read_status(agent.data) if (agent.data / SOCKET_NAME).exists() else {}
    except SpoolError:
        return {}


def filled(folder: Path, count: int, octets: int) -> None:
    store = Store(folder, WIDE)
    for first in range(1, count + 1, 50):
        store.commit([put(n, octets=octets) for n in range(first, min(first + 50, count + 1))])
    store.close(clean=True)


def test_b03_a_backlog_beyond_the_new_bound_does_not_block_the_start(tmp_path: Path) -> None:
    """The daemon starts, takes what comes, keeps the bound, and declares what had to go for it."""
    count, bound, capture = 400, 1_000_000, tmp_path / "x.pcap"
    capture.write_bytes(pcap([(1_700_000_000_000_000_000 + n, frame(n)) for n in range(100)]))
    agent = Agent(tmp_path / "agent", environ={"FIELDWATCH_AGENT__SPOOL__MAX_BYTES": str(bound)})
    filled(agent.data, count, 10_000)

    agent.call("run", "--replay", str(capture), "--local-only", "--data", str(agent.data))

    status = agent.spool()
    assert 0 < status["batches"] < count
    assert status["used_bytes"] <= bound
    assert status["frames"] + status["declared_frames"] == 5 * count + 100


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_b06_a_spool_that_gets_damaged_keeps_no_stop_waiting(tmp_path: Path, stop: signal.Signals) -> None:
    """Under the running agent: it salvages what it reads, goes on, and ends when it is told to."""
    count = 200
    filled(tmp_path, count, 3_000)
    with waiting_agent(tmp_path) as agent:
        with (tmp_path / FILE_NAME).open("r+b") as stream:
            for page in range(2, stream.seek(0, 2) // PAGE_BYTES, 3):
                stream.seek(page * PAGE_BYTES)
                stream.write(os.urandom(PAGE_BYTES))
        lines = list(ask_daemon(tmp_path, "export"))
        assert agent.process is not None
        begun = time.monotonic()
        agent.process.send_signal(stop)
        code = agent.process.wait(2 * STOP_S)
        took = time.monotonic() - begun

    assert code == 0, agent.tail()
    assert took < STOP_S
    kept = [line for line in lines if line["type"] == "batch"]
    assert 0 < len({(line["epoch"], line["seq"]) for line in kept}) < count
    left = Store(tmp_path, WIDE)
    status = left.status()
    left.close(clean=True)
    assert status.gaps > 0, "what was lost is declared"


def test_b07_no_power_cut_in_a_salvage_loses_what_waits(tmp_path: Path) -> None:
    """The new file is complete and synced before the old one leaves its place: whatever part of the unsynced writes is
    on the disk, each batch that waited is sent once, the declared loss too, and no number is given anew.
    """
    cuts, folder, renewed = 0, tmp_path / "after", 0
    for promised, state in _salvage_cuts(tmp_path):
        cuts += 1
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        lay_out(state, folder)
        store = Store(folder, WIDE)
        renewed += store.salvaged is None
        place, found = START, []
        while items := store.peek(place, max_items=1_000):
            place = items[-1][0]
            found += [item for _, item in items]
        bodies = Counter(item.body for item in found if isinstance(item, Batch))
        wanted = [body(n, 700) for n in range(ACKED + 1, BATCHES + 1)]
        wanted += [body(FRESH)] if "fresh" in promised else []
        assert all(bodies[content] == 1 for content in wanted), f"cut {cuts}: a batch is gone, or there twice"
        assert bodies.keys() <= {*wanted, body(FRESH)}, f"cut {cuts}: an acked batch came back"
        assert LOST_FRAMES in {item.frames for item in found if isinstance(item, Gap)}, f"cut {cuts}"
        given = {(item.epoch, item.seq) for item in found if isinstance(item, Batch)}
        assert (store.current.epoch, store.current.next_seq) not in given
        store.close(clean=False)
    assert cuts > 90 // EVERY
    assert 0 < renewed < cuts, "cuts before and after the new file took its place"


def _salvage_cuts(tmp_path: Path) -> Iterator[tuple[set[str], State]]:
    """(what has been promised by then, what lies on the disk) of every cut after the damage."""
    data, scratch = tmp_path / "data", tmp_path / "scratch"
    data.mkdir()
    scratch.mkdir()
    watched = WatchedDisk(data, scratch)
    done = subprocess.run(
        [sys.executable, "-m", "system.salvage_cut", str(data)],
        env={**os.environ, **watched.environ},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    dice, disk, promised, number = random.Random(7), Disk(), set[str](), 0
    for operation in read_log(watched.log):
        if operation.name == PROMISES:
            promised |= set(json.loads(operation.octets)) if operation.octets else set()
            continue
        disk.run(operation)
        if "damaged" not in promised:
            continue
        for state in [disk.now] if operation.code in (CREATE, RENAME, UNLINK) else disk.states(dice, 1):
            number += 1
            if number % EVERY == 0 or operation.code in (CREATE, RENAME, UNLINK):
                yield promised, state()


def test_b11_b12_a_restart_sends_nothing_again(tmp_path: Path) -> None:
    """What is acked is done with, whatever the stop fell upon: the next life sends what is new, and that alone."""
    authority = Authority()
    seen: list[list[int]] = []

    async def script(talk: Conversation) -> None:
        seen.append([])
        await talk.welcome(messages=16)
        while isinstance(message := await talk.hear(), pb.Batch):
            seen[-1].append(message.seq)
            await talk.say(pb.Ack(epoch=message.epoch, upto=message.seq))

    with ScriptedCollector(authority, script) as scripted:
        address = authority.enrol(tmp_path, scripted.port).address
        for life in range(3):
            with ship(tmp_path, address) as line:
                for number in range(10):
                    line.seal(flows(10 * life + number))
                wait_for(lambda line=line: line.is_empty, "all is acked")

    assert scripted.failures == []
    assert seen == [list(range(10 * life + 1, 10 * life + 11)) for life in range(3)]


def test_b16_one_connection_alone_has_the_spool(tmp_path: Path) -> None:
    """Of the running agent, its commands included: nothing else in it may write the file, `fsck` and `clear` wait."""
    filled(tmp_path, 50, 3_000)
    with waiting_agent(tmp_path) as agent:
        for command in (["spool", "status"], ["spool", "export", "-"], ["status"]):
            agent.call(*command, "--data", str(tmp_path))
            assert _writers(agent, tmp_path) == {FILE_NAME: 1, f"{FILE_NAME}-wal": 1}
        for refused in (["fsck"], ["clear", "--yes"]):
            command_line = agent.command("spool", *refused, "--data", str(tmp_path))
            done = subprocess.run(command_line, capture_output=True, text=True, timeout=30)
            assert (done.returncode, "in use by another fieldwatch-agent" in done.stderr) == (1, True), done.stderr
        assert agent.stop(STOP_S) == 0, agent.tail()


def _writers(agent: Agent, folder: Path) -> Counter[str]:
    """How often the daemon has each of the spool's database files open for writing (proc_pid_fdinfo(5))."""
    assert agent.process is not None
    found = Counter[str]()
    process = Path(f"/proc/{agent.process.pid}")
    for entry in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # it has just been closed
            path, info = entry.readlink(), (process / "fdinfo" / entry.name).read_text()
            flags = next(int(line.split()[1], 8) for line in info.splitlines() if line.startswith("flags:"))
            if path.parent == folder and path.name.startswith(FILE_NAME) and flags & os.O_ACCMODE != os.O_RDONLY:
                found[path.name] += 1
    return found
