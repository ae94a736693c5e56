"""The benchmark of ingest: what it feeds the collector with, and that each mode takes it in."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.ingest import serving
from bench.site_flows import flow_batches
from bench.wire import made_up, report
from fieldwatch_proto.columns import open_body
from fieldwatch_proto.schema import COLUMNS, Kind


def test_the_same_seed_gives_the_same_octets() -> None:
    """Whole flow records, in the order in which flows end."""
    batches = flow_batches(2, 300, seed=7)
    opened = open_body(Kind.FLOW, 300, batches[0].raw_bytes, batches[0].body)
    ends = opened.values("last_ns")

    assert batches == flow_batches(2, 300, seed=7)
    assert batches != flow_batches(2, 300, seed=8)
    assert {column.name for column in COLUMNS[Kind.FLOW]} == set(opened.columns)
    assert sorted(ends) == ends
    assert all(first <= last for first, last in zip(opened.values("first_ns"), ends, strict=True))


def test_what_a_record_takes_is_told_by_column(capsys: pytest.CaptureFixture[str]) -> None:
    """Each column, and the whole of a record beside what is random in it."""
    report("A made-up site", made_up(400))
    told = capsys.readouterr().out

    cells = [line.split("|") for line in told.splitlines() if line.startswith("|")][2:]
    octets = {name.strip(" *"): float(size.strip(" *")) for _, name, size, *_ in cells}
    assert octets.keys() == {column.name for column in COLUMNS[Kind.FLOW]} | {"a record"}
    assert octets["interface"] < octets["src"] < octets["last_ns"] < octets["a record"] < sum(octets.values()) / 1.5


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["envelope", "decode", "store", "projections"])
def test_every_mode_answers_what_is_pushed(tmp_path: Path, mode: str) -> None:
    """A moment of two agents at ten batches a second: all acked, none refused."""
    with serving(tmp_path, 2, mode) as server:
        figures = server.push(2, 0.5, 50, rate=10)

    assert figures["nacks"] == 0
    assert figures["all_batches"] >= 10
    assert figures["records"] == 50 * figures["batches"]
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
