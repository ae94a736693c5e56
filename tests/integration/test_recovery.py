"""Enrolment.Recover over a real channel: the registered key, and nothing else, gets an agent its identity back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fieldwatch_collector import admin, audit
from fieldwatch_collector.identity.recovery import CHALLENGE_S, Challenges
from fieldwatch_proto.recovery import signed_message
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc
from support.collector import (
    DEADLINE_S,
    Identity,
    Running,
    enrol,
    private_key,
    public_channel,
    request_der,
    running,
    talk,
)
from support.identities import issue_past

DENIED = grpc.StatusCode.PERMISSION_DENIED


async def ask(
    collector: Running, identity: Identity, key: ec.EllipticCurvePrivateKey, /, **fields: Any
) -> pb.EnrolReply:
    """Recover for the new `key` as the agent would; `fields` are said instead of the right ones."""
    async with public_channel(collector.server.ports["public_grpc"], identity.ca_der) as channel:
        desk = agent_pb2_grpc.EnrolmentStub(channel)
        agent_id = fields.get("agent_id", identity.agent_id)
        challenge = (await desk.Challenge(pb.ChallengeRequest(agent_id=agent_id), timeout=DEADLINE_S)).challenge
        challenge = fields.pop("challenge", challenge)
        csr = request_der(key)
        signer = fields.pop("signer", identity.key)
        signature = signer.sign(signed_message(challenge, csr), ec.ECDSA(hashes.SHA256()))
        values = {
            "agent_id": agent_id,
            "challenge": challenge,
            "csr_der": csr,
            "signature": signature,
            "version": "2",
        }
        reply: pb.EnrolReply = await desk.Recover(pb.RecoverRequest(**{**values, **fields}), timeout=DEADLINE_S)
        return reply


async def refused(collector: Running, identity: Identity, /, **fields: Any) -> tuple[grpc.StatusCode, str]:
    collector.server.throttle.forget()
    with pytest.raises(grpc.aio.AioRpcError) as problem:
        await ask(collector, identity, private_key(), **fields)
    return problem.value.code(), problem.value.details() or ""


async def slept(collector: Running) -> Identity:
    """An agent whose only certificate has expired."""
    identity = await enrol(collector)
    past = issue_past(collector.services, identity.agent_id, identity.key, 8)
    await collector.services.store.transact(
        lambda connection: connection.execute(
            "DELETE FROM agent_certificate WHERE agent = ? AND serial != ?", (identity.agent_id, past.serial)
        )
    )
    return Identity(identity.agent_id, identity.key, past.der, identity.ca_der)


async def test_the_registered_key_gets_a_certificate_for_a_new_one(tmp_path: Path) -> None:
    """The expired certificate opens nothing; the new one does, and from then on the old key is of no use."""
    async with running(tmp_path / "data") as collector:
        identity = await slept(collector)
        async with talk(collector, identity) as stream:
            with pytest.raises(grpc.aio.AioRpcError) as expired:
                await stream.hello((1, 1, 1))
        key = private_key()
        back = identity.renewed(await ask(collector, identity, key), key)
        again = private_key()  # the first reply might have been lost: until it is used, the old key still speaks
        lost = identity.renewed(await ask(collector, identity, again), again)
        async with talk(collector, back) as stream:
            await stream.hello((1, 1, 1))
        old_key = await refused(collector, identity)
        async with talk(collector, lost) as stream:
            await stream.hello((1, 1, 1))
        rows = collector.rows("SELECT actor, subject, outcome FROM audit WHERE action = 'agent.recover'")
        events = collector.rows("SELECT count(*) FROM event WHERE type = 'agent.recovered'")
        version = collector.rows("SELECT version FROM agent")

    assert expired.value.code() == grpc.StatusCode.UNAVAILABLE
    assert old_key == (DENIED, "the request is not signed by a key that is registered for this agent")
    assert rows == [(f"agent:{identity.agent_id}", identity.agent_id, "done")] * 2
    assert (events, version) == ([(2,)], [("2",)])


async def test_what_is_not_in_order_is_refused(tmp_path: Path) -> None:
    """An unknown agent looks like one whose key the caller lacks."""
    async with running(tmp_path / "data") as collector:
        identity, other = await slept(collector), await slept(collector)
        foreign = Challenges().make(identity.agent_id)
        not_registered = (DENIED, "the request is not signed by a key that is registered for this agent")
        stale = (DENIED, "the challenge is not of this collector, or too old; ask for another")
        found = [
            await refused(collector, identity, signer=private_key()),
            await refused(collector, identity, signer=other.key),
            await refused(collector, identity, agent_id=other.agent_id),
            await refused(collector, identity, agent_id="00000000-0000-4000-8000-000000000000"),
            await refused(collector, identity, csr_der=request_der(private_key())),
            await refused(collector, identity, signature=b"none"),
        ]
        challenges = [
            await refused(collector, identity, challenge=foreign),
            await refused(collector, identity, challenge=b""),
            await refused(collector, identity, challenge=bytes(56)),
        ]
        large = await refused(collector, identity, challenge=bytes(4_000))
        collector.server.throttle.forget()
        with pytest.raises(grpc.aio.AioRpcError) as same:
            await ask(collector, identity, identity.key)
        count = collector.rows("SELECT count(*) FROM agent_certificate")

    assert found == [not_registered] * 6
    assert challenges == [stale] * 3
    assert large[1] == "the enrolment request is too large"
    assert same.value.details() == "a recovery is for a new key; this one is registered already"
    assert count == [(2,)]


async def test_a_revoked_agent_stays_out(tmp_path: Path) -> None:
    """Told to who holds its key; the refusal is audited."""
    async with running(tmp_path / "data") as collector:
        identity = await slept(collector)
        admin.run(collector.services, "agents.revoke", {"id": identity.agent_id})
        code, details = await refused(collector, identity)
        rows = collector.rows("SELECT actor, subject, data FROM audit WHERE outcome = 'refused'")
        with collector.services.store.reader() as connection:
            chain = audit.verify(connection)

    assert (code, details) == (DENIED, "this agent was revoked")
    assert [(actor, subject) for actor, subject, _ in rows] == [("address:127.0.0.1", identity.agent_id)]
    assert json.loads(rows[0][2]) == {"reason": "this agent was revoked", "times": 1}
    assert chain.problem == ""


async def test_recovery_is_limited_as_enrolment_is(tmp_path: Path) -> None:
    """Five refusals bar the address, also for the right key."""
    async with running(tmp_path / "data") as collector:
        identity = await slept(collector)
        collector.server.throttle.forget()
        codes = []
        for _ in range(5):
            with pytest.raises(grpc.aio.AioRpcError) as problem:
                await ask(collector, identity, private_key(), signer=private_key())
            codes.append(problem.value.code())
        with pytest.raises(grpc.aio.AioRpcError) as barred:
            await ask(collector, identity, private_key())

    assert codes == [DENIED] * 5
    assert barred.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_challenge_is_good_for_its_agent_and_its_minute() -> None:
    now = [100.0]
    challenges = Challenges(lambda: now[0])
    challenge = challenges.make("a")
    held = [challenges.holds("a", challenge), challenges.holds("b", challenge), Challenges().holds("a", challenge)]
    flipped = [
        challenges.holds("a", challenge[:place] + bytes([challenge[place] ^ 1]) + challenge[place + 1 :])
        for place in range(len(challenge))
    ]
    cut = [challenges.holds("a", challenge[:length]) for length in range(len(challenge))]
    now[0] += CHALLENGE_S
    at_its_end = challenges.holds("a", challenge)
    now[0] += 0.01
    after = challenges.holds("a", challenge)

    assert held == [True, False, False]
    assert (any(flipped), any(cut)) == (False, False)
    assert (at_its_end, after) == (True, False)
    assert challenge != challenges.make("a")
