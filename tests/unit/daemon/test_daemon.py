"""The daemon as a process: a capture through the whole path, a clean stop, one agent a folder, what it imports."""

from __future__ import annotations

import json
import os
import pwd
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_agent.ledger import read_ledger
from fieldwatch_agent.spool.control import ask_daemon
from fieldwatch_agent.spool.file import FILE_NAME, SOCKET_NAME
from fieldwatch_proto.schema import CLOCK_COLUMNS, METRIC_FRAMES_OUTSIDE_FLOWS, Kind
from support.capture_files import pcap
from support.net import require_namespaces, wire
from support.sender import ARP_EVERY, frame
from support.spooling import spooled, spooled_batches
from support.stack import Agent, wait_for

FRAMES = 3_000
START_NS = 1_700_000_000_000_000_000
RING = {"FIELDWATCH_AGENT__CAPTURE__RING_BYTES": "32 MiB"}  # lasts while the agent waits for a core


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """UDP flows of four frames each, an ARP request for every 16th frame."""
    path = tmp_path_factory.mktemp("captures") / "sender.pcap"
    path.write_bytes(pcap([(START_NS + n * 100_000, frame(n)) for n in range(FRAMES)]))
    return path


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "agent", environ=RING)
    yield made
    if made.running:
        made.kill()


def run_to_end(agent: Agent, *arguments: str) -> int:
    agent.spawn("run", "--data", str(agent.data), *arguments)
    assert agent.process is not None
    return agent.process.wait(30)


def events(agent: Agent) -> list[dict[str, Any]]:
    lines = agent.log.read_text().splitlines() if agent.log.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_a_replay_accounts_for_every_frame(agent: Agent, capture: Path) -> None:
    """Frames of the file = packets of the stored flows + frames outside flows; nothing is declared lost."""
    assert run_to_end(agent, "--replay", str(capture), "--local-only") == 0, agent.tail()

    flows, metrics = spooled(agent, Kind.FLOW), spooled(agent, Kind.METRIC)
    in_flows = sum(row["packets"] + row["reply_packets"] for row in flows)
    outside = sum(row["value"] for row in metrics if row["name"] == METRIC_FRAMES_OUTSIDE_FLOWS)
    arp = (FRAMES + ARP_EVERY - 1) // ARP_EVERY

    assert (in_flows, outside) == (FRAMES - arp, arp)
    assert json.loads(metrics[0]["labels"]) == {"interface": "sender.pcap", "verdict": "decoded"}
    assert {row["interface"] for row in flows} == {"sender.pcap"}
    status = agent.spool()
    assert (status["frames"], status["gaps"], status["declared_frames"], status["running"]) == (FRAMES, 0, 0, False)
    stopped = events(agent)[-1]
    assert (stopped["event"], stopped["frames"], stopped["buffered_records"]) == ("stopped", FRAMES, status["records"])


def test_what_a_replay_tells_of_clocks(agent: Agent, capture: Path) -> None:
    """Times of the file are left alone by every clock; what the agent counts has a time of this machine's."""
    assert run_to_end(agent, "--replay", str(capture), "--local-only") == 0, agent.tail()

    flows, metrics = spooled_batches(agent, Kind.FLOW), spooled_batches(agent, Kind.METRIC)
    clock_columns = {column.name for column in CLOCK_COLUMNS}
    assert flows
    assert metrics
    assert not any(clock_columns & batch.columns.keys() for batch in flows)
    assert all(clock_columns <= batch.columns.keys() for batch in metrics)
    assert min(batch.values("first_ns")[0] for batch in flows) >= START_NS


def test_a_file_that_is_no_capture_is_one_line(agent: Agent, tmp_path: Path) -> None:
    """Exit 1, what it is about, and no frame on the books."""
    (tmp_path / "text").write_text("not a capture, but long enough to be looked at\n" * 10)

    assert run_to_end(agent, "--replay", str(tmp_path / "text"), "--local-only") == 1

    lines = [line for line in agent.log.read_text().splitlines() if not line.startswith("{")]
    assert len(lines) == 1, lines
    assert "text" in lines[0]


def test_a_file_that_may_not_be_read_is_one_line(agent: Agent, tmp_path: Path) -> None:
    """Exit 1, and who may read it, as `read` says it."""
    (tmp_path / "closed.pcap").write_bytes(pcap([]))
    (tmp_path / "closed.pcap").chmod(0)
    if os.geteuid() == 0:  # root, without its right to read everything
        agent.prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]

    assert run_to_end(agent, "--replay", str(tmp_path / "closed.pcap"), "--local-only") == 1

    lines = [line for line in agent.log.read_text().splitlines() if not line.startswith("{")]
    owner = pwd.getpwuid(os.geteuid()).pw_name
    remedy = f"it belongs to {owner}: run this with sudo -u {owner}"
    assert lines == [f"fieldwatch-agent: {tmp_path}/closed.pcap: Permission denied; {remedy}"]


