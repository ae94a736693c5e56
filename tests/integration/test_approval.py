"""[enrolment] approve = true: a device waits until a person lets it in, and goes on with the same key."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest
from fieldwatch_agent.enrolment.identity import load_identity
from fieldwatch_collector import admin
from fieldwatch_collector.config import Enrolment
from fieldwatch_collector.identity import approval
from fieldwatch_proto.join import JoinToken
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc
from support.collector import DEADLINE_S, Running, enrol_request, private_key, public_channel, request_der, running
from support.stack import Agent, Collector, wait_for

APPROVE = Enrolment(approve=True)


async def ask(collector: Running, token: JoinToken, csr: bytes) -> pb.EnrolReply:
    collector.server.throttle.forget()
    async with public_channel(collector.server.ports["public_grpc"], token.ca_der) as channel:
        stub = agent_pb2_grpc.EnrolmentStub(channel)
        reply: pb.EnrolReply = await stub.Enrol(enrol_request(token, csr, hostname="pi"), timeout=DEADLINE_S)
        return reply


async def refusal(collector: Running, token: JoinToken, csr: bytes) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as problem:
        await ask(collector, token, csr)
    return problem.value.details() or ""


def waiting(collector: Running) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = admin.run(collector.services, "agents.pending", {})
    return listed


async def decide(collector: Running, operation: str, request_id: str) -> None:
    await asyncio.to_thread(admin.run, collector.services, operation, {"id": request_id})


async def test_a_person_lets_a_device_in(tmp_path: Path) -> None:
    """Nothing but "wait" until then; the token's use is taken once, and the tags of the token are the agent's."""
    async with running(tmp_path / "data", enrolment=APPROVE) as collector:
        token = await asyncio.to_thread(lambda: collector.token(site="hq", tags={"rack": "7"}))
        key = private_key()
        first = await ask(collector, token, request_der(key))
        second = await ask(collector, token, request_der(key))  # signed anew: another text, the same key
        listed = waiting(collector)
        taken = collector.rows("SELECT uses_left FROM join_token")
        nobody = collector.rows("SELECT count(*) FROM agent")
        other = await refusal(collector, token, request_der(private_key()))
        await decide(collector, "agents.approve", listed[0]["id"][:6])
        third = await ask(collector, token, request_der(key))
        again = await ask(collector, token, request_der(key))
        agents = collector.rows("SELECT id, site, tags FROM agent")
        actions = [row[0] for row in collector.rows("SELECT action FROM audit WHERE outcome = 'done' ORDER BY seq")]
        approved_by = json.loads(collector.rows("SELECT data FROM audit WHERE action = 'agent.enrol'")[0][0])
        events = [row[0] for row in collector.rows("SELECT type FROM event ORDER BY seq")]

        assert first == second == pb.EnrolReply(pending=True, retry_s=10)
        assert [(row["hostname"], row["address"], row["state"]) for row in listed] == [("pi", "127.0.0.1", "waiting")]
        assert (taken, nobody) == ([(0,)], [(0,)])
        assert "was used already" in other
        assert agents == [(third.agent_id, "hq", '{"rack": "7"}')]
        assert (again.agent_id, waiting(collector)) == (third.agent_id, [])
        assert actions == ["token.create", "agent.ask", "agent.approve", "agent.enrol"]
        assert approved_by["approved_by"].startswith("local:")
        assert events == ["agent.waiting", "agent.enrolled"]


async def test_a_person_turns_a_device_away(tmp_path: Path) -> None:
    """With this token for good; another token is another question."""
    async with running(tmp_path / "data", enrolment=APPROVE) as collector:
        token, other = [await asyncio.to_thread(collector.token) for _ in range(2)]
        csr = request_der(private_key())
        await ask(collector, token, csr)
        request_id = waiting(collector)[0]["id"]
        await decide(collector, "agents.reject", request_id)
        rejected = await refusal(collector, token, csr)
        with pytest.raises(admin.AdminError, match="no device waits under"):
            await decide(collector, "agents.approve", request_id)
        with pytest.raises(admin.AdminError, match="no device waits under ''"):
            await decide(collector, "agents.approve", "")
        asked_again = await ask(collector, other, csr)

        assert rejected == "a person rejected this enrolment; ask for another join token"
        assert asked_again.pending
        assert [row["state"] for row in waiting(collector)] == ["waiting"]


async def test_who_was_turned_away_stays_out_when_nobody_has_to_approve_any_more(tmp_path: Path) -> None:
    """A person's no outlives the setting; whoever only waited comes in without."""
    token_of, csrs = {}, {}
    async with running(tmp_path / "data", enrolment=APPROVE) as collector:
        for who in ("rejected", "patient"):
            token_of[who], csrs[who] = await asyncio.to_thread(collector.token), request_der(private_key())
            await ask(collector, token_of[who], csrs[who])
            if who == "rejected":
                await decide(collector, "agents.reject", waiting(collector)[0]["id"])
    async with running(tmp_path / "data") as collector:
        refused = await refusal(collector, token_of["rejected"], csrs["rejected"])
        let_in = await ask(collector, token_of["patient"], csrs["patient"])

    assert refused == "a person rejected this enrolment; ask for another join token"
    assert let_in.agent_id


