"""One engine on its way from frames to the sealer: what a capture thread runs.

An interface has as many lanes as `[capture] workers` says; they share its frames, and what is news among facts. A lane
belongs to the thread that is in `listen`, and to its worker when there is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fieldwatch_ext.engine import Counters
from fieldwatch_ext.errors import CaptureError
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.records import Records, records_of
from fieldwatch_proto.schema import METRIC_FRAMES_OUTSIDE_FLOWS, Kind
from fieldwatch_proto.v1.agent_pb2 import GapReason

from fieldwatch_agent.config import AgentConfig
from fieldwatch_agent.ledger import Slot
from fieldwatch_agent.metrics import labels_text, of_engine
from fieldwatch_agent.pipeline import FactFilter, Pipeline, make_engine
from fieldwatch_agent.sealer import Sealer, flow_frames
from fieldwatch_agent.sources import LiveSource
from fieldwatch_agent.spool.items import Loss

TICK_S = 1.0
DRAIN_S = 1.0

log = get_logger(__name__)


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
                        "labels": labels_text(interface=self.name, verdict=verdict),
                        "value": float(news),
                    }
                )
                frames += news
            self._told[verdict] = total
        if rows:
            self._sealer.add(records_of(Kind.METRIC, rows), frames)
            self.handed_frames += frames


class Lane:
    """A slot of the ledger, and the engine that counts into it.

    What ended the last `listen` unasked: `gone` says why there are no more frames, or `failed`, which was logged. No
    exception is kept: its traceback would hold the engine, and with it the ledger's page, beyond the end.
    """

    def __init__(self, interface: str, config: AgentConfig, slot: Slot, sealer: Sealer, facts: FactFilter) -> None:
        self.slot = slot
        self.gone = ""
        self.failed = False
        self.rejected = 0
        self.told: dict[str, int] = {}
        """The engine's counters that are told as metrics, since the agent started."""
        self._interface, self._config, self._sealer, self._facts = interface, config, sealer, facts
        self._drops_before = slot.drops  # of this run before the present socket
        self._rejected_before = 0
        self._told_before: dict[str, int] = {}
        self._new_engine()

    def _new_engine(self) -> None:
        self._books = Books(self._interface, self._sealer)
        engine = make_engine(self._config, observed=self.slot.new_engine())
        self._pipeline = Pipeline(engine, self._interface, self._books.emit, facts=self._facts)

    @property
    def passed(self) -> int:
        """Frames of this run that came to this lane, dropped ones included."""
        return self.slot.frames + self.slot.drops

    def opened(self) -> None:
        """A new socket: its counters begin at 0."""
        self._drops_before = self.slot.drops

    def count_drops(self, source: LiveSource) -> None:
        self.slot.drops = self._drops_before + source.stats().drops

    def listen(self, source: LiveSource, is_over: Callable[[], bool], each_tick: Callable[[], None]) -> None:
        """Take frames until it is over, or until the interface has gone. Raises nothing: see `gone` and `failed`."""
        self.gone, self.failed = "", False
        try:
            self._take(source, is_over, each_tick)
        except CaptureError as problem:
            self.gone = str(problem)
        except Exception:
            self.failed = True
            log.exception("capture failed; a new engine goes on", interface=self._interface)

    def _take(self, source: LiveSource, is_over: Callable[[], bool], each_tick: Callable[[], None]) -> None:
        next_tick = time.monotonic() + TICK_S
        while not is_over():
            if self._pipeline.step(source) < 0:
                raise CaptureError(source.problem or f"interface {self._interface} has gone")
            if time.monotonic() >= next_tick:
                self._pipeline.tick(time.time_ns())
                self.count()
                each_tick()
                next_tick = time.monotonic() + TICK_S
        deadline = time.monotonic() + DRAIN_S
        while self._pipeline.step(source) > 0 and time.monotonic() < deadline:
            pass

    def count(self) -> None:
        """Hand over the frames that no flow carries; note what the engine has counted."""
        counters = self._pipeline.engine.counters()
        self._books.emit_outside(counters)
        self.rejected = self._rejected_before + counters.truncated + counters.malformed + counters.unsupported
        self.told = {name: total + self._told_before.get(name, 0) for name, total in of_engine(counters).items()}

    def finish(self) -> None:
        self._pipeline.finish()
        self.count()

    def give_up_engine(self) -> Loss | None:
        """Start a new engine; what the old one held is the loss."""
        counters = self._pipeline.engine.counters()
        lost = counters.frames - self._books.handed_frames
        self._rejected_before += counters.truncated + counters.malformed + counters.unsupported
        for name, total in of_engine(counters).items():
            self._told_before[name] = self._told_before.get(name, 0) + total
        self._new_engine()
        if lost <= 0:
            return None
        detail = f"{self._interface}: capture failed and was started again"
        return Loss(GapReason.UNCLEAN_STOP, lost, detail=detail, accounted=True)
