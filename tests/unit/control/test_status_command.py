"""`fieldwatch-agent status`: beside a running agent, and where none runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldwatch_agent.cli.status import _show
from fieldwatch_agent.cli.written import written_lines
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
    assert re.search(r"^written +(\d+\.\d MB since the start|not measured: )", table.stdout, re.MULTILINE)
    assert re.search(r"^COMPONENT +LEVEL +REASON$", table.stdout, re.MULTILINE)
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


def test_what_is_written_stands_there_as_in_spool_status(capsys: pytest.CaptureFixture[str]) -> None:
    """Since the start, a day, of the budget; and how long the card lasts, weeks as well as years."""
    written = {
        "write_measured": True,
        "written_bytes": 12_300_000,
        "written_bytes_day": 45_000_000,
        "write_budget_bytes_day": 50_000_000,
        "card_life_years": 0.0412,
        "card_capacity_bytes": 32_000_000_000,
        "card_cycles": 3_000,
        "seal_age_s": 40.0,
    }
    running = {"pid": 7, "state": "capturing", "version": "1", "interfaces": ["eth0"], "collector": "connected"}
    waits = {"records": 0, "batches": 0, "config": {"version": 0}, "health": []}
    _show({**running, **waits, **written})
    shown = capsys.readouterr().out.splitlines()

    assert written_lines(written) == [(line[:16].rstrip(), line[16:]) for line in shown[4:7]]
    assert shown[4].endswith(
        " 12.3 MB since the start, 45 MB a day at the rate of the last hours, of at most 50 MB a day"
    )
    assert shown[5].endswith(" 0.0412 years, for a disk of 32 GB x 3000 cycles")


def test_where_no_agent_runs_it_says_how_to_start_one(agent: Agent) -> None:
    """One line, exit code 1; also where a killed one left its socket behind."""
    none = status(agent)
    (agent.data / SOCKET_NAME).touch()
    dead = status(agent)

    assert (none.returncode, dead.returncode) == (1, 1)
    assert none.stderr.startswith(f"fieldwatch-agent: {agent.data}: no agent runs there; start it: ")
    assert dead.stderr.startswith(f"fieldwatch-agent: {agent.data}: the agent there does not answer; ")
    assert len(none.stderr.splitlines()) == len(dead.stderr.splitlines()) == 1
