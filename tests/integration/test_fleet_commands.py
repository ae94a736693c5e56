"""`fieldwatch agents ...` and `fieldwatch-collector agents ...` as processes, with an agent at the other end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.collector import Running, enrol, running, until
from support.commanded import desk, done

Call = Callable[..., Awaitable[subprocess.CompletedProcess[bytes]]]
REMOTE, LOCAL = "fieldwatch_proto", "fieldwatch_collector"


def command(collector: Running, program: str, role: str = "admin") -> tuple[list[str], list[str], dict[str, str]]:
    """(words before the arguments, words after them, environment) of a program that asks this collector."""
    before = [sys.executable, "-m", f"{program}.cli.main"]
    if program == LOCAL:
        return before, ["--data", str(collector.data)], dict(os.environ)
    token = collector.data.parent / f"{role}.token"
    if not token.exists():
        services = collector.services
        token.write_text(services.accounts.create_api_token(role, role, services.authority.ca_der))
    address = f"127.0.0.1:{collector.server.ports['public_grpc']}"
    return before, [], {**os.environ, "FIELDWATCH_COLLECTOR": address, "FIELDWATCH_API_TOKEN_FILE": str(token)}


async def call(collector: Running, program: str, *words: str, role: str = "admin") -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    before, after, environ = await asyncio.to_thread(command, collector, program, role)
    return await asyncio.to_thread(
        subprocess.run, [*before, *words, *after], capture_output=True, text=True, env=environ, timeout=60
    )


@pytest.mark.parametrize("program", [REMOTE, LOCAL])
async def test_a_capture_ends_in_a_file(tmp_path: Path, program: str) -> None:
    """The packets as the agent sent them, closed to others; on standard output for the next program."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)

        async def obey(agent: Any) -> pb.Command:
            ordered: pb.Command = await agent.command()
            chunk = {"state": pb.COMMAND_RUNNING, "chunk": b"pcap" * 50_000, "file_name": "eth0.pcap"}
            await agent.report(ordered.id, chunk, done(packets=7))
            return ordered

        async with desk(collector, identity) as agent:
            words = ("agents", "capture", "pi", "-i", "eth0", "-n", "7", "--filter", "port 53", "-w")
            saved, ordered = await asyncio.gather(
                call(collector, program, *words, str(tmp_path / "a.pcap")), obey(agent)
            )
            piped, _ = await asyncio.gather(call(collector, program, *words, "-"), obey(agent))

        assert (saved.returncode, saved.stdout) == (0, ""), saved.stderr
        assert "200 kB from pi: done" in saved.stderr
        assert (tmp_path / "a.pcap").read_bytes() == b"pcap" * 50_000
        assert stat.S_IMODE((tmp_path / "a.pcap").stat().st_mode) == 0o600
        assert json.loads(ordered.arguments) == {
            "interface": "eth0",
            "packets": 7,
            "filter": "port 53",
            "seconds": 60,
            "snaplen": 65_535,
        }
        assert ordered.actor == ("api-token:admin" if program == REMOTE else f"local:{os.getuid()}")
        assert piped.stdout == "pcap" * 50_000


