"""Where frames come from while the daemon runs: a worker for each interface, or one capture file."""

from __future__ import annotations

from fieldwatch_ext.bpf import Program
from fieldwatch_ext.errors import CaptureError
from fieldwatch_proto.logs import get_logger

from fieldwatch_agent import wire
from fieldwatch_agent.config import AgentConfig
from fieldwatch_agent.descriptors import lacks_descriptors
from fieldwatch_agent.ledger import Ledger
from fieldwatch_agent.replay import open_replay
from fieldwatch_agent.sealer import Sealer
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_agent.worker import Replay, Worker

STOP_S = 15.0

log = get_logger(__name__)


class Captures:
    """`workers` is for everybody to read; the rest is the main thread's."""

    def __init__(
        self, config: AgentConfig, program: Program | None, ledger: Ledger, sealer: Sealer, spool: SpoolThread
    ) -> None:
        self.workers: list[Worker | Replay] = []
        self._config, self._program = config, program
        self._ledger, self._sealer, self._spool = ledger, sealer, spool

    def start(self) -> None:
        """Listen on the configured interfaces, or on all Ethernet ones. Raises CaptureError."""
        names = list(dict.fromkeys(self._config.capture.interfaces)) or wire.ethernet_interfaces()
        if not names:
            log.warning("no Ethernet interface is up; waiting for one", hint="name one with -i")
        for name in names:
            self._add(name)

    def start_replay(self, path: str) -> None:
        """Raises CaptureError, OSError."""
        source, name = open_replay(path, self._config.capture.filter)
        replay = Replay(name, source, self._config, self._ledger.slot(name), self._sealer)
        self.workers.append(replay)
        replay.start()

    def _add(self, name: str) -> None:
        """Raises CaptureError for an interface that is there and cannot be opened; one that is not is waited for."""
        slots = self._ledger.slots(name, self._config.capture.lanes)
        worker = Worker(name, self._config, self._program, slots, self._sealer, self._spool)
        try:
            worker.open()
        except CaptureError as problem:
            if wire.exists(name):
                raise
            log.warning("waiting for an interface", interface=name, problem=str(problem))
        self.workers.append(worker)
        worker.start()

    def look_for_new(self) -> None:
        """Listen on Ethernet interfaces that came up, where none is configured."""
        if self._config.capture.interfaces:
            return
        known = {worker.interface for worker in self.workers}
        try:
            names = wire.ethernet_interfaces()
        except OSError as problem:
            if not lacks_descriptors(problem):
                raise
            return  # `control.shortage` tells
        for name in names:
            if name not in known:
                try:
                    self._add(name)
                except (CaptureError, ValueError) as problem:
                    log.warning("cannot capture", interface=name, problem=str(problem))

    def stop(self) -> BaseException | None:
        """End them all, their engines emptied; what kept a capture file from being read to its end."""
        problem = None
        for worker in self.workers:
            worker.stop()
        for worker in self.workers:
            if worker.is_alive():
                worker.join(STOP_S)
            if isinstance(worker, Replay) and worker.problem is not None:
                problem = worker.problem
        return problem
