"""Row 14 of the failure matrix with the whole agent: no descriptor, no inode. It goes on, and everybody is told."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fieldwatch_agent.control.health import LEAST_DESCRIPTORS
from fieldwatch_agent.daemon import INTERFACES_S
from support.net import require_namespaces, wire
from support.stack import Agent, Collector, wait_for

from system.kills import QUICK, RATE, TargetSite

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(180)]
FEW_INODES = 60
RESOURCES = "agent/resources"


def told(collector: Collector) -> tuple[str, str]:
    """(level, reason) of the agent's resources in its newest heartbeat; empty before the first."""
    status = json.loads(collector.ask("SELECT status FROM agent")[0][0])
    found = [part for part in status.get("health", ()) if part["component"] == RESOURCES]
    return (found[0]["level"], found[0]["reason"]) if found else ("", "")


def says(collector: Collector, level: str, words: str = "") -> bool:
    found = told(collector)
    return found[0] == level and words in found[1]


def shown(agent: Agent) -> str:
    """The line of `fieldwatch-agent status`."""
    table = agent.call("status", "--data", str(agent.data))
    return next(line for line in table.splitlines() if line.startswith(RESOURCES))


def alarms(collector: Collector) -> list[str]:
    """What the alarms of this kind said."""
    rows = collector.ask("SELECT data FROM event WHERE type = 'agent.resource_trouble' ORDER BY seq")
    return [json.loads(data)["trouble"] for (data,) in rows]


def test_row_14_no_descriptor_is_left(tmp_path: Path) -> None:
    """Nearly none: the collector and `status` say so. None: the agent captures, ships and beats on, nobody else can ask
    it; the collector is told. When there are descriptors again all is well, and every frame is stored.
    """
    require_namespaces()
    with wire() as over:
        site = TargetSite(tmp_path, over, QUICK, RATE)
        try:
            site.collector.start()
            site.agent.enrol(site.collector)
            site.agent.start(site.collector)  # no interface named: it looks for new ones all the time
            wait_for(lambda: says(site.collector, "ok"), "the first heartbeat")
            assert site.agent.process is not None
            pid = site.agent.process.pid
            few, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)

            used = lasting_descriptors(pid)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + LEAST_DESCRIPTORS - 2, hard))
            wait_for(lambda: says(site.collector, "degraded", "file descriptors are in use"), "nearly none is told")
            nearly = shown(site.agent)

            resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, hard))
            wait_for(lambda: says(site.collector, "degraded", "no file descriptor was left of 0"), "none is told")
            site.sender.say("go")
            begun_ns = contact_ns(site.collector)
            later_ns = begun_ns + int(1.2 * INTERFACES_S * 1e9)
            wait_for(lambda: contact_ns(site.collector) > later_ns, "it beats on, and looks for interfaces meanwhile")
            frames = site.collector.ask("SELECT coalesce(sum(packets), 0) FROM flow")[0][0]
            question = site.agent.command("status", "--data", str(site.agent.data))
            asked = subprocess.run(question, capture_output=True, text=True, timeout=30)

            resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, hard))
            wait_for(lambda: says(site.collector, "ok"), "it is over", 60)
            again = shown(site.agent)
            site.finish()
            verdict = site.verdict(0)
            raised = alarms(site.collector)
        finally:
            site.close()

    assert "degraded" in nearly, nearly
    assert "raise LimitNOFILE=" in nearly, nearly
    assert frames > 0
    assert (asked.returncode, "does not answer" in asked.stderr) == (1, True), asked.stderr
    assert again.split() == [RESOURCES, "ok"]
    assert len(raised) == 1, raised
    assert (verdict.lost, verdict.duplicated, verdict.declared) == (0, 0, 0), verdict


def lasting_descriptors(pid: int) -> int:
    """Those that are open all the time: others come and go as it looks around."""
    return min(len(os.listdir(f"/proc/{pid}/fd")) for _ in range(200))


def contact_ns(collector: Collector) -> int:
    return int(collector.ask("SELECT coalesce(last_contact_ns, 0) FROM agent")[0][0])


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[list[str]]:
    """A tmpfs at the folder in a mount namespace of its own; the beginning of a command line that runs in it."""
    mounting = f'mount -t tmpfs -o {options} none "$0" && echo mounted && exec cat'
    folder.mkdir()
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", mounting, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"mounted\n"
        yield ["nsenter", "--mount", "--target", str(holder.pid)]
    finally:
        holder.stdin.close()
        holder.wait(10)


def test_row_14_no_inode_is_left_for_the_agent(tmp_path: Path) -> None:
    """The collector and `status` say so while others hold them all, records are shipped all the same, and it is over
    when the others are gone.
    """
    require_namespaces()
    collector = Collector(tmp_path / "collector")
    with small_disk(tmp_path / "disk", f"size=64m,nr_inodes={FEW_INODES}") as inside:
        agent = Agent(tmp_path / "agent", inside, QUICK)
        agent.data = tmp_path / "disk" / "agent"
        others = [sys.executable, "-c", TAKE_ALL, str(tmp_path / "disk")]
        try:
            collector.start()
            agent.enrol(collector)
            agent.start(collector, "-i", "fw-absent0")
            wait_for(lambda: says(collector, "ok"), "the first heartbeat")
            batches = collector.ask("SELECT coalesce(max(position), 0) FROM batch")[0][0]
            taken = subprocess.run([*inside, *others], capture_output=True, text=True, timeout=30)
            wait_for(lambda: says(collector, "degraded", "no inode is left"), "it is told")
            none = shown(agent)
            wait_for(lambda: bool(alarms(collector)), "the alarm was sealed, written and shipped without an inode")
            subprocess.run([*inside, "sh", "-c", 'rm "$0"/empty*', str(tmp_path / "disk")], check=True, timeout=30)
            wait_for(lambda: says(collector, "ok"), "it is over", 60)
            again = shown(agent)
            stopped = agent.stop()
            more = collector.ask("SELECT coalesce(max(position), 0) FROM batch")[0][0]
        finally:
            for daemon in (agent, collector):
                if daemon.running:
                    daemon.kill()

    assert taken.returncode == 0, taken.stderr
    assert "degraded" in none, none
    assert f"see: df -i {agent.data}" in none, none
    assert again.split() == [RESOURCES, "ok"]
    assert stopped == 0, agent.tail()
    assert more > batches


TAKE_ALL = """
import pathlib, sys
made = 0
try:
    while made < 10_000:
        (pathlib.Path(sys.argv[1]) / f"empty{made}").touch()
        made += 1
except OSError:
    sys.exit(made == 0)
sys.exit("inodes never run out")
"""
