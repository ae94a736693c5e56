"""Row 41 of the failure matrix, the flood itself: as many frames as the sender can make, for seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from fieldwatch_proto.v1.agent_pb2 import BACKPRESSURE, KERNEL_DROP
from support.net import require_namespaces
from support.stack import wait_for

from system.kills import QUICK, TargetSite, target_site

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(120)]
UNBOUNDED = 10_000_000  # frames a second: more than anybody sends
FRAMES = 400_000
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
