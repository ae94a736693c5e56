"""A real collector in the test's own event loop, and a small agent that speaks to it over real TLS channels."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from fieldwatch_collector import admin, audit
from fieldwatch_collector.config import CollectorConfig, Listen
from fieldwatch_collector.identity import COLLECTOR_NAME
from fieldwatch_collector.server import Server
from fieldwatch_collector.services import Services, make_data_folder, open_services
from fieldwatch_proto.columns import Sealed, seal
from fieldwatch_proto.join import JoinToken, signed_message
from fieldwatch_proto.records import records_of
from fieldwatch_proto.schema import Kind, SightingSource, ip_value
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc

DEADLINE_S = 20.0


@dataclass
class Running:
    """`services` are those of the server that runs."""

    services: Services
    server: Server

    @property
    def data(self) -> Path:
        return self.services.data

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.services.store.reader() as connection:
            return [tuple(row) for row in connection.execute(sql, values)]

    async def projected(self) -> None:
        """Wait until the projections have reached the end of the log."""
        await until(
            lambda: self.services.projector.position == self.rows("SELECT coalesce(max(position), 0) FROM batch")[0][0],
            "the projections catch up",
        )

    def token(self, **arguments: Any) -> JoinToken:
        made = admin.run(self.services, "token.create", arguments)
        return JoinToken.parse(made["token"])


async def until(look: Any, what: str, seconds: float = DEADLINE_S) -> None:
    """Wait until `look` gives something true."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(data: Path, **settings: Any) -> AsyncIterator[Running]:
    """A collector on free loopback ports."""
    listen = Listen(grpc="127.0.0.1:0", public_grpc="127.0.0.1:0", http="127.0.0.1:0")
    config = CollectorConfig(data=str(data), listen=listen, **settings)
    make_data_folder(data)
    with admin.lock(data), open_services(data, config) as services:
        server = Server(services, None)
        task = asyncio.create_task(server.run())
        ready = asyncio.create_task(server.ready.wait())
        try:
            await asyncio.wait({task, ready}, timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            assert server.ready.is_set(), "the collector did not start"
            yield Running(services, server)
        finally:
            ready.cancel()
            server.request_stop()
            await asyncio.wait_for(task, 2 * DEADLINE_S)


def private_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def request_der(key: Any) -> bytes:
    """A PKCS #10 request by `key`."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "agent")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, _hash_for(key))
    return request.public_bytes(serialization.Encoding.DER)


def _hash_for(key: Any) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def enrol_request(token: JoinToken, csr_der: bytes, /, **fields: Any) -> pb.EnrolRequest:
    """What a device with this token sends."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(token.seed)
    signature = key.sign(signed_message(token.ca_der, token.token_id, csr_der))
    values = {"token_id": token.token_id, "csr_der": csr_der, "signature": signature, "hostname": "pi", "version": "1"}
    return pb.EnrolRequest(**{**values, **fields})


def public_channel(port: int, ca_der: bytes) -> grpc.aio.Channel:
    """To port 7444's place: server TLS."""
    credentials = grpc.ssl_channel_credentials(pem(ca_der))
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=_options())


def pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


def _options() -> list[tuple[str, Any]]:
    # One channel, one connection: gRPC would share a failed handshake's back-off between tests.
    return [("grpc.ssl_target_name_override", COLLECTOR_NAME), ("grpc.use_local_subchannel_pool", 1)]


@dataclass(frozen=True)
class Identity:
    """What an enrolled device keeps."""

    agent_id: str
    key: ec.EllipticCurvePrivateKey
    certificate_der: bytes
    ca_der: bytes
    site: str = ""

    def channel(self, port: int, *options: tuple[str, Any]) -> grpc.aio.Channel:
        """To port 7443's place: mutual TLS."""
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        credentials = grpc.ssl_channel_credentials(pem(self.ca_der), key, pem(self.certificate_der))
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=[*_options(), *options])

    def renewed(self, reply: pb.EnrolReply, key: ec.EllipticCurvePrivateKey) -> Identity:
        return replace(self, key=key, certificate_der=reply.certificate_der)


async def enrol(collector: Running, token: JoinToken | None = None, **fields: Any) -> Identity:
    """A new agent, over a real channel."""
    token = token or collector.token()
    key = private_key()
    async with public_channel(collector.server.ports["public_grpc"], token.ca_der) as channel:
        stub = agent_pb2_grpc.EnrolmentStub(channel)
        reply = await stub.Enrol(enrol_request(token, request_der(key), **fields), timeout=DEADLINE_S)
    return Identity(reply.agent_id, key, reply.certificate_der, reply.ca_der, reply.site)


