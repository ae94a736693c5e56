"""An enrolled agent that keeps to no rule: it reads nothing, opens connections and alarms people without end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from fieldwatch_collector import admin, connections, frequent, keepalive
from fieldwatch_collector.ingest import control, credit, gate
from fieldwatch_collector.ingest import stream as ingest_stream
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc
from support.collector import Identity, Running, Talk, enrol, running, talk, until
from support.deaf import deaf_channel, say

EPOCH = 0xBAD


@pytest.fixture
async def collector(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "data") as made:
        yield made


def open_connections(collector: Running) -> int:
    return sum(1 for _ in keepalive.connections(collector.server.ports["grpc"]))


async def test_an_agent_that_reads_no_answers_is_cut_off(collector: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Welcome waits in vain; another stream goes on."""
    monkeypatch.setattr(ingest_stream, "DEAF_S", 1.0)
    deaf, other = await enrol(collector), await enrol(collector)
    async with deaf_channel(deaf, collector.server.ports["grpc"]) as channel, talk(collector, other) as beside:
        await beside.hello((EPOCH, 1, 1))
        call = agent_pb2_grpc.IngestStub(channel).Push()
        await say(call, pb.Hello(protocol=1))
        await until(call.done, "its call is ended")
        await until(lambda: open_connections(collector) == 1, "it is cut")
        await beside.send(pb.Gap(epoch=EPOCH))
        answer = await beside.read()

    assert (pb.Nack, pb.SCHEMA) == (type(answer), answer.code)


async def test_a_stream_that_is_to_end_does_not_wait_for_who_reads_nothing(collector: Running) -> None:
    """A revoked agent keeps no connection by being deaf."""
    identity = await enrol(collector)
    async with deaf_channel(identity, collector.server.ports["grpc"]) as channel:
        call = agent_pb2_grpc.IngestStub(channel).Push()
        await say(call, pb.Hello(protocol=1))
        await until(lambda: open_connections(collector) == 1, "it is there")
        await until(lambda: collector.services.fleet._lines.get(identity.agent_id), "its stream is open")
        collector.services.fleet.close_agent(identity.agent_id)
        await until(lambda: open_connections(collector) == 0, "it is cut", ingest_stream.CLOSE_S + 6)


async def test_the_connections_of_an_agent_are_bounded(collector: Running) -> None:
    """The oldest goes for a newer one; those of another agent stay."""
    greedy, other = await enrol(collector), await enrol(collector)
    async with contextlib.AsyncExitStack() as opened:

        async def another(identity: Identity) -> Talk:
            stream = await opened.enter_async_context(talk(collector, identity))
            await stream.hello((EPOCH, 1, 1))
            return stream

        beside = await another(other)
        greedy_ones = [await another(greedy) for _ in range(connections.MOST + 2)]
        await until(lambda: open_connections(collector) == connections.MOST + 1, "the oldest are cut")
        with pytest.raises(grpc.aio.AioRpcError):
            await greedy_ones[0].read()
        for stream in (beside, greedy_ones[-1]):
            await stream.send(pb.Gap(epoch=EPOCH))
            assert (await stream.read()).code == pb.SCHEMA


