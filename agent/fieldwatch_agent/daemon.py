"""The running agent: what is started in which order, what is watched, what is stopped in which order.

Start: lock, configuration, ledger, sealer, control socket, capture; meanwhile the spool is opened and the books of the
run before are closed; then shipper and control session. Capture needs nobody to be in reach, and does not wait for a
spool that has to be salvaged.

Stop (SIGTERM, SIGINT): capture ends and its engines are emptied, the sealer seals, the spool writes, the shipper has
`FINAL_SHIP_S` to bring away what it can, the spool notes a clean stop. Everything that was not shipped is there at the
next start.

Each second the main thread looks after the rest: interfaces that came up, a certificate that wants renewal, what a
collector asked for.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fieldwatch_ext.bpf import Program
from fieldwatch_ext.memory import give_back
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.records import Records
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.settings import UsageError
from fieldwatch_proto.v1 import agent_pb2

from fieldwatch_agent import accounts
from fieldwatch_agent.captures import Captures
from fieldwatch_agent.clock import Clock
from fieldwatch_agent.config import AgentConfig
from fieldwatch_agent.control import status
from fieldwatch_agent.control.configuration import ConfigurationCare
from fieldwatch_agent.control.freshness import Freshness
from fieldwatch_agent.control.logs import DaemonLog
from fieldwatch_agent.control.settings import Settings
from fieldwatch_agent.control.shortage import Shortage
from fieldwatch_agent.control.vitals import Doctor
from fieldwatch_agent.enrolment.identity import usable_identity
from fieldwatch_agent.events import Events
from fieldwatch_agent.filters import compile_filter
from fieldwatch_agent.ledger import Ledger, LedgerState, boot_id, read_ledger
from fieldwatch_agent.metrics import WrittenMetric
from fieldwatch_agent.sealer import Sealer
from fieldwatch_agent.shipping import Shipping
from fieldwatch_agent.spool.control import ControlServer, store_status
from fieldwatch_agent.spool.eviction import delete_flows
from fieldwatch_agent.spool.file import Lock, make_folder
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.memory import MemoryStore
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_agent.spool.wear import Pace, Wear, parse_budget
from fieldwatch_agent.worker import Replay, Worker

if TYPE_CHECKING:
    import grpc

    from fieldwatch_agent.control.runner import Runner

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
FINAL_SHIP_S = 2.0
LOOK_S = 1.0
INTERFACES_S = 10.0
TIDY_S = 10.0
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

    def __init__(self, settings: Settings, options: Options) -> None:
        self.settings, self.options = settings, options
        self.folder = settings.value.data_dir
        self.again = self.told_to_stop = False  # again: begin anew in this process, once it has stopped
        self.log = DaemonLog()
        self.freshness = Freshness()
        self.doctor = Doctor(self)
        self.shortage = Shortage(
            self.folder, lambda kind, data: self.events.alarm(kind, data), lambda: self.shipping.tell()
        )
        self.state = "starting"
        self.boot = boot_id()
        self.clock = Clock(self.boot)
        self.started = time.monotonic()
        self.captures: Captures | None = None
        self.told_settings = b""
        self._runner: Runner | None = None
        self._stop = threading.Event()
        self._problem: BaseException | None = None
        self._written = WrittenMetric()

    @property
    def workers(self) -> list[Worker | Replay]:
        return list(self.captures.workers) if self.captures is not None else []

    @property
    def config(self) -> AgentConfig:
        return self.settings.value

    def run(self) -> int:
        self.log.configure(self.config.log.level, self.config.log.format)
        make_folder(self.folder)
        if self._wants_identity() and usable_identity(self.folder) is None and self.options.must_ship:
            raise UsageError(f"--use-api: {self.folder} is not enrolled; first: fieldwatch-agent enrol ...")
        lock = Lock(self.folder)
        try:
            for number in STOP_SIGNALS:
                signal.signal(number, self._on_signal)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # those that came while the process began anew
            self._settle_configuration()
            try:
                program = compile_filter(self.config.capture.filter)
                self._start(program)
            except Exception as problem:
                self.again = self.configuration.start_failed(problem)
                if self.again:
                    return 0
                raise
            try:
                self._watch()
                self.configuration.stopped()
            finally:
                self._finish()
        finally:
            lock.release()
        if self._problem is not None:
            raise self._problem
        return 0

    def _on_signal(self, *_: object) -> None:
        self.told_to_stop = True
        self._stop.set()

    def _settle_configuration(self) -> None:
        """What is in force, the collector's part included. Under the folder's lock: a start may be counted."""
        self.configuration = ConfigurationCare(
            self.settings,
            self.folder,
            apply=self._apply,
            restart=self.restart,
            event=self._tell_configuration,
        )
        self.configuration.start(ships=self.takes_configuration and not self.options.local_only)
        self.log.configure(self.config.log.level, self.config.log.format)

    def _wants_identity(self) -> bool:
        """Whether to end at once where the identity is damaged; capture goes on without, and waits for a better one."""
        return not self.options.local_only and (self.options.must_ship or self.options.replay is not None)

    # --- start --------------------------------------------------------------------------------------------------

    def _start(self, program: Program | None) -> None:
        settings = self.config.spool
        left = read_ledger(self.folder)
        self.spool = SpoolThread(
            self.folder,
            self._limits(),
            mark=left.mark if left else None,
            prepare=lambda store: self._open_books(store, left),
            on_change=lambda: self.shipping.wake(),
        )
        self.shipping = Shipping(
            self.folder,
            self.config.collector,
            self.spool,
            self.boot,
            self.clock,
            wanted=not self.options.local_only,
            status=lambda first: status.agent_status(self, first=first),
            handle=self._handle,
            alarm=lambda kind, data: self.events.alarm(kind, data),
        )
        run = int.from_bytes(os.urandom(8)) >> 1 or 1
        self._ledger = Ledger(self.folder, run, later=left is not None)
        self.spool.begin()
        self.sealer = Sealer(
            self.spool.put,
            self.spool.declare,
            seal_bytes=settings.seal_bytes,
            seal_age_s=settings.seal_age,
            observe=self._ledger.observe,
            stamp=self._stamp,
        )
        self.sealer.start()
        self.events = Events(self.sealer, self._subject)
        pace = Pace(settings.seal_bytes, settings.seal_age)
        self.wear = Wear(self.folder, pace, parse_budget(settings.write_budget))
        self._control = ControlServer(self.folder, self.spool, self.describe, self.shortage.met)
        self._control.start()
        try:
            try:
                self._begin_capture(program)
            finally:
                self.spool.wait_open()
        except BaseException:
            self._finish()
            raise
        if self.options.clean_flows_days is not None:
            self._clean_flows(self.options.clean_flows_days)
        if settings.saver:
            self.spool.spare_disk()
        self.spool.tell(self.events.alarm)
        self.shipping.look()
        self.spool.call(self.freshness.set_mark)
        self.configuration.started()
        gc.collect()  # what importing left behind
        give_back()
        self.state = "capturing" if self.options.replay is None else "draining"

    def _begin_capture(self, program: Program | None) -> None:
        self.captures = Captures(self.config, program, self._ledger, self.sealer, self.spool)
        if self.options.replay is None:
            self.captures.start()
        else:
            self.captures.start_replay(self.options.replay)

    def _limits(self) -> Limits:
        settings = self.config.spool
        return Limits.on(
            self.folder,
            max_bytes=settings.max_bytes,
            min_free_bytes=settings.min_free_bytes,
            max_age_s=settings.max_age,
        )

    def _open_books(self, store: Store, left: LedgerState | None) -> None:
        """The first thing that the spool does. Raises SpoolError."""
        accounts.open_books(store, self._ledger, left, self.boot)
        self.spool.remember = self._ledger.remember

    def _stamp(self, records: Records) -> Records:
        """What is read from a capture file has the times of the file, whatever this machine's clock says."""
        of_the_file = self.options.replay is not None and records.kind not in (Kind.EVENT, Kind.METRIC)
        return records if of_the_file else self.clock.stamp(records)

    def _clean_flows(self, days: int) -> None:
        before_ns = time.time_ns() - days * NS_PER_DAY
        records = self.spool.call(lambda store: delete_flows(store, before_ns))
        log.info("flow records that waited were deleted, and declared", older_than_days=days, records=records)

    def _subject(self) -> str:
        certificate = self.shipping.certificate
        return certificate.identity.agent_id if certificate else socket.gethostname()

    def _tell_configuration(self, severity: str, data: dict[str, Any]) -> None:
        self.events.configuration(severity, data)
        self.shipping.tell()

    # --- watching -----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        assert self.captures is not None
        look_again = tidy = time.monotonic() + INTERFACES_S
        while not self._stop.wait(LOOK_S if self.options.replay is None else 0.05):
            self._look_after_freshness()
            if self.options.replay is not None:
                if self._replay_is_over():
                    return
                continue
            self.log.look()
            self.clock.look()
            self.shortage.look()
            self._look_after_configuration()
            self.shipping.look()
            self._look_at_wear()
            if time.monotonic() >= tidy:
                tidy = time.monotonic() + TIDY_S
                give_back()
            if time.monotonic() >= look_again:
                look_again = time.monotonic() + INTERFACES_S
                self.captures.look_for_new()

    def _look_at_wear(self) -> None:
        """Seal as the write budget asks for, and tell what was written."""
        if pace := self.wear.look():
            self.sealer.pace(seal_bytes=pace.seal_bytes, seal_age_s=pace.seal_age_s)
        if records := self._written.records(self.wear.octets):
            self.sealer.add(records, 0)

    def _replay_is_over(self) -> bool:
        """The file has been read and everything is at the collector (or on disk, where nothing is shipped)."""
        if any(worker.is_alive() for worker in self.workers):
            return False
        self.sealer.flush()
        self.spool.flush()
        if self.shipping.shipper is None:
            return True
        waiting = self.spool.call(Store.status)
        return waiting.batches + waiting.gaps == 0

    # --- what a collector may ask for -----------------------------------------------------------------------------

    def _handle(self, command: agent_pb2.Command, channel: grpc.Channel) -> None:
        """Commands are rare: what runs them is loaded with the first."""
        if self._runner is None:
            from fieldwatch_agent.control.runner import Runner

            self._runner = Runner(self, self.events.command)
        self._runner.handle(command, channel)

    @property
    def takes_configuration(self) -> bool:
        return self.options.replay is None

    def restart(self) -> None:
        """Stop cleanly and begin anew in this process; returns at once."""
        self.again = True
        self._stop.set()

    def _apply(self) -> None:
        """The live keys of the configuration have changed (`settings.LIVE`)."""
        self.log.configure(self.config.log.level, self.config.log.format)
        limits = self.spool.limits = self._limits()

        def put_in_force(store: Store) -> None:
            on_disk = store.disk if isinstance(store, MemoryStore) else store  # memory has a bound of its own
            on_disk.limits = limits
            self.freshness.set_mark(store)

        self.spool.call(put_in_force)
        self.shipping.tell()

    def _look_after_freshness(self) -> None:
        shipper = self.shipping.shipper
        self.freshness.follow(self.spool, shipper.acked if shipper is not None else 0)

    def _look_after_configuration(self) -> None:
        later_s = self.wear.pace.seal_age_s - self.config.spool.seal_age
        self.configuration.look(self.freshness.newest_s, max(0.0, later_s))

    # --- stop ---------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Seal, write, ship what can be shipped, say what it came to. Never loses what was sealed."""
        self.state = "stopping"
        if self.captures is not None:
            self._problem = self.captures.stop()
        self.sealer.stop()
        self.sealer.flush()
        if self.spool.is_open:
            self._finish_spool()
        self._control.close()
        self.captures = None  # with their engines, which write to the ledger
        self._ledger.close()

    def _finish_spool(self) -> None:
        if self.spool.flush():  # what could not be written is still queued: the next start declares what of it was lost
            accounts.close_books(self.spool, self._ledger)
        if self._runner is not None:
            self._runner.stop()
        self.shipping.tell()
        before = self.spool.call(Store.status)
        self.shipping.stop(FINAL_SHIP_S)
        after = self.spool.call(Store.status)
        self.spool.close(clean=True)
        log.info(
            "stopped",
            frames=self._ledger.frames,
            sealed_records=self.sealer.sealed_records,
            sealed_batches=self.sealer.sealed_batches,
            shipped_last=before.records - after.records,
            buffered_records=after.records,
            buffered_batches=after.batches,
        )

    # --- telling ------------------------------------------------------------------------------------------------

    def spool_status(self) -> dict[str, Any]:
        """The spool's part of `spool status`."""
        return self.spool.call(store_status)

    def describe(self) -> dict[str, Any]:
        """The daemon's part of `spool status`, and what `status` shows."""
        return status.describe(self)
