"""Commands and settings between a real collector and a real agent: orders are done, told, and outlive kills."""

from __future__ import annotations

import json
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.net import require_namespaces
from support.stack import Agent, Collector, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(120)]

ORDERS = 5  # reload, diagnostics, capture, settings twice
PCAP_NS = 0xA1B23C4D  # draft-ietf-opsawg-pcap, 4.1: times in nanoseconds


class Fleet:
    """A collector, and an agent that listens on loopback and allows everything."""

    def __init__(self, folder: Path) -> None:
        self.collector = Collector(folder / "collector")
        environ = {
            "FIELDWATCH_AGENT__SPOOL__SEAL_AGE": "0.3",
            "FIELDWATCH_AGENT__REMOTE__ALLOW": "reload,diagnostics,log_level,capture,config",
        }
        self.agent = Agent(folder / "agent", environ=environ)

    def start(self) -> None:
        self.collector.start()
        self.agent.enrol(self.collector)
        self.start_agent()

    def start_agent(self) -> None:
        """Until the session of this start is told; the end of the one before may be told after it has begun."""
        sessions = "SELECT count(*) FROM event WHERE type = 'agent.connected'"
        before = self.collector.ask(sessions)[0][0]
        self.agent.start(self.collector, "-i", "lo")
        wait_for(lambda: self.collector.ask(sessions)[0][0] > before, "the agent is here")

    def handled(self) -> set[tuple[str, str]]:
        """(command, outcome) of what the agent has told of commands."""
        rows = self.collector.ask("SELECT data FROM event WHERE type = 'agent.command_handled'")
        return {(data["name"], data["outcome"]) for data in (json.loads(text) for (text,) in rows)}

    def config(self) -> tuple[Any, ...]:
        """(version, state) of the settings, as the agent said last."""
        return self.collector.ask(
            "SELECT json_extract(status, '$.config.version'), json_extract(status, '$.config.state') FROM agent"
        )[0]

    def agents(self, *words: str) -> str:
        """`fieldwatch-collector agents ...` beside the server."""
        return self.collector.call("agents", *words, "--data", str(self.collector.data))

    def shown(self) -> dict[str, Any]:
        name = self.collector.ask("SELECT name FROM agent")[0][0]
        found: dict[str, Any] = json.loads(self.agents("show", name, "-o", "json"))
        return found

    def close(self) -> None:
        for daemon in (self.agent, self.collector):
            if daemon.running:
                daemon.kill()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    require_namespaces()  # that is: root, for the packet socket
    made = Fleet(tmp_path)
    yield made
    made.close()


def test_what_is_ordered_is_done(fleet: Fleet, tmp_path: Path) -> None:
    """A bundle, packets as a pcap, settings that are confirmed and unset again; both ends have it in their books."""
    fleet.start()
    bundle, packets = tmp_path / "bundle.tar.gz", tmp_path / "lo.pcap"
    name = fleet.shown()["agent"]["name"]
    reload = json.loads(fleet.agents("run", "reload", "--select", "*", "--wait", "-o", "json"))
    fleet.agents("diagnostics", name, "-w", str(bundle))
    fleet.agents("capture", name, "-i", "lo", "-n", "5", "--seconds", "20", "-w", str(packets))
    fleet.agents("config", "set", "flows.idle=45 s", "--select", "*")
    wait_for(lambda: fleet.config() == (1, "confirmed"), "the settings are confirmed")
    confirmed = fleet.shown()
    fleet.agents("config", "unset", "flows.idle", "--select", "*")
    wait_for(lambda: fleet.config() == (2, "confirmed"), "they are unset again")
    after = fleet.shown()
    done = {("capture", "done"), ("reload", "done"), ("config", "done")}
    wait_for(lambda: done <= fleet.handled(), "the agent's own books have arrived")
    ended = "SELECT count(*) FROM audit WHERE action = 'command.end' AND outcome = 'done'"
    wait_for(lambda: fleet.collector.ask(ended)[0][0] >= ORDERS, "the end of each order is written down")
    ends = fleet.collector.ask(ended)

    assert [row["state"] for row in reload] == ["done"]
    with tarfile.open(bundle) as archive:
        assert {"versions.json", "config.json", "log.ndjson"} <= {Path(one).name for one in archive.getnames()}
    octets = packets.read_bytes()
    assert struct.unpack("<I", octets[:4]) == (PCAP_NS,)
    assert len(octets) > 24 + 16
    assert (confirmed["config"]["version"], confirmed["config"]["effective"]["flows"]["idle"]) == (1, 45.0)
    assert not confirmed["config"]["drifted"]
    assert after["config"]["effective"]["flows"]["idle"] == 60.0
    assert ends == [(ORDERS,)]


def test_an_order_outlives_its_operator_the_collector_and_an_absence(fleet: Fleet) -> None:
    """Given while the agent is away; the collector is killed meanwhile; the agent comes and does it once."""
    fleet.start()
    assert fleet.agent.stop() == 0
    fleet.agents("run", "reload", "--select", "*", "--timeout", "10min")
    fleet.collector.kill()
    fleet.collector.start()
    fleet.start_agent()
    wait_for(lambda: fleet.collector.ask("SELECT state FROM command") == [("done",)], "it is done")
    assert fleet.agent.stop() == 0
    fleet.start_agent()
    assert fleet.agent.stop() == 0
    accepted = fleet.agent.log.read_text().count('"a command was accepted"')

    assert accepted == 1
    assert fleet.collector.ask("SELECT state FROM command") == [("done",)]
