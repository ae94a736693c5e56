"""Enrolment.Enrol over a real channel: a join token gives exactly the identities that it was made for."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from fieldwatch_collector import admin
from fieldwatch_collector.identity import SPIFFE_PREFIX
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc
from support.collector import (
    Running,
    enrol,
    enrol_request,
    private_key,
    public_channel,
    request_der,
    running,
    talk,
)


@contextlib.asynccontextmanager
async def desk(collector: Running) -> AsyncIterator[Any]:
    """The stub of Enrolment."""
    port, ca_der = collector.server.ports["public_grpc"], collector.services.authority.ca_der
    async with public_channel(port, ca_der) as channel:
        yield agent_pb2_grpc.EnrolmentStub(channel)


async def refusal(stub: Any, request: pb.EnrolRequest) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Enrol(request, timeout=10)
    return refused.value.code(), refused.value.details() or ""


async def test_a_token_gives_a_certificate_once(tmp_path: Path) -> None:
    """The certificate names the agent and nothing else; the token's second use is refused."""
    async with running(tmp_path / "data") as collector:
        token = collector.token(site="hq")
        identity = await enrol(collector, token, hostname="pi\x1b[31m,attic\n")
        async with desk(collector) as stub:
            again = await refusal(stub, enrol_request(token, request_der(private_key())))

        certificate = x509.load_der_x509_certificate(identity.certificate_der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        validity = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        assert [SPIFFE_PREFIX + identity.agent_id] == names.get_values_for_type(x509.UniformResourceIdentifier)
        assert validity.days == 8  # 7, and one back for agents whose clock is behind
        assert identity.site == "hq"
        assert [(identity.agent_id, "pi [31m attic", "hq")] == collector.rows("SELECT id, name, site FROM agent")
        assert collector.rows("SELECT uses_left FROM join_token") == [(0,)]
        assert again[0] == grpc.StatusCode.PERMISSION_DENIED
        assert "was used already" in again[1]


async def test_the_same_request_again_gives_the_same_agent(tmp_path: Path) -> None:
    """The reply was lost: the device repeats itself, although the token has no use left."""
    async with running(tmp_path / "data") as collector:
        token = collector.token()
        request = enrol_request(token, request_der(private_key()))
        async with desk(collector) as stub:
            first, second = [await stub.Enrol(request, timeout=10) for _ in range(2)]

        assert first.agent_id == second.agent_id
        assert collector.rows("SELECT count(*) FROM agent") == [(1,)]


async def test_of_two_that_race_for_one_token_one_enrols(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as collector:
        token = collector.token()
        async with desk(collector) as stub:
            requests = [enrol_request(token, request_der(private_key())) for _ in range(2)]
            outcomes = await asyncio.gather(
                *(stub.Enrol(request, timeout=10) for request in requests), return_exceptions=True
            )

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["AioRpcError", "EnrolReply"]
        assert collector.rows("SELECT count(*) FROM agent") == [(1,)]


async def test_what_is_not_in_order_is_refused(tmp_path: Path) -> None:
    """Each with its reason; none makes an agent or costs the token a use."""
    async with running(tmp_path / "data") as collector:
        token = collector.token()
        revoked = collector.token()
        admin.run(collector.services, "token.revoke", {"id": revoked.token_id})
        expired = collector.token(ttl_s=0.001)
        csr = request_der(private_key())
        requests = {
            "not one of": [
                enrol_request(token, csr, signature=bytes(64)),
                enrol_request(token, csr, token_id="nosuchtoken"),
                enrol_request(replace(token, seed=bytes(32)), csr),
                enrol_request(replace(token, ca_der=token.ca_der + b"\0"), csr),
                enrol_request(token, csr, csr_der=request_der(private_key())),
            ],
            "was revoked": [enrol_request(revoked, csr)],
            "has expired": [enrol_request(expired, csr)],
            "cannot be read": [enrol_request(token, b"no request")],
            "must be P-256": [
                enrol_request(token, request_der(ec.generate_private_key(ec.SECP384R1()))),
                enrol_request(token, request_der(ed25519.Ed25519PrivateKey.generate())),
            ],
            "replaces no agent; make one that does": [
                enrol_request(token, csr, replace_agent="00000000-0000-4000-8000-000000000000")
            ],
            "too large": [enrol_request(token, csr + bytes(9_000))],
        }
        for words, each in requests.items():
            for request in each:
                _forget_limits(collector)
                async with desk(collector) as stub:
                    _, details = await refusal(stub, request)

                assert words in details

        assert collector.rows("SELECT count(*) FROM agent") == [(0,)]
        assert collector.rows("SELECT uses_left FROM join_token WHERE id = ?", token.token_id) == [(1,)]


def _forget_limits(collector: Running) -> None:
    """As time would."""
    collector.server.throttle.forget()


async def test_a_flood_of_guesses_bars_the_address(tmp_path: Path) -> None:
    """Five refusals, and a quarter of an hour of nothing, even with a good token."""
    async with running(tmp_path / "data") as collector:
        token = collector.token()
        csr = request_der(private_key())
        async with desk(collector) as stub:
            codes = [(await refusal(stub, enrol_request(token, csr, signature=bytes(64))))[0] for _ in range(5)]
            barred = await refusal(stub, enrol_request(token, csr))

        assert codes == [grpc.StatusCode.PERMISSION_DENIED] * 5
        assert barred[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "900 s" in barred[1]


async def test_a_replacement_takes_the_identity_over(tmp_path: Path) -> None:
    """The re-imaged device is the old agent; the old device's certificate is refused from then on."""
    async with running(tmp_path / "data") as collector:
        old = await enrol(collector)
        token = collector.token(replace=old.agent_id)
        new = await enrol(collector, token, replace_agent=old.agent_id)
        async with talk(collector, new) as stream:
            await stream.hello((1, 1, 1))
        async with talk(collector, old) as stream:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stream.hello((1, 1, 1))

        assert old.agent_id == new.agent_id
        assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert collector.rows("SELECT type FROM event WHERE type = 'agent.replaced'") == [("agent.replaced",)]


async def test_the_server_shows_its_fixed_name_and_is_found_by_health_and_reflection(tmp_path: Path) -> None:
    """Agents expect collector.fieldwatch.internal whatever they dial; tools find the services."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    async with running(tmp_path / "data") as collector:
        port, ca_der = collector.server.ports["public_grpc"], collector.services.authority.ca_der
        async with public_channel(port, ca_der) as channel:
            health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            calls = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]), timeout=10)
            listed = [service.name async for reply in calls for service in reply.list_services_response.service]

        assert health.status == health_pb2.HealthCheckResponse.SERVING
        assert {"fieldwatch.v1.Enrolment", "fieldwatch.v1.Query"} <= set(listed)
        assert {"grpc", "public_grpc", "http"} == set(json.loads((collector.data / "ports.json").read_text()))
