"""How large a message of an agent may be, and of how many parts, before protobuf makes objects of it.

Protobuf takes two octets for an empty submessage and makes an object of fifty and more of it: a status of 8 MiB is 200
MiB in memory, and copied more than once. Only the body of a batch may be large, for it stays one piece.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from fieldwatch_proto.v1 import agent_pb2 as pb
from google.protobuf.message import DecodeError

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # wire types (protobuf.dev, "Encoding"); no message here has groups
_FIXED_OCTETS = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True, slots=True)
class Bounds:
    """`parts`: fields that are set, each element of a list counted; `octets`: without those of the field `large`."""

    octets: int
    parts: int
    large: int = 0


BOUNDS = {
    "/fieldwatch.v1.Ingest/Push": Bounds(64 << 10, 16, pb.Up.BATCH_FIELD_NUMBER),
    "/fieldwatch.v1.Control/Session": Bounds(1 << 20, 1_024),
    "/fieldwatch.v1.Control/Report": Bounds(1 << 20, 64),
    "/fieldwatch.v1.Control/Renew": Bounds(64 << 10, 64),
}


class BoundedMessages(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Looks at each message of an agent before it is parsed. A call whose message is over the bounds ends as one whose
    message cannot be parsed: with DecodeError where it is read.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        bounds = BOUNDS.get(handler_call_details.method)
        if handler is None or bounds is None:
            return handler
        parse = handler.request_deserializer

        def parse_bounded(octets: bytes) -> Any:
            check(octets, bounds)
            return parse(octets)

        return handler._replace(request_deserializer=parse_bounded)


def check(octets: bytes, bounds: Bounds) -> None:
    """Raises DecodeError where a message is over its bounds, or no message at the first look."""
    at, parts, counted = 0, 0, 0
    while at < len(octets):
        begin = at
        tag, at = _varint(octets, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(octets, at)
        elif kind == _LENGTH:
            length, at = _varint(octets, at)
            at += length
        elif kind in _FIXED_OCTETS:
            at += _FIXED_OCTETS[kind]
        else:
            raise DecodeError("a group, or no wire type")
        parts += 1
        if tag >> 3 != bounds.large:
            counted += at - begin
        if parts > bounds.parts or counted > bounds.octets:
            raise DecodeError(f"more than {bounds.parts} parts or {bounds.octets} octets")


def _varint(octets: bytes, at: int) -> tuple[int, int]:
    """(value, where the next thing begins)."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(octets):
            raise DecodeError("it ends within a number")
        value |= (octets[at] & 0x7F) << shift
        at += 1
        if octets[at - 1] < 0x80:
            return value, at
    raise DecodeError("a number of more than ten octets")
