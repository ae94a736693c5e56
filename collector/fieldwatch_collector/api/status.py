"""/status"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request

from fieldwatch_collector.api import models
from fieldwatch_collector.api.security import require, services_of
from fieldwatch_collector.config import split_address

if TYPE_CHECKING:
    from fieldwatch_collector.services import Services

router = APIRouter(tags=["status"], dependencies=[Depends(require("read"))])


@router.get("/status", response_model=models.Status)
def get_status(request: Request) -> Any:
    """One look at everything: what is held, who reports, how far the tables are behind, what was lost."""
    services = services_of(request)
    return {**services.read_model.status(), "public_grpc_port": _public_grpc_port(services)}


def _public_grpc_port(services: Services) -> int:
    """The configured port, or where that is 0 (any free one) the one that the server took and wrote down."""
    _, port = split_address(services.config.listen.public_grpc)
    if port == 0:
        port = int(json.loads((services.data / "ports.json").read_text("utf-8"))["public_grpc"])
    return port
