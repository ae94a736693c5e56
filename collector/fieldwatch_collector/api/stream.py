"""WebSocket /stream: changes as they happen.

Every command of the client is a JSON object with an `id` of its choice; results and events carry it back::

    <- {"type": "auth_required"}                       only without cookie or Authorization header
    -> {"type": "auth", "token": "fwa1..."}
    <- {"type": "auth_ok"}                             or auth_invalid, and the connection ends with 4401
    -> {"id": 1, "type": "subscribe", "filter": {"types": ["device."], "site": ""}, "since_seq": 48213}
    <- {"id": 1, "type": "result", "success": true}
    <- {"id": 1, "type": "event", "event": {...}}      an envelope; a transient device.updated; or a gap
    -> {"id": 2, "type": "ping"}
    <- {"id": 2, "type": "pong"}
    -> {"id": 3, "type": "unsubscribe", "subscription": 1}

A client that does not read is closed after `SEND_TIMEOUT_S`; until then it costs the collector nothing but a position
in the hub's ring. Who comes back names the last `seq` it saw; what is no longer held is told as a gap.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocketDisconnect, WebSocketState

from fieldwatch_collector.accounts import Principal, allows
from fieldwatch_collector.api.security import bearer_of, cookie_of, is_same_origin, principal_of, services_of
from fieldwatch_collector.read_model import NotFound

router = APIRouter()

AUTH_TIMEOUT_S = 10.0
SEND_TIMEOUT_S = 30.0
RECHECK_S = 30.0  # how long a closed session or a revoked token may go on reading
MAX_SUBSCRIPTIONS = 16
MAX_CHARACTERS = 16_384
MAX_CONNECTIONS = 500  # of the collector; each holds a socket, whoever it is

CLOSE_UNAUTHORIZED = 4401
CLOSE_MISUSE = 1008
CLOSE_TOO_SLOW = CLOSE_TOO_MANY = 1013


class Filter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    types: list[str] = Field(default=[], max_length=50)
    site: str = Field(default="", max_length=500)


class Subscribe(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: int
    type: str
    filter: Filter = Filter()
    since_seq: int = Field(default=0, ge=0, lt=1 << 63)


class ClosedError(Exception):
    """The connection is to end, with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@router.websocket("/stream")
async def stream(socket: WebSocket) -> None:
    if not is_same_origin(socket):
        await socket.close(CLOSE_MISUSE, "the page of another host may not read this stream")  # before accept: HTTP 403
        return
    open_ones: set[WebSocket] = socket.app.state.streams
    if len(open_ones) >= MAX_CONNECTIONS:
        await socket.close(CLOSE_TOO_MANY, "too many streams are open; try again later")
        return
    open_ones.add(socket)
    try:
        await _serve(socket)
    finally:
        open_ones.discard(socket)


async def _serve(socket: WebSocket) -> None:
    await socket.accept()
    connection = Connection(socket)
    try:
        await connection.run()
    except ClosedError as end:
        if socket.client_state is WebSocketState.CONNECTED:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await socket.close(end.code, end.reason)
    except WebSocketDisconnect:
        pass


