"""A real SQLite store with the project's own migrations, empty or filled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldwatch_collector.store.sqlite import SqliteStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "collector.db")
    opened.migrate()
    yield opened
    opened.close()
