"""The size of a request's body is bounded while it is read: a stranger may not fill the memory."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fieldwatch_collector.api.problems import problem

MAX_BODY_BYTES = 64 << 10  # the largest that the API takes is a set-up with a name and a password


class BodyLimit:
    """ASGI middleware: 413 for a body above `MAX_BODY_BYTES`, whether or not its length was announced."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        size, started, too_large = 0, False, announced.isdecimal() and int(announced[:20]) > MAX_BODY_BYTES

        async def bounded() -> Message:
            nonlocal size, too_large
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY_BYTES:
                too_large = True
                return {"type": "http.disconnect"}  # nothing more is read
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            if too_large and not started:
                return  # what the framework makes of the body that broke off; ours is the answer
            started = True
            await send(message)

        if not too_large:
            await self._app(scope, bounded, watched)
        if too_large and not started:
            detail = f"the body is larger than {MAX_BODY_BYTES} octets, the most that is taken"
            await problem(413, detail, {"Connection": "close"})(scope, receive, send)
