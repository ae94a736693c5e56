"""/events"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from fieldwatch_collector.api import lists, models
from fieldwatch_collector.api.flows import Since
from fieldwatch_collector.api.security import require, services_of

router = APIRouter(tags=["events"], dependencies=[Depends(require("read"))])


@router.get("/events", responses=lists.responses(models.EventList))
def list_events(
    request: Request,
    page: lists.PageQuery,
    types: Annotated[list[str], Query(description='repeated = any of them; "device." = all with that prefix')] = [],  # noqa: B006
    site: str = "",
    since: Since = "",
    until: Since = "",
) -> Response:
    """What happened, newest first; the WebSocket tells the same as it happens."""
    read_model = services_of(request).read_model
    return lists.answer(
        request,
        page,
        models.Event,
        lambda limit, cursor: read_model.list_events(
            site=site, types=types, since=since, until=until, limit=limit, cursor=cursor
        ),
    )
