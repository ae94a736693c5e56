"""What the benchmarks share: repetitions, the machine in a line, tables in Markdown for docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """Nanoseconds of CPU a frame."""

    median: float
    best: float

    @property
    def frames_per_s(self) -> float:
        return 1e9 / self.median


def measure(run: Callable[[], tuple[float, int]], repeat: int) -> Cost:
    """Of a run that gives (CPU seconds, frames)."""
    costs = []
    for _ in range(repeat):
        seconds, frames = run()
        costs.append(seconds / frames * 1e9)
    return Cost(statistics.median(costs), min(costs))


def cached(path: Path) -> Path:
    """The file, once read, so that it stands in the page cache."""
    with path.open("rb", buffering=0) as stream:
        while stream.read(1 << 20):
            pass
    return path


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Markdown; all columns but the first are numbers. Floats get one digit, whole numbers their commas."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *([_text(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(cell: object) -> str:
    return f"{cell:,.1f}" if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else str(cell)


def machine() -> str:
    """Processor, cores, system and load: figures of two machines, or of a busy one, are not to be compared."""
    models = [line.split(": ", 1)[1] for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    system = f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}"
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, {system}; load {load}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:  # not Linux
        return []
