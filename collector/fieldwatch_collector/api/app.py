"""The HTTP application: `create_app(services)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from fieldwatch_proto.version import VERSION
from starlette.middleware.gzip import GZipMiddleware

from fieldwatch_collector.api import (
    agents,
    commands,
    devices,
    events,
    flows,
    health,
    metrics,
    problems,
    session,
    status,
    stream,
    web,
)
from fieldwatch_collector.api.headers import SecurityHeaders
from fieldwatch_collector.api.limits import BodyLimit

if TYPE_CHECKING:
    from fieldwatch_collector.services import Services

API = "/api/v1"
GZIP_FROM_BYTES = 1_024
DESCRIPTION = """\
What is on the network, and what it does. Log in with a session cookie (`POST /api/v1/session`) or send an API token:
`Authorization: Bearer fwa1...` (`fieldwatch-collector api-token create`).

- Lists are `{count, next, previous, results}`; follow `next`, a URL, for the next page. `count` is null where counting
  would cost more than the answer; `previous` is always null, because pages go one way. `limit` is 1 to 1000.
- `Accept: text/csv` or `application/x-ndjson` (or `format=csv`, `format=ndjson`) gives rows alone: all of them, or one
  page with a `Link` header when `limit` is given. A CSV cell that a spreadsheet would run as a formula starts with `'`.
- Times are RFC 3339 UTC with nine decimals; `since` and `until` also take `90s`, `30m`, `1h`, `2d` before now.
- Errors are RFC 9457 problem documents. 401: log in. 403: known, but not allowed.
- `WS /api/v1/stream` tells of changes: `{"id":1,"type":"subscribe","filter":{"types":[],"site":""},"since_seq":0}`.
"""


def create_app(services: Services) -> FastAPI:
    """The application over one collector's services; it starts and stops nothing by itself."""
    app = FastAPI(
        title="Fieldwatch",
        version=VERSION,
        description=DESCRIPTION,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # FastAPI's documentation pages load scripts from other hosts
        redoc_url=None,
    )
    app.state.services = services
    app.state.streams = set()  # the open WebSockets
    problems.install(app)
    for resource in (devices, flows, commands, agents, events, session, status):
        app.include_router(resource.router, prefix=API, responses=problems.RESPONSES)
    app.include_router(stream.router, prefix=API)
    app.include_router(health.router)
    app.include_router(metrics.router)
    page = web.WebFiles()
    app.mount("/", page, name="page")
    app.add_middleware(BodyLimit)
    app.add_middleware(GZipMiddleware, minimum_size=GZIP_FROM_BYTES)
    app.add_middleware(SecurityHeaders, policy=page.policy)
    return app
