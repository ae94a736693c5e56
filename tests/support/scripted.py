"""A collector that does what a test tells it, over real TLS on a real socket: for the edges of the protocol.

It has a CA, a certificate for collector.fieldwatch.internal, and makes agents' certificates. Each Push is a
conversation: the test's coroutine reads what the agent says and answers. Commands are given by `command`, in the
newest session; what agents say is kept in `statuses` and `reports`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fieldwatch_agent.enrolment.identity import TARGET_NAME, Credentials, Identity, store_identity
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc

PEM = serialization.Encoding.PEM
DEADLINE_S = 10.0


class Authority:
    """A P-256 CA."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        self.certificate = self._sign(self.key.public_key(), self._name, [], ca=True)
        self.pem = self.certificate.public_bytes(PEM)

    def issue(self, name: str, *, days: float = 1) -> tuple[bytes, bytes]:
        """(key, certificate) in PEM for a DNS name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(key.public_key(), subject, [x509.DNSName(name)], days=days)
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return private, certificate.public_bytes(PEM)

    def _sign(
        self, public: Any, subject: x509.Name, names: list[x509.GeneralName], *, days: float = 1, ca: bool = False
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=2))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def enrol(self, folder: Path, port: int) -> Identity:
        """An agent's identity in its folder, as if it had enrolled."""
        key, certificate = self.issue("agent")
        identity = Identity("agent-1", "site", "127.0.0.1", port, 0, 0, 1 << 40)
        store_identity(folder, identity, Credentials(key, certificate, self.pem))
        return identity


class Conversation:
    """One Push."""

    def __init__(self, number: int, said: AsyncIterator[pb.Up]) -> None:
        self.number = number  # 1 = the first connection
        self._said = said
        self.answers: asyncio.Queue[pb.Down | None] = asyncio.Queue()

    async def hear(self) -> Any:
        """The next message of the agent: Hello, Batch, Gap, Bye; None at the end."""
        try:
            up = await asyncio.wait_for(anext(self._said), DEADLINE_S)
        except StopAsyncIteration:
            return None
        return getattr(up, up.WhichOneof("message"))

    async def say(self, *messages: Any) -> None:
        names = {pb.Welcome: "welcome", pb.Ack: "ack", pb.Nack: "nack", pb.Credit: "credit", pb.GoAway: "goaway"}
        for message in messages:
            await self.answers.put(pb.Down(**{names[type(message)]: message}))

    async def welcome(
        self, *, messages: int = 8, octets: int = 1 << 20, have: dict[int, int] | None = None, wall_ns: int = 0
    ) -> Any:
        """Hear the Hello, answer it; the Hello. `wall_ns`: the collector's clock, 0 = it does not say."""
        hello = await self.hear()
        held = [pb.Have(epoch=epoch, upto=upto) for epoch, upto in (have or {}).items()]
        answer = pb.Welcome(have=held, window_messages=messages, window_bytes=octets, server_wall_ns=wall_ns)
        await self.say(answer)
        return hello


Script = Callable[[Conversation], Awaitable[None]]


class ScriptedCollector(agent_pb2_grpc.IngestServicer, agent_pb2_grpc.ControlServicer):
    """Runs in a thread of its own. A script that ends closes the stream; `failures` holds what went wrong in one."""

    def __init__(self, authority: Authority, script: Script, *, port: int = 0) -> None:
        self.authority, self.script = authority, script
        self.port = port
        self.connections = 0
        self.failures: list[BaseException] = []
        self.sessions = 0  # those that have said their first status
        self.open_sessions = 0
        self.statuses: list[pb.AgentStatus] = []
        self.reports: list[pb.CommandReport] = []
        self.unwanted: set[str] = set()
        """Commands whose reports are ended by saying so."""
        self.listens = True
        """Whether reports are read; else they are kept waiting."""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> ScriptedCollector:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    def command(self, command: pb.Command) -> None:
        """Give the agent a command, as soon as it has a session. One whose end was not seen yet would swallow it."""
        self._loop.call_soon_threadsafe(self._commands.put_nowait, command)

    def states(self, command_id: str) -> list[str]:
        """What was reported of a command: "accepted", "running", ..., without repeats."""
        names = [pb.CommandState.Name(report.state) for report in self.reports if report.id == command_id]
        names = [name.removeprefix("COMMAND_").lower() for name in names]
        return [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]

    def last(self, command_id: str) -> pb.CommandReport:
        return [report for report in self.reports if report.id == command_id][-1]

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._commands: asyncio.Queue[pb.Command] = asyncio.Queue()
        key, certificate = self.authority.issue(TARGET_NAME)
        server = grpc.aio.server()
        agent_pb2_grpc.add_IngestServicer_to_server(self, server)  # type: ignore[no-untyped-call]
        agent_pb2_grpc.add_ControlServicer_to_server(self, server)  # type: ignore[no-untyped-call]
        credentials = grpc.ssl_server_credentials(
            [(key, certificate)], root_certificates=self.authority.pem, require_client_auth=True
        )
        self.port = server.add_secure_port(f"127.0.0.1:{self.port}", credentials)
        await server.start()
        self._ready.set()
        await self._stop.wait()
        await server.stop(None)

    async def Push(self, request_iterator: AsyncIterator[pb.Up], context: Any) -> AsyncIterator[pb.Down]:
        self.connections += 1
        conversation = Conversation(self.connections, request_iterator)

        async def play() -> None:
            try:
                await self.script(conversation)
            except asyncio.CancelledError:  # the agent has ended the call: nothing of the script's
                raise
            except BaseException as problem:
                self.failures.append(problem)
                raise
            finally:
                await conversation.answers.put(None)

        playing = asyncio.create_task(play())
        try:
            while (answer := await conversation.answers.get()) is not None:
                yield answer
        finally:
            playing.cancel()

    async def Session(self, request_iterator: AsyncIterator[pb.AgentStatus], context: Any) -> AsyncIterator[pb.Command]:
        async def listen() -> None:
            first = True
            async for status in request_iterator:
                self.statuses.append(status)
                self.sessions, first = self.sessions + first, False

        listening = asyncio.create_task(listen())
        given = asyncio.create_task(self._commands.get())
        self.open_sessions += 1
        try:
            while True:
                await asyncio.wait({listening, given}, return_when=asyncio.FIRST_COMPLETED)
                if not given.done():
                    return
                command, given = given.result(), asyncio.create_task(self._commands.get())
                yield command
        finally:
            listening.cancel()
            given.cancel()
            self.open_sessions -= 1

    async def Report(self, request_iterator: AsyncIterator[pb.CommandReport], context: Any) -> pb.ReportReply:
        if not self.listens:
            await self._stop.wait()
        async for report in request_iterator:
            self.reports.append(report)
            if report.id in self.unwanted:
                return pb.ReportReply(cancelled=True)
        return pb.ReportReply()
