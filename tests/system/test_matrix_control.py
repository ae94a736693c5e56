"""What a collector has a running agent do: real daemon, real gRPC, a collector that does what the test says.

Rows 35 and 36 of the failure matrix: a configuration with which the agent dies, one that is not the collector's. One
that breaks shipping is in `test_matrix_fleet.py`, with a real collector.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_agent.spool.control import ask_daemon
from fieldwatch_proto.columns import open_body
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.net import require_namespaces
from support.scripted import Authority, Conversation, ScriptedCollector
from support.signing import Signer
from support.stack import Agent, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(120)]
SEAL_S = "0.3"
DEADLINE_S = 40.0
SHORT_TRIAL = "6 s"  # to begin anew, connect and ship takes 1.5 s of it
MOST_GROWTH_BYTES = 6_000_000  # what four commands of a run leave behind


class Site:
    """A running agent that listens on loopback, and its collector. `acks`: whether the collector acks batches; `away`:
    whether it ends each stream.
    """

    def __init__(self, folder: Path, collector: ScriptedCollector, environ: dict[str, str]) -> None:
        self.collector = collector
        self.acks, self.away = True, False
        self.events: list[dict[str, Any]] = []
        self.signer = Signer(collector.authority)
        self.file = folder / "agent.toml"
        self.file.write_text("")
        self.agent = Agent(folder / "agent", environ={"FIELDWATCH_AGENT__SPOOL__SEAL_AGE": SEAL_S, **environ})

    async def take(self, talk: Conversation) -> None:
        """Ack what comes, and read the events in it."""
        await talk.welcome()
        while (message := await talk.hear()) is not None:
            if isinstance(message, pb.Bye) or self.away:
                return
            if isinstance(message, pb.Batch) and message.kind == Kind.EVENT:
                rows = open_body(Kind.EVENT, message.records, message.raw_bytes, message.body).rows()
                self.events += [{**row, "data": json.loads(row["data"])} for row in rows]
            if self.acks:
                last = message.seq if isinstance(message, pb.Batch) else message.to_seq
                await talk.say(pb.Ack(epoch=message.epoch, upto=last))

    def start(self, *more: str) -> None:
        """`more`: interfaces to name beside loopback. What is told from then on is of this start."""
        address = f"127.0.0.1:{self.collector.port}"
        wait_for(lambda: self.collector.open_sessions == 0, "the session before has ended", DEADLINE_S)
        before = self.collector.sessions
        names = [part for name in (*more, "lo") for part in ("-i", name)]
        data = ("--config", str(self.file), "--data", str(self.agent.data))
        self.agent.spawn("run", *data, "--collector", address, *names)
        wait_for(lambda: self.collector.sessions > before or not self.agent.running, "a heartbeat", DEADLINE_S)
        assert self.agent.running, self.agent.tail()

    def give(self, command_id: str, name: str, /, **arguments: Any) -> None:
        octets = json.dumps(arguments).encode()
        self.collector.command(pb.Command(id=command_id, name=name, arguments=octets, actor="user:ada"))

    def end(self, command_id: str) -> pb.CommandReport:
        ends = {"done", "failed", "refused", "cancelled"}
        wait_for(lambda: bool(ends & set(self.collector.states(command_id))), f"{command_id} has ended", DEADLINE_S)
        return self.collector.last(command_id)

    def push(self, version: int, settings: dict[str, Any], signer: Signer | None = None) -> pb.CommandReport:
        config = (signer or self.signer).sign(version, settings)
        self.collector.command(pb.Command(id=f"config-{version}", name="config", config=config, actor="user:ada"))
        return self.end(f"config-{version}")

    def told(self) -> tuple[int, int]:
        """Version and state of the configuration in the newest heartbeat."""
        newest = self.collector.statuses[-1].config
        return newest.version, newest.state

    def health(self) -> dict[str, pb.Health]:
        return {part.component: part for part in self.collector.statuses[-1].health}

    def effective(self) -> dict[str, Any]:
        """The newest effective configuration that was told."""
        told = [status.config.effective for status in self.collector.statuses if status.config.effective]
        found: dict[str, Any] = json.loads(told[-1])
        return found


@contextmanager
def running(folder: Path, *, allow: str = "", trial: str = "60 s", **spool: str) -> Iterator[Site]:
    """`spool`: keys of that section."""
    require_namespaces()  # that is: root, for the packet socket
    environ = {f"FIELDWATCH_AGENT__SPOOL__{key.upper()}": value for key, value in spool.items()}
    environ["FIELDWATCH_AGENT__REMOTE__TRIAL"] = trial
    environ["FIELDWATCH_AGENT__COLLECTOR__RETRY_MAX"] = "1 s"
    if allow:
        environ["FIELDWATCH_AGENT__REMOTE__ALLOW"] = allow
    holder: list[Site] = []

    async def script(talk: Conversation) -> None:
        await holder[0].take(talk)

    with ScriptedCollector(Authority(), script) as collector:
        site = Site(folder, collector, environ)
        holder.append(site)
        collector.authority.enrol(site.agent.data, collector.port)
        site.start()
        try:
            yield site
        finally:
            if site.agent.running:
                site.agent.kill()


def test_commands_of_a_running_agent(tmp_path: Path) -> None:
    """Each does its work beside capture and shipping; all of it is told; the daemon stays lean.

    In saver mode, where the bound of the spool in memory must not become that of the disk.
    """
    with running(tmp_path, allow="reload,diagnostics,log_level,capture", saver="true") as site:
        first = site.collector.statuses[0]
        before_bytes = site.agent.spool()["rss_bytes"]
        site.give("c1", "diagnostics")
        bundle = site.end("c1")
        site.give("c2", "capture", interface="lo", packets=50, filter="tcp")
        packets = site.end("c2")
        site.give("c3", "log_level", level="debug")
        site.end("c3")
        site.file.write_text('[spool]\nmax_bytes = "70 MiB"\n[flows]\nidle = 30\n')
        site.give("c4", "reload")
        reloaded = site.end("c4")
        max_bytes = site.agent.spool()["max_bytes"]
        site.collector.command(pb.Command(id="c5", name="config", config=site.signer.sign(1, {})))
        refused = site.end("c5")
        ended = {"diagnostics", "capture", "log_level", "reload"}

        def audited() -> bool:
            told = [event["data"] for event in site.events if event["type"] == "agent.command_handled"]
            return ended <= {data["name"] for data in told if data["outcome"] == "done"}

        wait_for(audited, "the audit has arrived", DEADLINE_S)
        wait_for(lambda: site.health()["agent"].level != pb.HEALTH_FAILED, "it is well", DEADLINE_S)
        modules = set(next(ask_daemon(site.agent.data, "modules")))
        after_bytes = site.agent.spool()["rss_bytes"]
        octets = b"".join(report.chunk for report in site.collector.reports if report.id == "c1")
        with tarfile.open(fileobj=io.BytesIO(octets), mode="r:gz") as tar:
            files = {member.name.partition("/")[2]: tar.extractfile(member).read() for member in tar.getmembers()}
        assert site.agent.stop() == 0, site.agent.tail()

    assert list(first.allowed_commands) == ["reload", "diagnostics", "log_level", "capture"]
    assert json.loads(first.config.effective)["remote"]["trial"] == 60.0
    assert (bundle.state, packets.state, reloaded.state) == (pb.COMMAND_DONE,) * 3
    assert {"versions.json", "config.json", "log.ndjson", "limits.json", "interfaces.json"} <= set(files)
    assert {part["component"] for part in json.loads(files["status.json"])["health"]} >= {"agent", "agent/spool"}
    assert json.loads(files["spool.json"])["max_bytes"] > 0
    assert json.loads(packets.result)["packets"] == 50
    assert json.loads(reloaded.result) == {"applied": ["spool.max_bytes"], "restart": ["flows.idle"]}
    assert max_bytes == 70 << 20
    assert (refused.state, "does not allow config" in refused.text) == (pb.COMMAND_REFUSED, True)
    assert {event["subject"] for event in site.events if event["type"] == "agent.command_handled"} == {"agent-1"}
    assert after_bytes - before_bytes < MOST_GROWTH_BYTES, (before_bytes, after_bytes)
    assert modules & {"cryptography", "pcapy", "tarfile", "gzip", "sqlite_utils", "argparse"} == set()
    assert {"agent/capture/lo", "agent/spool", "agent/shipper", "agent/certificate"} <= set(site.health())


def test_a_configuration_is_tried_and_confirmed(tmp_path: Path) -> None:
    """What cannot change live begins the agent anew in its place; a fresh record confirms; a restart keeps it."""
    with running(tmp_path) as site:
        assert site.agent.process is not None
        pid = site.agent.process.pid
        pushed = site.push(1, {"flows": {"idle": "30 s"}, "log": {"level": "debug"}})
        wait_for(lambda: site.told() == (1, pb.CONFIG_CONFIRMED), "it is confirmed", DEADLINE_S)
        same = site.agent.running and site.agent.spool()["pid"] == pid
        confirmed = site.effective()
        assert site.agent.stop() == 0, site.agent.tail()
        site.start()
        after = site.collector.statuses[-1].config
        assert site.agent.stop() == 0, site.agent.tail()

    assert json.loads(pushed.result)["restart"] == ["flows.idle"]
    assert same
    assert (confirmed["flows"]["idle"], confirmed["log"]["level"]) == (30.0, "debug")
    assert (after.version, after.state) == (1, pb.CONFIG_CONFIRMED)
    states = [event["data"]["state"] for event in site.events if event["type"] == "agent.config_trial"]
    assert states[:2] == ["applied", "confirmed"]


def test_row_35_a_configuration_with_which_the_agent_dies_is_reverted_at_the_third_start(tmp_path: Path) -> None:
    """The trial is on disk: killed on it twice, the agent starts without it, and says so."""
    with running(tmp_path) as site:
        site.acks = False  # nothing confirms it
        site.push(1, {"flows": {"idle": "30 s"}})
        wait_for(lambda: site.effective()["flows"]["idle"] == 30.0, "it is on trial", DEADLINE_S)
        seen = []
        for _ in range(2):
            seen.append(site.told())
            site.agent.kill()
            site.start()
        seen.append(site.told())
        problem = site.collector.statuses[-1].config.problem
        effective = site.effective()
        site.acks = True
        assert site.agent.stop() == 0, site.agent.tail()

    assert seen == [(1, pb.CONFIG_APPLIED), (1, pb.CONFIG_APPLIED), (1, pb.CONFIG_REVERTED)]
    assert "third time" in problem
    assert effective["flows"]["idle"] == 60.0


def test_row_35_a_configuration_with_which_the_agent_cannot_start_is_reverted_at_once(tmp_path: Path) -> None:
    """It begins anew with it, fails, and begins anew without it: the same process, without anybody's help."""
    with running(tmp_path) as site:
        assert site.agent.stop() == 0, site.agent.tail()
        site.start(*(f"gone{number}" for number in range(8)))
        assert site.agent.process is not None
        pid = site.agent.process.pid
        site.push(1, {"capture": {"workers": 16}})  # of nine interfaces: more than the ledger has room for
        wait_for(lambda: site.told() == (1, pb.CONFIG_REVERTED), "it is reverted", DEADLINE_S)
        problem = site.collector.statuses[-1].config.problem
        same = site.agent.spool()["pid"] == pid
        assert site.agent.stop() == 0, site.agent.tail()

    assert problem.startswith("the agent does not start with it: ")
    assert same