class Connection:
    """One client: a task that reads its commands, one a subscription, one that checks that it may still read."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._token = bearer_of(socket)
        self._sending = asyncio.Lock()
        self._subscriptions: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        await self._authenticate()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._recheck())
                await self._obey(tasks)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    # --- who it is ------------------------------------------------------------------------------------------------

    async def _authenticate(self) -> None:
        principal = await self._principal()
        if principal is None and not self._token and not cookie_of(self._socket):
            await self._send({"type": "auth_required"})
            try:
                async with asyncio.timeout(AUTH_TIMEOUT_S):
                    message = await self._receive()
            except TimeoutError:
                raise ClosedError(CLOSE_UNAUTHORIZED, f"no auth within {AUTH_TIMEOUT_S:g} s") from None
            self._token = str(message.get("token", "")) if message.get("type") == "auth" else ""
            principal = await self._principal()
        if not allows(principal, "read"):
            await self._send({"type": "auth_invalid", "message": "log in, or send a valid API token"})
            raise ClosedError(CLOSE_UNAUTHORIZED, "not logged in")
        await self._send({"type": "auth_ok"})

    async def _principal(self) -> Principal | None:
        if self._token:
            return await asyncio.to_thread(services_of(self._socket).accounts.bearer, self._token)
        return await asyncio.to_thread(principal_of, self._socket)

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_S)
            if not allows(await self._principal(), "read"):
                raise ClosedError(CLOSE_UNAUTHORIZED, "the session ended or the token was revoked")

    # --- what it wants ----------------------------------------------------------------------------------------------

    async def _obey(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            message = await self._receive()
            identifier = message.get("id")
            if type(identifier) is not int:
                raise ClosedError(CLOSE_MISUSE, "every command has an integer id")
            kind = message.get("type")
            if kind == "ping":
                await self._send({"id": identifier, "type": "pong"})
            elif kind == "subscribe":
                await self._subscribe(tasks, identifier, message)
            elif kind == "unsubscribe":
                await self._unsubscribe(identifier, message.get("subscription"))
            else:
                await self._refuse(identifier, "unknown_command", "commands are subscribe, unsubscribe and ping")

    async def _subscribe(self, tasks: asyncio.TaskGroup, identifier: int, message: dict[str, Any]) -> None:
        try:
            wanted = Subscribe.model_validate(message, strict=True)
        except ValidationError as problem:
            first = problem.errors()[0]
            await self._refuse(identifier, "invalid", f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}")
            return
        if identifier in self._subscriptions:
            await self._refuse(identifier, "id_reused", f"the id {identifier} is a subscription already")
            return
        if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
            await self._refuse(identifier, "too_many", f"a connection has at most {MAX_SUBSCRIPTIONS} subscriptions")
            return
        if wanted.filter.site:
            try:
                await asyncio.to_thread(services_of(self._socket).read_model.require_site, wanted.filter.site)
            except NotFound as problem:
                await self._refuse(identifier, "not_found", str(problem))
                return
        self._subscriptions[identifier] = tasks.create_task(self._forward(wanted))

    async def _unsubscribe(self, identifier: int, subscription: object) -> None:
        task = self._subscriptions.pop(subscription, None) if isinstance(subscription, int) else None
        if task is None:
            await self._refuse(identifier, "not_found", f"there is no subscription {str(subscription)[:40]}")
            return
        task.cancel()
        await self._send({"id": identifier, "type": "result", "success": True})

    async def _forward(self, wanted: Subscribe) -> None:
        hub = services_of(self._socket).hub
        async with hub.subscribe(wanted.filter.types, wanted.filter.site, wanted.since_seq) as messages:
            await self._send({"id": wanted.id, "type": "result", "success": True})
            async for message in messages:
                await self._send({"id": wanted.id, "type": "event", "event": message})
        raise ClosedError(1001, "the collector stops")

    # --- the wire -----------------------------------------------------------------------------------------------------

    async def _refuse(self, identifier: int, code: str, text: str) -> None:
        error = {"code": code, "message": text}
        await self._send({"id": identifier, "type": "result", "success": False, "error": error})

    async def _send(self, message: dict[str, Any]) -> None:
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S), self._sending:
                await self._socket.send_text(text)
        except TimeoutError:
            raise ClosedError(CLOSE_TOO_SLOW, f"nothing was read for {SEND_TIMEOUT_S:g} s") from None
        except RuntimeError:  # sent after the other side had closed
            raise ClosedError(1000, "closed") from None

    async def _receive(self) -> dict[str, Any]:
        try:
            text = await self._socket.receive_text()
        except KeyError:
            raise ClosedError(1003, "messages are text") from None
        if len(text) > MAX_CHARACTERS:
            raise ClosedError(1009, f"a message has at most {MAX_CHARACTERS} characters")
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise ClosedError(CLOSE_MISUSE, "a message is one JSON object")
        return message
