"""Operations on the store: migrate, rebuild, check, expire, look into a batch; see `admin`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from fieldwatch_proto.columns import DecodeError, digest, open_columns
from fieldwatch_proto.records import column_values
from fieldwatch_proto.schema import CLOCK_COLUMNS, COLUMNS, Kind, time_text

from fieldwatch_collector.admin import AdminError, operation
from fieldwatch_collector.audit import log as audit_log
from fieldwatch_collector.store.migrate import migrations
from fieldwatch_collector.store.retention import bodiless, drop_bodies
from fieldwatch_collector.store.tables import count_rows, schema_problems, table

if TYPE_CHECKING:
    from fieldwatch_collector.services import Services

MAX_PROBLEMS = 100
ROWS_SHOWN = 20  # of a batch
REBUILD_STALL_S = 60.0


@operation("store.migrate")
def migrate_store(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Opening the store has migrated it; say where it stands."""
    with services.store.reader() as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    return {"version": version, "newest": len(migrations("sqlite"))}


@operation("store.rebuild")
def rebuild_store(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what is derived from the batch log, derive it anew, and wait until that is done.

    Arguments: `without_expired`, to go on although bodies have expired. Raises AdminError.
    """
    store, projector = services.store, services.projector
    with store.reader() as connection:
        expired = bodiless(connection)
    if expired and not arguments.get("without_expired"):
        raise AdminError(
            f"{expired} batches have expired, what came of them would be lost; to do it all the same:"
            " fieldwatch-collector rebuild --without-expired"
        )
    last = store.transact_sync(projector.reset)
    store.attach(projector)
    seen, moved = -1, time.monotonic()
    while (position := projector.position) < last:
        if position != seen:
            seen, moved = position, time.monotonic()
        if time.monotonic() - moved > REBUILD_STALL_S:
            raise AdminError(f"the rebuild stands still at {position} of {last}: {store.health().problem or 'see log'}")
        time.sleep(0.02)
    with store.reader() as connection:
        dead = table(connection, "dead_letter").count
    return {"batches": last, "undecodable": dead}


@operation("store.expire")
def expire_store(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the bodies of batches that were received longer than `older_than_s` ago, some in each transaction."""
    before_ns = time.time_ns() - int(arguments["older_than_s"] * 1e9)
    batches = octets = 0
    position: int | None = 0
    while position is not None:
        dropped = services.store.transact_sync(partial(drop_bodies, before_ns=before_ns, after=position))
        batches, octets, position = batches + dropped.batches, octets + dropped.octets, dropped.position
    return {"batches": batches, "bytes": octets}


@operation("store.batch")
def show_batch(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A batch of the log as it came: its envelope, and every column with its type, known here or not.

    Arguments: `position`. Raises AdminError. `columns`: name -> type, `known`, `values` of the first rows (none where
    the type or encoding is of a later version); empty, with a `problem`, where the body cannot be opened.
    """
    with services.store.reader() as connection:
        row = connection.execute(
            "SELECT batch.*, problem FROM batch LEFT JOIN dead_letter USING (position) WHERE position = ?",
            (arguments["position"],),
        ).fetchone()
    if row is None:
        raise AdminError(f"there is no batch at position {arguments['position']}; events of dead letters name theirs")
    names = ("position", "agent", "seq", "kind", "schema", "codec", "records", "raw_bytes")
    shown: dict[str, Any] = {**{name: row[name] for name in names}, "bytes": len(row["body"])}
    shown |= {"received": time_text(row["received_ns"]), "problem": row["problem"] or "", "columns": {}}
    known = {column.name for column in CLOCK_COLUMNS}
    if row["kind"] in set(Kind):
        known |= {column.name for column in COLUMNS[Kind(row["kind"])]}
    try:
        opened = open_columns(row["records"], row["raw_bytes"], row["body"])
    except DecodeError as problem:
        shown["problem"] = shown["problem"] or ("expired" if not row["body"] else str(problem))
        return shown
    for name, (type_, data) in opened.items():
        values = [] if data is None else [_shown(value) for value in column_values(type_, data)[:ROWS_SHOWN]]
        shown["columns"][name] = {"type": type_, "known": name in known, "values": values}
    return shown


def _shown(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


@operation("store.fsck")
def check_store(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """SQLite's own check, the schema against the migrations, the digest of every body (SQLite checksums no pages), and
    the chain of the audit log.

    `tables`: rows of each table by name.
    """
    problems: list[str] = []
    counted: dict[str, int] = {}
    batches = octets = 0
    with services.store.reader() as connection:
        try:
            problems += [
                f"database: {row[0]}"
                for row in connection.execute(f"PRAGMA integrity_check({MAX_PROBLEMS})")
                if row[0] != "ok"
            ]
            problems += schema_problems(connection)
            counted = count_rows(connection)
            for row in connection.execute("SELECT position, agent, epoch, seq, digest, body FROM batch"):
                batches += 1
                octets += len(row["body"])
                if row["body"] and digest(row["body"]) != row["digest"] and len(problems) < MAX_PROBLEMS:
                    problems.append(
                        f"batch {row['position']} (agent {row['agent']}, seq {row['seq']}): the body is damaged"
                    )
            chain = audit_log.verify(connection)
            problems += [f"audit log: {chain.problem}"] if chain.problem else []
            problems += [f"audit log: trigger {name} is missing" for name in audit_log.missing_guards(connection)]
        except sqlite3.DatabaseError as problem:
            problems.append(f"database: {problem}")
    return {"batches": batches, "bytes": octets, "tables": counted, "problems": problems}
