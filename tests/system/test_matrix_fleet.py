"""Commands and settings through both real programs: what a person types at the collector, and what the agent does."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_ext.capture import FileSource
from support.net import require_namespaces, wire
from support.stack import Site, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(120)]
TRIAL_S = 12  # good settings are confirmed in 1 to 2 s
ENVIRON = {
    "FIELDWATCH_AGENT__REMOTE__ALLOW": "reload,diagnostics,log_level,capture,config",
    "FIELDWATCH_AGENT__REMOTE__TRIAL": f"{TRIAL_S} s",
}


class Desk:
    """A person at the collector."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def type(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = self.site.collector.command("agents", *arguments, "--data", str(self.site.collector.data))
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def show(self) -> dict[str, Any]:
        """What `agents show` says of the one agent there is."""
        ((agent_id,),) = self.site.collector.ask("SELECT id FROM agent")
        shown: dict[str, Any] = json.loads(self.type("show", agent_id, "-o", "json").stdout)
        return shown

    def agent(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.show()["agent"]
        return shown

    def settled(self, version: int, state: str) -> dict[str, Any]:
        """What it says once the settings have come to this."""
        deadline = time.monotonic() + TRIAL_S + 40
        while (shown := self.agent())["config_version"] != version or shown["config_state"] != state:
            assert time.monotonic() < deadline, (version, state, shown)
        return shown


@contextmanager
def at_the_desk(folder: Path) -> Iterator[Desk]:
    require_namespaces()
    with wire() as over:
        site = Site(folder, over, ENVIRON)
        try:
            site.start()
            wait_for(lambda: '"connected to' in site.agent.log.read_text(), "the agent is connected")
            yield Desk(site)
        finally:
            site.close()


def test_what_a_person_has_an_agent_do(tmp_path: Path) -> None:
    """Diagnostics and packets come as files, a level for a while, a reload; each with its end."""
    with at_the_desk(tmp_path) as desk:
        level = desk.type("run", "log_level", "level=debug", "minutes=1", "--select", "*", "--wait")
        reloaded = desk.type("run", "reload", "--select", "*", "--wait")
        bundle = desk.type("diagnostics", desk.agent()["id"], "-w", str(tmp_path / "d.tar.gz"))
        packets = desk.type("capture", desk.agent()["id"], "-i", "wire0", "--seconds", "1", "-w", str(tmp_path / "p"))
        elsewhere = desk.type("capture", desk.agent()["id"], "-i", "lo", "-n", "1", "-w", str(tmp_path / "x"))
        shown = desk.agent()
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "d.tar.gz").read_bytes())) as tar:
        names = {member.name.partition("/")[2] for member in tar.getmembers()}
    with (tmp_path / "p").open("rb") as file, FileSource(file.fileno()) as source:
        while source.read_block() is not None:
            pass
        complete = source.complete

    assert [done.returncode for done in (level, reloaded, bundle, packets)] == [0, 0, 0, 0], packets.stderr
    assert {"config.json", "log.ndjson", "versions.json"} <= names
    assert complete
    assert (elsewhere.returncode, "it captures wire0" in elsewhere.stderr) == (1, True), elsewhere.stderr
    assert abs(shown["clock_offset_ns"]) < 1_000_000_000


def test_row_35_settings_from_the_collector_that_break_shipping_go_again(tmp_path: Path) -> None:
    """Good ones are confirmed, ones with which nothing is sealed any more are reverted, and shipping goes on."""
    with at_the_desk(tmp_path) as desk:
        desk.type("config", "set", "spool.seal_age=0.3", "--select", "*")
        good = desk.settled(1, "confirmed")
        desk.type("config", "set", "spool.seal_age=3600", "spool.seal_bytes=1048576", "--select", "*")
        bad = desk.settled(2, "reverted")
        parts = {part["component"]: part for part in desk.show()["health"]}
        stored = bad["records_stored"]
        wait_for(lambda: desk.agent()["records_stored"] > stored, "records arrive again")

    problem = f"no fresh record reached the collector within {TRIAL_S} s"
    assert good["config_problem"] == ""
    assert bad["config_problem"] == problem
    assert (parts["agent/config"]["level"], problem in parts["agent/config"]["reason"]) == ("degraded", True), parts