def test_a_second_agent_on_the_folder_is_refused(agent: Agent, tmp_path: Path, capture: Path) -> None:
    """One clear line, exit 1; the first goes on."""
    pipe = tmp_path / "endless"
    os.mkfifo(pipe)
    agent.spawn("run", "--data", str(agent.data), "--replay", str(pipe), "--local-only")
    with pipe.open("wb") as feed:
        feed.write(capture.read_bytes()[:10_000])
        feed.flush()
        wait_for(lambda: (agent.data / SOCKET_NAME).exists(), "the agent runs")

        second = Agent(agent.data, environ=None)
        second.log = tmp_path / "second.log"
        assert run_to_end(second, "--replay", str(capture), "--local-only") == 1

        assert agent.running
        assert agent.process is not None
        assert f"in use by another fieldwatch-agent (process {agent.process.pid})" in second.log.read_text()
        assert len(second.log.read_text().splitlines()) == 1
    assert agent.process.wait(20) == 0, agent.tail()


def test_what_the_daemon_does_not_import_and_weigh(agent: Agent, tmp_path: Path, capture: Path) -> None:
    """cryptography, pcapy and sqlite_utils work in children only, the command line stayed behind; under 48 MB."""
    pipe = tmp_path / "endless"
    os.mkfifo(pipe)
    agent.spawn("run", "--data", str(agent.data), "--replay", str(pipe), "--local-only", "--filter", "ip or arp")
    with pipe.open("wb") as feed:
        feed.write(capture.read_bytes())
        feed.flush()
        wait_for(lambda: (agent.data / SOCKET_NAME).exists(), "the agent runs")
        wait_for(lambda: agent.spool()["frames"] > 0, "frames were taken")

        modules = set(next(ask_daemon(agent.data, "modules")))
        rss_bytes = agent.spool()["rss_bytes"]
    assert agent.process is not None
    assert agent.process.wait(20) == 0, agent.tail()

    unwanted = {"cryptography", "pcapy", "sqlite_utils", "numpy", "pandas", "click", "argparse", "pickle"}
    assert modules & unwanted == set()
    assert {"grpc", "fieldwatch_ext", "sqlite3"} <= modules
    assert rss_bytes < 48_000_000


def test_the_collector_need_not_be_there(agent: Agent, capture: Path) -> None:
    """Not enrolled and told of a collector: it says how to enrol, captures, keeps, and ends well."""
    assert run_to_end(agent, "--replay", str(capture), "--collector", "127.0.0.1:9") == 0, agent.tail()

    said = [event for event in events(agent) if event["event"].startswith("not enrolled")]
    assert [event["remedy"] for event in said] == ["fieldwatch-agent enrol --token-file FILE --collector HOST"]
    assert agent.spool()["frames"] == FRAMES


def test_flags_of_the_predecessor(agent: Agent, capture: Path) -> None:
    """--use-api needs an enrolment; --reset asks, or clears with --yes; --clean-connections declares its deletes."""
    assert run_to_end(agent, "--replay", str(capture), "--use-api") == 2
    assert "is not enrolled" in agent.tail(1)
    assert run_to_end(agent, "--replay", str(capture), "--use-api", "--local-only") == 2
    assert run_to_end(agent, "--replay", str(capture), "--local-only") == 0
    assert run_to_end(agent, "--replay", str(capture), "--local-only", "--reset") == 2
    assert agent.spool()["frames"] == FRAMES

    assert run_to_end(agent, "--replay", str(capture), "--local-only", "--clean-connections", "1") == 0
    cleaned = agent.spool()
    assert run_to_end(agent, "--replay", str(capture), "--local-only", "--reset", "--yes") == 0

    arp = (FRAMES + ARP_EVERY - 1) // ARP_EVERY
    assert (cleaned["declared_frames"], cleaned["frames"]) == (FRAMES - arp, FRAMES + arp)
    assert (agent.spool()["frames"], agent.spool()["declared_frames"]) == (FRAMES, 0)


