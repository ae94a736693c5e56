"""The rules of health, each alone; what is remembered of the last minutes."""

from __future__ import annotations

from typing import Any

import pytest
from fieldwatch_agent.control.health import (
    DEGRADED,
    FAILED,
    OK,
    CertificateVitals,
    ClockVitals,
    ConfigVitals,
    InterfaceVitals,
    ResourceVitals,
    ShipperVitals,
    SpoolVitals,
    Vitals,
    examine,
)
from fieldwatch_agent.control.vitals import WINDOW_S, Increases
from fieldwatch_proto.v1 import agent_pb2 as pb

ETH0 = InterfaceVitals("eth0", alive=True, up=True)
SPOOL = SpoolVitals(alive=True, used_bytes=10, max_bytes=100)
SHIPPER = ShipperVitals(wanted=True, enrolled=True, state="connected", connected=True)
AWAY = SHIPPER._replace(connected=False, state="not connected: no collector answers", away_s=5.0)
CERTIFICATE = CertificateVitals(not_before=0.0, not_after=100.0, now=60.0)
CLOCK = ClockVitals(offset_ns=-30_000_000_000, synchronised=False)
CONFIG = ConfigVitals(0, pb.CONFIG_STATE_UNSPECIFIED, "")
RESOURCES = ResourceVitals("/data", descriptors=25, max_descriptors=1_024, free_inodes=900, inodes=1_000)
WELL = Vitals((ETH0,), True, SPOOL, SHIPPER, CLOCK, CERTIFICATE, CONFIG, RESOURCES)


def levels(vitals: Vitals) -> dict[str, int]:
    return {part.component: part.level for part in examine(vitals)}


def test_a_well_agent_is_well_in_every_part() -> None:
    """Parents before their children, no reasons."""
    parts = examine(WELL)

    assert [part.component for part in parts] == [
        *("agent", "agent/capture", "agent/capture/eth0", "agent/spool", "agent/shipper"),
        *("agent/clock", "agent/certificate", "agent/config", "agent/resources"),
    ]
    assert {(part.level, part.reason) for part in parts} == {(OK, "")}


