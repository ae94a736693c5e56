"""Takes the figures that health goes by from the running daemon, and remembers what "in the last minutes" needs."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from fieldwatch_proto.schema import ClockQuality

from fieldwatch_agent.control.health import (
    CertificateVitals,
    ClockVitals,
    ConfigVitals,
    Finding,
    InterfaceVitals,
    ShipperVitals,
    SpoolVitals,
    Vitals,
    examine,
)
from fieldwatch_agent.spool.items import Status
from fieldwatch_agent.spool.memory import SAVER
from fieldwatch_agent.worker import Worker

if TYPE_CHECKING:
    from fieldwatch_agent.daemon import Daemon

WINDOW_S = 300.0
TROUBLE_S = 10.0  # a commit that fails is tried again every second


class Increases:
    """By how much totals have grown in the last minutes: at least `WINDOW_S`, at most twice that. Monotonic."""

    def __init__(self) -> None:
        self._marks: dict[str, tuple[float, int, int]] = {}  # when set, the total then, the one before

    def of(self, name: str, total: int, now_s: float) -> int:
        """The first total that is seen of a name is where it begins."""
        since_s, mark, before = self._marks.setdefault(name, (now_s, total, total))
        if now_s - since_s >= WINDOW_S:
            stale = now_s - since_s >= 2 * WINDOW_S
            since_s, mark, before = self._marks[name] = (now_s, total, total if stale else mark)
        return total - before


class Doctor:
    """`look` may be called from any thread, at any time; it is given the spool's status by who has asked for it."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._recent = Increases()
        self._lock = threading.Lock()
        self._connected = False
        self._connected_or_away_s = time.monotonic()  # since when
        self._failed_commits = 0
        self._failed_s = -TROUBLE_S

    def look(self, spool: Status) -> list[Finding]:
        with self._lock:
            return examine(self._vitals(spool, time.monotonic()))

    def _vitals(self, spool: Status, now_s: float) -> Vitals:
        daemon = self._daemon
        return Vitals(
            interfaces=tuple(self._interface(one, now_s) for one in daemon.workers if isinstance(one, Worker)),
            listens=daemon.options.replay is None,
            spool=self._spool(spool, now_s),
            shipper=self._shipper(now_s),
            clock=self._clock(),
            certificate=self._certificate(),
            config=self._config(),
            resources=self._daemon.shortage.vitals,
        )

    def _interface(self, worker: Worker, now_s: float) -> InterfaceVitals:
        name = worker.interface
        return InterfaceVitals(
            name,
            alive=worker.is_alive(),
            up=worker.up,
            recent_drops=self._recent.of(f"drops {name}", worker.seen.dropped, now_s),
            recent_restarts=self._recent.of(f"restarts {name}", worker.restarts, now_s),
        )

    def _spool(self, status: Status, now_s: float) -> SpoolVitals:
        thread = self._daemon.spool
        failures = thread.failed_commits
        if failures != self._failed_commits:
            self._failed_commits, self._failed_s = failures, now_s
        return SpoolVitals(
            alive=thread.is_alive(),
            used_bytes=status.used_bytes,
            max_bytes=status.max_bytes,
            memory_only="" if status.memory_only == SAVER else status.memory_only,
            trouble=now_s - self._failed_s < TROUBLE_S,
            recent_failures=self._recent.of("failed commits", failures, now_s),
            recent_losses=self._recent.of("declared", status.declared_records, now_s),
        )

    def _shipper(self, now_s: float) -> ShipperVitals:
        daemon, shipping, shipper = self._daemon, self._daemon.shipping, self._daemon.shipping.shipper
        connected = shipper is not None and shipper.state == "connected"
        if connected != self._connected:
            self._connected, self._connected_or_away_s = connected, now_s
        since_s, waits_since_s = self._connected_or_away_s, daemon.freshness.waits_since_s
        return ShipperVitals(
            wanted=shipping.wanted,
            enrolled=shipper is not None,
            state=shipping.state,
            connected=connected,
            refused=shipper is not None and shipper.refused,
            away_s=0.0 if connected else now_s - since_s,
            waits_s=None if waits_since_s is None else now_s - max(since_s, waits_since_s),
        )

    def _certificate(self) -> CertificateVitals | None:
        care = self._daemon.shipping.certificate
        if care is None:
            return None
        return CertificateVitals(care.identity.not_before, care.identity.not_after, care.now_s)

    def _clock(self) -> ClockVitals:
        clock = self._daemon.clock
        return ClockVitals(clock.offset_ns, clock.quality is ClockQuality.NTP)

    def _config(self) -> ConfigVitals:
        remote = self._daemon.configuration.remote
        return ConfigVitals(remote.version, remote.state, remote.problem, self._daemon.settings.pending)
