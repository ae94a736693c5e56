"""The benchmark of a large capture measures the process that reads."""

from __future__ import annotations

from pathlib import Path

from bench.kernel import make_capture
from bench.large import read


def test_memory_and_time_are_those_of_the_reader(tmp_path: Path) -> None:
    """More than nothing, less than a large capture may take."""
    capture = tmp_path / "small.pcap"
    make_capture(capture, 100, 10)

    resident_mb, cpu_s = read(capture)

    assert (10 < resident_mb < 120, 0 < cpu_s < 30) == (True, True)