def test_row_35_a_collector_that_is_away_during_a_trial(tmp_path: Path) -> None:
    """The settings are reverted, the ones before do not ship either: they are tried once more when it is back."""
    with running(tmp_path, trial=SHORT_TRIAL) as site:
        site.acks = False  # nothing confirms it
        site.push(1, {"flows": {"idle": "30 s"}})
        site.away = True
        wait_for(lambda: "is reverted" in site.agent.tail(200), "it is reverted", DEADLINE_S)
        wait_for(lambda: "does not ship either" in site.agent.tail(200), "nor do the ones before ship", DEADLINE_S)
        site.acks, site.away = True, False
        wait_for(lambda: site.told() == (1, pb.CONFIG_CONFIRMED), "it is confirmed", DEADLINE_S)
        wait_for(lambda: site.effective()["flows"]["idle"] == 30.0, "it is in force", DEADLINE_S)
        assert site.agent.stop() == 0, site.agent.tail()

    trials = {event["ts_ns"]: event["data"] for event in site.events if event["type"] == "agent.config_trial"}
    states = [state for state, _ in groupby(data["state"] for _, data in sorted(trials.items()))]
    assert states == ["applied", "reverted", "applied", "confirmed"]


def test_row_36_a_configuration_that_is_not_the_collectors_is_refused(tmp_path: Path) -> None:
    """Signed by another CA's key, or older than one that was seen: refused with the reason, and nothing changes."""
    with running(tmp_path) as site:
        site.push(5, {"log": {"level": "debug"}})
        wait_for(lambda: site.told() == (5, pb.CONFIG_CONFIRMED), "it is confirmed", DEADLINE_S)
        forged = site.push(6, {"log": {"level": "error"}}, Signer(Authority()))
        older = site.push(4, {"log": {"level": "error"}})
        told, effective = site.told(), site.effective()
        refusals = {"config-6", "config-4"}

        def audited() -> bool:
            failed = {event["data"].get("command") for event in site.events if event["data"].get("outcome") == "failed"}
            return refusals <= failed

        wait_for(audited, "the audit has arrived", DEADLINE_S)
        assert site.agent.stop() == 0, site.agent.tail()

    assert (forged.state, older.state) == (pb.COMMAND_FAILED, pb.COMMAND_FAILED)
    assert "was not issued by this agent's CA" in forged.text
    assert "versions rise" in older.text
    assert (told, effective["log"]["level"]) == ((5, pb.CONFIG_CONFIRMED), "debug")
