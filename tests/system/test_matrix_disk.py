"""The agent's disk fails or stalls while frames flow, by a library between daemon and files (rows 12 and 13)."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.disk import WatchedDisk
from support.net import require_namespaces
from support.stack import wait_for

from system.kills import QUICK, TargetSite, target_site

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(120)]
STALL_MS = 5_000
HALF_A_STALL = {"FIELDWATCH_AGENT__CAPTURE__RING_BYTES": "16 MiB"}  # full in half the time that a slow sync takes


@contextmanager
def _watched_site(tmp_path: Path, environ: Mapping[str, str] = QUICK) -> Iterator[tuple[TargetSite, WatchedDisk]]:
    """A site whose agent, enrolled and capturing, has its data on a disk that can be made to fail."""
    require_namespaces()
    scratch, data = tmp_path / "scratch", tmp_path / "site" / "agent"
    scratch.mkdir()
    disk = WatchedDisk(data, scratch, logs=False)
    with target_site(tmp_path / "site", {**environ, **disk.environ}) as site:
        yield site, disk


def _stored(site: TargetSite) -> int:
    return int(site.collector.ask("SELECT coalesce(max(position), 0) FROM batch")[0][0])


def _flowing(site: TargetSite) -> None:
    site.sender.say("go")
    before = _stored(site)
    wait_for(lambda: _stored(site) > before, "batches arrive")


@pytest.mark.parametrize("fault", ["write", "sync"])
def test_row_12_the_disk_gives_errors(tmp_path: Path, fault: str) -> None:
    """EIO of every write, or every sync: the agent goes on in memory, says so once, and writes again when it can."""
    with _watched_site(tmp_path) as (site, disk):
        _flowing(site)
        setattr(disk.faults, f"{fault}_errno", errno.EIO)
        wait_for(lambda: "the spool cannot be written" in site.agent.tail(50), "the trouble is told")
        before = site.sender.say("go")
        wait_for(lambda: site.sender.say("go") > before + 6_000, "frames pass meanwhile")
        told = site.agent.log.read_text().count("the spool cannot be written")
        setattr(disk.faults, f"{fault}_errno", 0)
        wait_for(lambda: "the spool can be written again" in site.agent.tail(50), "it is well again")
        _flowing(site)
        assert site.agent.running, site.agent.tail()
        site.finish()
        verdict = site.verdict(0)

    assert told == 1
    assert (verdict.lost, verdict.duplicated, verdict.declared) == (0, 0, 0), verdict


def test_row_13_a_sync_takes_five_seconds(tmp_path: Path) -> None:
    """Capture does not wait for the disk, the stream stays the same one, and what waited is written in one go."""
    with _watched_site(tmp_path, {**QUICK, **HALF_A_STALL}) as (site, disk):
        _flowing(site)
        sessions = len(site.collector.ask("SELECT 1 FROM event WHERE type = 'agent.connected'"))
        disk.faults.sync_delay_ms = STALL_MS
        syncs, begun = disk.faults.syncs, time.monotonic()
        wait_for(lambda: disk.faults.syncs >= syncs + 3, "three slow syncs have begun", 40)
        assert time.monotonic() - begun > 2 * STALL_MS / 1_000 - 1, "the syncs were not slow"
        disk.faults.sync_delay_ms = 0
        _flowing(site)
        site.sender.say("pause")
        dropped = json.loads(site.collector.ask("SELECT status FROM agent")[0][0]).get("frames_dropped", "0")
        again = len(site.collector.ask("SELECT 1 FROM event WHERE type = 'agent.connected'"))
        site.finish()
        verdict = site.verdict(0)

    assert (int(dropped), again) == (0, sessions)
    assert (verdict.lost, verdict.duplicated, verdict.declared) == (0, 0, 0), verdict


def test_row_12_killed_while_nothing_can_be_synced(tmp_path: Path) -> None:
    """What a failed sync has written may be there after a kill, or not: it is stored once all the same."""
    with _watched_site(tmp_path) as (site, disk):
        for times in range(1, 4):
            _flowing(site)
            disk.faults.sync_errno = errno.EIO
            told = "the disk does not say that anything is safe"
            wait_for(lambda told=told, times=times: site.agent.log.read_text().count(told) >= times, "it is told")
            site.agent.kill()
            disk.faults.sync_errno = 0
            site.sender.say("pause")
            site.start_agent()
        site.finish()
        verdict = site.verdict(3)

    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict
    assert verdict.stored > 0
