"""/agents/commands, /agents/config and one agent's own: what people have agents do, and set for them

Registered before `agents`: "commands", "command-kinds" and "config" are no ids of agents.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse, Response

from fieldwatch_collector.accounts import Principal
from fieldwatch_collector.api import lists, models
from fieldwatch_collector.api.security import SameOrigin, require, services_of
from fieldwatch_collector.commands import Asker
from fieldwatch_collector.commands.registry import described

router = APIRouter(tags=["commands"], dependencies=[Depends(require("read"))])

# Which role a command needs is for the command to say: see its kind.
Who = Annotated[Principal, Depends(require("read"))]
Text = Annotated[str, Field(max_length=500)]
State = Annotated[str, Query(description="open, ended, waiting, sent, accepted, running, done, failed, refused, ...")]
_MEDIA_TYPES = {".pcap": "application/vnd.tcpdump.pcap", ".gz": "application/gzip"}


class Order(BaseModel):
    """A command for one agent."""

    model_config = ConfigDict(extra="forbid")

    name: Text
    arguments: dict[str, Any] = Field(default={}, description="see /agents/command-kinds")
    timeout_s: int = Field(
        default=0, ge=0, description="from now to the end, the wait for the agent included; 0 = its own"
    )


class FleetOrder(Order):
    """A command for several agents: either `agents` or `select`."""

    agents: list[Text] = Field(default=[], max_length=1_000, description="ids or names")
    select: Text = Field(default="", description="*, or terms that must all hold: site=hq,role=edge")


class Settings(BaseModel):
    """What is to change: for all that `select` means, those to come included, or for each of `agents`."""

    model_config = ConfigDict(extra="forbid")

    select: Text = ""
    agents: list[Text] = Field(default=[], max_length=1_000, description="ids or names")
    settings: dict[str, dict[str, Any]] = Field(default={}, description="section -> key -> value")
    unset: list[Text] = Field(default=[], max_length=200, description="SECTION.KEY each")


@router.get("/agents/command-kinds", responses=lists.responses(models.CommandKindList))
def list_kinds(request: Request, page: lists.PageQuery) -> Response:
    """The commands there are: their arguments, and the role that each needs."""
    return lists.whole(request, page, models.CommandKind, described())


@router.get("/agents/commands", responses=lists.responses(models.AgentCommandList))
def list_commands(
    request: Request, page: lists.PageQuery, agent: str = "", state: State = "", name: str = ""
) -> Response:
    """Commands, the newest first."""
    commands = services_of(request).commands
    return lists.answer(
        request,
        page,
        models.AgentCommand,
        lambda limit, cursor: commands.list_commands(agent=agent, state=state, name=name, limit=limit, cursor=cursor),
    )


@router.post("/agents/commands", status_code=201, response_model=models.AgentCommandList, dependencies=[SameOrigin])
def run_commands(request: Request, who: Who, order: FleetOrder) -> Any:
    """Give a command to several agents. Those that are not connected get it when they come, until the timeout."""
    made = services_of(request).commands.run(
        Asker.of(who), order.name, order.arguments, agents=order.agents, select=order.select, timeout_s=order.timeout_s
    )
    return {"count": len(made), "next": None, "previous": None, "results": made}


@router.get("/agents/commands/{command_id}", response_model=models.AgentCommand)
def get_command(request: Request, command_id: str) -> Any:
    """One command, with what the agent says of it."""
    return services_of(request).commands.get(command_id)


@router.post("/agents/commands/{command_id}/cancel", response_model=models.AgentCommand, dependencies=[SameOrigin])
def cancel_command(request: Request, who: Who, command_id: str) -> Any:
    """End a command; no error where it has ended."""
    return services_of(request).commands.cancel(Asker.of(who), command_id)


@router.get("/agents/commands/{command_id}/file", response_class=FileResponse)
def download(request: Request, who: Who, command_id: str) -> FileResponse:
    """What the command made."""
    command, path = services_of(request).commands.open_file(Asker.of(who), command_id)
    name = command["file_name"]
    media_type = next((kind for end, kind in _MEDIA_TYPES.items() if name.endswith(end)), "application/octet-stream")
    return FileResponse(path, media_type=media_type, filename=name)


@router.get("/agents/config", responses=lists.responses(models.ConfigSettingList))
def list_settings(request: Request, page: lists.PageQuery) -> Response:
    """The remote settings of every selector, the least specific one first."""
    return lists.whole(request, page, models.ConfigSetting, services_of(request).commands.settings.listed())


@router.patch("/agents/config", response_model=models.SetConfigReply, dependencies=[SameOrigin])
def configure(request: Request, who: Who, change: Settings) -> Any:
    """Set and unset remote settings; each agent that is meant gets its new version, signed, and a result here."""
    return services_of(request).commands.settings.configure(
        Asker.of(who), change.select, change.settings, change.unset, agents=change.agents
    )


@router.get("/agents/{agent}/commands", responses=lists.responses(models.AgentCommandList))
def list_commands_of_agent(request: Request, page: lists.PageQuery, agent: str, state: State = "") -> Response:
    """The commands of one agent, the newest first."""
    return list_commands(request, page, agent, state)


@router.post("/agents/{agent}/commands", status_code=201, response_model=models.AgentCommand, dependencies=[SameOrigin])
def run_command(request: Request, who: Who, agent: str, order: Order) -> Any:
    """Give an agent a command."""
    commands = services_of(request).commands
    return commands.run(Asker.of(who), order.name, order.arguments, agents=[agent], timeout_s=order.timeout_s)[0]
