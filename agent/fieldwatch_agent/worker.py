"""One interface, one thread, one engine: frames in, records to the sealer, every frame on the books.

Start of an interface: open the ring; find where the interface's own counter stood at that moment; declare, and commit,
what passed while nobody listened; note the new base in the ledger; only then take frames. An interface that has gone is
opened again with a pause that grows. A failure of ours costs the engine's unsealed frames, which are declared, and a
new engine goes on.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, replace

from fieldwatch_ext.bpf import Program
from fieldwatch_ext.capture import RingSource, Source
from fieldwatch_ext.engine import Counters
from fieldwatch_ext.errors import CaptureError
from fieldwatch_proto.columns import Records, records_of
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.schema import METRIC_FRAMES_OUTSIDE_FLOWS, Kind
from fieldwatch_proto.v1.agent_pb2 import GapReason

from fieldwatch_agent import faults, wire
from fieldwatch_agent.accounts import InterfaceAccount, opened
from fieldwatch_agent.config import AgentConfig
from fieldwatch_agent.ledger import Slot, boot_id
from fieldwatch_agent.pipeline import Pipeline, make_engine
from fieldwatch_agent.sealer import Sealer, flow_frames
from fieldwatch_agent.sources import LibpcapSource, open_source
from fieldwatch_agent.spool.items import Loss
from fieldwatch_agent.spool.thread import SpoolThread

TICK_S = 1.0
RETRY_MIN_S, RETRY_MAX_S = 1.0, 30.0
DRAIN_S = 1.0

log = get_logger(__name__)


@dataclass(frozen=True)
class Seen:
    """What a worker has counted since the agent started."""

    frames: int = 0
    rejected: int = 0
    dropped: int = 0


class Books:
    """An engine's output on its way to the sealer: counts the frames that were handed over."""

    def __init__(self, name: str, sealer: Sealer) -> None:
        self.name, self._sealer = name, sealer
        self.handed_frames = 0
        self._told: dict[str, int] = {}

    def emit(self, records: Records) -> None:
        frames = flow_frames(records)
        self._sealer.add(records, frames)
        self.handed_frames += frames

    def emit_outside(self, counters: Counters) -> None:
        """Hand over, as a metric, the frames that no flow carries and that were not told yet."""
        rows, frames = [], 0
        now_ns = time.time_ns()
        left = counters.outside_flows
        for verdict in ("truncated", "malformed", "unsupported", "decoded"):
            total = left if verdict == "decoded" else min(left, getattr(counters, verdict))
            left -= total
            news = total - self._told.get(verdict, 0)
            if news:
                rows.append(
                    {
                        "ts_ns": now_ns,
                        "name": METRIC_FRAMES_OUTSIDE_FLOWS,
                        "labels": f'{{"interface":"{self.name}","verdict":"{verdict}"}}',
                        "value": float(news),
                    }
                )
                frames += news
            self._told[verdict] = total
        if rows:
            self._sealer.add(records_of(Kind.METRIC, rows), frames)
            self.handed_frames += frames


