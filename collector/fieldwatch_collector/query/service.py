"""`fieldwatch.v1.Query`: the questions of the read model and the stream of the event hub; the fleet's are in `fleet`.

Every call carries ``authorization: Bearer <API token>``; without a valid one it ends in UNAUTHENTICATED, with a role
that may not read in PERMISSION_DENIED. Bad arguments are INVALID_ARGUMENT, and a site or device that there is not is
NOT_FOUND, with the read model's one line. Queries run in worker threads, and so does the making of the messages.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn, Protocol, TypeVar

import grpc
import grpc.aio
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.query_json import as_message
from fieldwatch_proto.v1 import query_pb2, query_pb2_grpc

from fieldwatch_collector.accounts import Accounts, Action, Principal, allows
from fieldwatch_collector.commands import Asker, Commands, NotAllowed
from fieldwatch_collector.hub import Hub
from fieldwatch_collector.query.fleet import FleetQueries
from fieldwatch_collector.read_model import BadRequest, NotFound, ReadModel
from fieldwatch_collector.store import StoreError

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]

RECHECK_S = 30.0  # a stream of a token that was revoked ends within this time
_SCHEME = "bearer "

log = get_logger(__name__)


class Services(Protocol):
    """What the service needs of the collector."""

    @property
    def accounts(self) -> Accounts: ...

    @property
    def read_model(self) -> ReadModel: ...

    @property
    def hub(self) -> Hub: ...

    @property
    def commands(self) -> Commands: ...


class QueryService(FleetQueries, query_pb2_grpc.QueryServicer):
    """Registered by the server on the public gRPC port."""

    def __init__(self, services: Services) -> None:
        self._accounts = services.accounts
        self._ask = services.read_model
        self._hub = services.hub
        self._commands = services.commands

    async def ListDevices(  # noqa: N802 - rpc names are those of query.proto
        self, request: query_pb2.ListDevicesRequest, context: Context
    ) -> query_pb2.DeviceList:
        return await self._answer(
            context,
            lambda: query_pb2.DeviceList(
                **self._ask.list_devices(
                    site=request.site,
                    q=request.q,
                    ordering=request.ordering,
                    since=request.since,
                    limit=request.page.limit,
                    cursor=request.page.cursor,
                )
            ),
        )

    async def GetDevice(  # noqa: N802
        self, request: query_pb2.GetDeviceRequest, context: Context
    ) -> query_pb2.DeviceDetail:
        def find() -> query_pb2.DeviceDetail:
            found = self._ask.get_device(request.id)
            if found is None:
                raise NotFound(f"no device {request.id!r:.60}")
            return query_pb2.DeviceDetail(**found)

        return await self._answer(context, find)

    async def ListFlows(  # noqa: N802
        self, request: query_pb2.ListFlowsRequest, context: Context
    ) -> query_pb2.FlowList:
        return await self._answer(
            context,
            lambda: query_pb2.FlowList(
                **self._ask.list_flows(
                    site=request.site,
                    since=request.since,
                    until=request.until,
                    device=request.device,
                    ip=request.ip,
                    port=request.port,
                    protocol=request.protocol,
                    application=request.application,
                    ordering=request.ordering,
                    limit=request.page.limit,
                    cursor=request.page.cursor,
                )
            ),
        )

    async def TopFlows(  # noqa: N802
        self, request: query_pb2.TopFlowsRequest, context: Context
    ) -> query_pb2.TopList:
        return await self._answer(
            context,
            lambda: query_pb2.TopList(
                **self._ask.top_flows(
                    by=request.by,
                    since=request.since,
                    until=request.until,
                    site=request.site,
                    limit=request.limit,
                )
            ),
        )

    async def ListEvents(  # noqa: N802
        self, request: query_pb2.ListEventsRequest, context: Context
    ) -> query_pb2.EventList:
        def find() -> query_pb2.EventList:
            found = self._ask.list_events(
                site=request.site,
                types=request.types,
                since=request.since,
                until=request.until,
                limit=request.page.limit,
                cursor=request.page.cursor,
            )
            return query_pb2.EventList(results=map(event_message, found["results"]), next=found["next"])

        return await self._answer(context, find)

    async def WatchEvents(  # noqa: N802
        self, request: query_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[query_pb2.Event]:
        """Persisted events as they come; a gap is an event of type "gap" without a number."""
        await self._answer(context, lambda: self._ask.require_site(request.site))
        loop = asyncio.get_running_loop()
        recheck = loop.time() + RECHECK_S
        watched = self._hub.subscribe(request.types, request.site, request.since_seq, transient=False)
        async with watched as messages:
            await context.send_initial_metadata(())  # the caller knows that it misses nothing from now on
            while True:
                try:
                    async with asyncio.timeout_at(recheck):
                        message = await anext(messages, None)
                except TimeoutError:
                    await self._check(context, "read")
                    recheck = loop.time() + RECHECK_S
                    continue
                if message is None:
                    await _abort(context, grpc.StatusCode.UNAVAILABLE, "the collector stops")
                yield event_message(message)

    async def ListSites(  # noqa: N802
        self, request: query_pb2.ListSitesRequest, context: Context
    ) -> query_pb2.SiteList:
        return await self._answer(context, lambda: query_pb2.SiteList(**self._ask.list_sites()))

    async def _answer(self, context: Context, ask: Callable[[], T]) -> T:
        return await self._answer_to(context, lambda asker: ask())

    async def _answer_to(self, context: Context, ask: Callable[[Asker], T]) -> T:
        try:
            principal = await self._check(context, "read")
            return await asyncio.to_thread(ask, Asker.of(principal))
        except BadRequest as problem:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(problem))
        except NotFound as problem:
            await _abort(context, grpc.StatusCode.NOT_FOUND, str(problem))
        except NotAllowed as problem:
            await _abort(context, grpc.StatusCode.PERMISSION_DENIED, str(problem))
        except (sqlite3.Error, StoreError) as problem:
            log.error("a question failed", problem=f"{type(problem).__name__}: {problem}")
            await _abort(
                context, grpc.StatusCode.UNAVAILABLE, "the store cannot be read now; the collector's log says why"
            )

    async def _check(self, context: Context, action: Action) -> Principal:
        credential = bearer_of(context)
        principal = await asyncio.to_thread(self._accounts.bearer, credential) if credential else None
        if principal is None:
            await _abort(
                context,
                grpc.StatusCode.UNAUTHENTICATED,
                "no valid API token; make one on the collector: fieldwatch-collector api-token create NAME",
            )
        if not allows(principal, action):
            await _abort(
                context,
                grpc.StatusCode.PERMISSION_DENIED,
                f"the role {principal.role} may not {action}; use another token",
            )
        return principal


async def _abort(context: Context, code: grpc.StatusCode, details: str) -> NoReturn:
    await context.abort(code, details)
    raise AssertionError("abort raises")


def bearer_of(context: Context) -> str:
    """The credential of a call, or an empty text."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value[: len(_SCHEME)].lower() == _SCHEME:
            return value[len(_SCHEME) :].strip()
    return ""


def event_message(event: dict[str, Any]) -> query_pb2.Event:
    """The message of an event of the read model or the hub, whose `data` is an object."""
    return as_message(query_pb2.Event, event)
