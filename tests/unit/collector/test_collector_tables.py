"""sqlite-utils on the store: it reads and checks the small tables, and leaves the store's transactions alone."""

from __future__ import annotations

import ast
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldwatch_collector.store import StoreError
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_collector.store.tables import count_rows, rows, schema_problems, table, tables

PACKAGE = Path(__file__).parents[3] / "collector/fieldwatch_collector"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "collector.db")
    made.migrate()
    yield made
    made.close()


def add(connection: sqlite3.Connection, position: int) -> None:
    table(connection, "dead_letter").insert({"position": position, "problem": "none", "noticed_ns": position})


def positions(store: SqliteStore) -> list[int]:
    with store.reader() as connection:
        return [row["position"] for row in rows(connection, "dead_letter", order_by="position")]


async def test_the_group_is_the_stores_to_commit(store: SqliteStore) -> None:
    """Whatever sqlite-utils does inside a job (insert, update, atomic, query) is undone with the job, and only then."""
    in_transaction: list[bool] = []

    def fails(connection: sqlite3.Connection) -> None:
        database = tables(connection)
        with database.atomic():
            add(connection, 1)
        add(connection, 2)
        database.execute("UPDATE dead_letter SET problem = 'seen'")
        table(connection, "dead_letter").update(2, {"problem": "again"})
        in_transaction.append(connection.in_transaction)
        assert [row["position"] for row in database.query("SELECT position FROM dead_letter")] == [1, 2]
        raise ValueError("no")

    def holds(connection: sqlite3.Connection) -> None:
        with contextlib.suppress(KeyError), tables(connection).atomic():
            add(connection, 3)
            raise KeyError
        add(connection, 4)
        in_transaction.append(connection.in_transaction)

    with pytest.raises(ValueError, match="no"):
        await store.transact(fails)
    after_failure = positions(store)
    await store.transact(holds)

    assert in_transaction == [True, True]
    assert after_failure == []
    assert positions(store) == [4]


def test_the_connection_stays_as_it_was(store: SqliteStore) -> None:
    """No pragma is set behind the store's back, and a reader still cannot write."""
    with store.reader() as connection:
        before = connection.execute("PRAGMA recursive_triggers").fetchone()[0]
        assert rows(connection, "user") == []
        after = connection.execute("PRAGMA recursive_triggers").fetchone()[0]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            add(connection, 1)

    assert (before, after) == (0, 0)


def test_a_table_that_is_missing_is_not_empty(store: SqliteStore) -> None:
    """sqlite-utils would read it as empty; one line instead."""
    store.transact_sync(lambda connection: connection.execute("DROP TABLE api_token").rowcount)

    with store.reader() as connection, pytest.raises(StoreError) as caught:
        rows(connection, "api_token")

    assert str(caught.value).startswith("the database has no table api_token; restore from a backup")


def test_the_schema_is_checked_against_the_migrations(store: SqliteStore) -> None:
    """A new file has no problem; what is missing or other is named, table by table; tables of others are left alone."""
    with store.reader() as connection:
        fresh, counted = schema_problems(connection), count_rows(connection)

    def damage(connection: sqlite3.Connection) -> None:
        for sql in (
            "DROP TABLE metric",
            "ALTER TABLE flow DROP COLUMN tunnels",
            "DROP INDEX flow_last",
            "ALTER TABLE event DROP COLUMN data",
            "ALTER TABLE event ADD COLUMN data INTEGER",
            "CREATE TABLE of_somebody_else(x)",
        ):
            connection.execute(sql)

    store.transact_sync(damage)
    with store.reader() as connection:
        damaged = schema_problems(connection)

    assert fresh == []
    assert {"agent": 0, "user": 0, "batch": 0}.items() <= counted.items()
    assert damaged == [
        "table event: column data is not as the migrations make it",
        "table flow: column tunnels is missing",
        "table flow: the index on last_ns is missing",
        "table metric is missing",
    ]


def test_ingest_and_projections_do_without(tmp_path: Path) -> None:
    """The modules of the hot paths do not import it, and a server that nobody asks does not load it."""
    paths = [*(PACKAGE / "ingest").glob("*.py"), *(PACKAGE / "projections").glob("*.py")]
    paths += [PACKAGE / "store" / name for name in ("sqlite.py", "batch_log.py", "migrate.py")]
    names = {
        name
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    code = "import fieldwatch_collector.server, sys; print('sqlite_utils' in sys.modules)"
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "fieldwatch_collector.store.batch_log" in names
    assert not any(name.startswith("sqlite_utils") or name.endswith("store.tables") for name in names)
    assert started.stdout == "False\n"
