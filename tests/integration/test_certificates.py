"""The life of an agent's certificate: renewed with a new key, superseded by first use, replaced with the device."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import grpc.aio
import pytest
from fieldwatch_agent.enrolment.identity import Identity as AgentIdentity
from fieldwatch_collector import admin
from fieldwatch_collector.identity.certificates import MAX_UNUSED
from fieldwatch_collector.ingest import throttle
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc
from support.collector import DEADLINE_S, Identity, Running, enrol, private_key, request_der, running, talk

DENIED = grpc.StatusCode.PERMISSION_DENIED


async def renew(collector: Running, identity: Identity) -> Identity:
    key = private_key()
    async with identity.channel(collector.server.ports["grpc"]) as channel:
        request = pb.RenewRequest(csr_der=request_der(key))
        reply = await agent_pb2_grpc.ControlStub(channel).Renew(request, timeout=DEADLINE_S)
    return identity.renewed(reply, key)


async def admitted(collector: Running, identity: Identity) -> bool:
    async with talk(collector, identity) as stream:
        try:
            await stream.hello((1, 1, 1))
        except grpc.aio.AioRpcError as problem:
            if problem.code() != DENIED:
                raise
            return False
        return True


async def test_the_old_one_is_valid_until_the_first_use_of_the_new(tmp_path: Path) -> None:
    """Also where the reply of a renewal was lost, and the next renewal comes with the old one."""
    async with running(tmp_path / "data") as collector:
        old = await enrol(collector)
        first = await admitted(collector, old)
        lost = await renew(collector, old)
        new = await renew(collector, old)
        before = await admitted(collector, old)
        used = await admitted(collector, new)
        after = [await admitted(collector, identity) for identity in (old, lost, new)]
        rows = collector.rows("SELECT actor, action, subject FROM audit WHERE action = 'agent.renew'")

        assert (first, before, used) == (True, True, True)
        assert after == [False, False, True]
        assert rows == [(f"agent:{old.agent_id}", "agent.renew", old.agent_id)] * 2


async def test_replies_that_are_lost_for_ever_leave_a_bounded_number_of_certificates(tmp_path: Path) -> None:
    """The one in use is not among those that go."""
    async with running(tmp_path / "data") as collector:
        old = await enrol(collector)
        assert await admitted(collector, old)
        renewed = [await renew(collector, old) for _ in range(2 * MAX_UNUSED)]

        assert collector.rows("SELECT count(*) FROM agent_certificate") == [(1 + MAX_UNUSED,)]
        assert await admitted(collector, old)
        assert not await admitted(collector, renewed[0])
        assert await admitted(collector, renewed[-1])


async def test_renewals_are_bounded_for_each_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that asks in a loop fills neither the audit log nor the table, and keeps nobody else from asking."""
    monkeypatch.setattr(throttle, "RENEWALS_BURST", 3.0)
    async with running(tmp_path / "data") as collector:
        greedy, other = await enrol(collector), await enrol(collector)
        for _ in range(3):
            greedy = await renew(collector, greedy)  # with each new one at once: it supersedes the one before
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await renew(collector, greedy)
        rows = collector.rows("SELECT count(*) FROM audit WHERE action = 'agent.renew'")
        streams = await admitted(collector, greedy)
        await renew(collector, other)

        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "too many renewals of this agent's certificate; try again in" in (refused.value.details() or "")
        assert (rows, streams) == ([(3,)], True)


async def test_a_replacement_closes_the_open_streams_of_the_device_before(tmp_path: Path) -> None:
    """It does not go on under the name of its successor for the rest of the stream's age."""
    async with running(tmp_path / "data") as collector:
        old = await enrol(collector)
        async with talk(collector, old) as stream:
            await stream.hello((1, 1, 1))
            new = await enrol(collector, collector.token(replace=old.agent_id), replace_agent=old.agent_id)
            with pytest.raises(grpc.aio.AioRpcError) as closed:
                await stream.read()
        row = collector.rows("SELECT actor, subject, data FROM audit WHERE action = 'agent.replace'")[0]

        assert closed.value.code() == DENIED
        assert await admitted(collector, new)
        assert row[:2] == ("address:127.0.0.1", old.agent_id)
        assert json.loads(row[2])["name"] == "pi"


async def test_the_tags_of_the_token_choose_agents(tmp_path: Path) -> None:
    """All the tags that are asked for; what is no tag is refused before a token is made."""
    async with running(tmp_path / "data") as collector:
        both = await enrol(collector, collector.token(tags={"rack": "7", "row": "b"}))
        one = await enrol(collector, collector.token(tags={"rack": "7"}))
        await enrol(collector)

        def listed(**tags: str) -> set[str]:
            return {agent["id"] for agent in admin.run(collector.services, "agents.list", {"tags": tags})}

        assert listed(rack="7") == {both.agent_id, one.agent_id}
        assert listed(rack="7", row="b") == {both.agent_id}
        assert listed(rack="8") == set()
        assert len(listed()) == 3
        with pytest.raises(admin.AdminError, match="--tag: 'a b': accepted are"):
            collector.token(tags={"a b": "c"})
        with pytest.raises(admin.AdminError, match="--tag: site is what selectors call the agent's own site; choose"):
            collector.token(tags={"site": "hq"})
        with pytest.raises(admin.AdminError, match="--tag: 33 are given, the limit is 32"):
            collector.token(tags={f"t{number}": "x" for number in range(33)})


def test_renewal_is_due_at_half_of_the_life_with_jitter() -> None:
    identity = AgentIdentity("a", "s", "h", 7443, 7444, not_before=1_000, not_after=2_000)

    assert [identity.renew_at(spread) for spread in (0.0, 0.5, 1.0)] == [1_500, 1_550, 1_600]
