"""Commands from the order to the end, over real TLS: delivery, resending, reports, files, deadlines, cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from fieldwatch_collector import admin
from fieldwatch_collector.commands import Asker, NotAllowed
from fieldwatch_collector.config import Commands as CommandsConfig
from fieldwatch_collector.read_model import BadRequest, NotFound
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.collector import DEADLINE_S, Running, enrol, running, until
from support.commanded import desk, done

CHIEF = Asker("user:chief", "admin")
WATCHER = Asker("user:watcher", "viewer")
WORKER = Asker("api-token:worker", "operator")


async def order(collector: Running, agent_id: str, name: str = "reload", asker: Asker = CHIEF, **more: Any) -> str:
    """Run it; the command's id."""
    arguments = more.pop("arguments", {})
    made = await asyncio.to_thread(collector.services.commands.run, asker, name, arguments, agents=[agent_id], **more)
    return str(made[0]["id"])


def state(collector: Running, command_id: str) -> str:
    return str(collector.services.commands.get(command_id)["state"])


async def test_a_command_goes_to_its_agent_and_its_end_comes_back(tmp_path: Path) -> None:
    """Every state is an event; both ends are in the audit log."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with desk(collector, identity) as agent:
            command_id = await order(collector, identity.agent_id, timeout_s=600)
            command = await agent.command()
            reply = await agent.report(
                command_id,
                {"state": pb.COMMAND_ACCEPTED},
                {"state": pb.COMMAND_RUNNING, "percent": 40, "text": "half \x1b[31mway"},
                done(restart=["capture.workers"]),
            )
        found = collector.services.commands.get(command_id)

        assert (command.id, command.name, command.arguments) == (command_id, "reload", b"{}")
        assert (command.actor, command.cancel) == ("user:chief", False)
        assert 590 <= command.timeout_s <= 600
        assert not reply.cancelled
        assert (found["state"], found["percent"], found["text"]) == ("done", 100, "done")
        assert found["result"] == {"restart": ["capture.workers"]}
        states = collector.rows("SELECT json_extract(data, '$.state') FROM event WHERE type = 'agent.command'")
        assert [row[0] for row in states] == ["waiting", "sent", "accepted", "running", "done"]
        audited = collector.rows("SELECT actor, action, outcome FROM audit WHERE action LIKE 'command.%' ORDER BY seq")
        assert audited == [
            ("user:chief", "command.run", "done"),
            (f"agent:{identity.agent_id}", "command.end", "done"),
        ]


async def test_a_command_waits_for_its_agent_and_is_sent_again_after_a_break(tmp_path: Path) -> None:
    """In the order in which they were given; nobody stays connected for them, not even the collector."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        first = await order(collector, identity.agent_id)
        second = await order(collector, identity.agent_id, "log_level", arguments={"level": "debug"})
    async with running(tmp_path / "data") as collector:
        async with desk(collector, identity) as agent:
            heard = [await agent.command(), await agent.command()]
        async with desk(collector, identity) as agent:
            again = [await agent.command(), await agent.command()]
            await agent.report(first, done())
        await until(lambda: state(collector, first) == "done", "the first ends")
        async with desk(collector, identity) as agent:
            left = await agent.command()
            quiet = await agent.silent()

        assert [first, second] == [one.id for one in heard] == [one.id for one in again]
        assert heard[1].arguments == b'{"level":"debug","minutes":15}'
        assert (left.id, quiet) == (second, True)
        assert state(collector, second) == "sent"


async def test_a_file_arrives_whole_and_is_closed_to_others(tmp_path: Path) -> None:
    """Chunks in order; a call that broke off leaves nothing; the name is made harmless; downloads are audited."""
    octets = bytes(range(256)) * 2_000
    async with running(tmp_path / "data") as collector:
        commands = collector.services.commands
        identity = await enrol(collector)
        async with desk(collector, identity) as agent:
            command_id = await order(collector, identity.agent_id, "diagnostics")
            broken = agent.reporting()
            await broken.write(pb.CommandReport(id=command_id, state=pb.COMMAND_RUNNING, chunk=b"half"))
            await until(lambda: state(collector, command_id) == "running", "the first call has begun")
            broken.cancel()
            folder = collector.data / "command-files"
            await until(lambda: not list(folder.iterdir()), "the part is gone")
            pieces = [octets[at : at + (200 << 10)] for at in range(0, len(octets), 200 << 10)]
            await agent.report(
                command_id,
                *(
                    {"state": pb.COMMAND_RUNNING, "chunk": piece, "file_name": "../../etc/di ag.tar.gz"}
                    for piece in pieces
                ),
                done(),
            )
        found = commands.get(command_id)
        _, path = await asyncio.to_thread(commands.open_file, WORKER, command_id)

        assert (found["file_name"], found["file_bytes"]) == ("di-ag.tar.gz", len(octets))
        assert path.read_bytes() == octets
        assert [0o700, 0o600] == [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / command_id)]
        with pytest.raises(NotAllowed, match="viewer"):
            commands.open_file(WATCHER, command_id)
        assert collector.rows("SELECT actor, outcome FROM audit WHERE action = 'command.download'") == [
            ("api-token:worker", "done"),
            ("user:watcher", "refused"),
        ]


