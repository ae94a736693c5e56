"""What is to be sent on one open Control.Session: commands that wait, then the cancellations of those that were sent.

The table is the queue. A new session sends everything anew that has not ended: what was sent on the one before may have
been lost with it, and an agent does a command that comes twice only once.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING

from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1 import agent_pb2 as pb

from fieldwatch_collector.commands import registry, remote_config, table
from fieldwatch_collector.store import StoreError

if TYPE_CHECKING:
    from fieldwatch_collector.commands.commands import Commands

RETRY_S = 5.0  # after the store could not be read or written

log = get_logger(__name__)


class Feed:
    """An async context manager and iterator over the messages for one agent, without an end."""

    def __init__(self, commands: Commands, agent_id: str) -> None:
        self._commands = commands
        self._agent_id = agent_id
        self._awake = asyncio.Event()
        self._out: deque[pb.Command] = deque()
        self._sent: set[str] = set()
        self._cancelled: set[str] = set()

    async def __aenter__(self) -> Feed:
        loop = asyncio.get_running_loop()
        self._leave = self._commands.listen(self._agent_id, lambda: loop.call_soon_threadsafe(self._awake.set))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> pb.Command:
        while not self._out:
            self._awake.clear()
            patience: float | None = None
            try:
                await asyncio.to_thread(self._collect)
            except (StoreError, sqlite3.Error, OSError) as problem:  # OSError: the key that signs settings
                log.warning("commands wait for the store", agent=self._agent_id, problem=str(problem))
                patience = RETRY_S
            if not self._out:
                await self._wait(patience)
        return self._out.popleft()

    async def _wait(self, patience: float | None) -> None:
        try:
            async with asyncio.timeout(patience):
                await self._awake.wait()
        except TimeoutError:
            pass

    def _collect(self) -> None:
        """Put what is due out, one by one: what was made ready before a failure counts as sent, and has to go."""
        with self._commands.store.reader() as connection:
            rows = table.open_ones(connection, self._agent_id)
        ids = {row["id"] for row in rows}
        self._sent &= ids
        self._cancelled &= ids
        for row in rows:
            if row["cancel_ns"] is not None:
                if row["id"] not in self._cancelled:
                    self._cancelled.add(row["id"])
                    self._out.append(pb.Command(id=row["id"], cancel=True))
            elif row["id"] not in self._sent:
                message = self._message(row)
                if message is not None:
                    self._sent.add(row["id"])
                    self._out.append(message)

    def _message(self, row: sqlite3.Row) -> pb.Command | None:
        """The command, noted as sent; None where it ended meanwhile."""
        now = self._commands.clock()

        def work(connection: sqlite3.Connection) -> tuple[tuple[sqlite3.Row, sqlite3.Row | None], list[table.Event]]:
            events = table.mark_sent(connection, row["id"], now)
            newest = remote_config.held(connection, self._agent_id) if row["name"] == registry.CONFIG else None
            return (table.find(connection, row["id"]), newest), events

        current, settings = self._commands.transact(work)
        if current["ended_ns"] is not None:
            return None
        message = pb.Command(
            id=row["id"],
            name=row["name"],
            arguments=row["arguments"].encode(),
            timeout_s=max(1, (row["expires_ns"] - now) // table.NS),
            actor=row["actor"],
        )
        if settings is not None:
            message.config.CopyFrom(remote_config.signed(settings, self._commands.signer))
        return message
