"""Anybody may call at the public port: so many calls at one time, and each says what it wants without delay.

gRPC reads the request of a unary call before it asks us, and waits for its end without end; a client that sends half of
it, a thousand times, fills the memory. So requests are read here, as the one message of a stream: after a look at who
calls, and for `HEAR_S` at most. On the wire nothing is different.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
from fieldwatch_proto.join import RETRY_AFTER
from google.protobuf.message import DecodeError

from fieldwatch_collector.ingest.throttle import peer_address

CALLS_OF_ONE = 100  # open calls of one address, those that watch among them
CALLS_IN_ALL = 1_000  # each may hold a request of `keepalive.MAX_REQUEST_BYTES`
HEAR_S = 10.0  # for the request to come
TALK_S = 60.0  # for a call in which both sides stream: reflection
RETRY_S = 5

Context = grpc.aio.ServicerContext[Any, Any]


class Callers(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """One per server."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        if handler.request_streaming:
            return self._talk(handler)
        return self._one_answer(handler) if not handler.response_streaming else self._many_answers(handler)

    def _one_answer(self, handler: Any) -> Any:
        async def answer(requests: AsyncIterator[Any], context: Context) -> Any:
            with self._place(context) as has_place:
                return await handler.unary_unary(await _request(handler, context, has_place), context)

        return grpc.stream_unary_rpc_method_handler(answer, response_serializer=handler.response_serializer)

    def _many_answers(self, handler: Any) -> Any:
        async def answer(requests: AsyncIterator[Any], context: Context) -> None:
            with self._place(context) as has_place:
                await _tell(handler.unary_stream, await _request(handler, context, has_place), context)

        return grpc.stream_stream_rpc_method_handler(answer, response_serializer=handler.response_serializer)

    def _talk(self, handler: Any) -> Any:
        async def answer(requests: AsyncIterator[Any], context: Context) -> None:
            with self._place(context) as has_place:
                if not has_place:
                    await _crowded(context)
                try:
                    async with asyncio.timeout(TALK_S):
                        await _tell(handler.stream_stream, requests, context)
                except TimeoutError:
                    await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"such a call lasts {TALK_S:g} s at most")

        return grpc.stream_stream_rpc_method_handler(
            answer, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )

    @contextlib.contextmanager
    def _place(self, context: Context) -> Iterator[bool]:
        """Count a call as long as it is open; False where there are too many."""
        address = peer_address(context.peer())
        has_place = self._open[address] < CALLS_OF_ONE and self._open.total() < CALLS_IN_ALL
        self._open[address] += 1
        try:
            yield has_place
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]


async def _crowded(context: Context) -> None:
    text = f"too many calls are open, from here or in all; end some, or try again in {RETRY_S} s"
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text, ((RETRY_AFTER, str(RETRY_S)),))


async def _request(handler: Any, context: Context, has_place: bool) -> Any:
    """The one message of the caller; ends the call where there is none."""
    if not has_place:
        await _crowded(context)
    try:
        async with asyncio.timeout(HEAR_S):
            octets = await context.read()
    except TimeoutError:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"the request did not come within {HEAR_S:g} s")
    if octets is grpc.aio.EOF:  # type: ignore[attr-defined]
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call ended without a request")
    try:
        return handler.request_deserializer(octets)
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request cannot be parsed")


async def _tell(behaviour: Callable[..., Any], request: Any, context: Context) -> None:
    """Run a behaviour that yields its answers, or writes them."""
    if not inspect.isasyncgenfunction(behaviour):
        await behaviour(request, context)
        return
    async with contextlib.aclosing(behaviour(request, context)) as answers:
        async for answer in answers:
            await context.write(answer)
