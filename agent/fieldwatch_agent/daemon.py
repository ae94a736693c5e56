"""The running agent: what is started in which order, what is watched, what is stopped in which order.

Start: lock, spool, books of the run before, ledger, sealer, control socket, capture, shipper and heartbeat. Capture
needs nobody to be in reach. Stop (SIGTERM, SIGINT): capture ends and its engines are emptied, the sealer seals, the
spool writes, the shipper has `FINAL_SHIP_S` to bring away what it can, the spool notes a clean stop. Everything that
was not shipped is there at the next start.

Each second the main thread looks after the rest: interfaces that came up, a certificate that wants renewal.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldwatch_ext.bpf import Program
from fieldwatch_ext.errors import CaptureError
from fieldwatch_ext.memory import give_back
from fieldwatch_proto.columns import records_of
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.settings import UsageError
from fieldwatch_proto.v1 import agent_pb2
from fieldwatch_proto.version import VERSION

from fieldwatch_agent import accounts, wire
from fieldwatch_agent.config import AgentConfig
from fieldwatch_agent.enrolment.identity import (
    ENROL,
    ENROL_AGAIN,
    EnrolmentError,
    Identity,
    load_identity,
    usable_identity,
)
from fieldwatch_agent.filters import compile_filter
from fieldwatch_agent.heartbeat import Heartbeat
from fieldwatch_agent.ledger import Ledger, LedgerState, boot_id, read_ledger
from fieldwatch_agent.replay import open_replay
from fieldwatch_agent.sealer import Sealer
from fieldwatch_agent.shipper.shipper import Shipper, open_channel
from fieldwatch_agent.spool.control import ControlServer
from fieldwatch_agent.spool.file import Lock, make_folder
from fieldwatch_agent.spool.items import Loss, Status
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_agent.worker import Replay, Worker

FINAL_SHIP_S = 2.0
LOOK_S = 1.0
INTERFACES_S = 10.0
TIDY_S = 10.0
RENEW_RETRY_S = 600.0
RECOVER_RETRY_S = 60.0
STOP_S = 15.0
NS_PER_DAY = 86_400 * 1_000_000_000

log = get_logger(__name__)


@dataclass(frozen=True)
class Options:
    """What the command line says beyond the configuration."""

    replay: str | None = None
    local_only: bool = False
    must_ship: bool = False
    clean_flows_days: int | None = None


class Daemon:
    """`run` gives the exit code. The start raises CaptureError, SpoolError, EnrolmentError, UsageError, OSError."""

    def __init__(self, config: AgentConfig, options: Options) -> None:
        self.config, self.options = config, options
        self.folder = config.data_dir
        self.state = "starting"
        self._boot = boot_id()
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._workers: list[Worker | Replay] = []
        self._shipper: Shipper | None = None
        self._heartbeat: Heartbeat | None = None
        self._identity: Identity | None = None
        self._renewal: subprocess.Popen[str] | None = None
        self._renew_not_before = 0.0
        self._spread = int.from_bytes(os.urandom(4)) / 2**32
        self._address = ""
        self._unusable = ""  # what is wrong with the identity on disk, once it was said
        self._problem: BaseException | None = None

    def run(self) -> int:
        make_folder(self.folder)
        program = compile_filter(self.config.capture.filter)
        if self._wants_identity() and usable_identity(self.folder) is None and self.options.must_ship:
            raise UsageError(f"--use-api: {self.folder} is not enrolled; first: fieldwatch-agent enrol ...")
        lock = Lock(self.folder)
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self._stop.set())
            self._start(program)
            try:
                self._watch(program)
            finally:
                self._finish()
        finally:
            lock.release()
        if self._problem is not None:
            raise self._problem
        return 0

    def _wants_identity(self) -> bool:
        """Whether to end at once where the identity is damaged; capture goes on without, and waits for a better one."""
        return not self.options.local_only and (self.options.must_ship or self.options.replay is not None)

    # --- start --------------------------------------------------------------------------------------------------

    def _start(self, program: Program | None) -> None:
        settings = self.config.spool
        limits = Limits.on(
            self.folder,
            max_bytes=settings.max_bytes,
            min_free_bytes=settings.min_free_bytes,
            max_age_s=settings.max_age,
        )
        left = read_ledger(self.folder)
        self._spool = SpoolThread(self.folder, limits, mark=left.mark if left else None, on_change=self._spool_changed)
        self._spool.start()
        if self.options.clean_flows_days is not None:
            self._clean_flows(self.options.clean_flows_days)
        self._ledger = self._open_books(left)
        self._spool.remember = self._ledger.remember
        self._sealer = Sealer(
            self._spool.put,
            self._spool.declare,
            seal_bytes=settings.seal_bytes,
            seal_age_s=settings.seal_age,
            observe=self._ledger.observe,
        )
        self._sealer.start()
        self._spool.tell(self._alarm)
        self._control = ControlServer(self.folder, self._spool, self.describe)
        self._control.start()
        try:
            if self.options.replay is None:
                self._start_capture(program)
            else:
                self._start_replay(self.options.replay)
        except BaseException:
            self._finish()
            raise
        self._start_shipping()
        gc.collect()  # what importing left behind
        give_back()
        self.state = "capturing" if self.options.replay is None else "draining"

    def _open_books(self, left: LedgerState | None) -> Ledger:
        """Declare what the run before lost, and start this run's ledger."""
        run = int.from_bytes(os.urandom(8)) >> 1 or 1
        losses = self._spool.call(lambda store: accounts.reconcile(store, run, left, self._boot))
        for loss in losses:
            log.warning(
                "the run before lost something; it is declared",
                reason=agent_pb2.GapReason.Name(loss.reason),
                frames=loss.frames,
                records=sum(loss.records.values()),
                count_known=loss.count_known,
            )
        self._accounts = self._spool.call(accounts.interface_accounts)
        return Ledger(self.folder, run)

    def _clean_flows(self, days: int) -> None:
        before_ns = time.time_ns() - days * NS_PER_DAY
        records = self._spool.call(lambda store: store.delete_flows(before_ns))
        log.info("flow records that waited were deleted, and declared", older_than_days=days, records=records)

    def _start_capture(self, program: Program | None) -> None:
        names = list(dict.fromkeys(self.config.capture.interfaces)) or wire.ethernet_interfaces()
        if not names:
            log.warning("no Ethernet interface is up; waiting for one", hint="name one with -i")
        for name in names:
            self._add_worker(name, program)

    def _add_worker(self, name: str, program: Program | None) -> None:
        """Raises CaptureError for an interface that is there and cannot be opened; one that is not is waited for."""
        account = self._accounts.get(name)
        slots = self._ledger.slots(name, self.config.capture.lanes)
        worker = Worker(name, self.config, program, slots, account, self._sealer, self._spool)
        try:
            worker.open()
        except CaptureError as problem:
            if wire.exists(name):
                raise
            log.warning("waiting for an interface", interface=name, problem=str(problem))
        self._workers.append(worker)
        worker.start()

    def _start_replay(self, path: str) -> None:
        source, name = open_replay(path, self.config.capture.filter)
        replay = Replay(name, source, self.config, self._ledger.slot(name), self._sealer)
        self._workers.append(replay)
        replay.start()

    def _start_shipping(self) -> None:
        """If the agent is enrolled, and not told to keep to itself."""
        if self.options.local_only or self._shipper is not None:
            return
        try:
            identity = usable_identity(self.folder)
        except EnrolmentError as problem:
            if self._unusable != str(problem):
                self._unusable = str(problem)
                log.error("not shipping; records are kept in the spool", problem=self._unusable)
            return
        self._unusable = ""
        if identity is None:
            if self.config.collector.address and not self._address:
                self._address = self.config.collector.address
                log.warning(
                    "not enrolled: records are kept in the spool",
                    collector=self._address,
                    remedy=ENROL,
                )
            return
        self._identity = identity
        self._address = address = self.config.collector.address or identity.address
        self._heartbeat = Heartbeat(self.agent_status)
        self._heartbeat.start()
        self._shipper = Shipper(
            self._spool,
            address,
            lambda: open_channel(self.folder, address),
            self._boot,
            retry_min_s=self.config.collector.retry_min,
            retry_max_s=self.config.collector.retry_max,
            beat=self._heartbeat.use,
            alarm=self._alarm,
        )
        self._shipper.start()

    def _spool_changed(self) -> None:
        if self._shipper is not None:
            self._shipper.wake()

    def _alarm(self, kind: str, data: dict[str, Any]) -> None:
        """An event of ours, shipped like everything else."""
        row = {
            "ts_ns": time.time_ns(),
            "type": kind,
            "severity": "error",
            "subject": self._identity.agent_id if self._identity else socket.gethostname(),
            "data": json.dumps(data, sort_keys=True),
        }
        self._sealer.add(records_of(Kind.EVENT, [row]), 0)

    # --- watching -----------------------------------------------------------------------------------------------

    def _watch(self, program: Program | None) -> None:
        look_again = tidy = time.monotonic() + INTERFACES_S
        while not self._stop.wait(LOOK_S if self.options.replay is None else 0.05):
            if self.options.replay is not None:
                if self._replay_is_over():
                    return
                continue
            if self._shipper is None:
                self._start_shipping()
            else:
                self._look_after_certificate()
            if time.monotonic() >= tidy:
                tidy = time.monotonic() + TIDY_S
                give_back()
            if not self.config.capture.interfaces and time.monotonic() >= look_again:
                look_again = time.monotonic() + INTERFACES_S
                self._add_new_interfaces(program)

    def _replay_is_over(self) -> bool:
        """The file has been read and everything is at the collector (or on disk, where nothing is shipped)."""
        if any(worker.is_alive() for worker in self._workers):
            return False
        self._sealer.flush()
        self._spool.flush()
        if self._shipper is None:
            return True
        status = self._spool.call(Store.status)
        return status.batches + status.gaps == 0

    def _add_new_interfaces(self, program: Program | None) -> None:
        known = {worker.interface for worker in self._workers}
        for name in wire.ethernet_interfaces():
            if name not in known:
                try:
                    self._add_worker(name, program)
                except (CaptureError, ValueError) as problem:
                    log.warning("cannot capture", interface=name, problem=str(problem))

    def _look_after_certificate(self) -> None:
        """Renew at half of its life, or when the collector refuses it, in a child; what it prints is logged."""
        now = time.time()
        if self._renewal is not None:
            if self._renewal.poll() is None:
                return
            problem = self._renewal.communicate()[1].strip()
            if self._renewal.returncode == 0:
                self._identity = load_identity(self.folder)
                log.info("the certificate was renewed")
                assert self._shipper is not None
                self._shipper.reconnect()
            else:
                log.warning("the certificate was not renewed; trying again later", problem=problem)
            self._renewal = None
            return
        identity = self._identity
        refused = self._shipper is not None and self._shipper.refused
        if identity is None or time.monotonic() < self._renew_not_before:
            return
        if now < identity.renew_at(self._spread) and not refused:
            return
        expired = now > identity.not_after
        self._renew_not_before = time.monotonic() + (RECOVER_RETRY_S if expired else RENEW_RETRY_S)
        if expired:
            log.warning(
                "the certificate has expired; asking for another with its key, records are kept in the spool",
                expired=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(identity.not_after)),
                remedy=f"where that fails: check the clock, or {ENROL_AGAIN}",
            )
        command = [sys.executable, "-m", "fieldwatch_agent.enrolment.renew", "--data", str(self.folder)]
        self._renewal = subprocess.Popen(  # noqa: S603
            [*command, "--address", self._address], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    # --- stop ---------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Seal, write, ship what can be shipped, say what it came to. Never loses what was sealed."""
        self.state = "stopping"
        self._end_capture()
        self._sealer.stop()
        self._sealer.flush()
        self._spool.flush()
        self._settle()
        if self._heartbeat is not None:
            self._heartbeat.change()
        before = self._spool.call(Store.status)
        if self._shipper is not None:
            self._shipper.drain(FINAL_SHIP_S)
            self._shipper.stop()
        if self._heartbeat is not None:
            self._heartbeat.stop()
        after = self._spool.call(Store.status)
        if self._renewal is not None:
            self._renewal.terminate()
        self._control.close()
        self._spool.close(clean=True)
        log.info(
            "stopped",
            frames=self._ledger.frames,
            sealed_records=self._sealer.sealed_records,
            sealed_batches=self._sealer.sealed_batches,
            shipped_last=before.records - after.records,
            buffered_records=after.records,
            buffered_batches=after.batches,
        )
        self._workers.clear()  # with their engines, which write to the ledger
        self._ledger.close()

    def _end_capture(self) -> None:
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            if worker.is_alive():
                worker.join(STOP_S)
            if isinstance(worker, Replay) and worker.problem is not None:
                self._problem = worker.problem

    def _settle(self) -> None:
        """Declare whatever was observed and is neither sealed nor declared by now: the books are closed balanced."""

        def missing(store: Store) -> tuple[int, dict[int, int]]:
            frames = self._ledger.frames - store.state.account_frames
            return frames, accounts.differences(self._ledger.records, store.state.account_records)

        frames, records = self._spool.call(missing)
        if frames > 0 or records:
            log.error("frames were observed and not sealed; they are declared lost", frames=frames)
            detail = "not sealed at the stop"
            loss = Loss(agent_pb2.UNCLEAN_STOP, max(0, frames), records, detail=detail, accounted=True)
            self._spool.declare(loss)
            self._spool.flush()

    # --- telling ------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """The daemon's part of `spool status`."""
        shipper = self._shipper
        return {
            "running": True,
            "pid": os.getpid(),
            "state": self.state,
            "collector": shipper.state if shipper else self._why_not_shipping(),
            "fresh_acked_ns": shipper.fresh_ns if shipper else 0,
            "fresh_acked_age_s": shipper.fresh_age_s if shipper else None,
            "frames_seen": sum(worker.seen.frames for worker in self._workers),
            "rss_bytes": rss_bytes(),
            "interfaces": [worker.interface for worker in self._workers],
            "giant_frames": {worker.interface: worker.seen.giants for worker in self._workers if worker.seen.giants},
        }

    def _why_not_shipping(self) -> str:
        if self.options.local_only:
            return "local only"
        return f"not connected: {self._unusable}" if self._unusable else "not enrolled"

    def agent_status(self) -> agent_pb2.AgentStatus:
        """One heartbeat."""
        spool: Status = self._spool.call(Store.status)
        workers = list(self._workers)
        return agent_pb2.AgentStatus(
            version=VERSION,
            hostname=socket.gethostname(),
            wall_ns=time.time_ns(),
            uptime_s=int(time.monotonic() - self._started),
            frames_seen=sum(worker.seen.frames for worker in workers),
            frames_dropped=sum(worker.seen.dropped for worker in workers),
            frames_rejected=sum(worker.seen.rejected for worker in workers),
            records_sealed=self._sealer.sealed_records,
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
            state=self.state,
            boot_id=self._boot.hex(),
        )


def rss_bytes() -> int:
    """Resident memory of this process (proc_pid_statm(5))."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
