"""A backlog costs neither time at the start nor memory: `python -m system.backlog` measures it with a gibibyte."""

from __future__ import annotations

from pathlib import Path

import pytest
from fieldwatch_agent.spool.file import FILE_NAME
from fieldwatch_agent.spool.store import Store
from system.backlog import LIMITS, STEPS, make, measure

BACKLOG_BYTES = 40 << 20
MOST_READ_BYTES = 256 << 10
MOST_MEMORY_BYTES = 8 << 20


def read_bytes() -> int:
    """Octets that this process has read by system calls (proc_pid_io(5))."""
    lines = Path("/proc/self/io").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar:"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A large spool and one of a single batch."""
    base = tmp_path_factory.mktemp("backlog")
    make(base / "large", BACKLOG_BYTES)
    make(base / "small", 1)
    return base / "large", base / "small"


@pytest.mark.parametrize("clean", [True, False])
def test_a_start_reads_no_rows(folders: tuple[Path, Path], clean: bool) -> None:
    """The counts stand in the state: a few pages are read, however much waits, and after a kill as well."""
    large, _ = folders
    before = read_bytes()

    store = Store(large, LIMITS)

    read = read_bytes() - before
    status = store.status()
    store.close(clean=clean)
    assert (large / FILE_NAME).stat().st_size > BACKLOG_BYTES
    assert status.body_bytes > BACKLOG_BYTES * 9 // 10
    assert read < MOST_READ_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_memory_does_not_grow_with_the_backlog(folders: tuple[Path, Path], step: str) -> None:
    """Starting, sending, exporting, checking, salvaging: a window of it at a time."""
    large, small = folders

    _, idle = measure(step, small)
    _, peak = measure(step, large)

    assert peak - idle < MOST_MEMORY_BYTES
