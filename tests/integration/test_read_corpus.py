"""Every external capture is read to the end, in time, every frame accounted for. Nothing a stranger sends matters.

The files are read in two worker processes, through the same code as the command; a sample of them also as commands.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
from support.read_promise import broken_promise

CORPUS = os.environ.get("FIELDWATCH_CORPUS")
FOLDERS = ("core", "wide")
LIMIT_S = 5.0
WORKERS = 2
SAMPLE_EVERY = 40

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not CORPUS, reason="external captures: set FIELDWATCH_CORPUS"),
]


class Outcome(NamedTuple):
    """What one `read --json` gave."""

    path: str
    code: int
    seconds: float
    problem: str  # of the output, empty when it is as promised


def captures() -> list[Path]:
    """Every file of the corpus, what is no capture as well."""
    assert CORPUS is not None
    return sorted(path for folder in FOLDERS for path in Path(CORPUS, folder).rglob("*") if path.is_file())


def read_in_process(path: Path) -> Outcome:
    from fieldwatch_agent.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    start_s = time.process_time()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main(["read", "--json", str(path)])
    except Exception as problem:
        return Outcome(str(path), -1, 0.0, f"raised {problem!r}")
    return Outcome(str(path), code, time.process_time() - start_s, broken_promise(out.getvalue(), err.getvalue(), code))


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        return pool.map(read_in_process, captures(), chunksize=16)


def test_there_are_captures(outcomes: list[Outcome]) -> None:
    """The corpus is the one that was meant, not an empty folder; most of it is captures."""
    assert len(outcomes) > 100
    assert sum(outcome.code == 0 for outcome in outcomes) > 0.9 * len(outcomes)


def test_every_capture_is_read_as_promised(outcomes: list[Outcome]) -> None:
    """Exit 0 with frames == decoded + rejected, or exit 1 with one line; nothing raised."""
    assert [outcome for outcome in outcomes if outcome.problem] == []


def test_no_capture_takes_long(outcomes: list[Outcome]) -> None:
    """CPU time, so that a busy machine does not matter."""
    assert [outcome for outcome in outcomes if outcome.seconds > LIMIT_S] == []


def test_the_command_itself() -> None:
    """The same holds for whole processes: a sample, by the clock on the wall."""
    wrong = []
    for path in captures()[::SAMPLE_EVERY]:
        start_s = time.monotonic()
        command = [sys.executable, "-m", "fieldwatch_agent.cli.main", "read", "--json", str(path)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        problem = broken_promise(result.stdout, result.stderr, result.returncode)
        if problem or time.monotonic() - start_s > 2 * LIMIT_S:
            wrong.append((path.name, problem, time.monotonic() - start_s))

    assert wrong == []
