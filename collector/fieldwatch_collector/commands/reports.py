"""What an agent says of its commands: one call from a command's acceptance to its end, with the file that it makes.

Who reports is known by the certificate; a command of another agent's is not there for it. Texts and files are a
stranger's: bounded, and cleaned before they are stored.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1 import agent_pb2 as pb

from fieldwatch_collector import audit
from fieldwatch_collector.commands import registry, table
from fieldwatch_collector.commands.files import CHUNK_BYTES, Draft, TooLargeError, safe_name
from fieldwatch_collector.foreign_json import json_object
from fieldwatch_collector.read_model.asking import NotFound

if TYPE_CHECKING:
    from fieldwatch_collector.commands.commands import Commands

MAX_TEXT = 1_000
MAX_RESULT_BYTES = 64 << 10
PROGRESS_EVERY_S = 0.5  # of what comes faster the newest is told when its time has come
FOREIGN_EVERY_S = 60.0  # at most so often an agent that names other agents' commands fills the audit log

_PROGRESS = {pb.COMMAND_ACCEPTED: table.ACCEPTED, pb.COMMAND_RUNNING: table.RUNNING}
_ENDS = {
    pb.COMMAND_DONE: table.DONE,
    pb.COMMAND_FAILED: table.FAILED,
    pb.COMMAND_REFUSED: table.REFUSED,
    pb.COMMAND_CANCELLED: table.CANCELLED,
}

log = get_logger(__name__)


class ReportError(Exception):
    """A report that is not taken: the text is for the agent. `known` tells whether there is such a command."""

    def __init__(self, text: str, *, known: bool = True) -> None:
        super().__init__(text)
        self.known = known


class Reports:
    """Takes the reports of every agent; one per server."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._calls: dict[str, _Call] = {}  # the newest call of each command; it takes over from one that hangs
        self._foreign: dict[str, float] = {}  # when each agent was last noted for another one's command

    async def take(self, agent_id: str, reports: AsyncIterator[pb.CommandReport]) -> bool:
        """Read one call to its end; True = nobody wants the result any more. Raises ReportError, StoreError."""
        call: _Call | None = None
        arriving = aiter(reports)
        coming: asyncio.Task[pb.CommandReport] | None = None
        try:
            while True:
                coming = coming or asyncio.create_task(_next(arriving))
                done, _ = await asyncio.wait({coming}, timeout=call.held_back_s if call is not None else None)
                if not done:
                    assert call is not None
                    over = await asyncio.to_thread(call.tell)
                else:
                    try:
                        report, coming = coming.result(), None
                    except StopAsyncIteration:
                        break
                    if call is None:
                        call = await asyncio.to_thread(self._begin, agent_id, report.id)
                        before, self._calls[report.id] = self._calls.get(report.id), call
                        if before is not None:  # its part of the file is of no use any more
                            await asyncio.to_thread(before.close)
                    over = await asyncio.to_thread(self._hear, call, report)
                if over:
                    break
            return call is not None and call.unwanted
        finally:
            if coming is not None:
                coming.cancel()
            if call is not None:
                # Not awaited: this task may have been cancelled, and a chunk that is being written holds the lock.
                asyncio.get_running_loop().run_in_executor(None, call.close)
                if self._calls.get(call.command_id) is call:
                    del self._calls[call.command_id]

    def _hear(self, call: _Call, report: pb.CommandReport) -> bool:
        if report.id != call.command_id:
            raise ReportError("a call of Report is of one command")
        if self._calls.get(call.command_id) is not call:
            raise ReportError("another call reports this command now")
        return call.take(report)

    def _begin(self, agent_id: str, command_id: str) -> _Call:
        row: sqlite3.Row | None = None
        try:
            with self._commands.store.reader() as connection:
                row = table.find(connection, command_id[:64])
        except NotFound:
            pass
        if row is None or row["agent"] != agent_id:
            if row is not None:
                self._note_foreign(agent_id, row)
            raise ReportError("this agent was given no such command", known=False)
        return _Call(self._commands, row)

    def _note_foreign(self, agent_id: str, row: sqlite3.Row) -> None:
        now = time.monotonic()
        if now - self._foreign.get(agent_id, -FOREIGN_EVERY_S) < FOREIGN_EVERY_S:
            return
        self._foreign[agent_id] = now
        log.warning("an agent reports on a command of another one's", agent=agent_id, command=row["id"])
        self._commands.note(
            actor=f"agent:{agent_id}",
            action="command.report",
            subject=row["agent"],
            outcome="refused",
            data={"command": row["id"]},
        )


