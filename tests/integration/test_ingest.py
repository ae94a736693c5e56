"""Ingest.Push over real mutual TLS: what is acked is held, what is held is held once, and nothing else is believed."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import grpc
import grpc.aio
import pytest
from fieldwatch_collector import admin
from fieldwatch_collector.identity.authority import Authority
from fieldwatch_collector.ingest import fleet, gate
from fieldwatch_collector.ingest.returning import RETURNS_PER_S
from fieldwatch_proto.columns import digest
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc
from support.collector import (
    Identity,
    batch,
    enrol,
    flow,
    private_key,
    request_der,
    running,
    sealed,
    sighting,
    talk,
)

EPOCH = 0xFEED_BEEF_0000_0001  # above 2^63: an epoch is unsigned on the wire
SIGHTINGS = [sealed(Kind.SIGHTING, [sighting(number, bytes([10, 0, 0, number]))]) for number in range(1, 12)]


def stored(collector: object) -> list[tuple[int, ...]]:
    return list(collector.rows("SELECT seq FROM batch ORDER BY position"))  # type: ignore[attr-defined]


async def test_batches_are_acked_after_the_commit_and_stored_once(tmp_path: Path) -> None:
    """Welcome names the window; each batch is acked, a second copy of it too, and it is stored once."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            welcome = await stream.hello((EPOCH, 1, 3))
            await stream.send(*(batch(EPOCH, seq, SIGHTINGS[seq]) for seq in (1, 2, 2, 1)))
            await stream.acked(EPOCH, 2)

        assert (welcome.window_messages, welcome.window_bytes, welcome.max_batch_bytes) == (8, 1 << 20, 4 << 20)
        assert list(welcome.codecs) == [1]
        assert [(have.epoch, have.upto) for have in welcome.have] == [(EPOCH, 0)]
        assert stored(collector) == [(1,), (2,)]
        assert [(identity.agent_id, 2, "[]")] == collector.rows("SELECT agent, high_water, sparse FROM stream")


async def test_out_of_order_batches_are_acked_as_ranges(tmp_path: Path) -> None:
    """The mark waits for the hole; a range above it is named once, not with each ack; a gap fills the hole."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, 8))
            await stream.send(batch(EPOCH, 1, SIGHTINGS[1]))
            await stream.acked(EPOCH, 1)
            await stream.send(batch(EPOCH, 4, SIGHTINGS[4]))
            ack = await stream.read()
            assert (ack.upto, [(r.from_seq, r.to_seq) for r in ack.also]) == (1, [(4, 4)])
            await stream.send(batch(EPOCH, 6, SIGHTINGS[6]))
            ack = await stream.read()
            assert (ack.upto, [(r.from_seq, r.to_seq) for r in ack.also]) == (1, [(6, 6)])
            lost = pb.Gap(
                epoch=EPOCH, from_seq=2, to_seq=3, records={1: 40}, frames=90, reason=pb.QUOTA, count_known=True
            )
            await stream.send(lost)
            await stream.acked(EPOCH, 4)
            await stream.send(lost)
            await stream.acked(EPOCH, 4)

        assert collector.rows("SELECT from_seq, to_seq, records, frames FROM gap") == [(2, 3, '{"1": 40}', 90)]
        assert collector.rows("SELECT type FROM event WHERE type = 'agent.gap'") == [("agent.gap",)]


async def test_a_batch_that_a_gap_declared_lost_is_not_stored_as_well(tmp_path: Path) -> None:
    """Declared lost and stored at once would count twice; it is acked, so that the agent forgets it."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, 3))
            await stream.send(pb.Gap(epoch=EPOCH, from_seq=1, to_seq=1, records={2: 1}), batch(EPOCH, 1, SIGHTINGS[1]))
            await stream.send(batch(EPOCH, 2, SIGHTINGS[2]))
            await stream.acked(EPOCH, 2)

        assert stored(collector) == [(2,)]