async def test_files_are_bounded_and_the_oldest_go_first(tmp_path: Path) -> None:
    """One that is too large fails its command; together they stay under the bound, and what went says so."""
    limits = CommandsConfig(file_bytes=600 << 10, total_bytes=1 << 20)
    async with running(tmp_path / "data", commands=limits) as collector:
        commands = collector.services.commands
        identity = await enrol(collector)
        chunk = {"state": pb.COMMAND_RUNNING, "chunk": bytes(200 << 10), "file_name": "d.tar.gz"}
        async with desk(collector, identity) as agent:
            made = [await order(collector, identity.agent_id, "diagnostics") for _ in range(4)]
            large = await agent.report(made[0], chunk, chunk, chunk, chunk)
            for command_id in made[1:]:
                await agent.report(command_id, chunk, chunk, done())
        kept = sorted(path.name for path in (collector.data / "command-files").iterdir())

        assert large.cancelled
        assert commands.get(made[0])["state"] == "failed"
        assert "larger than the 614400 octets" in commands.get(made[0])["text"]
        assert kept == made[2:]
        assert commands.get(made[1])["file_gone"]
        with pytest.raises(NotFound, match="was deleted; run diagnostics again"):
            commands.open_file(CHIEF, made[1])
        assert collector.rows("SELECT actor, subject FROM audit WHERE action = 'command.delete-file'") == [
            ("collector", made[1])
        ]


async def test_a_cancelled_command_ends_where_it_is(tmp_path: Path) -> None:
    """One that waits ends at once; one that was sent ends when the agent says so, and keeps the packets that came."""
    async with running(tmp_path / "data") as collector:
        commands = collector.services.commands
        identity = await enrol(collector)
        waiting = await order(collector, identity.agent_id)
        ended = await asyncio.to_thread(commands.cancel, CHIEF, waiting)
        async with desk(collector, identity) as agent:
            capture = await order(collector, identity.agent_id, "capture", arguments={"interface": "eth0"})
            given = await agent.command()
            await asyncio.to_thread(commands.cancel, CHIEF, capture)
            stop = await agent.command()
            before = state(collector, capture)
            await agent.report(capture, {"chunk": b"pcap", "file_name": "a.pcap"}, {"state": pb.COMMAND_CANCELLED})
        again = await asyncio.to_thread(commands.cancel, CHIEF, capture)

        assert (ended["state"], given.id, before) == ("cancelled", capture, "sent")
        assert (stop.id, stop.cancel) == (capture, True)
        assert (again["state"], again["file_bytes"]) == ("cancelled", 4)
        with pytest.raises(NotAllowed, match="operator, which may not admin"):
            commands.cancel(WORKER, capture)


async def test_what_nobody_ends_ends_at_its_deadline(tmp_path: Path) -> None:
    """Each with its reason; reports that come too late are told that nobody wants them."""
    async with running(tmp_path / "data") as collector:
        identity, absent = await enrol(collector), await enrol(collector, hostname="absent")
        never = await order(collector, absent.agent_id, timeout_s=1)
        async with desk(collector, identity) as agent:
            silent = await order(collector, identity.agent_id, timeout_s=4)  # it must be on its way by then
            await agent.command()
            await until(lambda: {"expired"} == {state(collector, one) for one in (never, silent)}, "both have ended")
            late = await agent.report(silent, {"state": pb.COMMAND_RUNNING}, done())

        assert late.cancelled
        assert "did not connect in time" in collector.services.commands.get(never)["text"]
        assert "did not answer in time" in collector.services.commands.get(silent)["text"]
        assert state(collector, silent) == "expired"


async def test_an_agent_reports_its_own_commands_alone(tmp_path: Path) -> None:
    """Another agent's command is not there for it, nothing changes, and the attempt is in the audit log once."""
    async with running(tmp_path / "data") as collector:
        owner, other = await enrol(collector), await enrol(collector, hostname="other")
        command_id = await order(collector, owner.agent_id)
        async with desk(collector, other) as agent:
            codes = []
            for name in (command_id, command_id, "01JNONE"):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await agent.report(name, done())
                codes.append(refused.value.code())

        assert codes == [grpc.StatusCode.NOT_FOUND] * 3
        assert state(collector, command_id) == "waiting"
        assert collector.rows("SELECT actor, subject, outcome FROM audit WHERE action = 'command.report'") == [
            (f"agent:{other.agent_id}", owner.agent_id, "refused")
        ]