class _Call:
    """One call of Report. Its methods block, and exclude each other: a call may be cut off while a chunk is written."""

    def __init__(self, commands: Commands, row: sqlite3.Row) -> None:
        self.command_id: str = row["id"]
        self._lock = threading.RLock()
        self._commands = commands
        self._agent_id: str = row["agent"]
        self._kind = registry.KINDS[row["name"]]
        self._draft: Draft | None = None
        self._file_name = ""
        self._told_at = -PROGRESS_EVERY_S
        self._held_back: tuple[str, int, str] | None = None
        self._state: str = row["state"]
        self.unwanted = row["state"] in (table.CANCELLED, table.EXPIRED)
        self._over = row["ended_ns"] is not None

    def close(self) -> None:
        """Without an end: the part that came is of no use, the agent begins anew."""
        with self._lock:
            self._over = True
            self._drop()

    def _drop(self) -> None:
        if self._draft is not None:
            self._draft.drop()
            self._draft = None

    def take(self, report: pb.CommandReport) -> bool:
        """True = it was the last one. Raises ReportError, StoreError."""
        with self._lock:
            return self._take(report)

    def _take(self, report: pb.CommandReport) -> bool:
        if self._over:
            return True
        if report.chunk:
            self._take_chunk(report)
        if not self._over and report.state in _ENDS:
            self._end(_ENDS[report.state], clean(report.text), _result(report.result))
        elif not self._over and report.state in _PROGRESS:
            self._advance(_PROGRESS[report.state], report.percent, clean(report.text))
        return self._over

    def _take_chunk(self, report: pb.CommandReport) -> None:
        if not self._kind.gives_file:
            raise ReportError(f"{self._kind.name} makes no file")
        if len(report.chunk) > CHUNK_BYTES:
            raise ReportError(f"a chunk of {len(report.chunk)} octets; the limit is {CHUNK_BYTES}")
        files = self._commands.files
        try:
            if self._draft is None:
                self._draft = files.begin(self.command_id)
                self._file_name = safe_name(report.file_name, self._kind.name)
            self._draft.write(report.chunk)
        except TooLargeError:
            self._fail(f"the file is larger than the {files.file_bytes} octets that are taken (commands.file_bytes)")
        except OSError as problem:
            self._fail(f"the collector cannot keep the file: {problem.strerror}")

    def _fail(self, text: str) -> None:
        self._drop()
        self.unwanted = True
        self._finish(table.FAILED, text, "{}", "", 0)

    def _end(self, state: str, text: str, result: str) -> None:
        name, size = "", 0
        if self._draft is not None and (state == table.DONE or self._kind.keeps_part):
            draft, self._draft = self._draft, None
            name, size = self._file_name, draft.size_bytes
            self._commands.upkeep.make_room(size)
            try:
                draft.keep()
            except OSError as problem:
                draft.drop()
                state, text, name, size = table.FAILED, f"the collector cannot keep the file: {problem.strerror}", "", 0
        self._drop()
        self._finish(state, text, result, name, size)

    def _finish(self, state: str, text: str, result: str, file_name: str, file_bytes: int) -> None:
        now = self._commands.clock()

        def work(connection: sqlite3.Connection) -> tuple[sqlite3.Row, list[table.Event]]:
            events = table.end(
                connection,
                self.command_id,
                state,
                now_ns=now,
                text=text,
                result=result,
                file_name=file_name,
                file_bytes=file_bytes,
            )
            if events:
                audit.append(
                    connection,
                    actor=f"agent:{self._agent_id}",
                    action="command.end",
                    subject=self._agent_id,
                    outcome={table.REFUSED: "refused", table.FAILED: "failed"}.get(state, "done"),
                    data={"command": self.command_id, "name": self._kind.name, "state": state, "bytes": file_bytes},
                )
            return table.find(connection, self.command_id), events

        row = self._commands.transact(work)
        self._over = True
        if row["state"] != state:  # it ran out of time, or was cancelled, a moment before
            self._commands.files.delete(self.command_id)
            self.unwanted = True

    def _advance(self, state: str, percent: int, text: str) -> None:
        self._held_back = state, percent, text
        if state != self._state or self.held_back_s == 0.0:
            self.tell()

    @property
    def held_back_s(self) -> float | None:
        """Seconds until the progress that is held back is to be told; None where there is none."""
        if self._held_back is None:
            return None
        return max(0.0, self._told_at + PROGRESS_EVERY_S - time.monotonic())

    def tell(self) -> bool:
        """Tell the progress that is held back; True = the command is over. Raises StoreError."""
        with self._lock:
            if self._held_back is None or self._over:
                return self._over
            (state, percent, text), self._held_back = self._held_back, None
            self._told_at, self._state = time.monotonic(), state
            row = self._commands.transact(
                lambda connection: table.advance(connection, self.command_id, state, percent=percent, text=text)
            )
            if row["ended_ns"] is not None:
                self._over = self.unwanted = True
            else:
                data = {"id": row["id"], "agent": row["agent"], "site": row["site"], **table.brief(row)}
                self._commands.hub.publish_transient({"type": table.PROGRESS, "data": data})
            return self._over


async def _next(reports: AsyncIterator[pb.CommandReport]) -> pb.CommandReport:
    return await anext(reports)


def clean(text: str) -> str:
    """What a stranger says, fit for a table: printable, one line, bounded."""
    printable = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_TEXT])
    return " ".join(printable.split())[:MAX_TEXT]


def _result(octets: bytes) -> str:
    """The JSON object of a last report, as it is stored; a note in its place where it is none."""
    if not octets:
        return "{}"
    if len(octets) > MAX_RESULT_BYTES:
        return json.dumps({"problem": f"the result has {len(octets)} octets; the limit is {MAX_RESULT_BYTES}"})
    found = json_object(octets)
    return json.dumps({"problem": "the result is no JSON object"} if found is None else found, separators=(",", ":"))
