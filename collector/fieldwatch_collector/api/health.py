"""/healthz: the process answers. /readyz: it can do its work."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from fieldwatch_collector.api.security import services_of

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """200 as long as the process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "The store cannot take or give records now"}})
def readyz(request: Request) -> JSONResponse:
    """200 when the store takes and gives records, else 503."""
    services = services_of(request)
    problem = services.store.health().problem
    if not problem:
        services.read_model.list_sites()
    body = {"status": "ok" if not problem else "unavailable", "store": problem or "ok"}
    return JSONResponse(body, 200 if not problem else 503)