@pytest.mark.parametrize(
    ("change", "component", "level", "reason"),
    [
        ({"interfaces": ()}, "capture", DEGRADED, "no interface to listen on"),
        ({"interfaces": (ETH0._replace(alive=False),)}, "capture/eth0", FAILED, "capture has ended"),
        ({"interfaces": (ETH0._replace(up=False),)}, "capture/eth0", DEGRADED, "down or gone"),
        ({"interfaces": (ETH0._replace(recent_drops=7),)}, "capture/eth0", DEGRADED, "7 frames found no room"),
        ({"interfaces": (ETH0._replace(recent_restarts=2),)}, "capture/eth0", DEGRADED, "begun again (2 times"),
        ({"spool": SPOOL._replace(alive=False)}, "spool", FAILED, "thread has ended"),
        ({"spool": SPOOL._replace(trouble=True)}, "spool", FAILED, "cannot be written"),
        (
            {"spool": SPOOL._replace(memory_only="disk I/O error")},
            "spool",
            DEGRADED,
            "in memory, bounded (disk I/O error)",
        ),
        ({"spool": SPOOL._replace(recent_failures=3)}, "spool", DEGRADED, "for a while"),
        ({"spool": SPOOL._replace(recent_losses=9)}, "spool", DEGRADED, "9 records were given up"),
        ({"spool": SPOOL._replace(used_bytes=91)}, "spool", DEGRADED, "nearly full"),
        ({"shipper": SHIPPER._replace(enrolled=False, state="not enrolled")}, "shipper", DEGRADED, "not enrolled"),
        ({"shipper": AWAY}, "shipper", DEGRADED, "no collector answers"),
        ({"shipper": AWAY._replace(away_s=601.0)}, "shipper", FAILED, "no collector answers"),
        ({"shipper": AWAY._replace(refused=True)}, "shipper", FAILED, "no collector answers"),
        ({"shipper": SHIPPER._replace(waits_s=130.0)}, "shipper", FAILED, "no fresh record has got through for 2 min"),
        ({"clock": CLOCK._replace(offset_ns=61_000_000_000)}, "clock", DEGRADED, "61 s behind the collector's"),
        ({"clock": CLOCK._replace(offset_ns=-61_000_000_000)}, "clock", DEGRADED, "61 s ahead of the collector's"),
        ({"clock": CLOCK._replace(offset_ns=None)}, "clock", DEGRADED, "nobody keeps it right"),
        ({"certificate": CERTIFICATE._replace(now=76.0)}, "certificate", DEGRADED, "renewal is late"),
        ({"certificate": CERTIFICATE._replace(now=100.0)}, "certificate", FAILED, "expired"),
        ({"config": ConfigVitals(3, pb.CONFIG_REVERTED, "why")}, "config", DEGRADED, "version 3 was reverted: why"),
        ({"config": ConfigVitals(3, pb.CONFIG_REJECTED, "why")}, "config", DEGRADED, "version 3 was rejected: why"),
        ({"config": CONFIG._replace(pending=("a.b",))}, "config", DEGRADED, "wait for a restart of the agent: a.b"),
        (
            {"resources": RESOURCES._replace(descriptors=922)},
            "resources",
            DEGRADED,
            "922 of 1024 file descriptors are in use; raise LimitNOFILE=",
        ),
        (
            {"resources": RESOURCES._replace(descriptors=25, max_descriptors=32)},
            "resources",
            DEGRADED,
            "25 of 32 file descriptors",
        ),
        ({"resources": RESOURCES._replace(no_descriptor=True)}, "resources", DEGRADED, "no file descriptor was left"),
        ({"resources": RESOURCES._replace(free_inodes=15)}, "resources", DEGRADED, "15 inodes are left"),
        ({"resources": RESOURCES._replace(free_inodes=0)}, "resources", DEGRADED, "no inode is left"),
        ({"resources": RESOURCES._replace(free_inodes=1)}, "resources", DEGRADED, "see: df -i /data"),
    ],
)
def test_each_rule(change: dict[str, Any], component: str, level: int, reason: str) -> None:
    """The part has the level and says why; the whole agent is as bad, and names the part; no other part is touched."""
    parts = {part.component: part for part in examine(WELL._replace(**change))}
    agent = parts.pop("agent")
    part = parts.pop(f"agent/{component}")
    if component.startswith("capture/"):
        assert parts.pop("agent/capture").level == level

    assert (part.level, agent.level) == (level, level)
    assert reason in part.reason
    assert reason in agent.reason
    assert {other.level for other in parts.values()} == {OK}


@pytest.mark.parametrize(
    "change",
    [
        {"shipper": SHIPPER._replace(waits_s=119.0)},
        {"shipper": ShipperVitals(wanted=False, enrolled=False, state="local only", connected=False)},
        {"certificate": None},
        {"clock": CLOCK._replace(offset_ns=-1_900_000_000)},
        {"listens": False, "interfaces": ()},
        {"config": ConfigVitals(3, pb.CONFIG_APPLIED, "")},
        {"resources": RESOURCES._replace(free_inodes=0, inodes=0)},
        {"resources": RESOURCES._replace(free_inodes=3, inodes=40)},
        {"resources": RESOURCES._replace(descriptors=921)},
    ],
)
def test_what_is_no_trouble(change: dict[str, Any]) -> None:
    """A moment's wait, what was asked for, what cannot be known."""
    assert set(levels(WELL._replace(**change)).values()) == {OK}


def test_the_worst_part_speaks_for_the_agent() -> None:
    """One that failed before one that is degraded."""
    agent = examine(WELL._replace(interfaces=(), spool=SPOOL._replace(trouble=True)))[0]

    assert (agent.level, agent.reason.partition(":")[0]) == (FAILED, "spool")


def test_increases_are_of_the_last_minutes() -> None:
    """What grew counts for one to two windows, and not longer; what was there at the start never does."""
    seen = Increases()
    begin = seen.of("drops", 1_000, 0.0)
    grown = seen.of("drops", 1_007, 10.0)
    within = seen.of("drops", 1_007, WINDOW_S + 1)
    later = seen.of("drops", 1_007, 2 * WINDOW_S + 2)
    again = seen.of("drops", 1_009, 2 * WINDOW_S + 3)
    after_a_pause = seen.of("drops", 1_009, 9 * WINDOW_S)

    assert (begin, grown, within, later, again, after_a_pause) == (0, 7, 7, 0, 2, 0)
