"""The running agent at its bounds: a full table of flows, and more frames than its ring can hold."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from fieldwatch_proto.v1.agent_pb2 import KERNEL_DROP
from support.net import require_namespaces, wire
from support.sender import FRAMES_A_FLOW
from support.stack import Agent, wait_for

from system.kills import QUICK, TargetSite

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(180)]
MAX_FLOWS = 65_536
MOST_RESIDENT_KIB = 64 << 10


def _status_kib(agent: Agent, name: str) -> int:
    """A line of /proc/PID/status (proc_pid_status(5)) in KiB."""
    assert agent.process is not None
    lines = Path(f"/proc/{agent.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def test_memory_with_a_full_table_of_flows(tmp_path: Path) -> None:
    """Default configuration, connected, more flows than the table holds: never over 64 MiB, its peak included."""
    require_namespaces()
    with wire() as over:
        site = TargetSite(tmp_path, over, {}, 40_000)
        try:
            site.start()
            wait_for(lambda: '"connected' in site.agent.log.read_text(), "the agent is connected")
            wanted = (MAX_FLOWS + 1_000) * FRAMES_A_FLOW
            wait_for(lambda: site.sender.say("go") > wanted, "the table of flows is full", 60)
            site.sender.say("pause")
            wait_for(lambda: site.agent.spool()["frames_seen"] > wanted, "the agent has taken the frames")
            peak, now = _status_kib(site.agent, "VmHWM"), _status_kib(site.agent, "VmRSS")
        finally:
            site.close()

    assert peak <= MOST_RESIDENT_KIB, f"peak {peak} KiB, now {now} KiB"


def test_a_ring_that_overflows_is_declared_to_the_frame(tmp_path: Path) -> None:
    """The agent stands still while frames pass: sent = stored + KERNEL_DROP, by the sender's own count."""
    require_namespaces()
    with wire() as over:
        site = TargetSite(tmp_path, over, {**QUICK, "FIELDWATCH_AGENT__CAPTURE__RING_BYTES": "1 MiB"}, 40_000)
        try:
            site.start()
            assert site.agent.process is not None
            site.agent.process.send_signal(signal.SIGSTOP)
            wait_for(lambda: site.sender.say("go") > 60_000, "the ring is full")
            site.agent.process.send_signal(signal.SIGCONT)
            resumed = site.sender.say("go")
            wait_for(lambda: site.sender.say("go") > resumed + 10_000, "it takes frames again")
            site.finish()
            verdict = site.verdict(0)
            declared = dict(site.collector.ask("SELECT reason, sum(frames) FROM gap GROUP BY reason"))
        finally:
            site.close()

    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict
    assert declared == {int(KERNEL_DROP): verdict.declared}
    assert verdict.declared > 0