async def test_an_interrupted_capture_keeps_its_packets(tmp_path: Path) -> None:
    """Ctrl-C has the agent stop; what it has sent until then is written, and the exit code is 130."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with desk(collector, identity) as agent:
            before, after, environ = command(collector, REMOTE)
            target = tmp_path / "a.pcap"
            words = ["agents", "capture", "pi", "-i", "eth0", "-w", str(target)]
            process = subprocess.Popen([*before, *words, *after], env=environ, stderr=subprocess.PIPE)
            ordered = await agent.command()
            report = agent.reporting()
            await report.write(
                pb.CommandReport(id=ordered.id, state=pb.COMMAND_RUNNING, chunk=b"pcap", file_name="a.pcap")
            )
            await until(lambda: collector.services.commands.get(ordered.id)["state"] == "running", "the capture runs")
            process.send_signal(signal.SIGINT)
            stop = await agent.command()
            await report.write(pb.CommandReport(id=ordered.id, state=pb.COMMAND_CANCELLED, text="cancelled"))
            await report.done_writing()
            _, said = await asyncio.to_thread(process.communicate, timeout=30)

        assert (stop.id, stop.cancel) == (ordered.id, True)
        assert (process.returncode, target.read_bytes()) == (130, b"pcap")
        assert b"4 B from pi: cancelled" in said


async def test_waiting_tells_how_each_agent_ended(tmp_path: Path) -> None:
    """Words before and behind --select; exit code 1 unless all went well, with the agent's reason in the table."""
    async with running(tmp_path / "data") as collector:
        first, second = await enrol(collector), await enrol(collector, hostname="pj")

        async def obey(agent: Any, *reports: dict[str, Any]) -> pb.Command:
            ordered: pb.Command = await agent.command()
            await agent.report(ordered.id, *reports)
            return ordered

        refusal = {"state": pb.COMMAND_REFUSED, "text": "this agent does not allow log_level"}
        async with desk(collector, first) as one, desk(collector, second) as two:
            words = ("agents", "run", "log_level", "level=debug", "--select", "*", "minutes=5", "--wait", "-o", "json")
            end, ordered, _ = await asyncio.gather(
                call(collector, REMOTE, *words), obey(one, done()), obey(two, refusal)
            )
            listed = await call(collector, LOCAL, "agents", "commands", "pj")
            nothing = await call(collector, REMOTE, "agents", "commands", "--state", "open", role="viewer")

        rows = json.loads(end.stdout)
        assert end.returncode == 1, end.stderr
        assert [(row["agent_name"], row["state"]) for row in rows] == [("pi", "done"), ("pj", "refused")]
        assert json.loads(ordered.arguments) == {"level": "debug", "minutes": 5}
        assert "this agent does not allow log_level" in listed.stdout
        assert nothing.stdout == "no commands\n"


