"""/devices"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from fieldwatch_collector.api import lists, models
from fieldwatch_collector.api.problems import Refusal
from fieldwatch_collector.api.security import require, services_of

router = APIRouter(tags=["devices"], dependencies=[Depends(require("read"))])


@router.get("/devices", responses=lists.responses(models.DeviceList))
def list_devices(
    request: Request,
    page: lists.PageQuery,
    site: str = "",
    q: Annotated[str, Query(description="substring of a name, address, MAC or vendor")] = "",
    ordering: Annotated[
        str, Query(description="name, first_seen, last_seen, flows, bytes, vendor, site; - in front = descending")
    ] = "-last_seen",
    since: Annotated[str, Query(description="last seen at or after")] = "",
) -> Response:
    """What was heard on the network."""
    read_model = services_of(request).read_model
    return lists.answer(
        request,
        page,
        models.Device,
        lambda limit, cursor: read_model.list_devices(
            site=site, q=q, ordering=ordering, since=since, limit=limit, cursor=cursor
        ),
    )


@router.get("/devices/{device_id}", response_model=models.DeviceDetail)
def get_device(request: Request, device_id: str) -> Any:
    """One device: its interfaces and addresses, every claim with its evidence, its newest flows."""
    found = services_of(request).read_model.get_device(device_id)
    if found is None:
        raise Refusal(404, f"no device has the id {device_id[:60]!r}; it may have been merged into another one")
    return found
