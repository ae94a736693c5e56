"""The part of `fieldwatch.v1.Query` that is about agents: what they are, and what people have them do.

Reading takes any role; which role a command needs is checked, and a refusal audited, where it is run.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio
from fieldwatch_proto.query_json import as_message
from fieldwatch_proto.v1 import query_pb2

from fieldwatch_collector.commands.files import CHUNK_BYTES
from fieldwatch_collector.commands.registry import described
from fieldwatch_collector.read_model import BadRequest

if TYPE_CHECKING:
    from fieldwatch_collector.commands import Asker, Commands
    from fieldwatch_collector.read_model import ReadModel

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]

# rpc names are those of query.proto
# ruff: noqa: N802


class FleetQueries:
    """Mixed into the service, which brings these."""

    _ask: ReadModel
    _commands: Commands

    if TYPE_CHECKING:

        async def _answer(self, context: Context, ask: Callable[[], T]) -> T: ...

        async def _answer_to(self, context: Context, ask: Callable[[Asker], T]) -> T: ...

    async def ListAgents(self, request: query_pb2.ListAgentsRequest, context: Context) -> query_pb2.AgentList:
        return await self._answer(
            context, lambda: query_pb2.AgentList(**self._ask.list_agents(site=request.site, select=request.select))
        )

    async def GetAgent(self, request: query_pb2.GetAgentRequest, context: Context) -> query_pb2.AgentDetail:
        return await self._answer(
            context,
            lambda: as_message(
                query_pb2.AgentDetail, self._commands.settings.detailed(self._ask.get_agent(request.id))
            ),
        )

    async def SetAgentTags(self, request: query_pb2.SetAgentTagsRequest, context: Context) -> query_pb2.Agent:
        def work(asker: Asker) -> query_pb2.Agent:
            tags: dict[str, str | None] = {**dict(request.set), **dict.fromkeys(request.remove)}
            agent_id = self._commands.settings.tag(asker, request.id, tags)
            return as_message(query_pb2.Agent, self._ask.get_agent(agent_id)["agent"])

        return await self._answer_to(context, work)

    async def ListCommandKinds(
        self, request: query_pb2.ListCommandKindsRequest, context: Context
    ) -> query_pb2.CommandKindList:
        return await self._answer(context, lambda: query_pb2.CommandKindList(results=described()))

    async def RunCommand(self, request: query_pb2.RunCommandRequest, context: Context) -> query_pb2.AgentCommandList:
        def work(asker: Asker) -> query_pb2.AgentCommandList:
            made = self._commands.run(
                asker,
                request.name,
                _object("arguments", request.arguments),
                agents=list(request.agents),
                select=request.select,
                timeout_s=request.timeout_s,
            )
            return as_message(query_pb2.AgentCommandList, {"results": made})

        return await self._answer_to(context, work)

    async def ListCommands(
        self, request: query_pb2.ListCommandsRequest, context: Context
    ) -> query_pb2.AgentCommandList:
        return await self._answer(
            context,
            lambda: as_message(
                query_pb2.AgentCommandList,
                self._commands.list_commands(
                    agent=request.agent,
                    state=request.state,
                    name=request.name,
                    limit=request.page.limit,
                    cursor=request.page.cursor,
                ),
            ),
        )

    async def GetCommand(self, request: query_pb2.GetCommandRequest, context: Context) -> query_pb2.AgentCommand:
        return await self._answer(context, lambda: as_message(query_pb2.AgentCommand, self._commands.get(request.id)))

    async def CancelCommand(self, request: query_pb2.GetCommandRequest, context: Context) -> query_pb2.AgentCommand:
        return await self._answer_to(
            context, lambda asker: as_message(query_pb2.AgentCommand, self._commands.cancel(asker, request.id))
        )

    async def ReadCommandFile(
        self, request: query_pb2.GetCommandRequest, context: Context
    ) -> AsyncIterator[query_pb2.FileChunk]:
        _, path = await self._answer_to(context, lambda asker: self._commands.open_file(asker, request.id))
        with path.open("rb") as stream:  # deleted meanwhile, it can still be read
            while octets := stream.read(CHUNK_BYTES):
                yield query_pb2.FileChunk(octets=octets)

    async def ListConfig(self, request: query_pb2.ListConfigRequest, context: Context) -> query_pb2.ConfigSettingList:
        return await self._answer(
            context,
            lambda: as_message(query_pb2.ConfigSettingList, {"results": self._commands.settings.listed()}),
        )

    async def SetConfig(self, request: query_pb2.SetConfigRequest, context: Context) -> query_pb2.SetConfigReply:
        return await self._answer_to(
            context,
            lambda asker: query_pb2.SetConfigReply(
                **self._commands.settings.configure(
                    asker,
                    request.select,
                    _object("settings", request.settings),
                    list(request.unset),
                    agents=list(request.agents),
                )
            ),
        )


def _object(name: str, text: str) -> dict[str, Any]:
    """The JSON object of a field; empty = none. Raises BadRequest."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadRequest(f"{name}: a JSON object is wanted")
    return found