class Talk:
    """One call of Push, message by message."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def send(self, *messages: Any) -> None:
        for message in messages:
            field = {pb.Hello: "hello", pb.Batch: "batch", pb.Gap: "gap", pb.Bye: "bye"}[type(message)]
            await self.call.write(pb.Up(**{field: message}))

    async def read(self) -> Any:
        """The next message of the collector: Welcome, Ack, Nack, Credit, GoAway; None at the end of the stream."""
        down = await asyncio.wait_for(self.call.read(), DEADLINE_S)
        if down == grpc.aio.EOF:
            return None
        return getattr(down, down.WhichOneof("message"))

    async def hello(self, *streams: tuple[int, int, int], protocol: int = 1) -> Any:
        """Say (epoch, first_unacked, next_seq) of each stream; the Welcome."""
        named = [pb.Stream(epoch=epoch, first_unacked=first, next_seq=following) for epoch, first, following in streams]
        await self.send(pb.Hello(protocol=protocol, streams=named))
        return await self.read()

    async def acked(self, epoch: int, upto: int) -> None:
        """Read until everything up to `upto` is acked."""
        while True:
            answer = await self.read()
            assert isinstance(answer, pb.Ack | pb.Credit), answer
            if isinstance(answer, pb.Ack) and answer.epoch == epoch and answer.upto >= upto:
                return


@contextlib.asynccontextmanager
async def talk(collector: Running, identity: Identity) -> AsyncIterator[Talk]:
    """A stream of this agent."""
    async with identity.channel(collector.server.ports["grpc"]) as channel:
        call = agent_pb2_grpc.IngestStub(channel).Push(timeout=3 * DEADLINE_S)
        try:
            yield Talk(call)
        finally:
            call.cancel()


def batch(epoch: int, seq: int, sealed: Sealed, /, **fields: Any) -> pb.Batch:
    values = {
        "epoch": epoch,
        "seq": seq,
        "kind": int(sealed.kind),
        "schema": 1,
        "records": sealed.records,
        "t_min": sealed.t_min,
        "t_max": sealed.t_max,
        "codec": 1,
        "raw_bytes": sealed.raw_bytes,
        "digest": sealed.digest,
        "body": sealed.body,
    }
    return pb.Batch(**{**values, **fields})


def mac(number: int) -> bytes:
    """A globally administered unicast MAC, not of a known vendor."""
    return b"\x00\xde\xad" + number.to_bytes(3, "big")


def sighting(
    number: int, ip: bytes = b"", source: SightingSource = SightingSource.ARP, **fields: Any
) -> dict[str, Any]:
    """A row of kind sighting: device `number` at `ip`."""
    version, value = ip_value(ip)
    row = {
        "first_ns": 1_000,
        "last_ns": 2_000,
        "vlans": 0,
        "mac": mac(number),
        "ip_version": version,
        "ip": value,
        "source": int(source),
        "frames": 1,
        "interface": "eth0",
    }
    return {**row, **fields}


def fact(subject: str, key: str, value: str, source: str, **fields: Any) -> dict[str, Any]:
    """A row of kind fact."""
    row = {
        "seen_ns": 1_500,
        "subject": subject,
        "key": key,
        "value": value,
        "source": source,
        "evidence": f"{source} {key}",
        "confidence": 90,
        "frame": 1,
        "vlans": 0,
        "ip_version": 0,
        "ip": bytes(16),
        "interface": "eth0",
    }
    return {**row, **fields}


def flow(src: bytes, dst: bytes, **fields: Any) -> dict[str, Any]:
    """A row of kind flow: 10 packets of 100 octets out, 5 of 200 back."""
    version, src_value = ip_value(src)
    row = {
        "first_ns": 1_000,
        "last_ns": 2_000,
        "ip_version": version,
        "protocol": 6,
        "src": src_value,
        "dst": ip_value(dst)[1],
        "src_port": 50_000,
        "dst_port": 443,
        "vlans": 0,
        "src_mac": mac(1),
        "dst_mac": mac(2),
        "packets": 10,
        "bytes": 1_000,
        "reply_packets": 5,
        "reply_bytes": 1_000,
        "tcp_flags": 0x02,
        "reply_tcp_flags": 0x12,
        "state": 3,
        "end_reason": 1,
        "tunnels": "",
        "application": "https",
        "interface": "eth0",
        "min_bytes": 100,
        "max_bytes": 100,
        "reply_min_bytes": 200,
        "reply_max_bytes": 200,
        "min_gap_us": 0,
        "max_gap_us": 1,
        "retransmits": 0,
        "reply_retransmits": 0,
        "server_rtt_us": 0,
        "client_rtt_us": 0,
    }
    return {**row, **fields}


def sealed(kind: Kind, rows: Sequence[dict[str, Any]]) -> Sealed:
    return seal(records_of(kind, rows))


@contextlib.contextmanager
def offline(data: Path, **settings: Any) -> Iterator[Services]:
    """The services of a data folder without a server."""
    make_data_folder(data)
    with admin.lock(data), open_services(data, CollectorConfig(data=str(data), **settings)) as services:
        yield services


def audit_large(data: Path) -> None:
    """Three rows of the audit log, together more than one answer of a server holds."""
    with offline(data) as services:
        for number in range(3):
            row = {"n": number, "pad": "p" * 600_000}
            services.store.transact_sync(partial(audit.append, actor="user:chief", action="x", data=row))
