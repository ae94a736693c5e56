"""The sealer: batches of a kind close at a size, at an age, on demand; frames go with their records; it is bounded."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fieldwatch_agent.sealer import Sealer, flow_frames, slices
from fieldwatch_agent.spool.items import Loss, Put
from fieldwatch_proto.columns import MAX_RECORDS, open_body
from fieldwatch_proto.records import Records, Texts, records_of
from fieldwatch_proto.schema import COLUMNS, METRIC_FRAMES_OUTSIDE_FLOWS, Kind
from fieldwatch_proto.v1.agent_pb2 import GapReason
from support.stack import wait_for


def flows(count: int, packets: int = 2) -> Records:
    """Flow records of `packets` + 1 frames each."""
    values: dict[str, Any] = {"mac": bytes(6), "ip": bytes(16), "str": "x"}
    row = {column.name: values.get(column.type, 1) for column in COLUMNS[Kind.FLOW]}
    return records_of(Kind.FLOW, [{**row, "packets": packets, "src_port": n % 60_000} for n in range(count)])


def metrics(count: int) -> Records:
    row = {"ts_ns": 5, "name": METRIC_FRAMES_OUTSIDE_FLOWS, "labels": "{}", "value": 1.0}
    return records_of(Kind.METRIC, [row] * count)


class Sink:
    """Where sealed batches and losses go."""

    def __init__(self) -> None:
        self.puts: list[Put] = []
        self.losses: list[Loss] = []
        self.observed: dict[Kind, int] = {}

    def put(self, put: Put) -> bool:
        self.puts.append(put)
        return True

    def observe(self, kind: Kind, records: int) -> None:
        self.observed[kind] = self.observed.get(kind, 0) + records

    def sealer(self, **limits: Any) -> Sealer:
        values = {"seal_bytes": 48 << 10, "seal_age_s": 60.0, **limits}
        return Sealer(self.put, self.losses.append, observe=self.observe, **values)


def test_records_of_a_kind_become_one_batch_with_their_frames() -> None:
    """Several parts are sealed together; the batch says how many frames its flows stand for."""
    sink = Sink()
    sealer = sink.sealer()
    sealer.add(flows(3))
    sealer.add(flows(2, packets=9))
    sealer.add(metrics(1), 17)

    sealer.flush()

    assert [(put.sealed.kind, put.sealed.records, put.frames) for put in sink.puts] == [
        (Kind.FLOW, 5, 3 * 3 + 2 * 10),
        (Kind.METRIC, 1, 17),
    ]
    assert sink.observed == {Kind.FLOW: 5, Kind.METRIC: 1}
    sealed = sink.puts[0].sealed
    assert open_body(Kind.FLOW, 5, sealed.raw_bytes, sealed.body).values("packets") == [2, 2, 2, 9, 9]


def test_age_closes_a_batch() -> None:
    """Nothing waits longer than the age, however little it is."""
    sink = Sink()
    sealer = sink.sealer(seal_age_s=0.05)
    sealer.start()

    sealer.add(flows(1))

    wait_for(lambda: bool(sink.puts), "the batch is sealed")
    sealer.stop()
    assert [put.sealed.records for put in sink.puts] == [1]


def test_size_closes_a_batch() -> None:
    """A batch is sealed at about the size that is asked for, not at the age."""
    sink = Sink()
    sealer = sink.sealer(seal_bytes=4 << 10)
    sealer.start()
    deadline = time.monotonic() + 10

    while len(sink.puts) < 5 and time.monotonic() < deadline:
        sealer.add(flows(50))
        time.sleep(0.001)

    sealer.stop()
    assert len(sink.puts) >= 5
    assert all(len(put.sealed.body) < 3 * (4 << 10) for put in sink.puts)


def test_what_does_not_fit_into_memory_is_declared() -> None:
    """The bound of unsealed records holds; what is beyond it is a loss with its frames and records."""
    sink = Sink()
    sealer = sink.sealer(max_bytes=20_000)

    for _ in range(5):
        sealer.add(flows(50))
    sealer.flush()

    kept = sum(put.sealed.records for put in sink.puts)
    assert kept + sum(loss.records[int(Kind.FLOW)] for loss in sink.losses) == 250
    assert {(loss.reason, loss.accounted) for loss in sink.losses} == {(GapReason.BACKPRESSURE, True)}
    assert sum(put.frames for put in sink.puts) + sum(loss.frames for loss in sink.losses) == 250 * 3


def test_more_records_than_a_batch_may_hold_become_several() -> None:
    """The codec's limit is kept, and every frame goes with the batch that holds its record."""
    sink = Sink()
    sealer = sink.sealer(max_bytes=1 << 30)
    one = flows(1000)
    whole = Records(
        Kind.FLOW,
        70_000,
        {
            name: Texts.repeat("x", 70_000) if isinstance(data, Texts) else data * 70
            for name, data in one.columns.items()
        },
    )

    sealer.add(whole)
    sealer.flush()

    assert sum(put.sealed.records for put in sink.puts) == 70_000
    assert max(put.sealed.records for put in sink.puts) <= MAX_RECORDS
    assert [put.frames for put in sink.puts] == [put.sealed.records * 3 for put in sink.puts]


@pytest.mark.parametrize("most", [1, 3, 7, 10])
def test_slices_hold_every_row_once(most: int) -> None:
    """Rows keep their order and their texts."""
    records = flows(10)

    parts = slices(records, most)

    assert [row for part in parts for row in part.rows()] == records.rows()
    assert sum(map(flow_frames, parts)) == flow_frames(records)
