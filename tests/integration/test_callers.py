"""Anybody at the public port: requests that come by halves, calls without end; who calls as one should is answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from fieldwatch_collector import callers
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.collector import Running, enrol, public_channel, running

CHALLENGE = "/fieldwatch.v1.Enrolment/Challenge"


@pytest.fixture
async def collector(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "data") as made:
        yield made


@pytest.fixture
async def channel(collector: Running) -> AsyncIterator[grpc.aio.Channel]:
    ca_der = collector.services.authority.known_der()[0]
    async with public_channel(collector.server.ports["public_grpc"], ca_der) as made:
        yield made


def as_stream(channel: grpc.aio.Channel, path: str) -> Any:
    """The method as a stream of octets, so that a request may be late or missing."""
    return channel.stream_unary(path, request_serializer=bytes, response_deserializer=bytes)()


async def code_of(call: Any) -> grpc.StatusCode:
    """How it ends."""
    async with asyncio.timeout(10):
        return await call.code()


async def test_a_request_that_does_not_come_is_not_waited_for(
    channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one that is none; a whole one is answered."""
    monkeypatch.setattr(callers, "HEAR_S", 0.5)
    late = as_stream(channel, CHALLENGE)
    await late.wait_for_connection()
    codes = [await code_of(late)]
    missing = as_stream(channel, CHALLENGE)
    await missing.done_writing()
    codes.append(await code_of(missing))
    garbage = as_stream(channel, CHALLENGE)
    await garbage.write(b"\x0a\xff")
    codes.append(await code_of(garbage))
    reply = await agent_pb2_grpc.EnrolmentStub(channel).Challenge(pb.ChallengeRequest(agent_id="x"))

    assert codes == [
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.INVALID_ARGUMENT,
    ]
    assert reply.challenge


async def test_the_calls_of_an_address_are_bounded(
    collector: Running, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too many is refused, whatever it asks; when one has ended there is room again."""
    monkeypatch.setattr(callers, "CALLS_OF_ONE", 3)
    health = health_pb2_grpc.HealthStub(channel)
    watching = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
    for call in watching:
        await call.read()
    refused = [
        await code_of(health.Check(health_pb2.HealthCheckRequest())),
        await code_of(health.Watch(health_pb2.HealthCheckRequest())),
        await code_of(as_stream(channel, CHALLENGE)),
        await code_of(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()),
    ]
    watching[0].cancel()
    async with asyncio.timeout(10):
        while await code_of(health.Check(health_pb2.HealthCheckRequest())) is not grpc.StatusCode.OK:
            await asyncio.sleep(0.02)
    identity = await enrol(collector)

    assert [grpc.StatusCode.RESOURCE_EXHAUSTED] * 4 == refused
    assert identity.agent_id


async def test_reflection_lasts_a_while(channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers, and a call of it ends though the caller says nothing more."""
    monkeypatch.setattr(callers, "TALK_S", 1.0)
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    names = {service.name for service in (await call.read()).list_services_response.service}

    assert "fieldwatch.v1.Query" in names
    assert await code_of(call) is grpc.StatusCode.DEADLINE_EXCEEDED
