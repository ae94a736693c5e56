"""/flows, /flows/top, /flows/series"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from fieldwatch_collector.api import lists, models
from fieldwatch_collector.api.security import require, services_of

router = APIRouter(tags=["flows"], dependencies=[Depends(require("read"))])

By = Annotated[str, Query(description="device, ip, pair, application, protocol or port")]
Since = Annotated[str, Query(description="RFC 3339, or 90s, 30m, 1h, 2d before now")]


@router.get("/flows", responses=lists.responses(models.FlowList))
def list_flows(
    request: Request,
    page: lists.PageQuery,
    site: str = "",
    since: Since = "",
    until: Since = "",
    device: Annotated[str, Query(description="device id, either side")] = "",
    ip: Annotated[str, Query(description="address, either side")] = "",
    port: Annotated[int, Query(ge=0, le=65_535, description="port, either side; 0 = any")] = 0,
    protocol: Annotated[str, Query(description="IANA keyword, or its number")] = "",
    application: str = "",
    ordering: Annotated[
        str, Query(description="last_seen, first_seen, bytes, packets, retransmits; - in front = descending")
    ] = "-last_seen",
) -> Response:
    """Flow records that overlap the time from `since` to `until`."""
    read_model = services_of(request).read_model
    return lists.answer(
        request,
        page,
        models.Flow,
        lambda limit, cursor: read_model.list_flows(
            site=site,
            since=since,
            until=until,
            device=device,
            ip=ip,
            port=port,
            protocol=protocol,
            application=application,
            ordering=ordering,
            limit=limit,
            cursor=cursor,
        ),
    )


@router.get("/flows/top", response_model=models.TopList)
def top_flows(
    request: Request,
    by: By = "device",
    since: Since = "",
    until: Since = "",
    site: str = "",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 10,
) -> Any:
    """The keys with the most octets, both directions. By device or ip, a flow counts for both its ends."""
    return services_of(request).read_model.top_flows(by=by, since=since, until=until, site=site, limit=limit)


@router.get("/flows/series", response_model=models.FlowSeries)
def flow_series(
    request: Request,
    by: By = "application",
    since: Since = "",
    until: Since = "",
    site: str = "",
    limit: Annotated[int, Query(ge=1, le=50)] = 8,
    step_s: Annotated[int, Query(ge=0, description="seconds of a step; 0 = chosen by the range")] = 0,
) -> Any:
    """Octets over time, for charts."""
    return services_of(request).read_model.flow_series(
        by=by, since=since, until=until, site=site, limit=limit, step_s=step_s
    )