async def test_a_gap_does_not_count_what_had_come_through(tmp_path: Path) -> None:
    """The ack was lost, the agent evicted: the declared loss is less by the batches (and frames) that are held."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        flows = sealed(Kind.FLOW, [flow(bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))] * 3)
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, 3))
            await stream.send(batch(EPOCH, 1, flows))
            await stream.acked(EPOCH, 1)
            await stream.send(pb.Gap(epoch=EPOCH, from_seq=1, to_seq=2, records={1: 5}, frames=100, reason=pb.QUOTA))
            await stream.acked(EPOCH, 2)

        assert collector.rows("SELECT records, frames FROM gap") == [
            ('{"1": 2}', 55)
        ]  # 3 records of 15 frames are held


async def test_the_same_number_with_other_octets_is_a_conflict(tmp_path: Path) -> None:
    """A cloned card issues a used number: that batch alone is refused, the rest is acked, no ack covers it."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, 4))
            await stream.send(*(batch(EPOCH, seq, SIGHTINGS[seq]) for seq in (1, 2, 3)))
            await stream.acked(EPOCH, 3)
        async with talk(collector, identity) as stream:
            welcome = await stream.hello((EPOCH, 1, 5))
            answers = []
            for seq, sealed_batch in ((1, SIGHTINGS[1]), (2, SIGHTINGS[9]), (3, SIGHTINGS[3]), (4, SIGHTINGS[4])):
                await stream.send(batch(EPOCH, seq, sealed_batch))
                answers.append(await stream.read())

        assert [have.upto for have in welcome.have] == [0]  # nothing is acked that this agent has not shown
        assert [type(answer).__name__ for answer in answers] == ["Ack", "Nack", "Ack", "Ack"]
        assert (answers[1].code, answers[1].seq) == (pb.CONFLICT, 2)
        assert (answers[3].upto, [(r.from_seq, r.to_seq) for r in answers[3].also]) == (1, [(3, 4)])
        assert stored(collector) == [(1,), (2,), (3,), (4,)]
        assert collector.rows("SELECT type FROM event WHERE type LIKE 'agent.conf%'") == [("agent.conflict",)]


async def test_a_rolled_back_agent_is_told(tmp_path: Path) -> None:
    """Hello's next number at or below what is held: ROLLED_BACK, and an event for people."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, 4))
            await stream.send(*(batch(EPOCH, seq, SIGHTINGS[seq]) for seq in (1, 2, 3)))
            await stream.acked(EPOCH, 3)
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, 2))
            nack = await stream.read()

        assert (nack.epoch, nack.seq, nack.code) == (EPOCH, 3, pb.ROLLED_BACK)
        assert collector.rows("SELECT type FROM event WHERE type LIKE 'agent.rol%'") == [("agent.rolled_back",)]


async def test_resume_acks_what_the_agent_gave_up_and_takes_resends(tmp_path: Path) -> None:
    """After a lost ack the resend is a duplicate, acked at once, and stored once."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, 4))
            await stream.send(*(batch(EPOCH, seq, SIGHTINGS[seq]) for seq in (1, 2, 3)))
            await stream.acked(EPOCH, 3)
        async with talk(collector, identity) as stream:
            welcome = await stream.hello((EPOCH, 3, 5))
            await stream.send(batch(EPOCH, 3, SIGHTINGS[3]), batch(EPOCH, 4, SIGHTINGS[4]))
            await stream.acked(EPOCH, 4)

        assert [have.upto for have in welcome.have] == [2]
        assert stored(collector) == [(1,), (2,), (3,), (4,)]


async def test_what_cannot_be_is_refused_for_good(tmp_path: Path) -> None:
    """Refused before anything is decoded, with a permanent code; the stream goes on."""
    huge = bytes((4 << 20) + 1)
    wrong: list[tuple[dict[str, object], int]] = [
        ({"digest": bytes(16)}, pb.SCHEMA),
        ({"body": b"", "digest": b""}, pb.SCHEMA),
        ({"codec": 9}, pb.SCHEMA),
        ({"kind": 0}, pb.SCHEMA),
        ({"seq": 0}, pb.SCHEMA),
        ({"seq": 1 << 63}, pb.SCHEMA),
        ({"records": 0}, pb.SCHEMA),
        ({"records": 70_000}, pb.TOO_BIG),
        ({"raw_bytes": 17 << 20}, pb.TOO_BIG),
        ({"body": huge, "digest": digest(huge)}, pb.TOO_BIG),
    ]
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, 9))
            codes = []
            for change, _ in wrong:
                await stream.send(batch(EPOCH, 1, SIGHTINGS[1], **change))
                codes.append((await stream.read()).code)
            await stream.send(batch(EPOCH, 1, SIGHTINGS[1]))
            await stream.acked(EPOCH, 1)

        assert [code for _, code in wrong] == codes
        assert stored(collector) == [(1,)]


