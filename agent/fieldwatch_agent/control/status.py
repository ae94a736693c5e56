"""What the daemon says of itself: to the collector in a heartbeat, to commands on this machine over the unix socket."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwatch_proto.v1 import agent_pb2
from fieldwatch_proto.version import VERSION

from fieldwatch_agent.spool.items import Status
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.worker import Worker

if TYPE_CHECKING:
    from fieldwatch_agent.daemon import Daemon

_CPU_AT_START_S = time.process_time()  # a daemon that begins anew is the same process, and its CPU time goes on
_LEVELS = {agent_pb2.HEALTH_OK: "ok", agent_pb2.HEALTH_DEGRADED: "degraded", agent_pb2.HEALTH_FAILED: "failed"}


def describe(daemon: Daemon) -> dict[str, Any]:
    """The daemon's part of `spool status`, and what `status` shows."""
    workers, remote = daemon.workers, daemon.configuration.remote
    fresh_age_s = daemon.freshness.age_s
    return {
        "running": True,
        "pid": os.getpid(),
        "state": daemon.state,
        "version": VERSION,
        "collector": daemon.shipping.state,
        "fresh_acked_ns": 0 if fresh_age_s is None else time.time_ns() - int(fresh_age_s * 1e9),
        "fresh_acked_age_s": fresh_age_s,
        "frames_seen": sum(worker.seen.frames for worker in workers),
        "rss_bytes": rss_bytes(),
        "interfaces": [worker.interface for worker in workers],
        **daemon.wear.describe(),
        "giant_frames": {worker.interface: worker.seen.giants for worker in workers if worker.seen.giants},
        "health": [
            {"component": part.component, "level": _LEVELS[part.level], "reason": part.reason}
            for part in daemon.doctor.look(daemon.spool.call(Store.status))
        ],
        "config": {
            "version": remote.version,
            "state": remote.state_name,
            "problem": remote.problem,
            "pending": list(daemon.settings.pending),
        },
    }


def agent_status(daemon: Daemon, *, first: bool) -> agent_pb2.AgentStatus:
    """One heartbeat; the `first` of a session holds the effective configuration."""
    spool: Status = daemon.spool.call(Store.status)
    workers = daemon.workers
    return agent_pb2.AgentStatus(
        version=VERSION,
        hostname=socket.gethostname(),
        wall_ns=time.time_ns(),
        uptime_s=int(time.monotonic() - daemon.started),
        frames_seen=sum(worker.seen.frames for worker in workers),
        frames_dropped=sum(worker.seen.dropped for worker in workers),
        frames_rejected=sum(worker.seen.rejected for worker in workers),
        records_sealed=daemon.sealer.sealed_records,
        spool_records=spool.records,
        spool_bytes=spool.body_bytes,
        spool_oldest_ns=spool.oldest_ns,
        gap_records=spool.declared_records,
        rss_bytes=rss_bytes(),
        interfaces=[
            agent_pb2.InterfaceStatus(
                name=worker.interface, frames=worker.seen.frames, dropped=worker.seen.dropped, up=worker.up
            )
            for worker in workers
            if isinstance(worker, Worker)  # a capture file is no interface, and is not "down" at its end
        ],
        state=daemon.state,
        boot_id=daemon.boot.hex(),
        health=[agent_pb2.Health(**part._asdict()) for part in daemon.doctor.look(spool)],
        config=config_status(daemon, first=first),
        written_bytes=daemon.wear.octets,
        written_bytes_day=daemon.wear.rate(),
        write_budget_bytes_day=daemon.wear.budget_bytes_day,
        card_life_years=daemon.wear.card_life_years,
        allowed_commands=daemon.settings.value.remote.allow,
        cpu_ms=int(1_000 * (time.process_time() - _CPU_AT_START_S)),
        clock_offset_ns=daemon.clock.offset_ns or 0,
        clock_quality=daemon.clock.quality,
    )


def config_status(daemon: Daemon, *, first: bool) -> agent_pb2.ConfigStatus:
    """The settings themselves only with the first status of a session, and when they have changed since."""
    remote = daemon.configuration.remote
    effective, digest = daemon.settings.effective(), daemon.settings.digest()
    told = daemon.told_settings
    daemon.told_settings = digest
    return agent_pb2.ConfigStatus(
        version=remote.version,
        state=remote.state,
        problem=remote.problem,
        effective_hash=digest,
        effective=effective if first or digest != told else b"",
    )


_rss_bytes = 0


def rss_bytes() -> int:
    """Resident memory of this process (proc_pid_statm(5)); as it was last, where no file can be opened: a heartbeat has
    more to tell.
    """
    global _rss_bytes
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        _rss_bytes = pages * os.sysconf("SC_PAGE_SIZE")
    return _rss_bytes
