"""`diagnostics`: what is wanted to look into an agent from afar, as a tar.gz without anybody's addresses."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fieldwatch_proto.settings import effective

from fieldwatch_agent import wire
from fieldwatch_agent.control.agent import Agent
from fieldwatch_agent.control.registry import Outcome, command
from fieldwatch_agent.control.run import CommandError, Run

COUNTERS = ("rx_packets", "tx_packets", *wire.NIC_LOSSES)
CHILD_TIMEOUT_S = 60.0


@command("diagnostics", "a bundle for looking into the agent: versions, settings, status, log, limits", exclusive=True)
def diagnostics(run: Run, agent: Agent) -> Outcome:
    run.progress(10, "collecting")
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder = f"fieldwatch-agent-{stamp}"
    request = {"folder": folder, "files": collect(agent)}
    octets = _packed(run, json.dumps(request).encode())
    run.progress(60, "sending")
    sent = run.send_file(f"{folder}.tar.gz", [octets])
    return Outcome(f"{folder}.tar.gz, {sent} octets", {"file": f"{folder}.tar.gz", "octets": sent})


def collect(agent: Agent) -> dict[str, Any]:
    """File name -> what stands in it, not redacted yet; the child adds the versions."""
    return {
        "config.json": [
            {**row, "value": list(row["value"]) if isinstance(row["value"], tuple) else row["value"]}
            for row in effective(agent.settings.loaded)
        ],
        "pending.json": list(agent.settings.pending),
        "status.json": agent.describe(),
        "spool.json": agent.spool_status(),
        "interfaces.json": interfaces(),
        "limits.json": limits(),
        "log.ndjson": "".join(f"{line}\n" for line in agent.log.recent.lines()),
    }


def interfaces() -> dict[str, Any]:
    """Name -> state and the kernel's counters; no addresses."""
    return {
        name: {
            "up": wire.is_up(name),
            "mtu": _number(wire.NET / name / "mtu"),
            "type": _number(wire.NET / name / "type"),
            **{counter: _number(wire.NET / name / "statistics" / counter) for counter in COUNTERS},
        }
        for name in sorted(os.listdir(wire.NET))
        if (wire.NET / name).is_dir()
    }


def limits() -> dict[str, Any]:
    """What the process may take, and what it has: resource limits, its cgroup's, open files, load."""
    names = {"files": resource.RLIMIT_NOFILE, "address space": resource.RLIMIT_AS, "core": resource.RLIMIT_CORE}
    return {
        "limits": {name: list(resource.getrlimit(number)) for name, number in names.items()},
        "open_files": len(os.listdir("/proc/self/fd")),
        "status": _lines("/proc/self/status", "Vm", "Threads", "Cap"),
        "io": _lines("/proc/self/io", ""),
        "cgroup": {name: _text(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current", "cpu.max")},
        "load": list(os.getloadavg()),
        "memory": _lines("/proc/meminfo", "MemTotal", "MemAvailable"),
    }


def _packed(run: Run, request: bytes) -> bytes:
    """What the child makes of it."""
    child = [sys.executable, "-m", "fieldwatch_agent.control.bundle"]
    timeout_s = min(CHILD_TIMEOUT_S, run.remaining_s)
    try:
        done = subprocess.run(child, input=request, capture_output=True, timeout=timeout_s, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise CommandError(f"the bundle was not packed ({problem}); try again when the machine is less busy") from None
    if done.returncode != 0:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise CommandError(f"the bundle was not packed: {last[-1] if last else done.returncode}")
    return done.stdout


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _lines(path: str, *beginnings: str) -> dict[str, str]:
    lines = [line.partition(":") for line in _text(Path(path)).splitlines() if line.startswith(beginnings)]
    return {name: value.strip() for name, _, value in lines}
