"""Numbered migrations of a SQLite file; its `user_version` is the number of the last one applied."""

from __future__ import annotations

import re
import sqlite3
from importlib import resources

from fieldwatch_collector.store import StoreError

_NAME = re.compile(r"([0-9]{4})_[a-z0-9_]+\.sql")


def migrations(dialect: str) -> list[tuple[int, str]]:
    """(number, SQL) of every migration of a dialect, in order."""
    folder = resources.files("fieldwatch_collector.store") / "migrations" / dialect
    found = sorted(
        (int(match[1]), entry.read_text("utf-8"))
        for entry in folder.iterdir()
        if (match := _NAME.fullmatch(entry.name))
    )
    numbers = [number for number, _ in found]
    assert numbers == list(range(1, len(found) + 1)), f"migrations of {dialect} have a hole or a double: {numbers}"
    return found


def migrate(connection: sqlite3.Connection) -> int:
    """Apply what is missing, each in a transaction of its own; how many there were. Raises StoreError."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    known = migrations("sqlite")
    if version > len(known):
        raise StoreError(
            f"the database has version {version}, this program knows {len(known)}; use the newer program that wrote it"
        )
    applied = 0
    for number, sql in known[version:]:
        try:
            connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        applied += 1
    return applied