@pytest.mark.parametrize(("setter", "reader"), [(REMOTE, LOCAL), (LOCAL, REMOTE)])
async def test_tags_and_settings_by_either_program(tmp_path: Path, setter: str, reader: str) -> None:
    """What one sets the other shows; of an agent what that comes to beside what is in force there."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector, collector.token(site="hq"))
        config = pb.ConfigStatus(
            version=1, state=pb.CONFIG_CONFIRMED, effective=b'{"capture":{"workers":2,"filter":"arp"}}'
        )
        tagged = await call(collector, setter, "agents", "tag", "pi", "role=edge", "floor=3")
        untagged = await call(collector, setter, "agents", "tag", "pi", "floor-", "-o", "json")
        words = ("agents", "config", "set", "--select", "role=edge")
        kept = await call(collector, setter, *words, "capture.workers=2", "capture.filter=ip or arp")
        async with desk(collector, identity, config=config):
            await until(
                lambda: collector.rows("SELECT effective FROM agent_config")[0][0] != "{}", "the status is stored"
            )
        listed = await call(collector, reader, "agents", "config", "show")
        chosen = await call(
            collector,
            reader,
            "agents",
            "ls" if reader == REMOTE else "list",
            "--select",
            "role=edge,site=hq",
            "-o",
            "json",
        )
        others = await call(collector, reader, "agents", "ls" if reader == REMOTE else "list", "--select", "role=core")
        of_agent = await call(collector, reader, "agents", "config", "show", "pi", "-o", "json")
        sheet = await call(collector, reader, "agents", "show", "pi")
        gone = await call(collector, setter, "agents", "config", "unset", "capture.filter", "--select", "role=edge")
        left = await call(collector, reader, "agents", "config", "show", "-o", "csv")

        assert tagged.stdout.splitlines()[1].split() == ["pi", "floor=3", "role=edge"]
        assert json.loads(untagged.stdout)[0]["tags"] == {"role": "edge"}
        assert kept.stderr == "kept for role=edge: 1 agent now; see: agents config show AGENT\n"
        assert "ip or arp" in listed.stdout
        assert [(agent["name"], agent["tags"]) for agent in json.loads(chosen.stdout)] == [("pi", {"role": "edge"})]
        assert (others.returncode, len(others.stdout.splitlines())) == (0, 1)
        shown = [
            (row["setting"], row["value"], row["in_force"], row["selector"]) for row in json.loads(of_agent.stdout)
        ]
        assert shown == [
            ("capture.filter", "ip or arp", "arp", "role=edge"),
            ("capture.workers", "2", "2", "role=edge"),
        ]
        for words in (["name", "pi"], ["tags", "role=edge"], ["settings", "version", "1", "confirmed"], ["site", "hq"]):
            assert any(line.split()[: len(words)] == words for line in sheet.stdout.splitlines()), sheet.stdout
        assert gone.returncode == 0
        assert [line.split(",")[1:3] for line in left.stdout.splitlines()] == [
            ["setting", "value"],
            ["capture.workers", "2"],
        ]


@pytest.mark.parametrize("program", [REMOTE, LOCAL])
async def test_a_setting_that_an_agent_does_not_take_is_said_at_once(tmp_path: Path, program: str) -> None:
    """By each agent that is connected, with its reason; the exit code is 1, and 0 where it is taken."""
    async with running(tmp_path / "data") as collector:
        await enrol(collector, hostname="away")
        identity = await enrol(collector)

        async def answer(agent: Any, **report: Any) -> None:
            await agent.report((await agent.command()).id, report)

        words = ("agents", "config", "set", "--select", "*")
        unknown = "unknown key flows.idl; the nearest known one is flows.idle"
        async with desk(collector, identity) as agent:
            refused, _ = await asyncio.gather(
                call(collector, program, *words, "flows.idl=30"),
                answer(agent, state=pb.COMMAND_FAILED, text=unknown),
            )
            taken, _ = await asyncio.gather(
                call(collector, program, "agents", "config", "unset", "flows.idl", "--select", "*"),
                answer(agent, **done()),
            )

        assert refused.returncode == 1
        kept, reason, hint = refused.stderr.splitlines()
        assert kept.startswith("kept for *: 2 agents now")
        assert reason == f"pi does not take it: {unknown}"
        name = {REMOTE: "fieldwatch", LOCAL: "fieldwatch-collector"}[program]
        assert hint == f"to take a setting back: {name} agents config unset SECTION.KEY --select ..."
        assert (taken.returncode, len(taken.stderr.splitlines())) == (0, 1)


@pytest.mark.parametrize(
    ("words", "role", "code", "said"),
    [
        (("run", "reload", "--select", "pi"), "viewer", 1, "viewer, which may not operate"),
        (("config", "set", "a.b=1", "--select", "pi"), "operator", 1, "operator, which may not admin"),
        (("run", "reload", "--select", "nobody"), "admin", 1, "there is no agent 'nobody'"),
        (("run", "relode", "--select", "pi"), "admin", 2, "did you mean reload?"),
        (("run", "log_level", "debug", "--select", "pi"), "admin", 2, "is no ARG=VALUE"),
        (("run", "reload", "--select", "pi", "--timeout", "soon"), "admin", 2, "--timeout soon"),
        (("tag", "pi", "role"), "admin", 2, "neither KEY=VALUE nor KEY-"),
        (("config", "set", "workers=1", "--select", "pi"), "admin", 2, "is no SECTION.KEY=VALUE"),
        (("cancel", "01NONE"), "admin", 1, "there is no command '01NONE'"),
    ],
)
async def test_what_is_wrong_is_one_line(
    tmp_path: Path, words: tuple[str, ...], role: str, code: int, said: str
) -> None:
    async with running(tmp_path / "data") as collector:
        await enrol(collector)
        end = await call(collector, REMOTE, "agents", *words, role=role)

        assert (end.returncode, len(end.stderr.splitlines())) == (code, 1), end.stderr
        assert said in end.stderr
