"""What the systemd units allow is little, and enough: their exposure, and an agent with CAP_NET_RAW alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fieldwatch_agent.config import AgentConfig
from support.net import require_namespaces, wire
from support.stack import wait_for

from system.kills import QUICK, RATE, TargetSite

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
UNITS = Path(__file__).parents[2] / "packaging" / "systemd"


@pytest.mark.parametrize(("name", "most"), [("agent", 2.0), ("collector", 2.5)])
def test_exposure(name: str, most: float) -> None:
    """systemd's own judgement of the unit, 0 (tight) to 10, without a running systemd."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (apt-get install systemd)")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
    shown = subprocess.run([*command, str(UNITS / f"fieldwatch-{name}.service")], capture_output=True, text=True)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", shown.stdout)
    assert found, shown.stderr
    assert float(found[1]) <= most, shown.stdout


def test_the_agent_leaves_cores_to_the_gateway() -> None:
    """A worker and a half, whatever the flood: less than half of a Raspberry Pi, more than one worker needs."""
    quotas = re.findall(r"^CPUQuota=(\d+)%$", (UNITS / "fieldwatch-agent.service").read_text(), re.M)

    assert quotas == ["150"]
    assert AgentConfig().capture.workers == 1


@pytest.mark.live
def test_the_agent_needs_one_capability(tmp_path: Path) -> None:
    """Bounded to what the unit grants, with no way to more, it captures, ships, renews nothing of its rights, and
    accounts for every frame.
    """
    require_namespaces()
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv (apt-get install util-linux)")
    granted = re.findall(r"^CapabilityBoundingSet=(.*)$", (UNITS / "fieldwatch-agent.service").read_text(), re.M)
    assert granted == ["CAP_NET_RAW"]
    drop = ["setpriv", "--inh-caps=-all,+net_raw", "--bounding-set=-all,+net_raw", "--no-new-privs"]
    with wire() as over:
        site = TargetSite(tmp_path, over, QUICK, RATE)
        site.agent.prefix += drop
        try:
            site.start()
            assert site.agent.process is not None
            status = Path(f"/proc/{site.agent.process.pid}/status").read_text()
            site.sender.say("go")
            wait_for(lambda: site.collector.ask("SELECT count(*) FROM batch")[0][0] > 2, "batches arrive")
            site.finish()
            verdict = site.verdict(0)
        finally:
            site.close()

    effective = int(re.findall(r"^CapEff:\s*([0-9a-f]+)$", status, re.M)[0], 16)
    assert effective == 1 << 13, hex(effective)  # CAP_NET_RAW of capability.h
    assert (verdict.lost, verdict.declared) == (0, 0), verdict