async def test_a_poison_batch_is_kept_acked_and_passed_over(tmp_path: Path) -> None:
    """Valid digest, undecodable body: dead letter, ack, and the next batch is projected."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        poison = b"\x00not a zstd frame"
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, 4))
            await stream.send(
                batch(EPOCH, 1, SIGHTINGS[1], body=poison, digest=digest(poison)),
                batch(EPOCH, 2, SIGHTINGS[2], kind=99),
                batch(EPOCH, 3, SIGHTINGS[3]),
            )
            await stream.acked(EPOCH, 3)
        await collector.projected()

        assert collector.rows("SELECT position FROM dead_letter") == [(1,)]
        assert collector.rows("SELECT json_extract(ips, '$[0]') FROM device") == [("10.0.0.4",)]
        assert [(poison,)] == collector.rows("SELECT body FROM batch WHERE seq = 1")


async def test_many_batches_in_flight_are_all_acked(tmp_path: Path) -> None:
    """More than the window at once: held back, not lost; several share one ack."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, 201))
            await stream.send(*(batch(EPOCH, seq, SIGHTINGS[seq % 11]) for seq in range(1, 201)))
            await stream.acked(EPOCH, 200)

        assert collector.rows("SELECT count(*), max(seq) FROM batch") == [(200, 200)]


async def test_an_agent_is_known_by_its_certificate_alone(tmp_path: Path) -> None:
    """A certificate of another CA ends the handshake; one of ours for an agent that is not enrolled is denied."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        (tmp_path / "other").mkdir()
        key = private_key()
        other = Authority.open(tmp_path / "other").sign_agent(request_der(key), identity.agent_id)
        stranger = Identity(identity.agent_id, key, other.der, identity.ca_der)
        unknown_id = "00000000-0000-4000-8000-000000000000"
        ours = collector.services.authority.sign_agent(request_der(key), unknown_id)
        unknown = Identity(unknown_id, key, ours.der, identity.ca_der)

        assert await _refusal(collector, stranger) == grpc.StatusCode.UNAVAILABLE
        assert await _refusal(collector, unknown) == grpc.StatusCode.PERMISSION_DENIED


async def test_a_stranger_is_heard_out_before_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal that met the stranger's first write would reach it as INTERNAL; who says nothing is refused in time."""
    async with running(tmp_path / "data") as collector:
        unknown_id, key = "00000000-0000-4000-8000-000000000000", private_key()
        ours = collector.services.authority.sign_agent(request_der(key), unknown_id)
        unknown = Identity(unknown_id, key, ours.der, collector.token().ca_der)

        async with talk(collector, unknown) as stream:
            await stream.call.wait_for_connection()
            code = asyncio.create_task(stream.call.code())
            heard, _ = await asyncio.wait({code}, timeout=0.3)
            assert not heard
            with pytest.raises(grpc.aio.AioRpcError):
                await stream.hello((EPOCH, 1, 1))
            assert await code == grpc.StatusCode.PERMISSION_DENIED

        monkeypatch.setattr(gate, "HEAR_OUT_S", 0.05)
        async with talk(collector, unknown) as stream:
            assert await asyncio.wait_for(stream.call.code(), 10) == grpc.StatusCode.PERMISSION_DENIED


async def _refusal(collector: object, identity: Identity) -> grpc.StatusCode:
    async with talk(collector, identity) as stream:  # type: ignore[arg-type]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.hello((EPOCH, 1, 1))
        code: grpc.StatusCode = refused.value.code()
        return code


async def test_revocation_closes_the_open_stream_and_refuses_the_next(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, 1))
            admin.run(collector.services, "agents.revoke", {"id": identity.agent_id})
            with pytest.raises(grpc.aio.AioRpcError) as closed:
                await stream.read()

        assert closed.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert await _refusal(collector, identity) == grpc.StatusCode.PERMISSION_DENIED


async def test_the_streams_of_an_agent_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest has to end for a newer one, with a word; another agent's stay."""
    monkeypatch.setattr(fleet, "MAX_LINES", 2)
    async with running(tmp_path / "data") as collector:
        greedy, other = await enrol(collector), await enrol(collector)
        async with contextlib.AsyncExitStack() as opened:
            streams = []
            for identity in (other, greedy, greedy, greedy):
                streams.append(await opened.enter_async_context(talk(collector, identity)))
                await streams[-1].hello((EPOCH, 1, 2))
            beside, first, _, third = streams
            away = await first.read()
            await third.send(batch(EPOCH, 1, SIGHTINGS[1]))
            await third.acked(EPOCH, 1)
            await beside.send(batch(EPOCH, 1, SIGHTINGS[2]))
            await beside.acked(EPOCH, 1)
            ended = await first.read()

    assert (away.reason, ended) == (fleet.CROWDED, None)


