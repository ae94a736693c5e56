"""The audit log: appended to alone, and every change to what stands in it is found."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_collector import admin, audit
from fieldwatch_collector.audit.archive import ArchiveError, check, lines_of
from fieldwatch_collector.audit.log import FIELDS, START, missing_guards
from fieldwatch_collector.store.migrate import migrate
from support.collector import audit_large, offline
from support.stack import Collector

GUARDS = ("audit_never_changes", "audit_never_shrinks", "audit_only_grows")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A migrated database whose log holds five rows."""
    connection = sqlite3.connect(tmp_path / "collector.db", isolation_level=None)
    migrate(connection)
    for number in range(5):
        audit.append(connection, actor=f"user:{number}", action="agent.revoke", subject="x", data={"n": number})
    yield connection
    connection.close()


def unguarded(log: sqlite3.Connection) -> sqlite3.Connection:
    """As somebody who may write to the file and knows what they want."""
    for name in GUARDS:
        log.execute(f"DROP TRIGGER {name}")
    return log


def test_a_whole_log_gives_its_head(log: sqlite3.Connection) -> None:
    """The head moves with each row; an earlier one stays part of the log."""
    before = audit.verify(log)
    audit.append(log, actor="collector", action="ca.begin")
    after = audit.verify(log)

    assert (before.rows, before.problem, after.rows, after.problem) == (5, "", 6, "")
    assert before.head != after.head
    assert audit.verify(log, before.head).problem == ""
    assert audit.verify(log, after.head.upper()).problem == ""


def test_the_empty_log_is_whole() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)

    assert audit.verify(connection) == audit.Checked(0, START.hex())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET outcome = 'done' WHERE seq = 1",
        "DELETE FROM audit WHERE seq = 5",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE seq = 2",
        "INSERT INTO audit SELECT 9, ts_ns, actor, action, subject, outcome, data, hash FROM audit WHERE seq = 1",
    ],
)
def test_statements_that_would_change_it_are_refused(log: sqlite3.Connection, statement: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        log.execute(statement)

    assert audit.verify(log).rows == 5


@pytest.mark.parametrize("seq", range(1, 6))
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("ts_ns", 1),
        ("actor", "user:mallory"),
        ("action", "agent.rename"),
        ("subject", "y"),
        ("outcome", "refused"),
        ("data", '{"n":7}'),
        ("data", "no object"),
        ("data", "[]"),
        ("actor", b"\x00"),
        ("hash", bytes(32)),
        ("hash", "text"),
    ],
)
def test_a_changed_row_is_found(log: sqlite3.Connection, seq: int, column: str, value: Any) -> None:
    """Whichever row and whichever column, also by a value of another type."""
    unguarded(log).execute(f"UPDATE audit SET {column} = ? WHERE seq = ?", (value, seq))

    found = audit.verify(log)

    assert (found.rows, found.broken_seq, found.problem) == (seq - 1, seq, f"row {seq} is not what was written")


def test_a_row_taken_out_put_in_or_renumbered_is_found(log: sqlite3.Connection) -> None:
    """Each within a savepoint that is undone."""
    unguarded(log)
    changes = {
        "DELETE FROM audit WHERE seq = 3": (3, "row 3 is missing"),
        "DELETE FROM audit WHERE seq = 1": (1, "row 1 is missing"),
        "UPDATE audit SET seq = 6 WHERE seq = 5": (5, "row 5 is missing"),
        "DELETE FROM audit WHERE seq > 3": (4, "rows after 3 are missing"),
        "DELETE FROM audit": (1, "rows after 0 are missing"),
    }
    found = {}
    for statement in changes:
        log.execute("SAVEPOINT here")
        log.execute(statement)
        checked = audit.verify(log)
        found[statement] = (checked.broken_seq, checked.problem)
        log.execute("ROLLBACK TO here")

    assert found == changes


def test_a_head_kept_elsewhere_finds_a_log_that_was_cut_with_care(log: sqlite3.Connection) -> None:
    """The last rows and SQLite's own number are gone, new ones follow: the chain alone holds."""
    head = audit.verify(log).head
    unguarded(log).execute("DELETE FROM audit WHERE seq > 3")
    log.execute("UPDATE sqlite_sequence SET seq = 3 WHERE name = 'audit'")
    audit.append(log, actor="user:mallory", action="agent.rename")

    assert audit.verify(log).problem == ""
    assert audit.verify(log, head).problem == f"no row has the head {head}: the log was cut or written anew"


