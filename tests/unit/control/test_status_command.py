"""`fieldwatch-agent status`: beside a running agent, and where none runs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldwatch_agent.spool.file import SOCKET_NAME
from support.capture_files import pcap
from support.sender import frame
from support.stack import Agent, wait_for


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "agent")
    yield made
    if made.running:
        made.kill()


def status(agent: Agent, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = agent.command("status", "--data", str(agent.data), *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_running_agent_shows_its_parts(agent: Agent, tmp_path: Path) -> None:
    """A table for people, an object for programs; exit code 0 where nothing has failed."""
    pipe = tmp_path / "endless"
    os.mkfifo(pipe)
    agent.spawn("run", "--data", str(agent.data), "--replay", str(pipe), "--local-only")
    with pipe.open("wb") as feed:
        feed.write(pcap([(1_700_000_000_000_000_000, frame(1))]))
        feed.flush()
        wait_for(lambda: (agent.data / SOCKET_NAME).exists(), "the agent runs")
        table, found = status(agent), status(agent, "-o", "json")
    assert agent.process is not None
    assert agent.process.wait(20) == 0, agent.tail()
    parts = {part["component"]: part for part in json.loads(found.stdout)["health"]}

    assert (table.returncode, table.stderr) == (0, "")
    assert f"running (process {agent.process.pid}, draining)" in table.stdout
    assert table.stdout.splitlines()[5].split() == ["COMPONENT", "LEVEL", "REASON"]
    assert {name: parts[name]["level"] for name in ("agent/spool", "agent/shipper", "agent/config")} == {
        "agent/spool": "ok",
        "agent/shipper": "ok",
        "agent/config": "ok",
    }
    assert json.loads(found.stdout)["config"] == {
        "version": 0,
        "state": "none",
        "problem": "",
        "pending": [],
    }


def test_where_no_agent_runs_it_says_how_to_start_one(agent: Agent) -> None:
    """One line, exit code 1; also where a killed one left its socket behind."""
    none = status(agent)
    (agent.data / SOCKET_NAME).touch()
    dead = status(agent)

    assert (none.returncode, dead.returncode) == (1, 1)
    assert none.stderr.startswith(f"fieldwatch-agent: {agent.data}: no agent runs there; start it: ")
    assert dead.stderr.startswith(f"fieldwatch-agent: {agent.data}: the agent there does not answer; ")
    assert len(none.stderr.splitlines()) == len(dead.stderr.splitlines()) == 1