def test_spool_commands(agent: Agent, capture: Path, tmp_path: Path) -> None:
    """export gives every batch, fsck finds a damaged row, clear empties; each in one line for people."""
    assert run_to_end(agent, "--replay", str(capture), "--local-only") == 0
    batches = agent.spool()["batches"]
    data = ("--data", str(agent.data))

    export = agent.command("spool", "export", str(tmp_path / "out.ndjson"), *data)
    said = subprocess.run(export, capture_output=True, text=True, check=True).stderr
    exported = [json.loads(line) for line in (tmp_path / "out.ndjson").read_text().splitlines()]
    assert [row["type"] for row in exported] == ["batch"] * batches
    assert said == f"{batches} batches and 0 gaps written\n"
    assert agent.call("spool", "fsck", *data) == f"{batches} rows, all sound\n"
    connection = sqlite3.connect(agent.data / FILE_NAME)
    with connection:
        connection.execute("UPDATE batch SET body=zeroblob(9) WHERE seq=1")
    connection.close()
    found = subprocess.run(agent.command("spool", "fsck", *data), capture_output=True, text=True)
    assert (found.returncode, found.stdout.count("\n")) == (1, 1)
    assert "1 problem in" in found.stderr
    assert agent.call("spool", "clear", "--yes", *data) == f"{agent.data}: cleared\n"
    gone = subprocess.run(agent.command("spool", "status", *data), capture_output=True, text=True)
    assert (gone.returncode, len(gone.stderr.splitlines())) == (1, 1)


@pytest.mark.parametrize("point", ["seal-before-commit:1", "seal-after-commit:1", "seal-after-commit:2"])
def test_a_kill_around_the_seal_is_exact(agent: Agent, capture: Path, tmp_path: Path, point: str) -> None:
    """Killed by itself at a point of the seal: at the next start observed = stored + declared, frame by frame."""
    killed = Agent(agent.data, environ={"FIELDWATCH_FAULT": point, "FIELDWATCH_AGENT__SPOOL__SEAL_BYTES": "4 KiB"})
    assert run_to_end(killed, "--replay", str(capture), "--local-only") == -signal.SIGKILL
    left = read_ledger(agent.data)
    assert left is not None
    empty = tmp_path / "empty.pcap"
    empty.write_bytes(pcap([]))

    assert run_to_end(agent, "--replay", str(empty), "--local-only") == 0, agent.tail()

    status = agent.spool()
    assert left.frames > 0
    assert status["frames"] + status["declared_frames"] == left.frames
    records = status["records"] + status["declared_records"]
    assert records == sum(left.records.values())


@pytest.mark.live
@pytest.mark.slow
def test_a_wire_is_accounted_for_over_a_clean_stop(agent: Agent) -> None:
    """SIGTERM: exit 0, one line; what passes while nobody listens is declared at the next start, exactly."""
    require_namespaces()
    with wire() as over:
        agent.prefix = over.run_in(over.near)
        sent = 0
        for _ in range(2):
            begun = len(events(agent))
            agent.spawn("run", "--data", str(agent.data), "-i", over.interface, "--local-only")
            wait_for(lambda start=begun: "capturing" in [e["event"] for e in events(agent)[start:]], "the ring is open")
            sent += send(over, 500)
            assert agent.stop() == 0, agent.tail()
            sent += send(over, 70)
        agent.spawn("run", "--data", str(agent.data), "-i", over.interface, "--local-only")
        wait_for(lambda: [e["event"] for e in events(agent)].count("capturing") == 3, "the ring is open")
        assert agent.stop() == 0, agent.tail()
    agent.prefix = []

    status = agent.spool()
    stopped = [event for event in events(agent) if event["event"] == "stopped"]
    assert [event["frames"] for event in stopped] == [500, 500, 0]
    assert (status["frames"], status["declared_frames"], sent) == (1000, 140, 1140)


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "3"])
def test_an_interface_that_vanishes_comes_back(agent: Agent, workers: str) -> None:
    """The agent stays, says it once, and captures again when the interface is there again."""
    require_namespaces()
    agent.environ["FIELDWATCH_AGENT__CAPTURE__WORKERS"] = workers
    with wire() as over:
        agent.prefix = over.run_in(over.near)
        agent.spawn("run", "--data", str(agent.data), "-i", over.interface, "--local-only")
        wait_for(lambda: "capturing" in [e["event"] for e in events(agent)], "the ring is open")
        send(over, 100)
        ip = ["ip", "-n", over.near, "link"]
        subprocess.run([*ip, "del", over.interface], check=True)
        wait_for(lambda: "cannot capture; trying again" in [e["event"] for e in events(agent)], "it is noticed")
        subprocess.run(
            [*ip, "add", over.interface, "type", "veth", "peer", "name", over.interface, "netns", over.far], check=True
        )
        for namespace in (over.near, over.far):
            subprocess.run(["ip", "-n", namespace, "link", "set", over.interface, "arp", "off", "up"], check=True)
        wait_for(lambda: [e["event"] for e in events(agent)].count("capturing") == 2, "it captures again", 60)
        send(over, 100)
        assert agent.stop() == 0, agent.tail()
    agent.prefix = []

    assert [e["event"] for e in events(agent)].count("cannot capture; trying again") == 1
    assert agent.spool()["frames"] == 200


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "3"])
def test_an_interface_that_is_down_comes_up(agent: Agent, workers: str) -> None:
    """The rings stay; what passes afterwards is taken, nothing twice, nothing is said to be lost."""
    require_namespaces()
    agent.environ["FIELDWATCH_AGENT__CAPTURE__WORKERS"] = workers
    with wire() as over:
        agent.prefix = over.run_in(over.near)
        agent.spawn("run", "--data", str(agent.data), "-i", over.interface, "--local-only")
        wait_for(lambda: "capturing" in [e["event"] for e in events(agent)], "the ring is open")
        send(over, 100)
        wait_for(lambda: agent.spool()["frames_seen"] == 100, "every frame was seen")
        for state in ("down", "up"):
            subprocess.run(["ip", "-n", over.near, "link", "set", over.interface, state], check=True)
        send(over, 100)
        wait_for(lambda: agent.spool()["frames_seen"] == 200, "every frame was seen")
        assert agent.stop() == 0, agent.tail()
        agent.spawn("run", "--data", str(agent.data), "-i", over.interface, "--local-only")
        wait_for(lambda: [e["event"] for e in events(agent)].count("capturing") == 2, "the ring is open")
        assert agent.stop() == 0, agent.tail()
    agent.prefix = []

    status = agent.spool()
    assert [e["event"] for e in events(agent)].count("cannot capture; trying again") == 0
    assert (status["frames"], status["declared_frames"]) == (200, 0)


