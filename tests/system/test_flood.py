"""Row 41 of the failure matrix, the flood itself: as many frames as the sender can make, for seconds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fieldwatch_proto.v1.agent_pb2 import BACKPRESSURE, KERNEL_DROP
from support.cgroups import cpu_quota, cpu_s, throttled
from support.net import require_namespaces
from support.stack import wait_for

from system.kills import QUICK, TargetSite, target_site

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(120)]
UNBOUNDED = 10_000_000  # frames a second: more than anybody sends
FRAMES = 400_000
CAP_CORES = 0.03  # less than half of what the flood asks for: so the cap is felt
SMALL_RING = {"FIELDWATCH_AGENT__CAPTURE__RING_BYTES": "1 MiB"}


def _stored(site: TargetSite) -> int:
    return int(site.collector.ask("SELECT coalesce(max(position), 0) FROM batch")[0][0])


def test_row_41_a_flood_neither_stops_the_shipper_nor_loses_a_frame_untold(tmp_path: Path) -> None:
    """Batches reach the collector while it lasts, over one connection; what found no room is declared."""
    require_namespaces()
    with target_site(tmp_path, {**QUICK, **SMALL_RING}, UNBOUNDED) as site:
        site.sender.say("go")
        for more in range(1, 5):
            seen = _stored(site)
            wait_for(lambda seen=seen: _stored(site) > seen, "batches arrive while frames flood in")
            wait_for(lambda more=more: site.sender.say("go") > more * FRAMES // 4, "the flood goes on")
        site.sender.say("pause")
        wait_for(lambda: site.agent.spool()["frames_seen"] > 0, "the agent answers")
        connected = site.collector.ask("SELECT count(*) FROM event WHERE type = 'agent.connected'")[0][0]
        site.finish()
        verdict = site.verdict(0)
        reasons = {reason for (reason,) in site.collector.ask("SELECT DISTINCT reason FROM gap")}

    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict
    assert reasons <= {KERNEL_DROP, BACKPRESSURE}
    assert connected == 1


def test_row_41_a_flood_under_a_cap_on_cpu(tmp_path: Path) -> None:
    """Held to a part of a core, as the unit's CPUQuota= holds it: the cap is felt and kept, batches arrive all the
    same, and what found no room is declared.
    """
    require_namespaces()
    with target_site(tmp_path, {**QUICK, **SMALL_RING}, UNBOUNDED) as site:
        assert site.agent.process is not None
        pid = site.agent.process.pid
        with cpu_quota(pid, CAP_CORES) as group:
            begun, used = time.monotonic(), cpu_s(pid)
            site.sender.say("go")
            for more in range(1, 5):
                seen = _stored(site)
                wait_for(lambda seen=seen: _stored(site) > seen, "batches arrive under the cap", 30)
                wait_for(lambda more=more: site.sender.say("go") > more * FRAMES // 4, "the flood goes on")
            site.sender.say("pause")
            cores = (cpu_s(pid) - used) / (time.monotonic() - begun)
            periods = throttled(group)
        site.finish()
        verdict = site.verdict(0)
        reasons = {reason for (reason,) in site.collector.ask("SELECT DISTINCT reason FROM gap")}

    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict
    assert reasons <= {KERNEL_DROP, BACKPRESSURE}
    assert periods > 0, cores
    assert cores < 1.6 * CAP_CORES, cores  # the kernel may run over by a slice; without a cap it is twice as much
