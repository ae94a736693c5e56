"""Rows 29 to 33 of the failure matrix: who is let in, who is not, and what is written down about it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from fieldwatch_agent.enrolment.identity import load_credentials, load_identity
from fieldwatch_collector import admin, audit
from fieldwatch_collector.identity.authority import Authority
from fieldwatch_collector.ingest.throttle import MAX_FAILURES, PENALTY_S
from fieldwatch_proto.join import JoinToken
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc
from support.capture_files import pcap
from support.collector import (
    DEADLINE_S,
    Identity,
    Running,
    batch,
    enrol,
    enrol_request,
    offline,
    private_key,
    public_channel,
    request_der,
    running,
    sealed,
    sighting,
    talk,
    until,
)
from support.identities import expire
from support.sender import frame
from support.stack import Agent, Collector, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
DENIED, EXHAUSTED = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.RESOURCE_EXHAUSTED
SIGHTING = sealed(Kind.SIGHTING, [sighting(1, bytes([10, 0, 0, 1]))])
OTHER = sealed(Kind.SIGHTING, [sighting(2, bytes([10, 0, 0, 2]))])


def chain_holds(collector: Running) -> bool:
    with collector.services.store.reader() as connection:
        return audit.verify(connection).problem == ""


def test_row_29_an_agent_that_slept_past_its_certificate_comes_back_by_itself(tmp_path: Path) -> None:
    """Expired in truth, in the certificate; nobody touches anything; what waited in the spool is stored, each once."""
    collector, agent = Collector(tmp_path / "collector"), Agent(tmp_path / "agent")
    capture = tmp_path / "x.pcap"
    capture.write_bytes(pcap([(1_700_000_000_000_000_000 + n * 1000, frame(n)) for n in range(400)]))
    collector.start()
    agent.enrol(collector)
    assert collector.stop() == 0
    agent.call("run", "--replay", str(capture), "--local-only", "--data", str(agent.data))
    waited = agent.spool()
    with offline(collector.data) as services:
        expired = expire(services, agent.data)
    # Enrolment stores the port that it dialled; the collector's ports are the same at each start.
    assert expired.enrolment_port == collector.ports["public_grpc"]
    old = load_credentials(agent.data)

    collector.start()
    agent.start(collector, "-i", "fw-absent0")
    try:
        wait_for(agent.is_drained, "what waited is stored", 60)
        # The shipper may have taken up the new certificate before the agent has looked at the child that got it.
        wait_for(lambda: "the certificate was renewed" in agent.log.read_text(), "the renewal is told")
        said = agent.log.read_text()
    finally:
        assert agent.stop() == 0, agent.tail()
        actions = collector.ask("SELECT actor, outcome FROM audit WHERE action = 'agent.recover'")
        stored = collector.ask("SELECT count(*), count(DISTINCT seq), sum(records) FROM batch WHERE kind = 1")
        whole = collector.call("audit", "verify", "--data", str(collector.data))
        assert collector.stop() == 0

    identity, new = load_identity(agent.data), load_credentials(agent.data)
    assert identity is not None
    assert (identity.agent_id, identity.not_after > time.time()) == (expired.agent_id, True)
    assert (new.key != old.key, new.ca == old.ca) == (True, True)
    assert said.count("the certificate has expired") == 1
    assert said.count("the certificate was renewed") == 1
    assert actions == [(f"agent:{expired.agent_id}", "done")]
    assert waited["batches"] > 0
    assert stored[0][0] == stored[0][1]
    assert stored[0][2] == 100  # flows of four frames
    assert whole.endswith("rows\n")


async def test_row_30_a_revoked_agent_is_cut_off_at_once_and_for_good(tmp_path: Path) -> None:
    """Both of its streams end within 5 s while it sends; nothing of it is stored later, and no door is left open."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream, identity.channel(collector.server.ports["grpc"]) as channel:
            await stream.hello((1, 1, 100_000))
            session = agent_pb2_grpc.ControlStub(channel).Session(timeout=60)
            await session.write(pb.AgentStatus(version="1"))
            sending = asyncio.create_task(_send_for_ever(stream))
            await until(lambda: collector.rows("SELECT count(*) FROM batch")[0][0] > 20, "batches are stored")

            asked_at = time.monotonic()
            await asyncio.to_thread(admin.run, collector.services, "agents.revoke", {"id": identity.agent_id})
            codes = [
                await asyncio.wait_for(stream.call.code(), 5.0),
                await asyncio.wait_for(session.code(), 5.0),
            ]
            took_s = time.monotonic() - asked_at
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await sending
        stored = collector.rows("SELECT count(*) FROM batch")
        refusals = [await _push_refusal(collector, identity), await _renew_refusal(collector, identity)]
        rows = collector.rows("SELECT actor, action FROM audit WHERE subject = ? ORDER BY seq", identity.agent_id)

        # A client of gRPC whose write meets the end of the call reports INTERNAL; its next call is told the reason.
        assert codes[0] in (DENIED, grpc.StatusCode.INTERNAL)
        assert codes[1] == DENIED
        assert took_s < 5.0
        assert refusals == [DENIED, DENIED]
        assert stored == collector.rows("SELECT count(*) FROM batch")
        assert [action for _, action in rows] == ["agent.enrol", "agent.revoke", "agent.refuse"]
        assert rows[-1][0] == f"agent:{identity.agent_id}"


