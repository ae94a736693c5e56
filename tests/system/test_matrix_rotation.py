"""Row 34 of the failure matrix: the CA is replaced while some agents are there, some sleep, and some never come back
before it is over."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldwatch_agent.enrolment import keys
from fieldwatch_agent.enrolment.identity import load_credentials, load_identity
from fieldwatch_proto.client import Client
from fieldwatch_proto.join import JoinToken
from support.collector import offline
from support.identities import expire
from support.stack import Agent, Collector, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


class Fleet:
    """A collector and its agents, as processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.collector = Collector(folder / "collector")
        self.collector.start()
        self.agents = {name: self.joined(name) for name in ("present", "absent", "expired")}

    def agent(self, name: str) -> Agent:
        return Agent(self.folder / name)

    def joined(self, name: str) -> Agent:
        made = self.agent(name)
        made.enrol(self.collector)
        return made

    def ca(self, *arguments: str) -> str:
        return self.collector.call("ca", *arguments, "--data", str(self.collector.data))

    def visit(self, name: str) -> None:
        """The agent runs until the collector has welcomed it."""
        agent = self.agents[name]
        begun = agent.log.stat().st_size if agent.log.exists() else 0
        agent.start(self.collector, "-i", "fw-absent0")
        try:
            wait_for(lambda: "connected to the collector" in agent.log.read_text()[begun:], f"{name} is welcomed")
        finally:
            assert agent.stop() == 0, agent.tail()

    def renew(self, name: str) -> None:
        """As the daemon does at half of the certificate's life."""
        command = [sys.executable, "-m", "fieldwatch_agent.enrolment.renew", "--data", str(self.agents[name].data)]
        address = f"127.0.0.1:{self.collector.ports['grpc']}"
        done = subprocess.run([*command, "--address", address], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    def roots(self, name: str) -> list[bytes]:
        return keys.roots_of(load_credentials(self.agents[name].data).ca)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    for process in (*made.agents.values(), made.collector):
        if process.running:
            process.kill()


def test_row_34_a_new_ca_reaches_every_agent_and_locks_none_out(fleet: Fleet) -> None:
    """Present: learns of both, then of the new alone. Absent over the whole of it: comes back with its old certificate.
    Expired meanwhile: recovers. A token and an API token line from before: still good. Nobody touches an agent."""
    place = ("--data", str(fleet.collector.data))
    early_token = fleet.collector.token()
    line = fleet.collector.call("api-token", "create", "x", *place).strip()
    old = JoinToken.parse(early_token).ca_der
    fleet.visit("present")
    assert fleet.collector.stop() == 0
    with offline(fleet.collector.data) as services:  # while the CA still can: its key will be gone
        expire(services, fleet.agents["expired"].data)
    fleet.collector.start()

    begun = fleet.ca("rotate", "--begin")
    new = JoinToken.parse(fleet.collector.token()).ca_der
    fleet.renew("present")
    fleet.visit("present")  # its certificate of the new CA is in use from here on
    during = fleet.roots("present")
    told = fleet.ca("status").splitlines()[-1]
    assert fleet.collector.stop() == 0
    fleet.collector.start()  # the overlap outlives a restart
    finished = fleet.ca("rotate", "--finish")
    fleet.renew("present")
    after = fleet.roots("present")
    fleet.visit("present")

    fleet.visit("absent")
    fleet.renew("absent")
    fleet.visit("expired")
    late = fleet.agents["late"] = fleet.agent("late")
    late.call(
        *("enrol", "--token-file", "-", "--data", str(late.data)),
        *("--collector", f"127.0.0.1:{fleet.collector.ports['public_grpc']}"),
        stdin=early_token,
    )
    fleet.visit("late")
    with Client.connect(f"127.0.0.1:{fleet.collector.ports['public_grpc']}", line) as client:
        listed = {agent.id for agent in client.agents()}
    audited = fleet.collector.ask("SELECT action FROM audit WHERE action LIKE 'ca.%' OR action = 'agent.recover'")
    whole = fleet.collector.call("audit", "verify", *place)

    assert "signs from now on; agents that have heard of it: 0 of 3" in begun
    assert during == [new, old]
    assert told == "agents that have heard of it: 1 of 3"
    assert "agents that have heard of it: 1 of 3" in finished
    assert after == [new]
    assert [fleet.roots(name) for name in ("absent", "expired", "late")] == [[new]] * 3
    identities = [load_identity(agent.data) for agent in fleet.agents.values()]
    assert listed == {identity.agent_id for identity in identities if identity}
    assert len(listed) == 4
    assert audited == [("ca.begin",), ("ca.finish",), ("agent.recover",)]
    assert whole.endswith("rows\n")
