"""Rows 16 and 17 of the failure matrix from the collector's side: who is gone, and who is slow."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from fieldwatch_collector import keepalive
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.collector import Running, Talk, batch, enrol, public_channel, running, sealed, sighting, until
from support.proxy import Proxy, Shape

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
PING_S, SILENT_S = 0.5, 3.0  # who is there answers within milliseconds; a machine may stand still for a second
MOST_S = 90.0  # the row's


@pytest.fixture
async def collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """Its times are shorter than those that are shipped."""
    shorter = {
        "grpc.keepalive_time_ms": int(1_000 * PING_S),
        "grpc.http2.min_ping_interval_without_data_ms": int(1_000 * PING_S),
    }
    public = {**shorter, "grpc.http2.ping_timeout_ms": int(1_000 * SILENT_S)}
    for name, changed in (("AGENT_OPTIONS", shorter), ("PUBLIC_OPTIONS", public)):
        options = {**dict(getattr(keepalive, name)), **changed}
        monkeypatch.setattr(keepalive, name, tuple(options.items()))
    monkeypatch.setattr(keepalive, "SILENT_S", SILENT_S)
    monkeypatch.setattr(keepalive, "LOOK_S", 0.2)
    async with running(tmp_path / "data") as made:
        yield made


def events(collector: Running, kind: str) -> int:
    return int(collector.rows("SELECT count(*) FROM event WHERE type = ?", kind)[0][0])


async def test_row_16_the_collector_finds_an_agent_gone(collector: Running) -> None:
    """Everything is acked by TCP and nothing passes: the agent counts as disconnected, not before it was silent for as
    long as it may be. An agent that is there and says nothing is not ended: it answers pings.
    """
    identity = await enrol(collector)
    with Proxy(collector.server.ports["grpc"]) as proxy:
        async with identity.channel(proxy.port) as channel:
            call = agent_pb2_grpc.ControlStub(channel).Session()
            await call.write(pb.AgentStatus(version="1"))
            await until(lambda: events(collector, "agent.connected"), "the session is there")
            calm = time.monotonic() + 2 * SILENT_S
            await until(lambda: time.monotonic() > calm or events(collector, "agent.disconnected"), "a calm while")
            ended_early = events(collector, "agent.disconnected")
            proxy.half_open(swallow=True)
            begun = time.monotonic()
            await until(lambda: events(collector, "agent.disconnected"), "the agent is found gone", 20)
            took = time.monotonic() - begun
            call.cancel()

    assert ended_early == 0
    assert SILENT_S - PING_S - 0.5 < took < 3 * SILENT_S, took  # the machine may be busy


async def test_row_16_the_collector_finds_a_client_gone(collector: Running) -> None:
    """The same at the port of clients."""
    port = collector.server.ports["public_grpc"]

    def open_connections() -> int:
        return sum(1 for _ in keepalive.connections(port))

    with Proxy(port) as proxy:
        async with public_channel(proxy.port, collector.services.authority.known_der()[0]) as channel:
            call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            await call.read()
            assert open_connections() == 1
            proxy.half_open(swallow=True)
            begun = time.monotonic()
            await until(lambda: open_connections() == 0, "the client is found gone", 20)
            took = time.monotonic() - begun
            call.cancel()

    assert took < 3 * (PING_S + SILENT_S), took


def test_row_16_the_times_that_are_shipped() -> None:
    """Within the row's bound at either port, and for a way that is dead as well as for one that swallows."""
    for options in (dict(keepalive.AGENT_OPTIONS), dict(keepalive.PUBLIC_OPTIONS)):
        dead_ms = options["grpc.keepalive_time_ms"] + options["grpc.keepalive_timeout_ms"]
        assert dead_ms <= 1_000 * MOST_S
    public: dict[str, Any] = dict(keepalive.PUBLIC_OPTIONS)
    assert public["grpc.keepalive_time_ms"] + public["grpc.http2.ping_timeout_ms"] <= 1_000 * MOST_S
    assert keepalive.SILENT_S + keepalive.LOOK_S <= MOST_S
    assert keepalive.SILENT_S >= 2 * keepalive.KEEPALIVE_S  # who is there has answered a ping by then


async def test_row_17_an_agent_that_is_slow_is_not_gone(collector: Running) -> None:
    """Its answer to a ping waits behind a batch for longer than it may be silent; as long as octets come it stays."""
    identity = await enrol(collector)
    body = os.urandom(160_000)  # no columns, which is for later to find out
    digest = hashlib.blake2b(body, digest_size=16).digest()
    large = replace(sealed(Kind.SIGHTING, [sighting(1)]), body=body, digest=digest)
    slow = Shape(bytes_per_s=20_000)
    with Proxy(collector.server.ports["grpc"], slow) as proxy:
        async with identity.channel(proxy.port) as channel:
            stream = Talk(agent_pb2_grpc.IngestStub(channel).Push(timeout=60))
            await stream.hello((7, 1, 2))
            begun = time.monotonic()
            await stream.send(batch(7, 1, large))
            answer = await stream.call.read()
            took = time.monotonic() - begun
            connections = proxy.connections
            stream.call.cancel()

    assert answer != grpc.aio.EOF
    assert took > 2 * SILENT_S, took
    assert connections == 1
