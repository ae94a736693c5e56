"""Real captures, many of them hostile: each is read to its end, with as many frames as capinfos finds in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from fieldwatch_ext.capture import FileSource
from fieldwatch_ext.errors import CaptureError
from support.capture_reading import drain

pytestmark = [pytest.mark.corpus, pytest.mark.slow]

LIMIT_S = 5.0


@pytest.fixture(scope="module")
def captures() -> list[Path]:
    folder = os.environ.get("FIELDWATCH_CORPUS")
    if not folder:
        pytest.skip("FIELDWATCH_CORPUS names no folder of captures")
    return sorted(path for path in Path(folder).rglob("*") if path.is_file() and path.suffix != ".tsv")


def counted_by_capinfos(captures: list[Path]) -> dict[str, int]:
    """Frames of each capture that capinfos reads to the end; damaged ones and those of strange kinds have no row."""
    if shutil.which("capinfos") is None:
        pytest.skip("needs capinfos (apt-get install wireshark-common)")
    done = subprocess.run(
        ["capinfos", "-c", "-M", "-T", "-r", *map(str, captures)], check=False, capture_output=True, text=True
    )
    rows = (line.split("\t") for line in done.stdout.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2}


def read(path: Path) -> tuple[int | None, str | None, float]:
    """(frames, problem or refusal, seconds)."""
    started = time.monotonic()
    with path.open("rb") as file:
        try:
            with FileSource(file.fileno(), name=path.name) as source:
                frames, problem = len(drain(source)), source.problem
        except CaptureError as error:
            return None, str(error), time.monotonic() - started
    return frames, problem, time.monotonic() - started


def test_counts_of_capinfos(captures: list[Path]) -> None:
    """Wherever a file is intact the number of frames agrees, and the source says that it is complete."""
    expected = counted_by_capinfos(captures)

    found = {str(path): read(path)[:2] for path in captures if str(path) in expected}

    assert len(expected) > len(captures) * 0.9
    assert found == {path: (frames, None) for path, frames in expected.items()}


def test_every_file_ends_or_is_refused_in_one_line(captures: list[Path]) -> None:
    """Nothing raises but CaptureError, nothing takes long, and what went wrong is one line."""
    results = {path.name: read(path) for path in captures}

    assert {name: took_s for name, (_, _, took_s) in results.items() if took_s > LIMIT_S} == {}
    assert {name: problem for name, (_, problem, _) in results.items() if len((problem or "").splitlines()) > 1} == {}
    assert {name for name, (frames, problem, _) in results.items() if frames is None and not problem} == set()
