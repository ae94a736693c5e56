"""A spool whose thread runs, and who enrols agents at scripted collectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldwatch_agent.spool.thread import SpoolThread
from support.scripted import Authority
from support.spooling import WIDE


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolThread]:
    thread = SpoolThread(tmp_path, WIDE)
    thread.start()
    yield thread
    thread.close(clean=True)
