"""One interface: its rings, a lane for each, every frame on the books.

Start of an interface: open the rings; find where the interface's own counter stood at that moment; declare, and commit,
what passed while nobody listened; note the new base in the ledger; only then take frames. Where the spool is not open
yet (a damaged one is salvaged) frames are taken at once, and the books follow. An interface that has gone is opened
again with a pause that grows. A failure of ours costs the unsealed frames of the engine that it happened in, which are
declared, and a new engine goes on.

The worker's own thread runs the first lane and does the sums of all; the others have threads while the rings are open.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial

from fieldwatch_ext.bpf import Program
from fieldwatch_ext.capture import Source
from fieldwatch_ext.errors import CaptureError
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1.agent_pb2 import GapReason

from fieldwatch_agent import faults, wire
from fieldwatch_agent.accounts import InterfaceAccount, interface_accounts, opened
from fieldwatch_agent.config import AgentConfig
from fieldwatch_agent.lane import TICK_S, Books, Lane
from fieldwatch_agent.ledger import Slot, boot_id
from fieldwatch_agent.metrics import PERIOD_S, InterfaceMetrics
from fieldwatch_agent.pipeline import FactFilter, Pipeline, make_engine
from fieldwatch_agent.sealer import Sealer
from fieldwatch_agent.sources import LiveSource, open_sources
from fieldwatch_agent.spool.items import Loss
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread

GIANTS = "agent_interface_giant_frames_total"
RETRY_MIN_S, RETRY_MAX_S = 1.0, 30.0

log = get_logger(__name__)


@dataclass(frozen=True)
class Seen:
    """What a worker has counted since the agent started."""

    frames: int = 0
    rejected: int = 0
    dropped: int = 0
    giants: int = 0


class Worker(threading.Thread):
    """Captures one interface until `stop`. `slots`: one for each lane."""

    def __init__(
        self,
        interface: str,
        config: AgentConfig,
        program: Program | None,
        slots: Sequence[Slot],
        sealer: Sealer,
        spool: SpoolThread,
    ) -> None:
        super().__init__(name=f"capture {interface}", daemon=True)
        self.interface = interface
        self.restarts = 0
        self.up = False
        self.seen = Seen()
        self._config, self._program = config, program
        self._sealer, self._spool = sealer, spool
        self._account: InterfaceAccount | None = None  # until it is on the books
        self._booking: Future[None] | None = None
        self._stopping = threading.Event()
        self._sources: list[LiveSource] = []
        facts = FactFilter()
        self._lanes = [Lane(interface, config, slot, sealer, facts) for slot in slots]
        self._before = 0  # frames and drops of this run before the present sockets
        self._bases: deque[int] = deque(maxlen=3)
        self._metrics = InterfaceMetrics(interface)
        self._metrics_due = time.monotonic() + PERIOD_S
        self._closed: Counter[str] = Counter()  # what closed sockets had counted, by metric

    # --- opening ------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the rings and put the interface on the books. Raises CaptureError."""
        if self._booking is not None:
            self._booking.result()
        sources = open_sources(self.interface, self._config.capture, self._program)
        for lane in self._lanes:
            lane.opened()
        self._before = sum(lane.passed for lane in self._lanes)
        self._bases.clear()
        position = None
        if self._counts_wire:
            position = wire.start_position(self.interface, lambda: _packets(sources))
        self._booking = self._spool.submit(partial(self._book, position, wire.ifindex(self.interface), self._before))
        if self._spool.is_open:
            self._booking.result()
        self._sources = sources
        self.up = True
        log.info("capturing", interface=self.interface)

    def _book(self, position: int | None, ifindex: int, before: int, store: Store) -> None:
        """In the spool's thread. `position`: where the wire stood when the rings began to listen."""
        account, loss = opened(
            self._account or interface_accounts(store).get(self.interface),
            name=self.interface,
            boot=boot_id().hex(),
            ifindex=ifindex,
            wire_position=position,
            accounted_for=before,
        )
        store.commit([], [loss] if loss else [], account.meta(self.interface))
        faults.reach("open-before-ledger")
        self._lanes[0].slot.set_base(account.base, account.generation)
        self._account = account
        if loss is not None and loss.frames:
            log.info(
                "frames passed while nobody listened; they are declared", interface=self.interface, frames=loss.frames
            )

    @property
    def _counts_wire(self) -> bool:
        """Whether the interface's own counter tells what the sockets should see."""
        return self._program is None and not wire.is_loopback(self.interface)

    # --- the threads --------------------------------------------------------------------------------------------

    def run(self) -> None:
        pause, told = RETRY_MIN_S, False
        while not self._stopping.is_set():
            try:
                if not self._sources:
                    self.open()
                    pause, told = RETRY_MIN_S, False
                self._listen()
            except CaptureError as problem:
                if not told:
                    log.warning("cannot capture; trying again", interface=self.interface, problem=str(problem))
                    told = True
            except Exception:
                self.restarts += 1
                log.exception("capture failed; trying again", interface=self.interface)
            self._close()
            if not self._stopping.wait(pause):
                pause = min(2 * pause, RETRY_MAX_S)
        try:
            for lane in self._lanes:
                lane.finish()
            self._count()
            self._emit_metrics()
        except Exception:
            log.exception("the engines could not be emptied", interface=self.interface)

    def _listen(self) -> None:
        """Take frames until told to stop, until a lane fails, or until the interface has gone (CaptureError)."""
        over = threading.Event()

        def is_over() -> bool:
            return self._stopping.is_set() or over.is_set()

        def listen(number: int) -> None:
            each_tick = self._tick if number == 0 else _nothing
            self._lanes[number].listen(self._sources[number], is_over, each_tick)
            over.set()

        beside = [
            threading.Thread(target=listen, args=(number,), name=f"capture {self.interface}/{number}", daemon=True)
            for number in range(1, len(self._sources))
        ]
        for thread in beside:
            thread.start()
        listen(0)
        for thread in beside:
            thread.join()
        self._declare_drops()
        for lane in self._lanes:
            if lane.failed:
                self.restarts += 1
                self._declare(lane.give_up_engine())
        gone = next((lane.gone for lane in self._lanes if lane.gone), "")
        if gone:
            raise CaptureError(gone)

    def _tick(self) -> None:
        self._declare_drops()
        self._refresh_base()
        self.up = wire.is_up(self.interface)
        self._count()
        if time.monotonic() >= self._metrics_due:
            self._metrics_due = time.monotonic() + PERIOD_S
            self._emit_metrics()

    def _declare_drops(self) -> None:
        for lane, source in zip(self._lanes, self._sources, strict=bool(self._sources)):
            lane.count_drops(source)
        total = self._drops
        account = self._account
        if account is not None and total > account.drops:
            loss = Loss(GapReason.KERNEL_DROP, total - account.drops, detail=self.interface)
            self._account = replace(account, drops=total)
            self._spool.declare(loss, self._account.meta(self.interface))

    def _declare(self, loss: Loss | None) -> None:
        if loss is not None:
            self._spool.declare(loss)

    def _refresh_base(self) -> None:
        """Follow the interface's counter where it counts otherwise than we do (receive offload merges frames)."""
        if self._account is None or self._account.base is None:
            return
        before = wire.passed(self.interface)
        packets = _packets(self._sources)
        if before is not None and before == wire.passed(self.interface):
            self._bases.append(before - packets - self._before)
            if len(self._bases) == 3:  # the middle one: a single reading may be off by a frame in passing
                self._lanes[0].slot.set_base(sorted(self._bases)[1])

    @property
    def _frames(self) -> int:
        return sum(lane.slot.frames for lane in self._lanes)

    @property
    def _drops(self) -> int:
        return sum(lane.slot.drops for lane in self._lanes)

    def _count(self) -> None:
        rejected = sum(lane.rejected for lane in self._lanes)
        self.seen = Seen(self._frames, rejected, self._drops, self._of_sockets()[GIANTS])

    def _emit_metrics(self) -> None:
        totals = self._of_sockets()
        for lane in self._lanes:
            totals.update(lane.told)
        totals.update({"agent_interface_frames_total": self._frames, "agent_interface_kernel_drops_total": self._drops})
        if records := self._metrics.records(totals):
            self._sealer.add(records, 0)

    def _of_sockets(self) -> Counter[str]:
        """What this run's sockets have counted, by metric."""
        return self._closed + _of_sources(self._sources)

    def _close(self) -> None:
        self.up = False
        self._declare_drops()
        for source in self._sources:
            source.close()
        self._closed = self._of_sockets()
        self._sources = []

    def stop(self) -> None:
        self._stopping.set()


