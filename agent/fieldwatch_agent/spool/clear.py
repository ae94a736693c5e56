"""Clearing the local data: the spool, the ledger, the quarantine. The enrolment stays."""

from __future__ import annotations

import shutil
from pathlib import Path

from fieldwatch_proto.cli.tables import amount_text

from fieldwatch_agent import ledger
from fieldwatch_agent.spool import ballast
from fieldwatch_agent.spool.control import NO_SPOOL
from fieldwatch_agent.spool.file import FILE_NAME, RENEWED_NAME, Lock, make_folder
from fieldwatch_agent.spool.items import SpoolError
from fieldwatch_agent.spool.look import UnreadableError, closed_store


def waiting(folder: Path) -> str:
    """What would be lost, for the question. Raises SpoolError where an agent runs."""
    try:
        with closed_store(folder) as store:
            if store is None:
                return "nothing waits there"
            status = store.status()
    except UnreadableError as problem:
        return f"how much waits there cannot be told ({problem})"
    batches = amount_text(status.batches, "batch", "batches")
    return f"waiting there: {amount_text(status.records, 'record')} in {batches}"


def clear(folder: Path) -> None:
    """Raises SpoolError where an agent runs, or where there is no folder (a name that was mistyped)."""
    if not folder.exists():
        raise SpoolError(NO_SPOOL.format(folder=folder))
    make_folder(folder)
    lock = Lock(folder)
    try:
        for name in (RENEWED_NAME, FILE_NAME):  # in this order: a renewed file that is alone takes the other's place
            for suffix in ("", "-wal", "-shm", "-journal"):
                (folder / f"{name}{suffix}").unlink(missing_ok=True)
        for name in (ledger.FILE_NAME, ledger.FRESH_NAME):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "quarantine", ignore_errors=True)
        ballast.drop(folder)
    finally:
        lock.release()
