"""How the agent is, part by part: the rules, and nothing else.

That a process runs says little. The agent is well when frames come in, nothing is being lost, and *a fresh record has
got through to the collector*.

=====================  ===========================================  ==================================================
part                   degraded                                     failed
=====================  ===========================================  ==================================================
agent/capture          no interface to listen on yet
agent/capture/IF       down or gone; frames dropped, or capture     its thread has ended
                       begun again, in the last minutes
agent/spool            kept in memory, for the disk cannot be       it cannot be written (no room on the disk); its
                       written; records given up or not written in  thread has ended
                       the last minutes; nearly full
agent/shipper          not enrolled; not connected                  not connected for `LONG_S`; refused; connected,
                                                                    and no fresh record gets through for `STALE_S`
agent/clock            more than `SKEW_S` from the collector's, or
                       never compared and kept by no time service
agent/certificate      its renewal is late                          it has expired, or cannot be used
agent/config           the collector's was reverted or rejected;
                       new values wait for a restart
agent/resources        nearly no file descriptor or inode is left,
                       or something failed for want of a descriptor
=====================  ===========================================  ==================================================

The whole agent is as well as the worst of its parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fieldwatch_proto.v1 import agent_pb2

LONG_S = 600.0
STALE_S = 120.0
SKEW_S = 60.0  # from there on the collector moves the times of records, whatever the time service says
NEARLY_FULL = 0.9
MOST_DESCRIPTORS = 0.9  # of those that the process may have
LEAST_DESCRIPTORS = 8  # a new connection and a child take so many
LEAST_INODES = 16  # a salvage, a renewal or a start makes a few files
LATE = 0.75  # of a certificate's life; renewal begins at half of it

OK, DEGRADED, FAILED = agent_pb2.HEALTH_OK, agent_pb2.HEALTH_DEGRADED, agent_pb2.HEALTH_FAILED


class Finding(NamedTuple):
    """`reason` is empty where all is well."""

    component: str
    level: agent_pb2.HealthLevel
    reason: str = ""


class InterfaceVitals(NamedTuple):
    """`recent_*`: in the last minutes."""

    name: str
    alive: bool
    up: bool
    recent_drops: int = 0
    recent_restarts: int = 0


class SpoolVitals(NamedTuple):
    alive: bool
    used_bytes: int
    max_bytes: int
    trouble: bool = False  # commits fail at present
    memory_only: str = ""  # why it is kept in memory, against its will
    recent_failures: int = 0
    recent_losses: int = 0  # records


class ShipperVitals(NamedTuple):
    """`state` is for people. `away_s`: how long there has been no connection; `waits_s`: how long sealed records have
    waited without a fresh one getting through, None where none waits.
    """

    wanted: bool  # False: it was told to keep to itself
    enrolled: bool
    state: str
    connected: bool
    refused: bool = False
    away_s: float = 0.0
    waits_s: float | None = None


class ClockVitals(NamedTuple):
    """`offset_ns`: the collector's clock less ours, None while it was not heard."""

    offset_ns: int | None
    synchronised: bool


class CertificateVitals(NamedTuple):
    """Unix seconds; `now` by the collector's clock, where it was heard."""

    not_before: float
    not_after: float
    now: float


class ConfigVitals(NamedTuple):
    version: int
    state: int  # ConfigState
    problem: str
    pending: tuple[str, ...] = ()


class ResourceVitals(NamedTuple):
    """Of the process and of the spool's file system; 0 inodes in all: it makes them as it needs them.
    `no_descriptor`: something has failed for want of one a moment ago.
    """

    folder: str
    descriptors: int = 0
    max_descriptors: int = 1 << 20  # until it was looked up
    free_inodes: int = 0
    inodes: int = 0
    no_descriptor: bool = False


class Vitals(NamedTuple):
    interfaces: tuple[InterfaceVitals, ...]
    listens: bool  # False: a capture file is read
    spool: SpoolVitals
    shipper: ShipperVitals
    clock: ClockVitals
    certificate: CertificateVitals | None
    config: ConfigVitals
    resources: ResourceVitals


def examine(vitals: Vitals) -> list[Finding]:
    """The tree, parents before their children."""
    parts = list(_parts(vitals))
    worst = max(parts, key=lambda finding: finding.level)
    reason = f"{worst.component.removeprefix('agent/')}: {worst.reason}" if worst.level != OK else ""
    return [Finding("agent", worst.level, reason), *parts]


def _parts(vitals: Vitals) -> Iterator[Finding]:
    if vitals.listens:
        yield from _capture(vitals.interfaces)
    yield Finding("agent/spool", *_spool(vitals.spool))
    yield Finding("agent/shipper", *_shipper(vitals.shipper))
    if vitals.listens:
        yield Finding("agent/clock", *_clock(vitals.clock))
    if vitals.certificate is not None:
        yield Finding("agent/certificate", *_certificate(vitals.certificate))
    yield Finding("agent/config", *_config(vitals.config))
    yield Finding("agent/resources", *examine_resources(vitals.resources))


_Verdict = tuple[agent_pb2.HealthLevel, str]