async def test_reports_that_break_the_rules_are_refused(tmp_path: Path) -> None:
    """A file of a command that makes none, a chunk too large, two commands in one call."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        reload_id = await order(collector, identity.agent_id)
        bundle_id = await order(collector, identity.agent_id, "diagnostics")
        wrong = [
            (reload_id, [{"chunk": b"x"}]),
            (bundle_id, [{"chunk": bytes((256 << 10) + 1)}]),
            (bundle_id, [{"state": pb.COMMAND_ACCEPTED}, {"id": reload_id}]),
        ]
        async with desk(collector, identity) as agent:
            assert [reload_id, bundle_id] == [(await agent.command()).id for _ in range(2)]
            codes = []
            for command_id, reports in wrong:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await agent.report(command_id, *reports)
                codes.append(refused.value.code())

        assert codes == [grpc.StatusCode.INVALID_ARGUMENT] * 3
        assert [state(collector, one) for one in (reload_id, bundle_id)] == ["sent", "accepted"]
        assert list(collector.data.glob("command-files/*")) == []


async def test_a_new_call_takes_over_from_one_that_hangs(tmp_path: Path) -> None:
    """The file is the new call's alone; what the old one brought is dropped at once, and does no harm later."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        folder = collector.data / "command-files"
        async with desk(collector, identity) as agent:
            command_id = await order(collector, identity.agent_id, "diagnostics")
            await agent.command()
            old = agent.reporting()
            await old.write(pb.CommandReport(id=command_id, file_name="d.tar.gz", chunk=b"old"))
            await until(lambda: any(folder.glob("*")), "the first part is there")
            (part,) = folder.glob("*")
            new = agent.reporting()
            await new.write(pb.CommandReport(id=command_id, file_name="d.tar.gz", chunk=b"new"))
            await until(lambda: [part] != list(folder.glob("*")), "the new call has taken over")
            with contextlib.suppress(asyncio.InvalidStateError):
                await old.write(pb.CommandReport(id=command_id, chunk=b"old"))
                await old.done_writing()
            late = await asyncio.wait_for(old.code(), DEADLINE_S)
            await new.write(pb.CommandReport(id=command_id, **done()))
            await new.done_writing()
            reply = await new

        assert late in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)
        assert (reply.cancelled, state(collector, command_id)) == (False, "done")
        assert (folder / command_id).read_bytes() == b"new"
        assert list(folder.iterdir()) == [folder / command_id]


async def test_a_revoked_agent_gets_nothing(tmp_path: Path) -> None:
    """Its open session ends, what waits for it ends, and nothing new can be ordered."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with desk(collector, identity) as agent:
            sent = await order(collector, identity.agent_id)
            await agent.command()
            call = agent.reporting()
            await call.write(pb.CommandReport(id=sent, state=pb.COMMAND_RUNNING))
            await until(lambda: state(collector, sent) == "running", "it runs")
            await asyncio.to_thread(admin.run, collector.services, "agents.revoke", {"id": identity.agent_id})
            collector.services.commands.wake([])
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            await until(lambda: state(collector, sent) == "cancelled", "it ends")

        assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert "revoked" in collector.services.commands.get(sent)["text"]
        with pytest.raises(BadRequest, match="was revoked"):
            await order(collector, identity.agent_id)
        with pytest.raises(NotFound, match="no agent matches"):
            collector.services.commands.run(CHIEF, "reload", {}, select="*")


async def test_progress_is_told_live(tmp_path: Path) -> None:
    """Percent and text of a running command reach who watches, without a row in the event table each; the newest of
    what comes fast is not lost."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with desk(collector, identity) as agent, collector.services.hub.subscribe(["agent.command."]) as heard:
            command_id = await order(collector, identity.agent_id)
            call = agent.reporting()
            for packets in range(1, 51):
                text = f"{packets} packets"
                report = pb.CommandReport(id=command_id, state=pb.COMMAND_RUNNING, percent=packets, text=text)
                await call.write(report)
            seen = [await asyncio.wait_for(anext(heard), 10)]
            while seen[-1]["data"]["percent"] < 50:
                seen.append(await asyncio.wait_for(anext(heard), 10))
            call.cancel()

        assert {"agent.command.progress"} == {message["type"] for message in seen}
        assert len(seen) < 10
        assert (seen[-1]["data"]["id"], seen[-1]["data"]["text"]) == (command_id, "50 packets")
        assert collector.rows("SELECT count(*) FROM event WHERE type = 'agent.command.progress'") == [(0,)]
