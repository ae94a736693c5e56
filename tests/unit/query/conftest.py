"""A real SQLite store with the project's own migrations, empty or filled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_collector.read_model import ReadModel
from fieldwatch_collector.store.sqlite import SqliteStore
from support.asking import NOW_NS
from support.filled_store import Filling, fill


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "collector.db")
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def filled(store: SqliteStore) -> Filling:
    return store.transact_sync(
        lambda connection: fill(connection, NOW_NS, devices=40, flows=600, sites=("hq", "branch"))
    )


@pytest.fixture
def model(store: SqliteStore, filled: Filling) -> ReadModel:
    return ReadModel(store, lambda: NOW_NS)


@pytest.fixture
def rows(store: SqliteStore) -> Callable[..., list[Any]]:
    def ask(sql: str, *values: Any) -> list[Any]:
        with store.reader() as connection:
            return connection.execute(sql, values).fetchall()

    return ask