def _capture(interfaces: tuple[InterfaceVitals, ...]) -> Iterator[Finding]:
    children = [Finding(f"agent/capture/{one.name}", *_interface(one)) for one in interfaces]
    if not children:
        yield Finding("agent/capture", DEGRADED, "there is no interface to listen on; name one in [capture] interfaces")
        return
    worst = max(children, key=lambda finding: finding.level)
    name = worst.component.rpartition("/")[2]
    yield Finding("agent/capture", worst.level, f"{name}: {worst.reason}" if worst.level != OK else "")
    yield from children


def _interface(one: InterfaceVitals) -> _Verdict:
    if not one.alive:
        return FAILED, "capture has ended; restart the agent, and see its log"
    if not one.up:
        return DEGRADED, "the interface is down or gone; capture goes on when it is back"
    if one.recent_restarts:
        return DEGRADED, f"capture failed and was begun again ({one.recent_restarts} times in the last minutes)"
    if one.recent_drops:
        return DEGRADED, f"{one.recent_drops} frames found no room in the ring in the last minutes; raise ring_bytes"
    return OK, ""


def _spool(spool: SpoolVitals) -> _Verdict:
    if not spool.alive:
        return FAILED, "its thread has ended; restart the agent, and see its log"
    if spool.memory_only:
        return DEGRADED, f"it cannot be written and is kept in memory, bounded ({spool.memory_only}); see the disk"
    if spool.trouble:
        return FAILED, "it cannot be written; see the disk and the agent's log"
    if spool.recent_losses:
        return DEGRADED, f"{spool.recent_losses} records were given up in the last minutes, and declared lost"
    if spool.recent_failures:
        return DEGRADED, "it could not be written for a while in the last minutes; see the disk"
    if spool.used_bytes > NEARLY_FULL * spool.max_bytes:
        return DEGRADED, "it is nearly full; the oldest flow records will be given up"
    return OK, ""


def _shipper(shipper: ShipperVitals) -> _Verdict:
    if not shipper.wanted:
        return OK, ""
    if not shipper.enrolled:
        return DEGRADED, shipper.state
    if shipper.refused:
        return FAILED, shipper.state
    if not shipper.connected:
        return FAILED if shipper.away_s > LONG_S else DEGRADED, shipper.state
    if shipper.waits_s is not None and shipper.waits_s > STALE_S:
        minutes = int(shipper.waits_s // 60)
        return FAILED, f"connected, but no fresh record has got through for {minutes} min; see the collector's log"
    return OK, ""


def _clock(clock: ClockVitals) -> _Verdict:
    remedy = "set it, or: timedatectl set-ntp true"
    if clock.offset_ns is None:
        if clock.synchronised:
            return OK, ""
        return DEGRADED, f"nobody keeps it right, and the collector's was not heard yet; {remedy}"
    skew_s = clock.offset_ns / 1e9
    if abs(skew_s) <= SKEW_S:
        return OK, ""
    side = "behind" if skew_s > 0 else "ahead of"
    return DEGRADED, f"it is {abs(skew_s):,.0f} s {side} the collector's, which corrects the times of records; {remedy}"


def _certificate(certificate: CertificateVitals) -> _Verdict:
    life = certificate.not_after - certificate.not_before
    left_s = certificate.not_after - certificate.now
    if left_s <= 0:
        return FAILED, "it has expired; a new one is asked for"
    if certificate.now > certificate.not_before + LATE * life:
        return DEGRADED, f"its renewal is late: {left_s / 3600:.0f} h are left"
    return OK, ""


def _config(config: ConfigVitals) -> _Verdict:
    if config.state == agent_pb2.CONFIG_REVERTED:
        return DEGRADED, f"version {config.version} was reverted: {config.problem}"
    if config.state == agent_pb2.CONFIG_REJECTED:
        return DEGRADED, f"version {config.version} was rejected: {config.problem}"
    if config.pending:
        return DEGRADED, f"new values wait for a restart of the agent: {', '.join(config.pending)}"
    return OK, ""


def examine_resources(found: ResourceVitals) -> _Verdict:
    """What is short, how much of it there is, and what gives more."""
    more = "raise LimitNOFILE= (systemctl edit fieldwatch-agent) and start the agent again"
    if found.no_descriptor:
        return DEGRADED, f"no file descriptor was left of {found.max_descriptors}, and something failed for it; {more}"
    if found.descriptors > min(MOST_DESCRIPTORS * found.max_descriptors, found.max_descriptors - LEAST_DESCRIPTORS):
        return DEGRADED, f"{found.descriptors} of {found.max_descriptors} file descriptors are in use; {more}"
    fewer = f"remove files that nobody needs; see: df -i {found.folder}"
    if found.inodes and not found.free_inodes:
        return DEGRADED, f"no inode is left on the spool's file system, no file can be made there; {fewer}"
    if found.inodes and found.free_inodes < min(LEAST_INODES, found.inodes // 20):
        return DEGRADED, f"{found.free_inodes} inodes are left on the spool's file system; {fewer}"
    return OK, ""
