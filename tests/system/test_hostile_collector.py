"""A real agent at a collector that harms it with every word: nothing lost, memory and processor bounded, capture on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.net import require_namespaces, wire
from support.stack import Agent, wait_for

from system.kills import Sender

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(240)]

HOSTILE_S = 45.0
RATE = 600
MOST_KIB = 16 << 10  # more than at the beginning
QUICK = {
    "FIELDWATCH_AGENT__COLLECTOR__RETRY_MAX": "2s",
    "FIELDWATCH_AGENT__SPOOL__SEAL_AGE": "200ms",
    "FIELDWATCH_AGENT__REMOTE__ALLOW": "reload,log_level,config,capture",
}


def cpu_s(pid: int) -> float:
    """Of the process, its threads and the children that it has waited for (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(value) for value in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def test_whatever_a_collector_says(tmp_path: Path) -> None:
    """Claims, refusals, floods, giants, pauses, absurd commands; then it behaves: all is there, or declared."""
    require_namespaces()
    with wire() as over:
        agent = Agent(tmp_path / "agent", over.run_in(over.near), QUICK)
        peer = subprocess.Popen(
            over.run_in(over.near, sys.executable, "-m", "system.hostile_collector", str(agent.data)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        sender: Sender | None = None

        def ask(line: str) -> dict[str, Any]:
            assert peer.stdin is not None
            assert peer.stdout is not None
            print(line, file=peer.stdin, flush=True)
            found: dict[str, Any] = json.loads(peer.stdout.readline())
            return found

        try:
            assert peer.stdout is not None
            port = int(peer.stdout.readline())
            agent.spawn("run", "--data", str(agent.data), "--collector", f"127.0.0.1:{port}", "-i", over.interface)
            assert agent.process is not None
            pid = agent.process.pid
            wait_for(lambda: ask("tell")["connections"] > 0, "the agent has come")
            first_kib, first_cpu, began = resident_kib(pid), cpu_s(pid), time.monotonic()
            sender = Sender(over, RATE)
            sender.say("go")
            peak = 0

            def hostility_is_over() -> bool:
                nonlocal peak
                peak = max(peak, resident_kib(pid))
                return time.monotonic() - began > HOSTILE_S

            wait_for(hostility_is_over, "the hostile time", HOSTILE_S + 10)
            took, spent = time.monotonic() - began, cpu_s(pid) - first_cpu
            hostile = ask("tell")
            captured = agent.spool()
            sent = sender.say("pause")
            ask("behave")
            wait_for(lambda: agent.is_drained() or None, "everything is acked", 60)
            assert agent.stop() == 0, agent.tail()
            last = ask("tell")
        finally:
            peer.kill()
            if sender is not None:
                sender.close()
            if agent.running:
                agent.kill()

    stopped = json.loads(agent.log.read_text().splitlines()[-1])
    assert stopped["event"] == "stopped", agent.tail()
    assert stopped["frames"] >= sent > 0.5 * RATE * HOSTILE_S
    assert stopped["frames"] == last["frames"] + last["lost"]
    assert stopped["buffered_records"] == 0
    assert hostile["held"] == 0
    assert captured["records"] > 0
    assert 5 < hostile["connections"] <= took + 1
    assert spent < 0.6 * took, f"{spent:.1f} s of processor in {took:.0f} s"
    assert peak - first_kib < MOST_KIB