async def test_a_token_revoked_meanwhile_lets_nobody_in(tmp_path: Path) -> None:
    async with running(tmp_path / "data", enrolment=APPROVE) as collector:
        token = await asyncio.to_thread(collector.token)
        csr = request_der(private_key())
        await ask(collector, token, csr)
        await decide(collector, "agents.approve", waiting(collector)[0]["id"])
        await asyncio.to_thread(admin.run, collector.services, "token.revoke", {"id": token.token_id})
        refused = await refusal(collector, token, csr)

        assert refused == "the join token was revoked"
        assert collector.rows("SELECT count(*) FROM agent") == [(0,)]


async def test_who_waits_is_bounded_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token of many uses fills the list up to its bound; what is a week old makes room."""
    monkeypatch.setattr(approval, "MAX_WAITING", 3)
    async with running(tmp_path / "data", enrolment=APPROVE) as collector:
        token = await asyncio.to_thread(lambda: collector.token(uses=9))
        for _ in range(3):
            assert (await ask(collector, token, request_der(private_key()))).pending
        full = await refusal(collector, token, request_der(private_key()))
        await collector.services.store.transact(
            lambda connection: connection.execute(
                "UPDATE pending_enrolment SET asked_ns = asked_ns - ?", (approval.KEPT_NS,)
            )
        )
        after = await ask(collector, token, request_der(private_key()))

        assert full == "3 devices wait for approval already; try again when they are decided on"
        assert (after.pending, len(waiting(collector))) == (True, 1)
        assert collector.rows("SELECT uses_left FROM join_token") == [(5,)]


async def test_a_forged_request_does_not_wait(tmp_path: Path) -> None:
    async with running(tmp_path / "data", enrolment=APPROVE) as collector:
        token = await asyncio.to_thread(collector.token)
        refused = await refusal(collector, replace(token, seed=bytes(32)), request_der(private_key()))

        assert refused == "the join token is not one of this collector's"
        assert waiting(collector) == []


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Collector, Agent]]:
    """A collector that asks a person, as a process, and a device."""
    collector = Collector(tmp_path / "collector", environ={"FIELDWATCH_COLLECTOR__ENROLMENT__APPROVE": "true"})
    collector.start()
    yield collector, Agent(tmp_path / "agent")
    collector.kill()


def test_the_command_waits_and_goes_on_after_ctrl_c(site: tuple[Collector, Agent], tmp_path: Path) -> None:
    """It says what to do at the collector; interrupted and called again it is the same device; then it joins."""
    collector, agent = site
    token_file = tmp_path / "join.token"
    token_file.write_text(collector.token())
    place = ("--data", str(collector.data))
    command = agent.command(
        "enrol",
        *("--token-file", str(token_file), "--data", str(agent.data)),
        *("--collector", f"127.0.0.1:{collector.ports['public_grpc']}"),
    )
    said = tmp_path / "said"
    with said.open("w") as stream:
        process = subprocess.Popen(command, stderr=stream, stdout=stream)
        wait_for(lambda: "waiting for approval" in said.read_text(), "the device says that it waits")
        process.send_signal(signal.SIGINT)
        interrupted = process.wait(20)
    timed_out = subprocess.run([*command, "--timeout", "1s"], capture_output=True, text=True, timeout=60)
    listed = json.loads(collector.call("agents", "pending", *place, "-o", "json"))
    told = said.read_text().split()[-1]
    kept = token_file.exists()
    approved = collector.call("agents", "approve", told, *place)
    joined = subprocess.run(command, capture_output=True, text=True, timeout=60)
    identity = load_identity(agent.data)

    assert interrupted == 130
    assert (timed_out.returncode, len(timed_out.stderr.splitlines())) == (1, 2)
    assert f"agents approve {told}, and run this again" in timed_out.stderr
    assert [(row["id"], row["state"]) for row in listed] == [(told, "waiting")]
    assert kept
    assert approved.startswith(f"approved {told} (")
    assert joined.returncode == 0, joined.stderr
    assert identity is not None
    assert joined.stdout.startswith(f"enrolled as {identity.agent_id}")
    assert not token_file.exists()
    assert not (agent.data / "enrolling.key").exists()


@pytest.mark.slow
def test_the_command_joins_as_soon_as_it_is_let_in(site: tuple[Collector, Agent], tmp_path: Path) -> None:
    """While it waits, also over a restart of the collector."""
    collector, agent = site
    place = ("--data", str(collector.data))
    arguments = ("--token-file", "-", "--data", str(agent.data))
    command = agent.command(
        "enrol", *arguments, "--collector", f"127.0.0.1:{collector.ports['public_grpc']}", "--timeout", "50s"
    )
    said = tmp_path / "said"
    with said.open("w") as stream:
        process = subprocess.Popen(command, stderr=stream, stdout=stream, stdin=subprocess.PIPE, text=True)
        assert process.stdin is not None
        process.stdin.write(collector.token())
        process.stdin.close()
        wait_for(lambda: "waiting for approval" in said.read_text(), "the device says that it waits")
        told = said.read_text().split()[-1]
        assert collector.stop() == 0
        collector.call("agents", "approve", told, *place)
        collector.start()
        code = process.wait(60)

    assert code == 0, said.read_text()
    assert "enrolled as" in said.read_text()
