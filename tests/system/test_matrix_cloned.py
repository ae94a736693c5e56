"""An older copy of the agent's card comes back (row 6), and a package that cannot start (row 37)."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from fieldwatch_agent.spool.control import export_lines
from support.net import require_namespaces
from support.shipping import enrolled, flows, ship
from support.stack import Collector, wait_for

from system.kills import TargetSite, target_site

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(120)]
BEFORE = 5


def _send_some(site: TargetSite, batches: int) -> None:
    held = site.collector.ask("SELECT count(*) FROM batch")[0][0]
    site.sender.say("go")
    wait_for(lambda: site.collector.ask("SELECT count(*) FROM batch")[0][0] >= held + batches, "batches arrive")
    site.sender.say("pause")


def _digests(site: TargetSite) -> set[bytes]:
    """Of all batches that wait in the running agent."""
    lines = (json.loads(line) for line in export_lines(site.agent.data))
    return {bytes.fromhex(line["digest"]) for line in lines if line["type"] == "batch"}


def test_row_06_a_restored_card(tmp_path: Path) -> None:
    """Numbers that were used once are used again for other data: both are stored, under two epochs, with an alarm."""
    require_namespaces()
    copy = tmp_path / "copy"
    with target_site(tmp_path / "site") as site:
        _send_some(site, 5)
        site.agent.kill()
        shutil.copytree(site.agent.data, copy, ignore=shutil.ignore_patterns("*.sock"))
        site.start_agent()
        _send_some(site, 10)
        assert site.agent.stop() == 0
        first = dict(site.collector.ask("SELECT epoch, max(seq) FROM batch GROUP BY epoch"))
        shutil.rmtree(site.agent.data)
        shutil.copytree(copy, site.agent.data)
        # Offline for a while: what it seals has numbers that the collector knows with other octets.
        site.collector.kill()
        site.start_agent()
        site.sender.say("go")
        wait_for(lambda: site.agent.spool()["batches"] > 3, "it has sealed more")
        site.sender.say("pause")
        sealed_anew = _digests(site)
        site.collector.start()
        _send_some(site, 3)
        site.finish()
        verdict = site.verdict(0)
        then = dict(site.collector.ask("SELECT epoch, max(seq) FROM batch GROUP BY epoch"))
        told = dict(site.collector.ask("SELECT type, data FROM event"))
        stored = {row[0] for row in site.collector.ask("SELECT digest FROM batch")}

    assert verdict.duplicated == 0, verdict
    assert set(first) < set(then), "new data has an epoch of its own"
    assert all(then[epoch] >= seq for epoch, seq in first.items())
    assert sealed_anew <= stored, "of what has used numbers, something was taken for a repeat"
    # The collector has noticed, and the agent has left the epoch for good, not batch by batch as they conflict.
    assert "agent.rolled_back" in told
    left = json.loads(told["agent.spool_rolled_back"])
    assert left["epoch"] in first
    assert left["new_epoch"] in then.keys() - first.keys()
    # Every frame after the copy was made is there twice over as data: nothing of either life is missing. What the first
    # life had taken and not sealed when it was copied is declared by both.
    assert verdict.lost <= 0, verdict


def test_row_06_two_copies_of_a_card_that_run_at_once(tmp_path: Path) -> None:
    """One identity, one epoch, two agents that both seal: what each of them has sealed is stored, once."""
    collector = Collector(tmp_path / "collector")
    collector.start()
    try:
        agent = enrolled(collector, tmp_path / "one")
        address = f"127.0.0.1:{collector.ports['grpc']}"
        with ship(agent.data, address) as line:
            for number in range(BEFORE):
                line.seal(flows(number))
            wait_for(lambda: line.is_empty, "what was sealed before the copy is acked")
        shutil.copytree(agent.data, tmp_path / "other", symlinks=True)
        with ship(agent.data, address) as one, ship(tmp_path / "other", address) as other:
            for number in range(BEFORE, BEFORE + 20):
                one.seal(flows(number))
                other.seal(flows(number + 100))
            wait_for(lambda: one.is_empty and other.is_empty, "both have shipped all")
        stored = Counter(row[0] for row in collector.ask("SELECT digest FROM batch"))
        epochs = collector.ask("SELECT count(DISTINCT epoch) FROM batch")[0][0]
        told = {row[0] for row in collector.ask("SELECT type FROM event")}
    finally:
        collector.kill()

    numbers = (*range(BEFORE + 20), *range(BEFORE + 100, BEFORE + 120))
    assert stored == Counter(flows(number).sealed.digest for number in numbers)
    assert epochs >= 2
    assert told & {"agent.conflict", "agent.rolled_back"}


def test_row_37_a_package_that_dies_at_its_start(tmp_path: Path) -> None:
    """It dies again and again before its books are open; the one before starts on the same data, nothing is lost."""
    require_namespaces()
    with target_site(tmp_path) as site:
        _send_some(site, 3)
        site.agent.kill()
        for point in ("open-before-ledger", "reconcile-after-commit", "open-before-ledger"):
            site.agent.environ["FIELDWATCH_FAULT"] = f"{point}:1"
            site.agent.start(site.collector, "-i", site.over.interface)
            wait_for(lambda: not site.agent.running, "it dies")
        del site.agent.environ["FIELDWATCH_FAULT"]
        site.start_agent()
        _send_some(site, 3)
        site.finish()
        verdict = site.verdict(4)

    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict
