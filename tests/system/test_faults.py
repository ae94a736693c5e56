"""Every fault point once, in the whole stack: a process that dies there loses nothing that is not declared."""

from __future__ import annotations

from pathlib import Path

import pytest
from fieldwatch_agent.faults import POINTS as AGENT_POINTS
from fieldwatch_collector.faults import POINTS as COLLECTOR_POINTS
from support.net import require_namespaces
from support.stack import Daemon, wait_for

from system.kills import TargetSite, target_site

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(120)]
AT_START = ("open-before-ledger", "reconcile-after-commit")
FAULT = "FIELDWATCH_FAULT"


def _died(victim: Daemon) -> None:
    """Wait until it is dead, by the signal of its own fault point."""
    wait_for(lambda: not victim.running, "the fault point is reached")
    assert victim.process is not None
    assert victim.process.returncode == -9, victim.tail()


def _stored(site: TargetSite) -> int:
    return int(site.collector.ask("SELECT coalesce(max(position), 0) FROM batch")[0][0])


def test_row_01_the_agent_dies_at_every_point(tmp_path: Path) -> None:
    """One after the other, frames flowing before and while nobody listens: sent = stored + declared, by the sender."""
    require_namespaces()
    with target_site(tmp_path) as site:
        for point in AGENT_POINTS:
            seen = _stored(site)
            site.sender.say("go")
            wait_for(lambda seen=seen: _stored(site) > seen, "batches arrive")
            site.agent.kill()
            site.sender.say("pause")
            site.agent.environ[FAULT] = f"{point}:{1 if point in AT_START else 3}"
            if point in AT_START:
                site.agent.start(site.collector, "-i", site.over.interface)
            else:
                site.start_agent()
                site.sender.say("go")
            _died(site.agent)
            del site.agent.environ[FAULT]
            before = site.sender.say("go")
            wait_for(lambda before=before: site.sender.say("go") > before, "frames pass while nobody listens")
            site.sender.say("pause")
            site.start_agent()
        site.finish()
        verdict = site.verdict(2 * len(AGENT_POINTS))

    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict
    assert verdict.stored > 0


def test_row_02_row_03_the_collector_dies_at_every_point(tmp_path: Path) -> None:
    """Before the commit, after it, and before the ack: what was sent is stored once, and nothing is declared."""
    require_namespaces()
    with target_site(tmp_path) as site:
        for point in COLLECTOR_POINTS:
            site.collector.kill()
            site.collector.environ[FAULT] = f"{point}:3"
            site.collector.start()
            site.sender.say("go")
            _died(site.collector)
            del site.collector.environ[FAULT]
            site.collector.start()
        site.finish()
        verdict = site.verdict(len(COLLECTOR_POINTS))

    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict
    assert (verdict.declared, verdict.stored) == (0, verdict.sent)
