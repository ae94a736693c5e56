"""Control: the heartbeat of each agent, its commands and what it reports of them, and its certificate's renewal.

The newest AgentStatus is written to the store at most once in `WRITE_EVERY_S` per agent, and when a session begins or
ends. Commands go out once the first status has come in.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc
from google.protobuf.message import DecodeError

from fieldwatch_collector.commands import Commands, registry, remote_config
from fieldwatch_collector.commands.feeds import Feed
from fieldwatch_collector.commands.reports import ReportError, Reports
from fieldwatch_collector.frequent import Frequent
from fieldwatch_collector.hub import Hub
from fieldwatch_collector.identity import agents
from fieldwatch_collector.identity.authority import Authority, RequestError
from fieldwatch_collector.ingest.enrolment import enrol_reply
from fieldwatch_collector.ingest.fleet import REVOKED, Fleet, Line
from fieldwatch_collector.ingest.gate import Gate, refuse
from fieldwatch_collector.ingest.statuses import effective_of, newer_status, stored_status
from fieldwatch_collector.ingest.throttle import Bucket, RenewalThrottle
from fieldwatch_collector.journal import record
from fieldwatch_collector.read_model import BadRequest
from fieldwatch_collector.store import Store, StoreError

WRITE_EVERY_S = 5.0
STATUSES_PER_S, STATUSES_AT_ONCE = 10.0, 20.0  # of one agent, which says one every 10 s and on changes
UNREADABLE = "a message cannot be parsed; is this an agent, and of a version near ours?"

log = get_logger(__name__)

Context = grpc.aio.ServicerContext[pb.AgentStatus, pb.Command]


@dataclass(slots=True)
class _Visit:
    """One session. It counts from its first status on."""

    agent_id: str
    counted: bool = False
    heard: asyncio.Event = field(default_factory=asyncio.Event)


class ControlService(agent_pb2_grpc.ControlServicer):
    """One per server."""

    def __init__(
        self, store: Store, hub: Hub, fleet: Fleet, gate: Gate, authority: Authority, commands: Commands
    ) -> None:
        self._store = store
        self._hub = hub
        self._fleet = fleet
        self._gate = gate
        self._authority = authority
        self._commands = commands
        self._reports = Reports(commands)
        self._renewals = RenewalThrottle()
        self._sessions: dict[str, int] = {}  # of each agent; a new one may begin before the old one is known to be dead
        self._reading: dict[str, Bucket] = {}  # of each agent; they are enrolled, so there are not many
        self._told_here: set[str] = set()  # agents whose last event is that they are connected
        self._frequent = Frequent()

    async def Session(  # noqa: N802 - gRPC's name
        self, request_iterator: AsyncIterator[pb.AgentStatus], context: Context
    ) -> None:
        agent_id = await self._gate.admit(context, request_iterator)
        with self._fleet.line(agent_id) as line:
            visit = _Visit(agent_id)
            reading = asyncio.create_task(self._read(visit, request_iterator))
            sending = asyncio.create_task(self._send(visit, context))
            sending.add_done_callback(_note_end)
            closing = asyncio.create_task(line.closing.wait())
            try:
                await asyncio.wait({reading, sending, closing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                closing.cancel()
                sending.cancel()
                problem = await self._finish(visit, reading, line)
            if isinstance(problem, DecodeError):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{UNREADABLE}: {problem}")
            if problem is not None:
                raise problem
            if line.reason == REVOKED:
                await refuse(context)

    async def _read(self, visit: _Visit, statuses: AsyncIterator[pb.AgentStatus]) -> None:
        """Write the newest status, not every one: a write follows a status at once, or when its time has come."""
        newest: pb.AgentStatus | None = None
        written_at = 0.0
        arriving = aiter(statuses)
        pending: asyncio.Task[pb.AgentStatus] | None = None
        try:
            while True:
                pending = pending or asyncio.ensure_future(self._next(visit.agent_id, arriving))
                due = max(0.0, written_at + WRITE_EVERY_S - time.monotonic()) if newest is not None else None
                done, _ = await asyncio.wait({pending}, timeout=due)
                if done:
                    try:
                        newest = newer_status(newest, pending.result())
                    except StopAsyncIteration:
                        return
                    pending = None
                if newest is not None and time.monotonic() >= written_at + WRITE_EVERY_S:
                    written_at = time.monotonic()
                    await self._write(visit, newest)
                    newest = None
        finally:
            if pending is not None:
                pending.cancel()
            if newest is not None:
                # A call that breaks off is cancelled, and so would be the write of what the agent said last.
                await asyncio.shield(self._write(visit, newest))

    async def _next(self, agent_id: str, statuses: AsyncIterator[pb.AgentStatus]) -> pb.AgentStatus:
        """The next status, when its time has come: to read one costs the others' time."""
        bucket = self._reading.setdefault(agent_id, Bucket(STATUSES_AT_ONCE, time.monotonic()))
        while wait_s := bucket.wait_s(time.monotonic(), STATUSES_PER_S, STATUSES_AT_ONCE):
            await asyncio.sleep(wait_s)
        return await anext(statuses)

    async def _send(self, visit: _Visit, context: Context) -> None:
        """Commands as they come, on a session that has said something; until it is cancelled, or a write fails."""
        await visit.heard.wait()
        async with Feed(self._commands, visit.agent_id) as commands:
            async for command in commands:
                await context.write(command)

    async def _write(self, visit: _Visit, status: pb.AgentStatus) -> None:
        agent_id, first = visit.agent_id, not visit.counted
        if first:
            visit.counted = True
            self._sessions[agent_id] = self._sessions.get(agent_id, 0) + 1
        # Of an agent that comes and goes all the time it is told with a later status, if it stays.
        connected = agent_id not in self._told_here and self._frequent.due(agent_id, "agent.connected") > 0
        if connected:
            self._told_here.add(agent_id)
        shown, effective = stored_status(status), effective_of(status)

        def work(connection: sqlite3.Connection) -> list[dict[str, Any]]:
            agent = connection.execute("SELECT * FROM agent WHERE id = ?", (agent_id,)).fetchone()
            if agent is None:
                return []
            connection.execute(
                "UPDATE agent SET status = ?, last_contact_ns = ?, version = ? WHERE id = ?",
                (json.dumps(shown), time.time_ns(), agents.clean_name(status.version), agent_id),
            )
            events = _told(connection, "agent.connected", agent_id, {"version": shown["version"]}) if connected else []
            return events + _configured(connection, agent, shown, effective, first)

        await self._transact(work)
        visit.heard.set()

    async def _finish(self, visit: _Visit, reading: asyncio.Task[None], line: Line) -> BaseException | None:
        """The last status is written; the agent is said to be gone when this was its last session. Why none is read."""
        reading.cancel()
        await asyncio.wait({reading})
        problem = None if reading.cancelled() else reading.exception()
        agent_id = visit.agent_id
        if visit.counted:
            self._sessions[agent_id] -= 1
        if visit.counted and self._sessions[agent_id] == 0:
            del self._sessions[agent_id]
            reason = line.reason or "the agent closed the session, or the connection broke"
            if agent_id in self._told_here:
                self._told_here.discard(agent_id)
                await self._transact(
                    lambda connection: _told(connection, "agent.disconnected", agent_id, {"reason": reason})
                )
        return problem

    async def _transact(self, work: Any) -> None:
        with contextlib.suppress(StoreError):  # the store has said so; a heartbeat may be missed
            self._hub.publish(await self._store.transact(work))

    async def Report(  # noqa: N802 - gRPC's name
        self,
        request_iterator: AsyncIterator[pb.CommandReport],
        context: grpc.aio.ServicerContext[pb.CommandReport, pb.ReportReply],
    ) -> pb.ReportReply:
        agent_id = await self._gate.admit(context, request_iterator)
        with self._fleet.line(agent_id) as line:
            taking = asyncio.create_task(self._reports.take(agent_id, request_iterator))
            closing = asyncio.create_task(line.closing.wait())
            try:
                await asyncio.wait({taking, closing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                closing.cancel()
                taking.cancel()
                await asyncio.wait({taking})
            if line.reason == REVOKED:
                await refuse(context)
            try:
                return pb.ReportReply(cancelled=taking.result())
            except DecodeError as problem:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{UNREADABLE}: {problem}")
            except ReportError as problem:
                code = grpc.StatusCode.INVALID_ARGUMENT if problem.known else grpc.StatusCode.NOT_FOUND
                await context.abort(code, str(problem))
            except (StoreError, sqlite3.Error) as problem:
                await context.abort(grpc.StatusCode.UNAVAILABLE, str(problem))
            except asyncio.CancelledError:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the collector stops")

    async def Renew(  # noqa: N802 - gRPC's name
        self, request: pb.RenewRequest, context: grpc.aio.ServicerContext[pb.RenewRequest, pb.EnrolReply]
    ) -> pb.EnrolReply:
        agent_id = await self._gate.admit(context)
        if wait_s := self._renewals.wait_s(agent_id):
            text = f"too many renewals of this agent's certificate; try again in {math.ceil(wait_s)} s"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        try:
            site, issued = await self._store.transact(
                lambda connection: agents.renew(
                    connection, self._authority, agent_id, request.csr_der, actor=f"agent:{agent_id}"
                )
            )
        except agents.RefusedError as problem:
            await refuse(context, str(problem))
        except RequestError as problem:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(problem))
        except StoreError as problem:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(problem))
        return enrol_reply(self._authority, agent_id, site, issued)


