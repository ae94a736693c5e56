"""An interface, and the disk, in numbers, as records of kind metric: what grew since the last time, else nothing.

Frames are never counted here for the conservation equation (see `lane.Books`): a metric that is lost takes no frame
with it.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping

from fieldwatch_ext.engine import Counters
from fieldwatch_proto.records import Records, records_of
from fieldwatch_proto.schema import Kind

from fieldwatch_agent import wire

PERIOD_S = 60.0
WRITTEN_METRIC = "agent_disk_written_bytes_total"

# metric -> counter of the engine
ENGINE_METRICS = {
    "agent_dissector_frames_limited_total": "slow_limited",
    "agent_dissector_frames_repeated_total": "slow_repeated",
    "agent_dissector_frames_silent_total": "slow_silent",
    "agent_dissector_frames_dropped_total": "slow_dropped",
    "agent_flows_evicted_total": "flows_evicted",
    "agent_sightings_evicted_total": "sightings_evicted",
    "agent_fragments_lost_total": "fragments_lost",
}


def labels_text(**labels: str) -> str:
    """Labels as the schema has them: a JSON object with sorted keys."""
    return json.dumps(labels, sort_keys=True, separators=(",", ":"))


def of_engine(counters: Counters) -> dict[str, int]:
    """The engine's counters that are told as metrics."""
    return {metric: getattr(counters, counter) for metric, counter in ENGINE_METRICS.items()}


class WrittenMetric:
    """What the agent wrote to the disk, once a minute. For one thread."""

    def __init__(self) -> None:
        self._told = 0
        self._due = time.monotonic() + PERIOD_S

    def records(self, written_bytes: int) -> Records | None:
        """What the total has grown by since it was told last; None where it is not time, or did not grow."""
        if time.monotonic() < self._due:
            return None
        self._due = time.monotonic() + PERIOD_S
        increase, self._told = written_bytes - self._told, written_bytes
        if increase <= 0:
            return None
        row = {"ts_ns": time.time_ns(), "name": WRITTEN_METRIC, "labels": "{}", "value": float(increase)}
        return records_of(Kind.METRIC, [row])


class InterfaceMetrics:
    """Turns totals of this run into increases. For one thread."""

    def __init__(self, interface: str) -> None:
        self.interface = interface
        self._told: defaultdict[str, int] = defaultdict(int)
        self._labels = labels_text(interface=interface)
        self._ifindex = wire.ifindex(interface)
        self._nic = wire.nic_losses(interface)

    def records(self, totals: Mapping[str, int]) -> Records | None:
        """What `totals` (metric -> since the agent started) and the interface's own counters have grown by."""
        news = {(name, self._labels): total - self._told[name] for name, total in totals.items()}
        self._told.update(totals)
        for name, increase in self._nic_increases().items():
            labels = labels_text(counter=name, interface=self.interface)
            news["agent_interface_nic_losses_total", labels] = increase
        now_ns = time.time_ns()
        rows = [
            {"ts_ns": now_ns, "name": name, "labels": labels, "value": float(increase)}
            for (name, labels), increase in news.items()
            if increase > 0
        ]
        return records_of(Kind.METRIC, rows) if rows else None

    def _nic_increases(self) -> dict[str, int]:
        """An interface that was made anew counts from 0."""
        ifindex = wire.ifindex(self.interface)
        if not ifindex:
            return {}
        before = self._nic if ifindex == self._ifindex else dict.fromkeys(wire.NIC_LOSSES, 0)
        self._ifindex, self._nic = ifindex, wire.nic_losses(self.interface)
        return {name: total - before[name] for name, total in self._nic.items()}