FAILING = """
import sys, threading
from fieldwatch_agent import lane
from fieldwatch_agent.cli.main import main
step = lane.Pipeline.step
def failing(self, source):
    taken = step(self, source)
    if taken > 0 and threading.current_thread().name == sys.argv[1]:
        lane.Pipeline.step = step
        raise RuntimeError("a defect")
    return taken
lane.Pipeline.step = failing
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("thread", ["capture wire0", "capture wire0/1"])
def test_a_worker_that_fails_costs_its_own_frames(agent: Agent, monkeypatch: pytest.MonkeyPatch, thread: str) -> None:
    """A defect in one of two lanes: a new engine goes on in it; sent = kept + declared, by the interface's counter."""
    require_namespaces()
    agent.environ["FIELDWATCH_AGENT__CAPTURE__WORKERS"] = "2"
    with wire() as over:
        agent.prefix = over.run_in(over.near)
        command = [*agent.prefix, sys.executable, "-c", FAILING, thread]
        with monkeypatch.context() as patched:
            patched.setattr(agent, "command", lambda *arguments: [*command, *arguments])
            agent.spawn("run", "--data", str(agent.data), "-i", over.interface, "--local-only")
        wait_for(lambda: "capturing" in [e["event"] for e in events(agent)], "the rings are open")
        send(over, 200)
        wait_for(lambda: [e["event"] for e in events(agent)].count("capturing") == 2, "they are open again")
        send(over, 200)
        assert agent.stop() == 0, agent.tail()
        sent = over.counters()[0]
    agent.prefix = []

    status = agent.spool()
    assert [e["event"] for e in events(agent)].count("capture failed; a new engine goes on") == 1
    assert sent == 400
    assert status["frames"] + status["declared_frames"] == sent
    assert 200 <= status["frames"] < sent


@pytest.mark.live
@pytest.mark.slow
def test_no_permission_is_one_line_with_the_remedy(agent: Agent) -> None:
    """An interface that is there and may not be opened: exit 1, and how to get the right."""
    require_namespaces()
    agent.prefix = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"]

    assert run_to_end(agent, "-i", "lo", "--local-only") == 1

    lines = [line for line in agent.log.read_text().splitlines() if not line.startswith("{")]
    assert len(lines) == 1, lines
    assert "no permission to capture on lo" in lines[0]


def send(over: Any, frames: int) -> int:
    """Frames on the far end; how many."""
    code = (
        "import socket, sys; from support.sender import frame;"
        f" link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0); link.bind(({over.interface!r}, 0));"
        f" [link.send(frame(n)) for n in range({frames})]"
    )
    subprocess.run(
        over.run_in(over.far, sys.executable, "-c", code),
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return frames
