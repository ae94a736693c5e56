"""Rows of the small tables for commands, and the check of the schema, by sqlite-utils.

For operations alone: the paths of ingest and projections stay plain SQL, and never import this module. A `Database` is
laid over a connection of the store, whose transactions are the store's: sqlite-utils opens a savepoint where a
transaction is open, and a reader's connection refuses to write. What it would change on a connection by itself
(triggers that recurse, plugins that happen to be installed) is turned off.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fieldwatch_collector.store import StoreError
from fieldwatch_collector.store.migrate import migrate

if TYPE_CHECKING:
    from sqlite_utils import Database
    from sqlite_utils.db import Table


def tables(connection: sqlite3.Connection) -> Database:
    """The store's tables by name."""
    from sqlite_utils import Database  # a tenth of a second: for who asks, not for every start

    return Database(connection, recursive_triggers=False, execute_plugins=False)


def table(connection: sqlite3.Connection, name: str) -> Table:
    """A table that must be there: sqlite-utils itself reads one that is missing as empty, and makes it to write."""
    found = tables(connection).table(name)
    if not found.exists():
        raise StoreError(f"the database has no table {name}; restore from a backup, and see: fieldwatch-collector fsck")
    return found


def rows(
    connection: sqlite3.Connection,
    name: str,
    where: str | None = None,
    values: Sequence[Any] = (),
    *,
    order_by: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Rows of a table as dicts."""
    return list(table(connection, name).rows_where(where, values, order_by=order_by, limit=limit))


def count_rows(connection: sqlite3.Connection) -> dict[str, int]:
    """Rows of every table of ours, by name."""
    database = tables(connection)
    return {name: database.table(name).count for name in _ours(database)}


def schema_problems(connection: sqlite3.Connection) -> list[str]:
    """One line for each table, column or index that the migrations make and the file lacks, or has otherwise."""
    model = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(model)
        wanted, found = tables(model), tables(connection)
        there = set(_ours(found))
        problems: list[str] = []
        for name in _ours(wanted):
            if name in there:
                problems += _differences(wanted.table(name), found.table(name))
            else:
                problems.append(f"table {name} is missing")
        return problems
    finally:
        model.close()


def _differences(wanted: Table, found: Table) -> list[str]:
    problems = []
    columns = {column.name: column for column in found.columns}
    for column in wanted.columns:
        other = columns.get(column.name)
        if other is None:
            problems.append(f"table {wanted.name}: column {column.name} is missing")
        elif other._replace(cid=column.cid) != column:
            problems.append(f"table {wanted.name}: column {column.name} is not as the migrations make it")
    # By what they cover: SQLite itself names the indexes of UNIQUE and PRIMARY KEY.
    indexes = {(tuple(index.columns), index.unique) for index in found.indexes}
    problems += [
        f"table {wanted.name}: the index on {', '.join(index.columns)} is missing"
        for index in wanted.indexes
        if (tuple(index.columns), index.unique) not in indexes
    ]
    return problems


def _ours(database: Database) -> list[str]:
    return sorted(name for name in database.table_names() if not name.startswith("sqlite_"))
