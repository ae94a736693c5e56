"""Operations on the store: migrate, rebuild, check, expire; see `admin`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from fieldwatch_proto.columns import digest

from fieldwatch_collector.admin import AdminError, operation
from fieldwatch_collector.audit import log as audit_log
from fieldwatch_collector.store.migrate import migrations
from fieldwatch_collector.store.retention import bodiless, drop_bodies
from fieldwatch_collector.store.tables import count_rows, schema_problems, table

if TYPE_CHECKING:
    from fieldwatch_collector.services import Services

MAX_PROBLEMS = 100
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