def _packets(sources: Sequence[LiveSource]) -> int:
    return sum(source.stats().packets for source in sources)


def _of_sources(sources: Sequence[LiveSource]) -> Counter[str]:
    """What sockets have counted since they were opened, by metric."""
    return Counter(
        {
            "agent_interface_ring_freezes_total": sum(source.stats().freezes for source in sources),
            GIANTS: sum(source.giants for source in sources),
        }
    )


def _nothing() -> None:
    """A lane beside the first leaves the sums to it."""


class Replay(threading.Thread):
    """A capture file through the same path; ends with the file. `problem`: why it could not be read to its end."""

    def __init__(self, name: str, source: Source, config: AgentConfig, slot: Slot, sealer: Sealer) -> None:
        super().__init__(name="replay", daemon=True)
        self.interface = name
        self.restarts = 0
        self.seen = Seen()
        self.problem: BaseException | None = None
        self._source, self._slot = source, slot
        self._stopping = threading.Event()
        self._books = Books(name, sealer)
        engine = make_engine(config, observed=slot.new_engine())
        self._pipeline = Pipeline(engine, name, self._books.emit)

    def run(self) -> None:
        try:
            next_tick = time.monotonic() + TICK_S
            while not self._stopping.is_set() and self._pipeline.step(self._source) >= 0:
                if time.monotonic() >= next_tick:
                    self._pipeline.tick(None)
                    self._count()
                    next_tick = time.monotonic() + TICK_S
            self._pipeline.finish()
            self._count()
        except BaseException as problem:
            self.problem = problem

    def _count(self) -> None:
        counters = self._pipeline.engine.counters()
        self._books.emit_outside(counters)
        self.seen = Seen(self._slot.frames, counters.truncated + counters.malformed + counters.unsupported)

    def stop(self) -> None:
        self._stopping.set()
