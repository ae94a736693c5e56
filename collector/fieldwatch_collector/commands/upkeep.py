"""What a collector does of its commands unasked: those that are overdue end, old files and very old rows go.

Every `LOOK_EVERY_S`, and earlier where a deadline comes before that.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from fieldwatch_proto.logs import get_logger

from fieldwatch_collector import audit
from fieldwatch_collector.commands import table
from fieldwatch_collector.store import StoreError

if TYPE_CHECKING:
    from fieldwatch_collector.commands.commands import Commands

T = TypeVar("T")

KEEP_ROWS_NS = 90 * 86_400 * table.NS  # of commands that have ended; the audit log keeps its own
LOOK_EVERY_S = 60.0

log = get_logger(__name__)


class Upkeep:
    """A part of `Commands`. `keep_ns`: how long files stay."""

    def __init__(self, commands: Commands, *, keep_ns: int) -> None:
        self._commands = commands
        self._keep_ns = keep_ns
        self._changed: Callable[[], object] | None = None

    def look_again(self) -> None:
        """There may be an earlier deadline. Any thread."""
        if self._changed is not None:
            self._changed()

    async def keep(self) -> None:
        """Until it is cancelled: end what is overdue, delete what is old."""
        loop, due = asyncio.get_running_loop(), asyncio.Event()
        self._changed = lambda: loop.call_soon_threadsafe(due.set)
        try:
            await asyncio.to_thread(self._tried, self._begin)
            while True:
                due.clear()
                pause_s = await asyncio.to_thread(self._tried, self._look)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S if pause_s is None else pause_s):
                        await due.wait()
        finally:
            self._changed = None

    def _tried(self, work: Callable[[], T]) -> T | None:
        """What it gives; None where the store or the disk cannot do it now, which is said."""
        try:
            return work()
        except (StoreError, sqlite3.Error, OSError) as problem:
            log.warning("commands and their files were not looked after", problem=str(problem))
            return None

    def _begin(self) -> None:
        """At a start: what a kill left half done. And a key for settings, before a rotation of the CA may come."""
        with self._commands.store.reader() as connection:
            kept = {
                row["id"]
                for row in connection.execute(
                    "SELECT id FROM command WHERE file_name != '' AND file_gone_ns IS NULL AND ended_ns IS NOT NULL"
                )
            }
        self._commands.files.forget_all_but(kept)
        self._commands.signer.prepare()

    def _look(self) -> float:
        """Seconds until the next look."""
        self.sweep()
        with self._commands.store.reader() as connection:
            deadline = table.next_deadline(connection)
        if deadline is None:
            return LOOK_EVERY_S
        return min(LOOK_EVERY_S, max(0.0, (deadline - self._commands.clock()) / table.NS) + 0.01)

    def sweep(self) -> None:
        """End what is overdue; delete files that are old or too many, and rows that are very old."""
        now = self._commands.clock()
        with self._commands.store.reader() as connection:
            overdue = connection.execute(
                "SELECT 1 FROM command LEFT JOIN agent ON agent.id = command.agent WHERE command.ended_ns IS NULL"
                " AND (command.expires_ns <= ? OR agent.revoked_ns IS NOT NULL) LIMIT 1",
                (now,),
            ).fetchone()
            old = connection.execute(
                "SELECT id FROM command WHERE file_name != '' AND file_gone_ns IS NULL AND ended_ns < ?",
                (now - self._keep_ns,),
            ).fetchall()
            ancient = connection.execute(
                "SELECT 1 FROM command WHERE ended_ns < ? LIMIT 1", (now - KEEP_ROWS_NS,)
            ).fetchone()
        if overdue:
            self._commands.transact(lambda connection: (None, table.end_overdue(connection, now)))
        self._drop([row["id"] for row in old], "older than they are kept")
        self.make_room(0)
        if ancient:
            self._commands.transact(
                lambda connection: (
                    connection.execute("DELETE FROM command WHERE ended_ns < ?", (now - KEEP_ROWS_NS,)),
                    [],
                )
            )

    def make_room(self, size_bytes: int) -> None:
        """Delete the oldest files until one of this size fits."""
        held = self._commands.files.held()
        excess = sum(size for _, size in held) + size_bytes - self._commands.files.total_bytes
        gone = []
        for command_id, size in held:
            if excess <= 0:
                break
            gone.append(command_id)
            excess -= size
        self._drop(gone, "deleted for newer ones")

    def _drop(self, command_ids: Sequence[str], why: str) -> None:
        """First the word, then the deed: a crash between them leaves a file, which the next start takes away."""
        if not command_ids:
            return
        now = self._commands.clock()

        def work(connection: sqlite3.Connection) -> tuple[None, list[table.Event]]:
            for command_id in command_ids:
                connection.execute(
                    "UPDATE command SET file_gone_ns = ? WHERE id = ? AND file_gone_ns IS NULL", (now, command_id)
                )
                audit.append(
                    connection, actor="collector", action="command.delete-file", subject=command_id, data={"why": why}
                )
            return None, []

        self._commands.transact(work)
        for command_id in command_ids:
            self._commands.files.delete(command_id)
        log.info("files of commands were deleted", files=len(command_ids), why=why)
