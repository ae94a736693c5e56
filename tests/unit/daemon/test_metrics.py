"""An interface in numbers: increases alone, whatever happens to the interface meanwhile."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_agent import wire
from fieldwatch_agent.metrics import InterfaceMetrics, of_engine
from fieldwatch_ext.capture import MemorySource
from fieldwatch_ext.engine import Engine
from fieldwatch_proto.schema import AGENT_METRICS, METRIC_LABELS
from support.frames import ethernet, ipv4, udp

FRAMES = "agent_interface_frames_total"
EVICTED = "agent_flows_evicted_total"
LOSSES = "agent_interface_nic_losses_total"


class Interface:
    """`eth0` as sysfs has it, in a folder of the test's own."""

    def __init__(self, net: Path) -> None:
        self.folder = net / "eth0"
        (self.folder / "statistics").mkdir(parents=True)
        self.say(ifindex=3)

    def say(self, *, ifindex: int | None = None, **counters: int) -> None:
        if ifindex is not None:
            (self.folder / "ifindex").write_text(f"{ifindex}\n")
        for name, count in counters.items():
            (self.folder / "statistics" / name).write_text(f"{count}\n")

    def vanish(self) -> None:
        (self.folder / "ifindex").unlink()
        for file in (self.folder / "statistics").iterdir():
            file.unlink()


@pytest.fixture
def eth0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Interface:
    monkeypatch.setattr(wire, "NET", tmp_path)
    return Interface(tmp_path)


def told(metrics: InterfaceMetrics, **totals: int) -> dict[tuple[str, str], float]:
    """(metric, the label beside `interface`) -> increase."""
    records = metrics.records({FRAMES: totals.get("frames", 0), EVICTED: totals.get("evicted", 0)})
    if records is None:
        return {}
    rows: list[dict[str, Any]] = records.rows()
    labels = [json.loads(row["labels"]) for row in rows]
    assert [(label["interface"], METRIC_LABELS.issuperset(label)) for label in labels] == [("eth0", True)] * len(rows)
    assert AGENT_METRICS.keys() >= {row["name"] for row in rows}
    return {(row["name"], label.get("counter", "")): row["value"] for row, label in zip(rows, labels, strict=True)}


def test_what_the_engine_counts_beside_frames_is_told() -> None:
    """A query is silent, a repeated announcement one of two: each under a name that the collector shows."""
    engine = Engine()
    asked = ethernet(ipv4("10.0.0.1", "224.0.0.252", udp(5355, 5355, struct.pack(">6H", 1, 0, 1, 0, 0, 0))))
    group = ethernet(ipv4("10.0.0.1", "224.0.0.22", bytes.fromhex("160009f4effffffa"), protocol=2))
    engine.process(MemorySource([(n, octets, len(octets)) for n, octets in enumerate((asked, group, group))]))
    found = of_engine(engine.counters())

    assert found.keys() <= AGENT_METRICS.keys()
    assert {name: count for name, count in found.items() if count} == {
        "agent_dissector_frames_silent_total": 1,
        "agent_dissector_frames_repeated_total": 1,
    }


def test_only_what_grew_is_told(eth0: Interface) -> None:
    """Increases since the last time; no record where nothing grew."""
    metrics = InterfaceMetrics("eth0")
    seen = [
        told(metrics),
        told(metrics, frames=5),
        told(metrics, frames=5),
        told(metrics, frames=7, evicted=1),
    ]

    assert seen == [{}, {(FRAMES, ""): 5}, {}, {(FRAMES, ""): 2, (EVICTED, ""): 1}]


def test_losses_of_the_interface_begin_with_the_agent(eth0: Interface) -> None:
    """What its counters held before is not told, nor is a counter that it does not have."""
    eth0.say(rx_dropped=100, rx_missed_errors=7)
    metrics = InterfaceMetrics("eth0")
    eth0.say(rx_dropped=103, rx_missed_errors=7)

    assert told(metrics) == {(LOSSES, "rx_dropped"): 3}
    assert told(metrics) == {}


def test_an_interface_that_is_made_anew_counts_from_zero(eth0: Interface) -> None:
    """Gone: nothing is told; there again under another number: all that its counters hold."""
    eth0.say(rx_fifo_errors=100)
    metrics = InterfaceMetrics("eth0")
    eth0.vanish()
    gone = told(metrics, frames=1)
    eth0.say(ifindex=4, rx_fifo_errors=120, rx_over_errors=2)

    assert gone == {(FRAMES, ""): 1}
    assert told(metrics, frames=1) == {(LOSSES, "rx_fifo_errors"): 120, (LOSSES, "rx_over_errors"): 2}


def test_a_counter_that_was_set_back_is_no_loss(eth0: Interface) -> None:
    """A driver that resets its counters takes nothing back that was told."""
    eth0.say(rx_dropped=50)
    metrics = InterfaceMetrics("eth0")
    eth0.say(rx_dropped=2)

    assert told(metrics) == {}
    eth0.say(rx_dropped=5)
    assert told(metrics) == {(LOSSES, "rx_dropped"): 3}
