"""The benchmark of the spool: every stage takes the same records the whole way, and ratios are those of a turn."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.mixture import captures_of, write_mix
from bench.spool import STAGES, Sink, Turn, report, run
from fieldwatch_proto.records import records_of
from fieldwatch_proto.schema import Kind

FRAMES = 2_000
METRIC = {"ts_ns": 1, "name": "frames_total", "labels": "{}", "value": 1.0}


def test_every_stage_takes_the_same_records(tmp_path: Path) -> None:
    """Sealed and on disk; nothing is left of the spool."""
    path = tmp_path / "mix.pcap"
    write_mix(path, captures_of(None), frames=FRAMES)
    dropped, sealed, spooled = (run(stage, path, tmp_path) for stage in STAGES)

    assert [turn.frames for turn in (dropped, sealed, spooled)] == [FRAMES] * 3
    assert dropped.records == sealed.records == spooled.records > 100
    assert (dropped.batches, dropped.commits, dropped.sealed_octets) == (0, 0, 0)
    assert (sealed.batches > 0, sealed.commits, sealed.sealed_octets > sealed.records) == (True, 0, True)
    assert 1 <= spooled.commits <= spooled.batches
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stage", ["sealed", "spooled"])
def test_a_record_that_is_missing_ends_the_benchmark(tmp_path: Path, stage: str) -> None:
    """Stages that do not do the same are not compared."""
    sink = Sink(stage, tmp_path)
    sink.take(records_of(Kind.METRIC, [METRIC] * 3))
    sink.records += 1
    sink.finish()

    with pytest.raises(SystemExit, match="3 of 4 records were sealed"):
        sink.close()


def test_ratios_are_those_of_one_turn() -> None:
    """A machine that was busy in one turn slows both of its stages, and shows in no ratio."""
    quiet, busy = Turn(1.0, 2.0, 1_000, 500, 0, 0, 0, 0), Turn(10.0, 20.0, 1_000, 500, 0, 0, 0, 0)
    spooled = [
        one._replace(cpu_s=1.5 * one.cpu_s, elapsed_s=1.25 * one.elapsed_s, batches=4, commits=2, sealed_octets=5_000)
        for one in (quiet, busy)
    ]
    told = report({"dropped": [quiet, busy], "spooled": spooled}).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in told]

    assert [row[0] for row in cells] == ["dropped", "spooled"]
    assert [row[2] for row in cells] == ["1.00", "1.50"]
    assert [row[4] for row in cells] == ["1.00", "1.25"]
    assert cells[1][7:] == ["4", "2", "10.0", "0.0"]