async def test_what_an_agent_does_again_and_again_is_an_event_now_and_then(
    collector: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams that are rolled back, sessions that come and go: the events of each are bounded, and the last is true."""
    monkeypatch.setattr(frequent, "AT_ONCE", 3)
    monkeypatch.setattr(frequent, "EVERY_S", 3_600.0)
    identity = await enrol(collector)
    async with talk(collector, identity) as stream:
        await stream.hello((EPOCH, 1, 1))
        await stream.send(pb.Gap(epoch=EPOCH, from_seq=5, to_seq=5))
        await stream.acked(EPOCH, 0)
    async with identity.channel(collector.server.ports["grpc"]) as channel:
        for _ in range(8):
            push = Talk(agent_pb2_grpc.IngestStub(channel).Push())
            await push.hello((EPOCH, 1, 1))
            assert (await push.read()).code == pb.ROLLED_BACK
            push.call.cancel()
            session = agent_pb2_grpc.ControlStub(channel).Session()
            await session.write(pb.AgentStatus(version="1"))
            await session.done_writing()
            assert await session.read() is grpc.aio.EOF  # type: ignore[attr-defined]

    told = [row[0] for row in collector.rows("SELECT type FROM event ORDER BY seq")]
    assert told.count("agent.rolled_back") == 3
    assert [kind for kind in told if "connected" in kind] == 3 * ["agent.connected", "agent.disconnected"]


async def test_gaps_and_refusals_have_a_rate_of_their_own(collector: Running) -> None:
    """Each costs its work: who sends them by the thousand is paused, and is read no faster if it goes on."""
    identity = await enrol(collector)
    gaps = [pb.Gap(epoch=EPOCH, from_seq=seq, to_seq=seq) for seq in range(1, 601)]
    refused = [pb.Gap(epoch=EPOCH, from_seq=0)] * 600
    async with talk(collector, identity) as stream:
        await stream.hello((EPOCH, 1, 1))
        begun = time.monotonic()
        sending = asyncio.create_task(stream.send(*gaps, *refused))
        answered, paused = 0, 0
        while answered < len(refused):
            answer = await stream.read()
            answered += isinstance(answer, pb.Nack)
            paused += isinstance(answer, pb.Credit) and answer.window_messages == 0
        took_s = time.monotonic() - begun
        await sending

    assert paused
    assert took_s > (len(gaps) + len(refused)) / credit.SINGLES_PER_S - credit.BURST_S - 1


async def test_statuses_are_read_at_a_rate(collector: Running) -> None:
    """An agent that sends them without end is held back by its network, in all of its sessions together."""
    identity = await enrol(collector)
    sent = 0

    async def report(session: Any) -> None:
        nonlocal sent
        while True:
            await session.write(pb.AgentStatus(version="v" * 100_000))
            sent += 1

    async with identity.channel(collector.server.ports["grpc"]) as channel:
        reporting = [asyncio.create_task(report(agent_pb2_grpc.ControlStub(channel).Session())) for _ in range(3)]
        await until(lambda: sent > control.STATUSES_AT_ONCE, "the first are read")
        before = sent
        await asyncio.sleep(2.0)  # they write all the while
        after = sent
        for task in reporting:
            task.cancel()
        await asyncio.gather(*reporting, return_exceptions=True)

    assert after - before < 2.0 * control.STATUSES_PER_S + 3 * 20  # and what waits in the network


async def test_a_revoked_agent_is_refused_without_delay_where_it_calls_too_often(collector: Running) -> None:
    """The first words of some calls are waited for, so that gRPC tells them why they end; more end at once."""
    identity = await enrol(collector)
    admin.run(collector.services, "agents.revoke", {"id": identity.agent_id})
    async with identity.channel(collector.server.ports["grpc"]) as channel:
        calls = [agent_pb2_grpc.IngestStub(channel).Push() for _ in range(gate.MOST_HEARD_OUT + 6)]
        await until(lambda: sum(call.done() for call in calls) == 6, "those over the limit have ended", 3)
        codes = [await call.code() for call in calls if call.done()]
        for call in calls:
            call.cancel()

    assert [grpc.StatusCode.PERMISSION_DENIED] * 6 == codes


@pytest.mark.parametrize(
    ("peer", "place"),
    [
        ("ipv4:192.0.2.1:5000", ("192.0.2.1", 5000)),
        ("ipv6:%5B2001:db8::1%5D:5000", ("2001:db8::1", 5000)),
        ("ipv6:[fe80::1%25eth0]:5000", ("fe80::1", 5000)),
        ("ipv6:%5B::ffff:192.0.2.1%5D:5000", ("192.0.2.1", 5000)),
        ("unix:/run/x", None),
        ("ipv4:nonsense:5000", None),
    ],
)
def test_peers_as_grpc_names_them(peer: str, place: tuple[str, int] | None) -> None:
    """An address and a port, as the kernel has them."""
    assert place == connections.place_of(peer)
