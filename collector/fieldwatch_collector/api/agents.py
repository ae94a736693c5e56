"""/agents and /sites: the fleet"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from fieldwatch_collector.accounts import Principal
from fieldwatch_collector.api import lists, models
from fieldwatch_collector.api.security import SameOrigin, require, services_of
from fieldwatch_collector.commands import Asker

router = APIRouter(tags=["fleet"], dependencies=[Depends(require("read"))])


Select = Annotated[str, Query(description="an agent, or terms that must all hold: site=hq,role=edge")]


class Changes(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tags: dict[str, str | None] = Field(description="tags to set; null takes one away")


@router.get("/agents", responses=lists.responses(models.AgentList))
def list_agents(request: Request, page: lists.PageQuery, site: str = "", select: Select = "") -> Response:
    """Every agent: its last contact, what it saw and lost, what waits in its spool. One page holds them all."""
    found = services_of(request).read_model.list_agents(site=site, select=select)["results"]
    return lists.whole(request, page, models.Agent, found)


@router.get("/agents/{agent}", response_model=models.AgentDetail)
def get_agent(request: Request, agent: str) -> Any:
    """One agent by id or name: the health of its parts, its remote settings and how they fare."""
    services = services_of(request)
    return services.commands.settings.detailed(services.read_model.get_agent(agent))


@router.patch("/agents/{agent}", response_model=models.Agent, dependencies=[SameOrigin])
def change_agent(
    request: Request, who: Annotated[Principal, Depends(require("read"))], agent: str, changes: Changes
) -> Any:
    """Give an agent tags, by which selectors choose it. An admin's."""
    services = services_of(request)
    agent_id = services.commands.settings.tag(Asker.of(who), agent, changes.tags)
    return services.read_model.get_agent(agent_id)["agent"]


@router.get("/sites", responses=lists.responses(models.SiteList))
def list_sites(request: Request, page: lists.PageQuery) -> Response:
    """Every site that has an agent or a device. One page holds them all."""
    found = services_of(request).read_model.list_sites()["results"]
    return lists.whole(request, page, models.Site, found)