class Worker(threading.Thread):
    """Captures one interface until `stop`."""

    def __init__(
        self,
        interface: str,
        config: AgentConfig,
        program: Program | None,
        slot: Slot,
        account: InterfaceAccount | None,
        sealer: Sealer,
        spool: SpoolThread,
    ) -> None:
        super().__init__(name=f"capture {interface}", daemon=True)
        self.interface = interface
        self.restarts = 0
        self.up = False
        self.seen = Seen()
        self._config, self._program, self._slot = config, program, slot
        self._account, self._sealer, self._spool = account, sealer, spool
        self._stopping = threading.Event()
        self._source: RingSource | LibpcapSource | None = None
        self._before = 0  # frames and drops of this run before the present socket
        self._drops_before = 0
        self._rejected_before = 0
        self._bases: deque[int] = deque(maxlen=3)
        self._new_engine()

    def _new_engine(self) -> None:
        self._books = Books(self.interface, self._sealer)
        engine = make_engine(self._config, observed=self._slot.new_engine())
        self._pipeline = Pipeline(engine, self.interface, self._books.emit)

    # --- opening ------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the ring and put the interface on the books. Raises CaptureError."""
        source = open_source(self.interface, self._config.capture, self._program)
        self._before = self._slot.frames + self._slot.drops
        self._drops_before = self._slot.drops
        self._bases.clear()
        position = None
        if self._counts_wire:
            position = wire.start_position(self.interface, lambda: source.stats().packets)
        account, loss = opened(
            self._account,
            name=self.interface,
            boot=boot_id().hex(),
            ifindex=wire.ifindex(self.interface),
            wire_position=position,
            accounted_for=self._before,
        )
        losses = [loss] if loss else []
        self._spool.call(lambda store: store.commit([], losses, account.meta(self.interface)))
        faults.reach("open-before-ledger")
        self._account = account
        self._slot.set_base(account.base, account.generation)
        self._source = source
        self.up = True
        missed = {"missed_frames": loss.frames} if loss and loss.count_known else {}
        log.info("capturing", interface=self.interface, **missed)

    @property
    def _counts_wire(self) -> bool:
        """Whether the interface's own counter tells what the socket should see."""
        return self._program is None and not wire.is_loopback(self.interface)

    # --- the thread ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        pause, told = RETRY_MIN_S, False
        while not self._stopping.is_set():
            try:
                if self._source is None:
                    self.open()
                    pause, told = RETRY_MIN_S, False
                assert self._source is not None
                self._listen(self._source)
            except CaptureError as problem:
                if not told:
                    log.warning("cannot capture; trying again", interface=self.interface, problem=str(problem))
                    told = True
            except Exception:
                self.restarts += 1
                log.exception("capture failed; a new engine goes on", interface=self.interface)
                self._give_up_engine()
            self._close()
            if not self._stopping.wait(pause):
                pause = min(2 * pause, RETRY_MAX_S)
        try:
            self._pipeline.finish()
            self._books.emit_outside(self._pipeline.engine.counters())
            self._count()
        except Exception:
            log.exception("the engine could not be emptied", interface=self.interface)

    def _listen(self, source: RingSource | LibpcapSource) -> None:
        """Take frames until told to stop, or until the interface has gone (CaptureError)."""
        next_tick = time.monotonic() + TICK_S
        while not self._stopping.is_set():
            if self._pipeline.step(source) < 0:
                raise CaptureError(source.problem or f"interface {self.interface} has gone")
            if time.monotonic() >= next_tick:
                self._tick(source)
                next_tick = time.monotonic() + TICK_S
        deadline = time.monotonic() + DRAIN_S
        while self._pipeline.step(source) > 0 and time.monotonic() < deadline:
            pass
        self._declare_drops(source)

    def _tick(self, source: RingSource | LibpcapSource) -> None:
        self._pipeline.tick(time.time_ns())
        self._books.emit_outside(self._pipeline.engine.counters())
        self._declare_drops(source)
        self._refresh_base(source)
        self.up = wire.is_up(self.interface)
        self._count()

    def _declare_drops(self, source: RingSource | LibpcapSource) -> None:
        total = self._drops_before + source.stats().drops
        self._slot.drops = total
        account = self._account
        if account is not None and total > account.drops:
            loss = Loss(GapReason.KERNEL_DROP, total - account.drops, detail=self.interface)
            self._account = replace(account, drops=total)
            self._spool.declare(loss, self._account.meta(self.interface))

    def _refresh_base(self, source: RingSource | LibpcapSource) -> None:
        """Follow the interface's counter where it counts otherwise than we do (receive offload merges frames)."""
        if self._account is None or self._account.base is None:
            return
        before = wire.passed(self.interface)
        packets = source.stats().packets
        if before is not None and before == wire.passed(self.interface):
            self._bases.append(before - packets - self._before)
            if len(self._bases) == 3:  # the middle one: a single reading may be off by a frame in passing
                self._slot.set_base(sorted(self._bases)[1])

    def _count(self) -> None:
        counters = self._pipeline.engine.counters()
        rejected = counters.truncated + counters.malformed + counters.unsupported
        self.seen = Seen(self._slot.frames, self._rejected_before + rejected, self._slot.drops)

    def _give_up_engine(self) -> None:
        """Declare what the engine held, and start a new one."""
        counters = self._pipeline.engine.counters()
        lost = counters.frames - self._books.handed_frames
        self._rejected_before += counters.truncated + counters.malformed + counters.unsupported
        if lost > 0:
            detail = f"{self.interface}: capture failed and was started again"
            self._spool.declare(Loss(GapReason.UNCLEAN_STOP, lost, detail=detail, accounted=True))
        self._new_engine()

    def _close(self) -> None:
        self.up = False
        if self._source is not None:
            source, self._source = self._source, None
            self._declare_drops(source)
            source.close()

    def stop(self) -> None:
        self._stopping.set()


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
