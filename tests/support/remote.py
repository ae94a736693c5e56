"""Agents of a test at a collector that runs as a process (`stack.Collector`): enrolled, and with a stream to it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection
from pathlib import Path

from fieldwatch_proto.join import JoinToken
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc

from support.collector import Identity, Talk, enrol_request, private_key, public_channel, request_der
from support.stack import Collector

CALL_S = 120.0


async def joined(collector: Collector) -> Identity:
    """A new agent."""
    token = JoinToken.parse(collector.token())
    key = private_key()
    async with public_channel(collector.ports["public_grpc"], token.ca_der) as channel:
        request = enrol_request(token, request_der(key))
        reply = await agent_pb2_grpc.EnrolmentStub(channel).Enrol(request, timeout=10)
    return Identity(reply.agent_id, key, reply.certificate_der, reply.ca_der)


@contextlib.asynccontextmanager
async def stream_of(collector: Collector, identity: Identity) -> AsyncIterator[Talk]:
    """A stream of this agent."""
    async with identity.channel(collector.ports["grpc"]) as channel:
        call = agent_pb2_grpc.IngestStub(channel).Push(timeout=CALL_S)
        try:
            yield Talk(call)
        finally:
            call.cancel()


class Heard:
    """What a stream has said so far: acked numbers (of one epoch), nacks and windows in their order."""

    def __init__(self) -> None:
        self.acked = 0
        self.nacks: list[pb.Nack] = []
        self.windows: list[int] = []

    def take(self, down: object) -> None:
        if isinstance(down, pb.Ack):
            self.acked = max(self.acked, down.upto)
        elif isinstance(down, pb.Nack):
            self.nacks.append(down)
        elif isinstance(down, pb.Credit | pb.Welcome):
            self.windows.append(down.window_messages)

    async def listen(self, stream: Talk, *, until_acked: int = 0, until_window: Collection[int] = ()) -> None:
        """Read on until so much is acked, or a window of these is granted."""
        while not ((until_acked and self.acked >= until_acked) or (self.windows and self.windows[-1] in until_window)):
            self.take(await stream.read())


def memory_kib(collector: Collector, name: str) -> int:
    """A line of /proc/PID/status (proc_pid_status(5)): VmRSS, or VmHWM, the most since `forget_peak`."""
    assert collector.process is not None
    lines = Path(f"/proc/{collector.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def forget_peak(collector: Collector) -> None:
    """Let VmHWM begin anew (proc_pid_clear_refs(5))."""
    assert collector.process is not None
    Path(f"/proc/{collector.process.pid}/clear_refs").write_text("5")
