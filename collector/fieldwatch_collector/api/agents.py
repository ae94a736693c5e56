"""/agents and /sites: the fleet"""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from fieldwatch_collector.api import lists, models
from fieldwatch_collector.api.security import require, services_of

router = APIRouter(tags=["fleet"], dependencies=[Depends(require("read"))])


@router.get("/agents", responses=lists.responses(models.AgentList))
def list_agents(request: Request, page: lists.PageQuery, site: str = "") -> Response:
    """Every agent: its last contact, what it saw and lost, what waits in its spool. One page holds them all."""
    found = services_of(request).read_model.list_agents(site=site)["results"]
    return lists.answer(request, page, models.Agent, lambda limit, cursor: {"results": found, "count": len(found)})


@router.get("/sites", responses=lists.responses(models.SiteList))
def list_sites(request: Request, page: lists.PageQuery) -> Response:
    """Every site that has an agent or a device. One page holds them all."""
    found = services_of(request).read_model.list_sites()["results"]
    return lists.answer(request, page, models.Site, lambda limit, cursor: {"results": found, "count": len(found)})
