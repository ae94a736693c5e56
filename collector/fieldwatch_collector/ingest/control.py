"""Control: the heartbeat of each agent, and the renewal of its certificate.

The newest AgentStatus is written to the store at most once in `WRITE_EVERY_S` per agent, and when a session begins or
ends. The stream of commands stays open and silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc
from google.protobuf.json_format import MessageToDict

from fieldwatch_collector.hub import Hub
from fieldwatch_collector.identity import agents
from fieldwatch_collector.identity.authority import Authority, RequestError
from fieldwatch_collector.ingest.enrolment import enrol_reply
from fieldwatch_collector.ingest.fleet import REVOKED, Fleet, Line
from fieldwatch_collector.ingest.gate import Gate, refuse
from fieldwatch_collector.journal import record
from fieldwatch_collector.store import Store, StoreError

WRITE_EVERY_S = 5.0
MAX_INTERFACES = 64

Context = grpc.aio.ServicerContext[pb.AgentStatus, pb.Command]


@dataclass(slots=True)
class _Visit:
    """One session. It counts from its first status on."""

    agent_id: str
    counted: bool = False


class ControlService(agent_pb2_grpc.ControlServicer):
    """One per server."""

    def __init__(self, store: Store, hub: Hub, fleet: Fleet, gate: Gate, authority: Authority) -> None:
        self._store = store
        self._hub = hub
        self._fleet = fleet
        self._gate = gate
        self._authority = authority
        self._sessions: dict[str, int] = {}  # of each agent; a new one may begin before the old one is known to be dead

    async def Session(  # noqa: N802 - gRPC's name
        self, request_iterator: AsyncIterator[pb.AgentStatus], context: Context
    ) -> None:
        agent_id = await self._gate.admit(context, request_iterator)
        with self._fleet.line(agent_id) as line:
            visit = _Visit(agent_id)
            reading = asyncio.create_task(self._read(visit, request_iterator))
            closing = asyncio.create_task(line.closing.wait())
            try:
                await asyncio.wait({reading, closing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                closing.cancel()
                await self._finish(visit, reading, line)
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
                pending = pending or asyncio.ensure_future(_next(arriving))
                due = max(0.0, written_at + WRITE_EVERY_S - time.monotonic()) if newest is not None else None
                done, _ = await asyncio.wait({pending}, timeout=due)
                if done:
                    try:
                        newest = pending.result()
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
                await self._write(visit, newest)

    async def _write(self, visit: _Visit, status: pb.AgentStatus) -> None:
        agent_id, connected = visit.agent_id, False
        if not visit.counted:
            visit.counted = True
            self._sessions[agent_id] = self._sessions.get(agent_id, 0) + 1
            connected = self._sessions[agent_id] == 1
        shown = _shown(status)

        def work(connection: sqlite3.Connection) -> list[dict[str, Any]]:
            connection.execute(
                "UPDATE agent SET status = ?, last_contact_ns = ?, version = ? WHERE id = ?",
                (json.dumps(shown), time.time_ns(), agents.clean_name(status.version), agent_id),
            )
            return _told(connection, "agent.connected", agent_id, {"version": shown["version"]}) if connected else []

        await self._transact(work)

    async def _finish(self, visit: _Visit, reading: asyncio.Task[None], line: Line) -> None:
        """The last status is written; the agent is said to be gone when this was its last session."""
        reading.cancel()
        await asyncio.wait({reading})
        problem = None if reading.cancelled() else reading.exception()
        agent_id = visit.agent_id
        if visit.counted:
            self._sessions[agent_id] -= 1
        if visit.counted and self._sessions[agent_id] == 0:
            del self._sessions[agent_id]
            reason = line.reason or "the agent closed the session, or the connection broke"
            await self._transact(
                lambda connection: _told(connection, "agent.disconnected", agent_id, {"reason": reason})
            )
        if problem is not None:
            raise problem

    async def _transact(self, work: Any) -> None:
        with contextlib.suppress(StoreError):  # the store has said so; a heartbeat may be missed
            self._hub.publish(await self._store.transact(work))

    async def Renew(  # noqa: N802 - gRPC's name
        self, request: pb.RenewRequest, context: grpc.aio.ServicerContext[pb.RenewRequest, pb.EnrolReply]
    ) -> pb.EnrolReply:
        agent_id = await self._gate.admit(context)
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


async def _next(statuses: AsyncIterator[pb.AgentStatus]) -> pb.AgentStatus:
    return await anext(statuses)


def _shown(status: pb.AgentStatus) -> dict[str, Any]:
    """The status as JSON, with the texts of a stranger bounded."""
    bounded = pb.AgentStatus()
    bounded.CopyFrom(status)
    for name in ("version", "hostname", "state", "boot_id"):
        setattr(bounded, name, agents.clean_name(getattr(status, name)))
    del bounded.interfaces[MAX_INTERFACES:]
    for interface in bounded.interfaces:
        interface.name = agents.clean_name(interface.name)
    shown: dict[str, Any] = MessageToDict(bounded, preserving_proto_field_name=True)
    shown.setdefault("version", "")
    return shown


def _told(connection: sqlite3.Connection, type_: str, agent_id: str, data: dict[str, Any]) -> list[dict[str, Any]]:
    row = connection.execute("SELECT name, site FROM agent WHERE id = ?", (agent_id,)).fetchone()
    if row is None:
        return []
    return [
        record(connection, type_, site=row["site"], agent=agent_id, subject=("agent", agent_id, row["name"]), data=data)
    ]
