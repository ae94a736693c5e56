"""An agent for tests without an event loop of their own (the browser's): it lives in a thread and does what it is told.

Real certificates, real gRPC; only what it says of itself and of its commands comes from the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

from fieldwatch_proto.join import JoinToken
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc

from support.collector import DEADLINE_S, Identity, enrol_request, private_key, public_channel, request_der
from support.commanded import Desk, desk_at
from support.stack import Collector


class ObedientAgent:
    """A context manager: connected inside."""

    def __init__(self, collector: Collector, hostname: str, **status: Any) -> None:
        self._collector, self._hostname, self._status = collector, hostname, status
        self._commands: queue.Queue[pb.Command] = queue.Queue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._desk: Desk
        self.id = ""

    def __enter__(self) -> ObedientAgent:
        self._thread.start()
        self._over: asyncio.Event = self._do(_event())
        self._do(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._living.result(DEADLINE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._loop.close()

    def say(self, **status: Any) -> None:
        """Another status."""
        self._do(self._desk.say(**{**self._status, **status}))

    def command(self) -> pb.Command:
        """The next one."""
        return self._commands.get(timeout=DEADLINE_S)

    def report(self, command_id: str, *reports: dict[str, Any]) -> None:
        """One call of Report with these reports, to its end."""
        self._do(self._desk.report(command_id, *reports))

    def begin(self, command_id: str, **report: Any) -> Any:
        """A call of Report that stays open, after its first report."""
        return self._do(self._begin(command_id, report))

    def go_on(self, call: Any, command_id: str, **report: Any) -> None:
        self._do(call.write(pb.CommandReport(id=command_id, **report)))

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    async def _begin(self, command_id: str, report: dict[str, Any]) -> Any:
        call = self._desk.reporting()
        await call.write(pb.CommandReport(id=command_id, **report))
        return call

    async def _open(self) -> None:
        identity = await self._enrol()
        self.id = identity.agent_id
        opened: asyncio.Future[Desk] = self._loop.create_future()
        self._living = asyncio.run_coroutine_threadsafe(self._live(identity, opened), self._loop)
        self._desk = await opened

    async def _live(self, identity: Identity, opened: asyncio.Future[Desk]) -> None:
        async with desk_at(self._collector.ports["grpc"], identity, **self._status) as desk:
            opened.set_result(desk)
            reading = asyncio.create_task(self._read(desk))
            await self._over.wait()
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    async def _read(self, desk: Desk) -> None:
        while isinstance(command := await desk.call.read(), pb.Command):
            self._commands.put(command)

    async def _enrol(self) -> Identity:
        token = JoinToken.parse(await asyncio.to_thread(self._collector.token))
        key = private_key()
        async with public_channel(self._collector.ports["public_grpc"], token.ca_der) as channel:
            request = enrol_request(token, request_der(key), hostname=self._hostname)
            reply = await agent_pb2_grpc.EnrolmentStub(channel).Enrol(request, timeout=DEADLINE_S)
        return Identity(reply.agent_id, key, reply.certificate_der, reply.ca_der)


async def _event() -> asyncio.Event:
    return asyncio.Event()