def _note_end(sending: asyncio.Task[None]) -> None:
    """Why commands are no longer sent; nothing waits for that task, since a call that breaks off must end at once."""
    if not sending.cancelled() and (problem := sending.exception()) is not None:
        log.debug("commands could not be sent", problem=str(problem)[:200])


def _configured(
    connection: sqlite3.Connection, agent: sqlite3.Row, shown: dict[str, Any], effective: str, first: bool
) -> list[dict[str, Any]]:
    """What a status says of the configuration; the first one of a session brings the agent what it lacks."""
    now, tried = time.time_ns(), shown["config"]["version"]
    if effective:
        connection.execute(
            "INSERT INTO agent_config(agent, effective) VALUES(?1, ?2) ON CONFLICT(agent) DO UPDATE SET effective = ?2",
            (agent["id"], effective),
        )
    before = json.loads(agent["status"]).get("config", {})
    events = remote_config.note_status(connection, agent, before, shown["config"])
    if first:
        allows = registry.CONFIG in shown["allowed_commands"]
        # Too much for this agent, by tags that it got since: it keeps what it has.
        with contextlib.suppress(BadRequest):
            events += remote_config.refresh(
                connection, agent, actor=remote_config.COLLECTOR, now_ns=now, tried=tried, may_repeat=allows
            )
    return events


def _told(connection: sqlite3.Connection, type_: str, agent_id: str, data: dict[str, Any]) -> list[dict[str, Any]]:
    row = connection.execute("SELECT name, site FROM agent WHERE id = ?", (agent_id,)).fetchone()
    if row is None:
        return []
    return [
        record(connection, type_, site=row["site"], agent=agent_id, subject=("agent", agent_id, row["name"]), data=data)
    ]
