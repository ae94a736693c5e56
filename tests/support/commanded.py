"""The agent's half of Control, message by message: a session that takes commands, and calls that report on them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc

from support.collector import DEADLINE_S, Identity, Running

STATUS = pb.AgentStatus(version="1", hostname="pi", state="capturing", allowed_commands=["reload", "config"])


class Desk:
    """One open Control.Session of an agent."""

    def __init__(self, channel: grpc.aio.Channel, call: Any) -> None:
        self._channel = channel
        self.call = call

    async def say(self, **status: Any) -> None:
        """A status."""
        message = pb.AgentStatus()
        message.CopyFrom(STATUS)
        message.MergeFrom(pb.AgentStatus(**status))
        await self.call.write(message)

    async def command(self) -> pb.Command:
        """The next one."""
        found = await asyncio.wait_for(self.call.read(), DEADLINE_S)
        assert isinstance(found, pb.Command), found
        return found

    async def silent(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes for so long. The call is of no use afterwards."""
        try:
            await asyncio.wait_for(self.call.read(), seconds)
        except TimeoutError:
            return True
        return False

    async def report(self, command_id: str, *reports: dict[str, Any]) -> pb.ReportReply:
        """One call of Report with these reports."""
        call = agent_pb2_grpc.ControlStub(self._channel).Report(timeout=DEADLINE_S)
        with contextlib.suppress(asyncio.InvalidStateError):  # the collector has ended the call: the reply says why
            for report in reports:
                await call.write(pb.CommandReport(**{"id": command_id, **report}))
            await call.done_writing()
        reply: pb.ReportReply = await call
        return reply

    def reporting(self) -> Any:
        """A call of Report that stays open."""
        return agent_pb2_grpc.ControlStub(self._channel).Report(timeout=3 * DEADLINE_S)


def desk(collector: Running, identity: Identity, **status: Any) -> contextlib.AbstractAsyncContextManager[Desk]:
    """A session of this agent, which has said its first status."""
    return desk_at(collector.server.ports["grpc"], identity, **status)


@contextlib.asynccontextmanager
async def desk_at(port: int, identity: Identity, **status: Any) -> AsyncIterator[Desk]:
    """The same, at a port on this machine."""
    async with identity.channel(port) as channel:
        call = agent_pb2_grpc.ControlStub(channel).Session(timeout=12 * DEADLINE_S)
        try:
            opened = Desk(channel, call)
            await opened.say(**status)
            yield opened
        finally:
            call.cancel()


def done(**result: Any) -> dict[str, Any]:
    """The last report of a command that went well."""
    return {"state": pb.COMMAND_DONE, "percent": 100, "text": "done", "result": json.dumps(result).encode()}