async def _send_for_ever(stream: Any) -> None:
    """As many batches as the collector takes."""
    seq = 0
    while True:
        seq += 1
        await stream.send(batch(1, seq, SIGHTING))
        await stream.acked(1, seq)


async def _push_refusal(collector: Running, identity: Identity) -> grpc.StatusCode:
    async with talk(collector, identity) as stream:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.hello((1, 1, 1))
        code: grpc.StatusCode = refused.value.code()
        return code


async def _renew_refusal(collector: Running, identity: Identity) -> grpc.StatusCode:
    async with identity.channel(collector.server.ports["grpc"]) as channel:
        request = pb.RenewRequest(csr_der=request_der(private_key()))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await agent_pb2_grpc.ControlStub(channel).Renew(request, timeout=DEADLINE_S)
        return refused.value.code()


def test_row_31_of_two_agents_that_race_for_one_token_exactly_one_enrols(tmp_path: Path) -> None:
    """By the real commands, both at once; the loser has one line and no identity; both outcomes are audited."""
    collector = Collector(tmp_path / "collector")
    collector.start()
    try:
        token = collector.token()
        agents = [Agent(tmp_path / f"agent-{n}") for n in range(2)]
        racers = [
            subprocess.Popen(
                agent.command(
                    *("enrol", "--token-file", "-", "--data", str(agent.data)),
                    *("--collector", f"127.0.0.1:{collector.ports['public_grpc']}"),
                ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for agent in agents
        ]
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write(token)
            racer.stdin.close()
            racer.stdin = None
        ends = [(*racer.communicate(timeout=60), racer.returncode) for racer in racers]
        enrolled = collector.ask("SELECT id FROM agent")
        audited = collector.ask("SELECT action, outcome, subject, data FROM audit WHERE action != 'token.create'")
        uses = collector.ask("SELECT uses_left FROM join_token")
    finally:
        assert collector.stop() == 0

    codes = sorted(code for _, _, code in ends)
    loser = next(said for _, said, code in ends if code == 1)
    identities = [load_identity(agent.data) for agent in agents]
    assert (codes, uses) == ([0, 1], [(0,)])
    assert len(loser.splitlines()) == 1
    assert "the join token was refused: the join token was used already" in loser
    assert [identity.agent_id for identity in identities if identity] == [enrolled[0][0]]
    assert len(enrolled) == 1
    assert sorted((action, outcome) for action, outcome, _, _ in audited) == [
        ("agent.enrol", "done"),
        ("agent.refuse", "refused"),
    ]
    refused = next(row for row in audited if row[1] == "refused")
    assert refused[2] == JoinToken.parse(token).token_id
    assert "was used already" in json.loads(refused[3])["reason"]


async def test_row_31_a_request_that_is_replayed_makes_no_second_agent(tmp_path: Path) -> None:
    """Octet for octet: the same agent, a certificate for a key that the listener lacks; once that agent has a later
    key, not even that."""
    async with running(tmp_path / "data") as collector:
        token, key = collector.token(), private_key()
        request = enrol_request(token, request_der(key))
        async with public_channel(collector.server.ports["public_grpc"], token.ca_der) as channel:
            desk = agent_pb2_grpc.EnrolmentStub(channel)
            first, replayed = [await desk.Enrol(request, timeout=DEADLINE_S) for _ in range(2)]
            later, identity = private_key(), Identity(first.agent_id, key, first.certificate_der, token.ca_der)
            async with identity.channel(collector.server.ports["grpc"]) as line:
                renewed = await agent_pb2_grpc.ControlStub(line).Renew(
                    pb.RenewRequest(csr_der=request_der(later)), timeout=DEADLINE_S
                )
            async with talk(collector, identity.renewed(renewed, later)) as stream:
                await stream.hello((1, 1, 1))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await desk.Enrol(request, timeout=DEADLINE_S)

        assert first.agent_id == replayed.agent_id
        assert collector.rows("SELECT count(*) FROM agent") == [(1,)]
        assert (refused.value.code(), refused.value.details()) == (
            DENIED,
            "this agent has had a later key than this one since it enrolled",
        )


@contextlib.asynccontextmanager
async def from_address(port: int, address: str) -> AsyncIterator[int]:
    """A port whose connections reach `port` from another loopback address."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while octets := await reader.read(1 << 16):
                writer.write(octets)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        await asyncio.gather(carry(reader, there[1]), carry(there[0], writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_row_32_a_flood_of_guesses_is_limited_and_valid_enrolments_pass(tmp_path: Path) -> None:
    """Forty addresses guess at once; each is barred after five; ten devices with a token join meanwhile; the audit log
    says so in a bounded number of rows."""
    async with running(tmp_path / "data") as collector:
        token = await asyncio.to_thread(lambda: collector.token(uses=10))
        port = collector.server.ports["public_grpc"]

        async def attempt(desk: Any, request: pb.EnrolRequest) -> grpc.StatusCode:
            try:
                await desk.Enrol(request, timeout=DEADLINE_S)
            except grpc.aio.AioRpcError as problem:
                return problem.code()
            return grpc.StatusCode.OK

        async def guess(number: int) -> list[grpc.StatusCode]:
            async with (
                from_address(port, f"127.0.1.{number}") as relayed,
                public_channel(relayed, token.ca_der) as line,
            ):
                desk = agent_pb2_grpc.EnrolmentStub(line)
                csr = request_der(private_key())
                guesses = (enrol_request(token, csr, signature=bytes([n]) * 64) for n in range(MAX_FAILURES + 3))
                return [await attempt(desk, request) for request in guesses]

        async def join(number: int) -> list[grpc.StatusCode]:
            async with (
                from_address(port, f"127.0.2.{number}") as relayed,
                public_channel(relayed, token.ca_der) as line,
            ):
                desk = agent_pb2_grpc.EnrolmentStub(line)
                return [await attempt(desk, enrol_request(token, request_der(private_key()))) for _ in range(2)]

        done = await asyncio.gather(*(guess(number) for number in range(1, 41)), *(join(n) for n in range(1, 6)))
        code, seconds = await attempt_after_the_flood(port, token)
        rows = collector.rows("SELECT actor, data FROM audit WHERE action = 'agent.refuse'")
        agents = collector.rows("SELECT count(*) FROM agent")
        whole = chain_holds(collector)

    limited = [DENIED] * MAX_FAILURES + [EXHAUSTED] * 3
    assert done[:40] == [limited] * 40
    assert done[40:] == [[grpc.StatusCode.OK] * 2] * 5
    assert code == EXHAUSTED
    assert PENALTY_S - 60 < seconds <= PENALTY_S  # the limit of tries alone would be over in a second
    assert agents == [(10,)]
    assert 20 <= len(rows) <= 30
    assert all(actor.startswith("address:127.0.1.") for actor, _ in rows)
    assert whole


async def attempt_after_the_flood(port: int, token: JoinToken) -> tuple[grpc.StatusCode, int]:
    """An address that guessed is barred, whatever it brings now; and for how many seconds, as it is told."""
    async with from_address(port, "127.0.1.1") as relayed, public_channel(relayed, token.ca_der) as line:
        request = enrol_request(token, request_der(private_key()))
        with pytest.raises(grpc.aio.AioRpcError) as problem:
            await agent_pb2_grpc.EnrolmentStub(line).Enrol(request, timeout=DEADLINE_S)
        told = re.search(r"try again in (\d+) s", str(problem.value.details()))
        return problem.value.code(), int(told[1]) if told else 0


async def test_row_33_nothing_that_an_agent_says_moves_another(tmp_path: Path) -> None:
    """A names the epoch of B in its Hello, its batches and its gaps: B's numbers, data and name stay as they were."""
    async with running(tmp_path / "data") as collector:
        mine, theirs = await enrol(collector, hostname="a"), await enrol(collector, hostname="b")
        async with talk(collector, theirs) as b:
            await b.hello((7, 1, 100))
            await b.send(*(batch(7, seq, SIGHTING) for seq in range(1, 6)))
            await b.acked(7, 5)
            before = _of(collector, theirs)
            async with talk(collector, mine) as a, mine.channel(collector.server.ports["grpc"]) as channel:
                welcome = await a.hello((7, 1, 100))
                await a.send(batch(7, 1, OTHER), batch(7, 6, OTHER))
                await a.send(pb.Gap(epoch=7, from_seq=2, to_seq=5, frames=9, reason=pb.QUOTA, count_known=True))
                await a.acked(7, 6)
                session = agent_pb2_grpc.ControlStub(channel).Session(timeout=DEADLINE_S)
                await session.write(pb.AgentStatus(version="9", hostname="b", state="capturing"))
                await until(
                    lambda: collector.rows("SELECT version FROM agent WHERE id = ?", mine.agent_id) == [("9",)],
                    "the status is written",
                )
            after = _of(collector, theirs)
            await b.send(batch(7, 6, SIGHTING))
            await b.acked(7, 6)
        held = {(have.epoch, have.upto) for have in welcome.have}
        digests = collector.rows(
            "SELECT agent, digest FROM batch WHERE epoch = 7 AND seq IN (1, 6) ORDER BY agent, seq"
        )

    assert held <= {(7, 0)}  # what B has is not told to A
    assert before == after
    expected = [(mine.agent_id, OTHER.digest)] * 2 + [(theirs.agent_id, SIGHTING.digest)] * 2
    assert sorted(digests) == sorted(expected)


def _of(collector: Running, identity: Identity) -> list[list[tuple[Any, ...]]]:
    return [
        collector.rows(f"SELECT * FROM {table} WHERE {column} = ?", identity.agent_id)
        for table, column in (("stream", "agent"), ("batch", "agent"), ("gap", "agent"), ("agent", "id"))
    ]


async def test_row_33_a_certificate_that_is_not_of_an_agent_in_force_is_denied_and_audited(tmp_path: Path) -> None:
    """Of another CA, of an agent that nobody enrolled, and B's id and serial with another key (as who had stolen the
    CA's key could make it); each of the last two leaves a row, and a hundred tries no more than one a minute."""
    async with running(tmp_path / "data") as collector:
        theirs = await enrol(collector)
        (tmp_path / "other").mkdir()
        key, unknown_id = private_key(), "00000000-0000-4000-8000-000000000000"
        other = Authority.open(tmp_path / "other").sign_agent(request_der(key), theirs.agent_id)
        ours = collector.services.authority.sign_agent(request_der(key), unknown_id)
        forged = collector.services.authority.sign_agent(request_der(key), theirs.agent_id)
        await collector.services.store.transact(
            lambda connection: connection.execute(
                "UPDATE agent_certificate SET serial = ? WHERE agent = ?", (forged.serial, theirs.agent_id)
            )
        )
        refusals = [
            await _push_refusal(collector, Identity(agent_id, key, der, theirs.ca_der))
            for agent_id, der in ((theirs.agent_id, other.der), (unknown_id, ours.der), (theirs.agent_id, forged.der))
        ]
        for _ in range(20):
            await _push_refusal(collector, Identity(unknown_id, key, ours.der, theirs.ca_der))
        rows = collector.rows("SELECT actor, subject, outcome FROM audit WHERE action = 'agent.refuse' ORDER BY seq")
        whole = chain_holds(collector)

    assert refusals == [grpc.StatusCode.UNAVAILABLE, DENIED, DENIED]
    assert rows == [(f"agent:{agent_id}", agent_id, "refused") for agent_id in (unknown_id, theirs.agent_id)]
    assert whole
