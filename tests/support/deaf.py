"""An agent that reads nothing: its streams grant the collector no octet to send (RFC 9113, 6.9)."""

from __future__ import annotations

from typing import Any

import grpc.aio
from fieldwatch_proto.v1 import agent_pb2 as pb

from support.collector import Identity


def deaf_channel(identity: Identity, port: int) -> grpc.aio.Channel:
    """Headers are heard, a message is not, as long as nobody reads the call."""
    return identity.channel(port, ("grpc.http2.lookahead_bytes", 1), ("grpc.http2.bdp_probe", 0))


async def say(call: Any, message: pb.Hello | pb.Batch | pb.Gap) -> None:
    """Write one message of Push, and read nothing."""
    field = {pb.Hello: "hello", pb.Batch: "batch", pb.Gap: "gap"}[type(message)]
    await call.write(pb.Up(**{field: message}))