async def test_the_first_message_must_be_a_hello(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            await stream.send(batch(EPOCH, 1, SIGHTINGS[1]))
            with pytest.raises(grpc.aio.AioRpcError) as closed:
                await stream.read()

        assert closed.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert stored(collector) == []


async def test_a_stream_has_one_hello(tmp_path: Path) -> None:
    """What is remembered of a stream is bounded by what one Hello may name."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, 1))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stream.hello((EPOCH + 1, 1, 1))

        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert refused.value.details() == "a stream has one Hello; open another stream"


async def test_an_unknown_protocol_is_refused_in_words(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            with pytest.raises(grpc.aio.AioRpcError, match="update the older one"):
                await stream.hello(protocol=7)


async def test_a_stop_says_goodbye_and_the_next_start_goes_on(tmp_path: Path) -> None:
    """GoAway before the end; after the restart the number is still a duplicate, the certificate still good."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, 2))
            await stream.send(batch(EPOCH, 1, SIGHTINGS[1]))
            await stream.acked(EPOCH, 1)
            collector.server.request_stop()
            away = await stream.read()

            assert isinstance(away, pb.GoAway)
            assert 0 < away.retry_ms <= 3_000
    async with running(tmp_path / "data") as collector:
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, 3))
            await stream.send(batch(EPOCH, 1, SIGHTINGS[1]), batch(EPOCH, 2, SIGHTINGS[2]))
            await stream.acked(EPOCH, 2)

        assert stored(collector) == [(1,), (2,)]


async def test_heartbeats_are_kept_and_sessions_told(tmp_path: Path) -> None:
    """The first status is written at once and says that the agent is there; the last one at the end of the session."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with identity.channel(collector.server.ports["grpc"]) as channel:
            call = agent_pb2_grpc.ControlStub(channel).Session(timeout=20)
            await call.write(pb.AgentStatus(version="1.0", hostname="pi", frames_seen=5))
            await _event(collector, "agent.connected")
            first = collector.services.read_model.list_agents()["results"][0]
            await call.write(pb.AgentStatus(version="1.0", hostname="pi", frames_seen=7))
            await call.done_writing()
            await call.read()
        await _event(collector, "agent.disconnected")
        last = collector.services.read_model.list_agents()["results"][0]

        assert (first["state"], first["frames_seen"], first["version"]) == ("online", 5, "1.0")
        assert last["frames_seen"] == 7


async def _event(collector: object, type_: str) -> None:
    from support.collector import until

    query = "SELECT 1 FROM event WHERE type = ?"
    await until(lambda: collector.rows(query, type_), f"an event {type_}")  # type: ignore[attr-defined]


async def test_a_renewed_certificate_is_for_the_same_agent(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        key = private_key()
        async with identity.channel(collector.server.ports["grpc"]) as channel:
            reply = await agent_pb2_grpc.ControlStub(channel).Renew(
                pb.RenewRequest(csr_der=request_der(key)), timeout=10
            )
        renewed = identity.renewed(reply, key)
        async with talk(collector, renewed) as stream:
            await stream.hello((EPOCH, 1, 2))
            await stream.send(batch(EPOCH, 1, SIGHTINGS[1]))
            await stream.acked(EPOCH, 1)

        assert identity.agent_id == reply.agent_id
        assert [(identity.agent_id,)] == collector.rows("SELECT agent FROM batch")


async def test_agents_hear_over_how_long_they_shall_come_back(tmp_path: Path) -> None:
    """The Welcome names a time that grows with the fleet; a collector that stops names each agent a moment."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        await collector.services.store.transact(
            lambda connection: connection.executemany(
                "INSERT INTO agent(id, name, site, enrolled_ns, serial, csr_digest) VALUES(?, ?, '', 0, '', x'')",
                [(f"agent-{number}", f"agent-{number}") for number in range(RETURNS_PER_S - 1)],
            )
        )
        async with talk(collector, identity) as stream:
            welcome = await stream.hello((EPOCH, 1, 1))
            collector.server.request_stop()
            away = await stream.read()

    assert welcome.return_spread_ms == 1_000
    assert isinstance(away, pb.GoAway)
    assert 100 <= away.retry_ms <= 3_000