def test_a_row_that_its_transaction_took_back_was_never_there(log: sqlite3.Connection) -> None:
    """The chain goes on as if nothing had been."""
    log.execute("BEGIN")
    audit.append(log, actor="collector", action="token.create")
    log.execute("ROLLBACK")
    audit.append(log, actor="collector", action="token.revoke")

    assert (audit.verify(log).rows, audit.verify(log).problem) == (6, "")


def test_what_strangers_choose_is_bounded(log: sqlite3.Connection) -> None:
    """Lone surrogates too, which SQLite cannot store."""
    audit.append(log, actor="address:" + "x" * 10_000, action="agent.refuse", subject="\ud800", data={"t": "\ud800"})
    actor, subject = log.execute("SELECT actor, subject FROM audit WHERE seq = 6").fetchone()

    assert (len(actor), subject) == (256, "?")
    assert audit.verify(log).problem == ""


def test_fsck_follows_the_chain_and_misses_triggers(tmp_path: Path) -> None:
    with offline(tmp_path) as services:
        services.store.transact_sync(lambda connection: audit.append(connection, actor="collector", action="x"))
        whole = admin.run(services, "store.fsck", {})["problems"]

        def harm(connection: sqlite3.Connection) -> None:
            unguarded(connection).execute("UPDATE audit SET actor = 'user:mallory'")

        services.store.transact_sync(harm)
        harmed = admin.run(services, "store.fsck", {})["problems"]
        with services.store.reader() as connection:
            missing = missing_guards(connection)

    assert whole == []
    assert missing == sorted(GUARDS)
    assert harmed == [
        "audit log: row 1 is not what was written",
        *(f"audit log: trigger {name} is missing" for name in sorted(GUARDS)),
    ]


@pytest.mark.parametrize(
    "change",
    ["hash = 'text'", "hash = CAST(x'ff' AS TEXT)", "hash = 7", "ts_ns = 'noon'", "ts_ns = 1e300", "actor = x'ff00'"],
)
def test_a_row_of_the_wrong_type_is_listed_and_named(tmp_path: Path, change: str) -> None:
    """The list shows every row, what is audited after it is written, `verify` and an archive say which row it is."""
    with offline(tmp_path / "data") as services:

        def note(connection: sqlite3.Connection) -> None:
            audit.append(connection, actor="user:chief", action="x")

        for _ in range(3):
            services.store.transact_sync(note)
        services.store.transact_sync(
            lambda connection: unguarded(connection).execute(f"UPDATE audit SET {change} WHERE seq = 3")
        )
        services.store.transact_sync(note)
        rows = admin.run(services, "audit.list", {})
        found = admin.run(services, "audit.verify", {})
    lines = list(lines_of(json.loads(json.dumps(rows))))

    assert [row["seq"] for row in rows] == [1, 2, 3, 4]
    assert (found["broken_seq"], found["problem"]) == (3, "row 3 is not what was written")
    with pytest.raises(ArchiveError, match="line 4: row 3 is not what was written"):
        check(lines)


def test_the_commands_beside_a_running_server(tmp_path: Path) -> None:
    """What list exports is enough to follow the chain by hand; verify prints its head and finds a wrong one."""
    collector = Collector(tmp_path / "data")
    place = ("--data", str(collector.data))
    audit_large(collector.data)
    collector.start()
    try:
        lines = collector.call("audit", "list", "-o", "ndjson", *place).splitlines()
        recent = collector.call("audit", "list", "--since", "2000-01-01T00:00:00Z", *place)
        future = collector.call("audit", "list", "--since", "2200-01-01T00:00:00Z", *place)
        head = collector.call("audit", "verify", *place).split()[0]
        again = collector.call("audit", "verify", "--head", head, *place)
        with pytest.raises(AssertionError, match="no row has the head"):
            collector.call("audit", "verify", "--head", "0" * 64, *place)
        with pytest.raises(AssertionError, match="accepted are the 64 hex digits"):
            collector.call("audit", "verify", "--head", "abc", *place)
        with pytest.raises(AssertionError, match="--since: 'soon' is no time"):
            collector.call("audit", "list", "--since", "soon", *place)
    finally:
        collector.stop()

    before = bytes(32)
    for line in lines:
        row = json.loads(line)
        said = json.dumps({name: row[name] for name in FIELDS}, sort_keys=True, separators=(",", ":"))
        before = hashlib.sha256(before + said.encode()).digest()
        assert before.hex() == row["hash"]
    assert (len(lines), before.hex()) == (3, head)
    assert again == f"{head}  3 rows\n"
    assert len(recent.splitlines()) == 4
    assert future == "nothing was audited in this time\n"
